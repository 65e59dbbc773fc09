//! One live session: what its worker is, what it was given, when it was last heard.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gauntlet_domain::experiment::TaskSpec;
use gauntlet_domain::forecast::DeviceKind;
use gauntlet_domain::schedule::{DeviceUse, Place, QueueKey, WorkerTraits, WorkerView};
use gauntlet_domain::{AttemptNumber, AttemptRef, TaskId, WorkerId};
use gauntlet_proto::v1::coordinator_message::Message;
use gauntlet_proto::v1::{self, CoordinatorMessage};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// Where messages to a worker go.
pub type Outbox = mpsc::Sender<Result<CoordinatorMessage, Status>>;

/// Data sets that are remembered of a worker: its executors keep about as many.
const REMEMBERED: usize = 3;

/// A live session.
#[derive(Debug)]
pub struct Session {
    pub(super) number: i64,
    pub(super) slots: u32,
    traits: Arc<WorkerTraits>,
    pub(super) leaving: Leaving,
    /// When its wall time is over, and how much of it there was at the beginning.
    leaves_at: Option<(Instant, Duration)>,
    outbox: Outbox,
    pub(super) close: oneshot::Sender<Status>,
    pub(super) heard: Instant,
    pub(super) renewed: Instant,
    pub(super) running: BTreeMap<TaskId, Running>,
    pub(super) holds: BTreeSet<TaskId>,
    /// The data sets of what it was given last, the latest last.
    data: VecDeque<Arc<str>>,
}

/// Whether a worker was asked to leave, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaving {
    /// It stays.
    No,
    /// It finishes what it runs.
    WhenDone,
    /// It hands back what it runs.
    HandingBack,
}

impl Leaving {
    /// As the database puts it.
    pub const fn of(draining: bool, hands_back: bool) -> Self {
        match (draining, hands_back) {
            (_, true) => Self::HandingBack,
            (true, false) => Self::WhenDone,
            (false, false) => Self::No,
        }
    }
}

/// Who tells a worker that it is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It has said so itself.
    Already,
    /// We do, unless we did.
    Now {
        /// Whether it hands back what it runs.
        hand_back: bool,
    },
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) attempt: AttemptNumber,
    pub(super) progress: Option<Progress>,
    /// What it computes, where that is known without asking the database.
    pub(super) spec: Option<Arc<TaskSpec>>,
    /// Whether its end is on the way to the database: its worker could begin something else.
    pub(super) ending: bool,
    /// Whether it was asked back.
    pub(super) leaving: bool,
    /// What it takes of which device.
    place: Place,
    /// The queue it was taken from, if this session took it.
    pub(super) queue: Option<QueueKey>,
}

impl Running {
    const fn new(attempt: AttemptNumber, spec: Option<Arc<TaskSpec>>, place: Place, queue: Option<QueueKey>) -> Self {
        Self { attempt, progress: None, spec, ending: false, leaving: false, place, queue }
    }
}

/// An attempt that goes to a worker.
#[derive(Debug)]
pub struct Given {
    /// Which.
    pub attempt: AttemptRef,
    /// What it computes, if this version can read it.
    pub spec: Option<Arc<TaskSpec>>,
    /// Tasks whose output the worker will hold.
    pub inputs: Vec<TaskId>,
    /// The data set that it will hold.
    pub data: Option<Arc<str>>,
    /// Where on the worker it runs.
    pub place: Place,
    /// The queue it was taken from.
    pub queue: Option<QueueKey>,
    /// What the worker is told.
    pub assign: v1::Assign,
}

/// How far an attempt is, in its worker's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// So much is done
    pub done: u64,
    /// of so much
    pub total: u64,
    /// of these.
    pub unit: String,
}

impl Session {
    /// A session that begins now.
    pub fn new(number: i64, slots: u32, leaving: Leaving, outbox: Outbox, close: oneshot::Sender<Status>) -> Self {
        let now = Instant::now();
        Self {
            number,
            slots,
            traits: Arc::default(),
            leaving,
            leaves_at: None,
            outbox,
            close,
            heard: now,
            renewed: now,
            running: BTreeMap::new(),
            holds: BTreeSet::new(),
            data: VecDeque::new(),
        }
    }

    /// The same session of a worker that is like this.
    #[must_use]
    pub fn of_a_worker_like(self, traits: WorkerTraits) -> Self {
        Self { traits: Arc::new(traits), ..self }
    }

