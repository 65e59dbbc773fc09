//! The session of one worker.

#![allow(clippy::needless_update, reason = "a message that gets another field stays as valid as it is")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::coordinator_message::Message as FromCoordinator;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::worker_message::Message;
use gauntlet_proto::v1::worker_service_client::WorkerServiceClient;
use gauntlet_proto::v1::{self, CoordinatorMessage, WorkerMessage};
use gauntlet_proto::{MAX_MESSAGE_BYTES, PROTOCOL_VERSION};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval_at, sleep_until};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::stats::Stats;

/// How long the end of a session may take.
const FAREWELL: Duration = Duration::from_secs(30);
/// Nothing is on its way any more when a draining worker has heard nothing for so long.
const QUIET: Duration = Duration::from_millis(300);
/// More than any task asks for: placement by memory shall not limit what is measured.
const MEMORY_MIB: u64 = 1 << 24;

/// Why a worker ended.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no connection.
    #[error("the coordinator cannot be reached: {0}")]
    Connection(#[source] tonic::transport::Error),
    /// The session broke.
    #[error("the session of {worker} broke: {status}")]
    Session {
        /// Whose.
        worker: String,
        /// How.
        status: Box<Status>,
    },
    /// Signals cannot be listened to.
    #[error("signals cannot be listened to: {0}")]
    Signal(#[source] std::io::Error),
    /// Something else.
    #[error("{0}")]
    Ended(String),
}

/// What a worker does with its tasks.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Time from an assignment to its report.
    pub takes: Duration,
    /// Whether it keeps what it is given from now on, without an end.
    pub hold: Arc<AtomicBool>,
}

/// Lets a few workers at a time open their sessions.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Who may.
    pub turns: Arc<Semaphore>,
    /// Told of each session that stands.
    pub opened: mpsc::UnboundedSender<()>,
}

/// A worker to be.
#[derive(Debug)]
pub struct Worker {
    /// Its id.
    pub name: String,
    /// Tasks it takes at once.
    pub slots: u32,
    /// What it does with them.
    pub behaviour: Behaviour,
}

impl Worker {
    /// Lives until told to stop; finishes what it was given by then.
    ///
    /// # Errors
    /// The session does not come about, or breaks.
    pub async fn run(self, channel: Channel, gate: Gate, mut stop: watch::Receiver<bool>) -> Result<Stats, Problem> {
        let turn = gate.turns.acquire_owned().await.map_err(|error| Problem::Ended(error.to_string()))?;
        let broke = |status: Status| Problem::Session { worker: self.name.clone(), status: Box::new(status) };
        let (mut session, mut incoming) = Session::open(&self, channel).await.map_err(broke)?;
        drop(turn);
        // Whether anybody counts is not this worker's concern.
        let _ = gate.opened.send(());
        // The first beats of many workers spread over the interval.
        let first = session.heartbeat.mul_f64(self.phase());
        let mut beats = interval_at(tokio::time::Instant::now() + first, session.heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = incoming.message() => session.hear(next(message).map_err(broke)?),
                _ = beats.tick() => session.say(Message::Heartbeat(v1::Heartbeat {})),
                () = session.next_is_due() => session.report_due(),
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        session.leave(&mut incoming).await.map_err(broke)?;
        Ok(session.stats)
    }

    /// A share of one that differs from worker to worker.
    fn phase(&self) -> f64 {
        let sum = self.name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        f64::from(sum % 1000) / 1000.0
    }
}

fn next(message: Result<Option<CoordinatorMessage>, Status>) -> Result<Option<FromCoordinator>, Status> {
    match message? {
        Some(message) => Ok(message.message),
        None => Err(Status::unavailable("the coordinator closed the session")),
    }
}

struct Session {
    behaviour: Behaviour,
    outgoing: mpsc::UnboundedSender<WorkerMessage>,
    heartbeat: Duration,
    /// Slots that never had a task.
    unused: u32,
    /// When the free slots became so, the oldest first.
    freed: VecDeque<Instant>,
    /// What waits for its pretended end, in that order.
    due: VecDeque<(Instant, v1::Assign)>,
    held: Vec<v1::AttemptRef>,
    /// When what is not acknowledged was reported, and whether it is a result.
    reported: BTreeMap<String, (Instant, bool)>,
    reports: u64,
    stats: Stats,
}

impl Session {
    async fn open(worker: &Worker, channel: Channel) -> Result<(Self, Streaming<CoordinatorMessage>), Status> {
        let (outgoing, receiver) = mpsc::unbounded_channel();
        let device = v1::Device {
            name: "cpu".to_owned(),
            memory_mib: MEMORY_MIB,
            threads: 1,
            libtorch: "none".to_owned(),
            slots: worker.slots,
        };
        let hello = v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            worker_id: worker.name.clone(),
            hostname: "noop".to_owned(),
            devices: vec![device],
            slots: worker.slots,
            ..v1::Hello::default()
        };
        drop(outgoing.send(WorkerMessage { message: Some(Message::Hello(hello)) }));
        let mut client = WorkerServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let mut incoming = client.session(UnboundedReceiverStream::new(receiver)).await?.into_inner();
        let Some(FromCoordinator::Welcome(welcome)) = next(incoming.message().await)? else {
            return Err(Status::internal("the coordinator's first message is not a welcome"));
        };
        let session = Self {
            behaviour: worker.behaviour.clone(),
            outgoing,
            heartbeat: Duration::from_millis(welcome.heartbeat_interval_millis.max(50).into()),
            unused: worker.slots,
            freed: VecDeque::new(),
            due: VecDeque::new(),
            held: Vec::new(),
            reported: BTreeMap::new(),
            reports: 0,
            stats: Stats::default(),
        };
        Ok((session, incoming))
    }

