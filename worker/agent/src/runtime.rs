//! The agent's loop: hears what happens, asks the machines what follows, does it. It never waits for anything but the next event.

mod link;
mod store_duties;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use gauntlet_domain::task::Failure;
use gauntlet_domain::{AttemptRef, WorkerId};
use gauntlet_executor_ipc::Event as Said;
use gauntlet_proto::v1::{self, WorkerMessage, worker_message};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::assignment::Assignment;
use crate::attempts::{Action, Attempts, Generation, Input};
use crate::config::Tuning;
use crate::duties::Deletion;
use crate::error::AgentError;
use crate::event::Event;
use crate::executor::{Loss, Slot, SlotEvent};
use crate::job::{Jobs, Workshop};
use crate::leave::Leave;
use crate::outbox::{Outbox, Sequence};
use crate::report::Content;
use crate::spool::{Spool, SpoolEvent};

/// What this worker says of itself.
#[derive(Debug)]
pub(crate) struct Introduction {
    pub(crate) worker_id: WorkerId,
    pub(crate) hostname: String,
    pub(crate) devices: Vec<v1::Device>,
    pub(crate) slots: u32,
    pub(crate) labels: BTreeMap<String, String>,
    /// When its wall time is over.
    pub(crate) ends: Option<Instant>,
}

/// Everything the loop starts with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) tuning: Tuning,
    pub(crate) introduction: Introduction,
    pub(crate) slots: Vec<Slot>,
    /// Executors that are up.
    pub(crate) executors: BTreeMap<usize, Generation>,
    pub(crate) outbox: Outbox,
    pub(crate) spool: Spool,
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) events: mpsc::Sender<Event>,
}

/// What the loop keeps of an attempt beside its state.
#[derive(Debug)]
struct Work {
    jobs: Jobs,
    label: String,
    started: Instant,
    last_heard: Instant,
    progress: Option<v1::Progress>,
    /// Until when it has to have stopped in good order.
    yields_by: Option<Instant>,
    peak_memory_mib: Option<u32>,
}

/// How things stand with the coordinator.
#[derive(Debug)]
enum Link {
    Up(mpsc::Sender<WorkerMessage>),
    Down { since: Instant },
}

#[derive(Debug)]
pub(crate) struct Runtime {
    tuning: Tuning,
    introduction: Introduction,
    slots: Vec<Slot>,
    attempts: Attempts,
    outbox: Outbox,
    spool: Spool,
    workshop: Arc<Workshop>,
    events: mpsc::Sender<Event>,
    work: BTreeMap<AttemptRef, Work>,
    link: Link,
    /// From the last welcome; without one nothing runs.
    lease: Option<Duration>,
    /// What the last hello announced.
    announced: BTreeSet<AttemptRef>,
    /// When the coordinator last answered a report, or got one it had not had.
    last_exchange: Instant,
    /// When this worker is gone at the latest, once it leaves.
    gone_by: Option<Instant>,
    /// Artifacts that are being deleted in this session.
    deletion: Option<Deletion>,
}

impl Runtime {
    pub(crate) fn new(start: Start) -> Self {
        let Start { tuning, introduction, slots, executors, outbox, spool, workshop, events } = start;
        let mut attempts = Attempts::new(slots.iter().map(|slot| slot.device().to_owned()).collect());
        for (slot, generation) in executors {
            attempts.handle(Input::ExecutorReady { slot, generation });
        }
        Self {
            tuning,
            introduction,
            slots,
            attempts,
            outbox,
            spool,
            workshop,
            events,
            work: BTreeMap::new(),
            link: Link::Down { since: Instant::now() },
            lease: None,
            announced: BTreeSet::new(),
            last_exchange: Instant::now(),
            gone_by: None,
            deletion: None,
        }
    }

