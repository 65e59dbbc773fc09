//! Streams between workers and coordinators: in order while they live, cut at any moment.

use gauntlet_domain::task::Timestamp;

pub type StreamId = usize;

/// One session's connection.
#[derive(Debug)]
pub struct Stream {
    pub worker: usize,
    pub coordinator: usize,
    /// Of the coordinator's process that accepted it.
    pub life: u32,
    /// When the latest message in each direction arrives: later ones arrive after it.
    pub latest_up: Timestamp,
    pub latest_down: Timestamp,
}

impl Stream {
    /// When a message arrives that would take until `at`.
    pub fn arrival(latest: &mut Timestamp, at: Timestamp) -> Timestamp {
        *latest = Timestamp((latest.0 + 1).max(at.0));
        *latest
    }
}