    fn say(&self, message: Message) {
        // A session that is over says so by its other half.
        drop(self.outgoing.send(WorkerMessage { message: Some(message) }));
    }

    fn hear(&mut self, message: Option<FromCoordinator>) {
        match message {
            Some(FromCoordinator::Assign(assign)) => self.take(assign),
            Some(FromCoordinator::Acknowledge(acknowledge)) => self.acknowledged(&acknowledge),
            Some(FromCoordinator::Cancel(v1::Cancel { attempt: Some(attempt), .. })) => self.give_up(&attempt),
            _ => {}
        }
    }

    fn take(&mut self, assign: v1::Assign) {
        self.stats.assigned_at.note();
        if self.unused > 0 {
            self.unused -= 1;
        } else if let Some(freed) = self.freed.pop_front() {
            self.stats.refill.note(freed.elapsed());
        }
        if self.behaviour.hold.load(Ordering::Relaxed) {
            self.held.extend(assign.attempt);
        } else if self.behaviour.takes.is_zero() {
            self.finish(assign);
        } else {
            self.due.push_back((Instant::now() + self.behaviour.takes, assign));
        }
    }

    async fn next_is_due(&self) {
        match self.due.front() {
            Some((due, _)) => sleep_until((*due).into()).await,
            None => std::future::pending().await,
        }
    }

    fn report_due(&mut self) {
        if let Some((_, assign)) = self.due.pop_front() {
            self.finish(assign);
        }
    }

    fn finish(&mut self, assign: v1::Assign) {
        let content = match examples(&assign.spec_json) {
            Ok(examples) => Content::Attacked(nothing_happened(examples)),
            Err(problem) => Content::Failed(v1::Failed {
                failure_class: "permanent".to_owned(),
                message: format!("a no-op worker cannot do this task: {problem}"),
                ..v1::Failed::default()
            }),
        };
        self.freed.push_back(Instant::now());
        self.report(assign.attempt, content);
    }

    fn report(&mut self, attempt: Option<v1::AttemptRef>, content: Content) {
        self.reports += 1;
        let report_id = self.reports.to_string();
        let is_result = matches!(content, Content::Attacked(_));
        self.reported.insert(report_id.clone(), (Instant::now(), is_result));
        self.say(Message::Report(v1::Report { report_id, attempt, content: Some(content), ..Default::default() }));
    }

    fn acknowledged(&mut self, acknowledge: &v1::Acknowledge) {
        let Some((reported, is_result)) = self.reported.remove(&acknowledge.report_id) else { return };
        self.stats.acknowledge.note(reported.elapsed());
        if acknowledge.verdict() != Verdict::Accepted {
            let said = format!("{}: {}", acknowledge.verdict().as_str_name(), acknowledge.message);
            *self.stats.refused.entry(said).or_default() += 1;
        } else if is_result {
            self.stats.accepted += 1;
            self.stats.accepted_at.note();
        }
    }

    fn give_up(&mut self, attempt: &v1::AttemptRef) {
        self.held.retain(|held| held != attempt);
        self.due.retain(|(_, assign)| assign.attempt.as_ref() != Some(attempt));
    }

    /// Takes nothing new, ends what it has, and waits until all of that is acknowledged.
    async fn leave(&mut self, incoming: &mut Streaming<CoordinatorMessage>) -> Result<(), Status> {
        self.say(Message::Draining(v1::Draining {}));
        let deadline = Instant::now() + FAREWELL;
        while Instant::now() < deadline {
            for (_, assign) in std::mem::take(&mut self.due) {
                self.finish(assign);
            }
            for attempt in std::mem::take(&mut self.held) {
                self.stats.handed_back += 1;
                let message = "the measurement is over".to_owned();
                let handed_back = v1::HandedBack { message, ..v1::HandedBack::default() };
                self.report(Some(attempt), Content::HandedBack(handed_back));
            }
            match tokio::time::timeout(QUIET, incoming.message()).await {
                Ok(message) => self.hear(next(message)?),
                Err(_) if self.reported.is_empty() => break,
                Err(_) => {}
            }
        }
        if self.reported.is_empty() {
            return Ok(());
        }
        Err(Status::deadline_exceeded(format!("{} reports were not acknowledged", self.reported.len())))
    }
}

/// Examples that the task evaluates.
fn examples(spec_json: &str) -> Result<usize, String> {
    #[derive(serde::Deserialize)]
    struct Spec {
        computes: String,
        dataset: Dataset,
    }
    #[derive(serde::Deserialize)]
    struct Dataset {
        examples: usize,
    }
    let spec: Spec = serde_json::from_str(spec_json).map_err(|error| error.to_string())?;
    if spec.computes == "attack" { Ok(spec.dataset.examples) } else { Err(format!("it is to {}", spec.computes)) }
}

/// Every example was classified as class 0, which it is, before and after.
fn nothing_happened(examples: usize) -> v1::Attacked {
    let outcomes = v1::Outcomes {
        label: vec![0; examples],
        clean_prediction: vec![0; examples],
        adversarial_prediction: vec![0; examples],
        clean_loss: vec![0.0; examples],
        adversarial_loss: vec![0.0; examples],
        distance: vec![0.0; examples],
    };
    v1::Attacked { outcomes: Some(outcomes), model_queries: examples as u64, ..v1::Attacked::default() }
}
