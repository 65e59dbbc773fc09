//! The worker's agent: keeps the session with the coordinator, runs the attempts it is given in executor processes, and brings what they come to
//! back, whatever crashes in between.
//!
//! * [`Agent::run`] is the whole of it; [`Config`] says for whom and where.
//! * What to do is decided in two pure machines, `attempts` (which attempt stands where, and what follows from an event) and `outbox` (which report
//!   is not acknowledged yet); `runtime` carries their decisions out.
//! * Reports are on disk before they are sent (`spool`) and leave it when the coordinator has acknowledged them.
//! * Who leaves first has what runs stop at a checkpoint (`leave`), for a bounded time.
//! * An executor is a process of its own, killed to cancel and replaced when it dies (`executor`).
//! * Checkpoints travel as artifacts named by their digest (`artifacts`); nothing that comes over the wire is used as a path or trusted as a size.
//!
//! This crate must **not** know: SQL, tch, what a task computes, or scheduling policy: it runs what it is given and refuses what it has no room for.

mod agent;
mod artifacts;
mod assignment;
mod attempts;
mod config;
mod durable;
mod duties;
mod error;
mod event;
mod executor;
mod identity;
mod job;
mod leave;
mod outbox;
mod report;
mod runtime;
mod session;
mod spool;

pub use agent::Agent;
pub use artifacts::artifact_path;
pub use config::{Config, Tuning};
pub use error::AgentError;
pub use leave::Leave;
