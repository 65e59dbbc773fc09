//! The state machine of a task, as one pure function: [`apply`].
//!
//! ```text
//! Pending ──inputs ready──▶ Ready ──lease──▶ Leased ──result accepted──▶ Succeeded
//!    │                        ▲                │ ├─ permanent error, or attempts used up ─▶ Failed
//!    │                        └─ lease lost, ──┘ │
//!    │                  handed back, other error │
//!    └──────── cancel, or an input failed ───────┴──▶ Cancelled / Skipped (with the reason)
//! ```
//! A task whose earlier attack in a cascade has left nothing to find is Skipped as pointless, for good.
//! A task that merges its inputs goes from Pending to Succeeded with the last of them; no worker runs it.
//! Failed, Cancelled and Skipped tasks come back by [`Event::Retry`]. The database's CHECK constraints state the same.

mod evidence;
mod memory;
mod state;
mod transition;

pub use memory::{MemoryPlan, memory_needed, memory_plan};
pub use state::{Failure, FailureClass, FailureCounts, Lease, Task, TaskState, Timestamp};
pub use transition::{Event, Rejected, RetryPolicy, apply};
