//! The agent against a coordinator that follows a script, over real sockets, with real processes.

// The lint's exception for tests does not reach the helpers between them.
#![allow(clippy::unwrap_used)]

mod attempts;
#[path = "../fake_executor/behaviour.rs"]
mod behaviour;
mod coordinator;
mod cuts;
mod executors;
mod farewell;
mod process;
mod reports;
mod rig;
mod sessions;
mod store_duties;
