//! The coordinator: keeps the queue in Postgres, hands tasks to workers, keeps their results.
//!
//! * `store`: the only SQL;
//! * `services`: the gRPC services, thin;
//! * `sessions`: the workers that are here, in memory;
//! * `dispatch`: the scheduling loop; `looks`: how it looks at the queues; `leases`: the loop that looks after leases; `learning`: the one that learns what work takes; `removal`: the
//!   one that removes what was deleted;
//! * `status`: the one translation from errors to gRPC status.
//!
//! Everything is decided by `gauntlet-domain`: what a sweep becomes, what an event does to a task, which task goes where. Here it is loaded, written
//! conditionally, and sent off. Postgres is the arbiter between several coordinators, and the only clock.
//!
//! This crate must **not** know: tch, how anything is computed, files of data or weights, or the command line.

mod config;
mod demands;
mod dispatch;
mod explain;
mod learning;
mod leases;
mod looks;
mod outage;
mod pace;
mod preempt;
mod removal;
mod reports;
mod server;
mod services;
mod sessions;
mod shared;
mod source;
mod status;
mod store;
mod time_left;

pub use config::{Config, Order};
pub use server::{Coordinator, StartError};
