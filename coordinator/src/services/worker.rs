//! The sessions of workers.

use std::sync::Arc;
use std::time::Duration;

use gauntlet_domain::{AttemptRef, WorkerId};
use gauntlet_proto::convert;
use gauntlet_proto::v1::coordinator_message::Message;
use gauntlet_proto::v1::worker_message::Message as FromWorker;
use gauntlet_proto::v1::worker_service_server::WorkerService;
use gauntlet_proto::v1::{self, CoordinatorMessage, WorkerMessage};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::hello::{self, Understood};
use crate::removal;
use crate::sessions::{Leaving, Outbox, Progress, Session, Told};
use crate::shared::Shared;
use crate::status::Error;
use crate::store::{Hello, Welcomed, retry_conflicts};

/// Messages to a worker that may wait to be read.
const OUTBOX: usize = 1024;
/// How long a worker may take to say hello.
const PATIENCE: Duration = Duration::from_secs(10);

/// The service that workers talk to.
#[derive(Debug, Clone)]
pub struct Workers(pub Arc<Shared>);

#[tonic::async_trait]
impl WorkerService for Workers {
    type SessionStream = ReceiverStream<Result<CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let Understood { hello, holds, traits, places } = hello::understand(first_message(&mut inbound).await?)?;
        if self.0.stop.is_cancelled() {
            return Err(Error::ShuttingDown.into());
        }
        let welcomed = open(&self.0, &hello).await?;
        let running = welcomed.running.clone();
        let (number, leaving) = (welcomed.session, Leaving::of(welcomed.draining, welcomed.hands_back));
        tracing::info!(worker = %hello.worker, hostname = hello.hostname, slots = hello.slots, running = running.len(), "a worker is here");
        let (outbox, stream) = greet(&self.0, welcomed);
        let (close, closed) = oneshot::channel();
        let session = Session::new(number, hello.slots, leaving, outbox.clone(), close)
            .of_a_worker_like(traits)
            .with(&running, &places, holds)
            .for_so_long(hello.remaining_secs);
        self.0.sessions.insert(hello.worker.clone(), session);
        if self.0.stop.is_cancelled() {
            self.0.sessions.close_all(&Error::ShuttingDown.into());
        }
        self.0.changed();
        let reader = Reader { shared: Arc::clone(&self.0), worker: hello.worker, number, outbox };
        self.0.tasks.spawn(reader.run(inbound, closed));
        Ok(Response::new(stream))
    }
}

async fn first_message(inbound: &mut Streaming<WorkerMessage>) -> Result<v1::Hello, Status> {
    let message = tokio::time::timeout(PATIENCE, inbound.message())
        .await
        .map_err(|_| Status::invalid_argument("no hello came"))??
        .and_then(|message| message.message);
    match message {
        Some(FromWorker::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument("the first message of a session must be `hello`")),
    }
}

async fn open(shared: &Arc<Shared>, hello: &Hello) -> Result<Welcomed, Error> {
    let open = || shared.store.open_session(hello, &shared.config.coordinator_id, shared.config.lease_ttl);
    let welcomed = shared.outage.note(retry_conflicts(open).await)?;
    shared.committed(&welcomed.transitions);
    Ok(welcomed)
}

/// The stream to the worker, with what it must hear first already in it.
fn greet(shared: &Shared, welcomed: Welcomed) -> (Outbox, ReceiverStream<Result<CoordinatorMessage, Status>>) {
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    let mut first = vec![Message::Welcome(v1::Welcome {
        coordinator_id: shared.config.coordinator_id.clone(),
        heartbeat_interval_millis: millis(shared.config.heartbeat_interval),
        lease_ttl_millis: millis(shared.config.lease_ttl),
    })];
    let cancel =
        |(attempt, reason): (AttemptRef, String)| Message::Cancel(v1::Cancel { attempt: Some(attempt.into()), reason });
    first.extend(welcomed.stale.into_iter().map(cancel));
    first.extend(welcomed.draining.then_some(Message::Drain(v1::Drain { hand_back: welcomed.hands_back })));
    let (outbox, receiver) = mpsc::channel(OUTBOX + first.len());
    for message in first {
        // There is room for all of them, and the receiver is here.
        drop(outbox.try_send(Ok(CoordinatorMessage { message: Some(message) })));
    }
    (outbox, ReceiverStream::new(receiver))
}

