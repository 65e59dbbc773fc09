//! A coordinator: its sessions, in memory only.

use std::collections::{BTreeMap, BTreeSet};

use gauntlet_domain::schedule::{Turns, WorkerView};
use gauntlet_domain::task::Timestamp;
use gauntlet_domain::{AttemptRef, WorkerId};

use super::network::StreamId;

#[derive(Debug)]
pub struct Session {
    pub stream: StreamId,
    pub number: i64,
    pub slots: usize,
    pub heard: Timestamp,
    pub renewed: Timestamp,
    pub running: BTreeSet<AttemptRef>,
}

#[derive(Debug, Default)]
pub struct Coordinator {
    /// Counts its processes.
    pub life: u32,
    pub up: bool,
    pub paused_until: i64,
    pub sessions: BTreeMap<WorkerId, Session>,
    pub turns: Turns,
    /// Whether a look at the queue is due already.
    pub awake: bool,
    /// When it last looked after its leases; none since its start.
    pub last_look: Option<Timestamp>,
}

impl Coordinator {
    pub fn crash(&mut self) {
        *self = Self { life: self.life + 1, ..Self::default() };
    }

    /// The workers that could take work, as the scheduler sees them.
    pub fn takers(&self, now: Timestamp, silence: i64) -> Vec<WorkerView> {
        let free_slots = |session: &Session| session.slots.saturating_sub(session.running.len()) as u32;
        let view = |(id, session): (&WorkerId, &Session)| WorkerView {
            takes_work: now.0 - session.heard.0 <= silence,
            free_slots: free_slots(session),
            ..WorkerView::plain(id.clone(), session.slots as u32)
        };
        self.sessions.iter().map(view).filter(|view| view.takes_work && view.free_slots > 0).collect()
    }

    /// The session of this stream.
    pub fn session(&mut self, worker: &WorkerId, stream: StreamId) -> Option<&mut Session> {
        self.sessions.get_mut(worker).filter(|session| session.stream == stream)
    }
}
