//! What Gauntlet talks about and how it decides, as pure functions.
//!
//! * [`experiment`]: what a task computes, fully resolved, and what comes out of it;
//! * [`sweep`]: the file a user writes, read and checked;
//! * [`plan`]: sweep → runs → graph of tasks named by the hash of what they compute;
//! * [`adaptive`]: where an evaluation stops early, and which attacks others have made pointless;
//! * [`results`]: rows of the results, their summary over seeds, and what they say;
//! * [`analyses`]: what analyses came to, and its summary;
//! * [`findings`]: what the rows say about the claim;
//! * [`claims`]: the study's claims and the controls, each decided by a declared test;
//! * [`masking`]: signs that a robust accuracy is owed to masked gradients;
//! * [`task`]: the state machine of a task;
//! * [`artifact`]: what becomes of a report that names an artifact on its way out;
//! * [`forecast`]: what work will take, learnt from what it took;
//! * [`share`]: who shares the workers, and on what terms;
//! * [`quota`]: what may still be started, and why a ready task waits;
//! * [`schedule`]: which ready task goes to which worker;
//! * [`catalogue`]: the data sets, backbones, recipes and attacks there are, with their parameters.
//!
//! This crate must **not** know: the clock, randomness, files, the network, async, SQL, the wire format, or tch. Time comes in as an argument.

pub mod adaptive;
pub mod analyses;
pub mod artifact;
pub mod catalogue;
pub mod claims;
pub mod digest;
pub mod experiment;
pub mod findings;
pub mod forecast;
pub mod ids;
pub mod masking;
pub mod plan;
pub mod quota;
pub mod results;
pub mod schedule;
pub mod share;
pub mod statistics;
pub mod sweep;
pub mod task;

pub use digest::Digest;
pub use ids::{AttemptNumber, AttemptRef, SweepId, TaskId, WorkerId};