    /// Until drained or told to leave.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        wishes: &Leave,
        leave: &CancellationToken,
    ) -> Result<(), AgentError> {
        let mut ticks = interval(self.tuning.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let result = loop {
            if self.may_leave() {
                break Ok(());
            }
            self.hurry();
            let link = self.link();
            let (gone_by, stays) = (self.gone_by, self.gone_by.is_none());
            // Work ends before the wall time does.
            let work_ends = self.introduction.ends.and_then(|ends| ends.checked_sub(self.tuning.leave_time()));
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => if let Err(error) = self.hear(event) { break Err(error) },
                    None => break Ok(()),
                },
                () = wishes.at_once.cancelled(), if !self.attempts.is_empty() || stays => self.leave_at_once(),
                () = wishes.in_good_order.cancelled(), if stays => self.leave_in_good_order("the worker shuts down"),
                () = sleep_until(work_ends.unwrap_or_else(Instant::now)), if work_ends.is_some() && stays => {
                    self.leave_in_good_order("the worker's wall time is nearly over");
                }
                () = sleep_until(gone_by.unwrap_or_else(Instant::now)), if gone_by.is_some() => {
                    self.follow(Input::Shutdown { reason: "the worker left before it had stopped".to_owned() });
                    break Ok(());
                }
                permit = link::reserve(link), if self.outbox.can_send() => self.send_next(permit),
                _ = ticks.tick() => self.tick(),
            }
        };
        // Whoever still wants to tell us something must not wait for us.
        drop(events);
        self.leave(leave).await;
        result
    }

    async fn leave(self, leave: &CancellationToken) {
        tracing::info!(unacknowledged = self.outbox.len(), "the worker leaves");
        drop(self.work);
        // With this the stream to the coordinator ends in good order.
        drop(self.link);
        leave.cancel();
        for slot in self.slots {
            slot.stop().await;
        }
        self.spool.close().await;
        let attempts = &self.workshop.attempts;
        if let Err(error) = tokio::fs::remove_dir_all(attempts).await {
            tracing::debug!(folder = %attempts.display(), %error, "folders of attempts stay until the next start");
        }
    }

    fn may_leave(&self) -> bool {
        if !self.attempts.is_draining() || !self.attempts.is_empty() {
            return false;
        }
        self.outbox.is_empty() || self.gone_by.is_some() && matches!(self.link, Link::Down { .. })
    }

    /// Has what runs stop at a checkpoint, and leaves when it is handed back.
    pub(super) fn leave_in_good_order(&mut self, reason: &str) {
        if self.gone_by.is_some() {
            return;
        }
        let running = self.attempts.running().len();
        tracing::warn!(running, grace = ?self.tuning.grace, "{reason}: it hands back what it runs and leaves");
        self.gone_by = Some(Instant::now() + self.tuning.leave_time());
        self.say(worker_message::Message::Draining(v1::Draining {}));
        self.follow(Input::HandBackAll { reason: reason.to_owned() });
    }

    fn leave_at_once(&mut self) {
        tracing::warn!(running = self.attempts.running().len(), "the worker leaves at once");
        self.gone_by = Some(Instant::now() + self.tuning.farewell);
        self.say(worker_message::Message::Draining(v1::Draining {}));
        self.follow(Input::Shutdown { reason: "the worker was told to leave at once".to_owned() });
    }

    /// When nothing runs any more, only acknowledgements are waited for.
    fn hurry(&mut self) {
        if let Some(gone_by) = &mut self.gone_by
            && self.attempts.is_empty()
        {
            *gone_by = (*gone_by).min(Instant::now() + self.tuning.farewell);
        }
    }

    fn hear(&mut self, event: Event) -> Result<(), AgentError> {
        match event {
            Event::Session(event) => return self.hear_session(event),
            Event::Executor { slot, event } => self.hear_executor(slot, event),
            Event::Spool(event) => self.hear_spool(event),
            Event::Job(input) => self.follow(input),
            Event::Duty(event) => self.hear_duty(event),
        }
        Ok(())
    }

    fn follow(&mut self, input: Input) {
        for action in self.attempts.handle(input) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Prepare(assignment) => self.begin(*assignment),
            Action::Execute { slot, generation, execute } => {
                if let Some(work) = self.work.get_mut(&execute.attempt) {
                    work.last_heard = Instant::now();
                }
                self.slots[slot].execute(generation, execute);
            }
            Action::AskToYield { slot, generation, attempt } => {
                if let Some(work) = self.work.get_mut(&attempt) {
                    work.yields_by = Some(Instant::now() + self.tuning.grace);
                }
                self.slots[slot].hand_back(generation, attempt);
            }
            Action::ReplaceExecutor { slot, generation } => self.slots[slot].replace(generation),
            Action::StoreCheckpoint { attempt, path, epoch } => {
                if let Some(work) = self.work.get(&attempt) {
                    work.jobs.store_checkpoint(path, epoch);
                }
            }
            Action::Conclude { attempt, ending } => {
                if let Some(work) = self.work.get(&attempt) {
                    work.jobs.conclude(ending);
                }
            }
            Action::Report { attempt, content } => self.report(attempt, content),
            Action::Abandon { attempt, reason } => self.abandon(attempt, &reason),
        }
    }

    fn begin(&mut self, assignment: Assignment) {
        let attempt = assignment.attempt;
        let label = assignment.label.clone();
        tracing::info!(%attempt, task = %attempt.task, label, "an attempt begins");
        let jobs = Jobs::start(Arc::clone(&self.workshop), assignment, self.events.clone());
        let now = Instant::now();
        let work =
            Work { jobs, label, started: now, last_heard: now, progress: None, yields_by: None, peak_memory_mib: None };
        self.work.insert(attempt, work);
    }

    fn report(&mut self, attempt: AttemptRef, content: Content) {
        let outcome = content.outcome();
        let mut report = content.into_report(attempt);
        if crate::report::is_final(&report) {
            match self.work.remove(&attempt) {
                Some(work) => {
                    report.peak_memory_mib = work.peak_memory_mib;
                    tracing::info!(%attempt, label = work.label, seconds = work.started.elapsed().as_secs_f64(), "an attempt has ended: {outcome}");
                }
                None => tracing::warn!(%attempt, "an attempt is not begun: {outcome}"),
            }
        }
        let sequence = self.outbox.push(attempt, report.clone());
        self.spool.write(sequence, report);
    }

    fn abandon(&mut self, attempt: AttemptRef, reason: &str) {
        if let Some(work) = self.work.remove(&attempt) {
            let seconds = work.started.elapsed().as_secs_f64();
            tracing::warn!(%attempt, label = work.label, seconds, "an attempt is abandoned: {reason}");
        }
        for sequence in self.outbox.forget(attempt) {
            self.spool.delete(sequence);
        }
        self.clean(attempt);
    }

    /// Removes an attempt's folder; a process that is being killed may write in it for a moment.
    fn clean(&self, attempt: AttemptRef) {
        let folder = self.workshop.folder(attempt);
        tokio::spawn(async move {
            for _ in 0..20 {
                match tokio::fs::remove_dir_all(&folder).await {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
                    Err(error) => {
                        tracing::debug!(folder = %folder.display(), %error, "an attempt's folder is not removed yet")
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            tracing::warn!(folder = %folder.display(), "an attempt's folder stays until the next start");
        });
    }

    fn hear_spool(&mut self, event: SpoolEvent) {
        match event {
            SpoolEvent::Written(sequences) => {
                self.tried(&sequences);
                self.follow(Input::Spooling { trouble: None });
            }
            SpoolEvent::Unwritable(sequences, trouble) => {
                self.tried(&sequences);
                self.follow(Input::Spooling { trouble: Some(trouble) });
            }
        }
    }

    fn tried(&mut self, sequences: &[Sequence]) {
        for sequence in sequences {
            if let Some(ended) = self.outbox.tried(*sequence) {
                self.clean(ended);
            }
        }
    }

    fn hear_executor(&mut self, slot: usize, event: SlotEvent) {
        match event {
            SlotEvent::Ready { generation, ready } => {
                tracing::debug!(slot, pid = ready.pid, device = ready.device, "an executor is ready");
                self.follow(Input::ExecutorReady { slot, generation });
            }
            SlotEvent::Lost { generation, loss: Loss { failure, attempt, peak_memory_mib } } => {
                self.note_memory(attempt, peak_memory_mib);
                self.follow(Input::ExecutorLost { slot, generation, failure });
            }
            SlotEvent::FailedToStart { message } => self.follow(Input::ExecutorFailedToStart { slot, message }),
            SlotEvent::Said(said) => self.hear_attempt(*said),
        }
    }

    fn hear_attempt(&mut self, said: Said) {
        let input = match said {
            // Its supervisor has told already.
            Said::Ready(_) => return,
            Said::Progress { attempt, done, total, unit } => return self.progress(attempt, done, total, unit),
            Said::Epoch { attempt, metrics } => Input::Epoch { attempt, metrics },
            Said::Checkpoint { attempt, path, epoch } => Input::CheckpointWritten { attempt, path, epoch },
            Said::Finished { attempt, result_path, peak_memory_mib } => {
                self.note_memory(Some(attempt), peak_memory_mib);
                Input::Finished { attempt, result_path }
            }
            Said::Yielded { attempt, peak_memory_mib } => {
                self.note_memory(Some(attempt), peak_memory_mib);
                Input::Yielded { attempt }
            }
            Said::Failed { attempt, class, message, peak_memory_mib } => {
                self.note_memory(Some(attempt), peak_memory_mib);
                Input::Failed { attempt, failure: Failure { class, message } }
            }
        };
        if let Input::Epoch { attempt, .. } | Input::CheckpointWritten { attempt, .. } = &input
            && let Some(work) = self.work.get_mut(attempt)
        {
            work.last_heard = Instant::now();
        }
        self.follow(input);
    }

    fn note_memory(&mut self, attempt: Option<AttemptRef>, peak_memory_mib: Option<u32>) {
        if let Some(work) = attempt.and_then(|attempt| self.work.get_mut(&attempt)) {
            work.peak_memory_mib = peak_memory_mib;
        }
    }

    fn progress(&mut self, attempt: AttemptRef, done: u64, total: u64, unit: String) {
        if let Some(work) = self.work.get_mut(&attempt) {
            work.last_heard = Instant::now();
            work.progress = Some(v1::Progress { attempt: Some(attempt.into()), done, total, unit });
        }
    }
}
