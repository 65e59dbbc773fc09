//! What a worker's agent and its executor process say to each other: one JSON value per line, [`Request`]s on the executor's stdin, [`Event`]s on
//! its stdout.
//!
//! * An executor first says [`Event::Ready`], then serves one [`Request::Execute`] at a time, each ending in exactly one [`Event::Finished`],
//!   [`Event::Failed`] or [`Event::Yielded`]. Cancelling is killing the process.
//! * Everything said about an attempt names it, so that the agent can drop what comes late.
//! * Results are files: a line stays small however many examples a task has.
//!
//! This crate must **not** know: tch, an async runtime, the network. Agent and executor come from one build, so there is no versioning beyond
//! [`PROTOCOL_VERSION`], which both check at the start.

mod frame;
mod message;
mod output;

pub use frame::{FrameError, MAX_LINE_BYTES, decode, encode, read_message, write_message};
pub use message::{Event, Execute, Ready, Request};
pub use output::{OutputFileError, RESULT_FILE, TaskOutput};

/// Raised whenever a message changes its meaning; an agent refuses an executor of another version.
pub const PROTOCOL_VERSION: u32 = 3;