/// Reads what a worker says until its session ends.
struct Reader {
    shared: Arc<Shared>,
    worker: WorkerId,
    number: i64,
    outbox: Outbox,
}

impl Reader {
    async fn run(self, mut inbound: Streaming<WorkerMessage>, mut closed: oneshot::Receiver<Status>) {
        let end = loop {
            let message = tokio::select! {
                status = &mut closed => break status.ok(),
                message = inbound.message() => message,
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => break None,
                Err(status) if status.code() == tonic::Code::OutOfRange => break Some(status),
                Err(_) => break None,
            };
            self.shared.sessions.heard(&self.worker, self.number);
            tokio::select! {
                status = &mut closed => break status.ok(),
                handled = self.handle(message) => if let Err(status) = handled { break Some(status) },
            }
        };
        let reason = end.as_ref().map_or("it left or was cut off", |status| status.message());
        tracing::info!(worker = %self.worker, reason, "a worker's session is over");
        if let Some(status) = end {
            drop(self.outbox.try_send(Err(status)));
        }
        self.shared.sessions.remove(&self.worker, self.number);
    }

    async fn handle(&self, message: WorkerMessage) -> Result<(), Status> {
        match message.message {
            // What a later version of the protocol may add.
            None | Some(FromWorker::Heartbeat(_)) => Ok(()),
            Some(FromWorker::Hello(_)) => Err(Status::invalid_argument("a second `hello` in one session")),
            Some(FromWorker::Progress(progress)) => self.progress(progress).await,
            Some(FromWorker::Draining(_)) => {
                self.drain();
                Ok(())
            }
            Some(FromWorker::ArtifactsDeleted(said)) => {
                let (deleted, failed) = removal::understand(&said).map_err(Error::from)?;
                let (shared, worker) = (Arc::clone(&self.shared), self.worker.clone());
                self.shared.tasks.spawn(removal::note_deleted(shared, worker, self.number, deleted, failed));
                Ok(())
            }
            Some(FromWorker::Report(report)) => {
                let taken = self.shared.reports.hand_in(&self.shared, &self.worker, report, &self.outbox).await;
                let refused = || Status::unavailable("the coordinator cannot store reports now; send them again");
                if taken { Ok(()) } else { Err(refused()) }
            }
        }
    }

    async fn progress(&self, progress: v1::Progress) -> Result<(), Status> {
        let v1::Progress { attempt, done, total, unit } = progress;
        let attempt = convert::attempt_ref(attempt).map_err(Error::from)?;
        let unit = unit.chars().filter(|c| !c.is_control()).take(32).collect();
        if !self.shared.sessions.progressed(&self.worker, self.number, attempt, Progress { done, total, unit }) {
            let reason = "the attempt is not this worker's any more".to_owned();
            let cancel = Message::Cancel(v1::Cancel { attempt: Some(attempt.into()), reason });
            drop(self.outbox.send(Ok(CoordinatorMessage { message: Some(cancel) })).await);
        }
        Ok(())
    }

    fn drain(&self) {
        self.shared.sessions.drain(&self.worker, Told::Already);
        let (shared, worker) = (Arc::clone(&self.shared), self.worker.clone());
        self.shared.tasks.spawn(async move {
            // Only for those who look: the session knows it already.
            if let Err(error) = shared.outage.note(shared.store.drain(&worker, false).await) {
                tracing::debug!(%error, %worker, "that a worker drains could not be noted");
            }
        });
    }
}