    /// The same session with what its worker runs and holds; where it runs what, as far as it told.
    #[must_use]
    pub fn with(
        mut self,
        running: &[AttemptRef],
        places: &BTreeMap<AttemptRef, Place>,
        holds: impl IntoIterator<Item = TaskId>,
    ) -> Self {
        let place = |attempt: &AttemptRef| places.get(attempt).copied().unwrap_or_default();
        let runs = |attempt: &AttemptRef| (attempt.task, Running::new(attempt.attempt, None, place(attempt), None));
        self.running = running.iter().map(runs).collect();
        self.holds = holds.into_iter().collect();
        self
    }

    /// The same session of a worker with so much wall time left.
    #[must_use]
    pub fn for_so_long(mut self, remaining_secs: Option<f64>) -> Self {
        let remaining = remaining_secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
        self.leaves_at = remaining.and_then(|remaining| Some((Instant::now().checked_add(remaining)?, remaining)));
        self
    }

    /// Wall time that its worker has left, where that is limited.
    fn remaining(&self) -> Option<Duration> {
        self.leaves_at.map(|(leaves_at, _)| leaves_at.saturating_duration_since(Instant::now()))
    }

    /// Wall time that its worker had when the session began, where that is limited.
    pub(super) fn wall_time(&self) -> Option<Duration> {
        self.leaves_at.map(|(_, whole)| whole)
    }

    pub(super) fn kind(&self) -> &DeviceKind {
        &self.traits.kind
    }

    /// What the scheduler sees of it; which of these tasks it holds the output of.
    pub(super) fn view(
        &self,
        worker: &WorkerId,
        now: Instant,
        silence: Duration,
        inputs: &BTreeSet<TaskId>,
    ) -> WorkerView {
        WorkerView {
            id: worker.clone(),
            traits: Arc::clone(&self.traits),
            slots: self.slots,
            free_slots: self.free_slots(now, silence),
            takes_work: self.takes_work(now, silence),
            uses: self.uses(),
            remaining_secs: self.remaining().map(|remaining| remaining.as_secs_f64()),
            holds: self.held(inputs),
            data: self.data.iter().cloned().collect(),
        }
    }

    /// What of each device is taken by what is not about to end.
    fn uses(&self) -> Vec<DeviceUse> {
        let mut uses = vec![DeviceUse::default(); self.traits.devices.len()];
        for running in self.running.values().filter(|running| !running.ending) {
            if let Some(taken) = running.place.device.and_then(|device| uses.get_mut(device)) {
                taken.tasks += 1;
                taken.memory_mib = taken.memory_mib.saturating_add(running.place.memory_mib);
            }
        }
        uses
    }

    /// Notes an attempt and sends it off. False if it could not be sent.
    pub(super) fn assign(&mut self, given: Given) -> bool {
        let Given { attempt, spec, inputs, data, place, queue, assign } = given;
        let sent = self.send(Message::Assign(assign));
        if sent {
            self.running.insert(attempt.task, Running::new(attempt.attempt, spec, place, queue));
            self.holds.extend(inputs);
            self.remember(data);
        }
        sent
    }

    fn remember(&mut self, data: Option<Arc<str>>) {
        if let Some(data) = data.filter(|data| self.data.back() != Some(data)) {
            self.data.retain(|known| *known != data);
            self.data.push_back(data);
            if self.data.len() > REMEMBERED {
                self.data.pop_front();
            }
        }
    }

    /// A worker that does not read its messages is as good as gone: the stream is closed, and it comes back or not.
    pub(super) fn send(&self, message: Message) -> bool {
        self.outbox.try_send(Ok(CoordinatorMessage { message: Some(message) })).is_ok()
    }

    fn takes_work(&self, now: Instant, silence: Duration) -> bool {
        let has_time = self.remaining().is_none_or(|remaining| !remaining.is_zero());
        has_time && self.leaving == Leaving::No && now.saturating_duration_since(self.heard) <= silence
    }

    /// Attempts that it could be given now.
    pub(super) fn free_slots(&self, now: Instant, silence: Duration) -> u32 {
        if !self.takes_work(now, silence) {
            return 0;
        }
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let ending = count(self.running.values().filter(|running| running.ending).count());
        // Ends that the database does not take do not pile up without bound.
        let busy = count(self.running.len()).saturating_sub(ending.min(self.slots));
        self.slots.saturating_sub(busy)
    }

    /// Those of these tasks whose output it holds: a worker may hold very many.
    fn held(&self, tasks: &BTreeSet<TaskId>) -> BTreeSet<TaskId> {
        let (few, many) = if tasks.len() <= self.holds.len() { (tasks, &self.holds) } else { (&self.holds, tasks) };
        few.iter().filter(|task| many.contains(task)).copied().collect()
    }

    pub(super) fn runs(&mut self, attempt: AttemptRef) -> Option<&mut Running> {
        self.running.get_mut(&attempt.task).filter(|running| running.attempt == attempt.attempt)
    }
}
