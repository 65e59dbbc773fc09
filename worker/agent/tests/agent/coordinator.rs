//! A coordinator that says what a test tells it to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gauntlet_domain::AttemptRef;
use gauntlet_domain::experiment::{ArtifactRef, TaskSpec};
use gauntlet_domain::{AttemptNumber, Digest};
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use gauntlet_proto::v1::{self, CoordinatorMessage, WorkerMessage, coordinator_message, worker_message};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// The server; sessions come out of [`accept`](Self::accept).
pub struct Coordinator {
    pub address: String,
    sessions: mpsc::Receiver<Session>,
    down: Arc<AtomicBool>,
    refuses: Arc<AtomicBool>,
}

struct Service {
    sessions: mpsc::Sender<Session>,
    down: Arc<AtomicBool>,
    refuses: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl WorkerService for Service {
    type SessionStream = ReceiverStream<Result<CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Status::unavailable("the coordinator is down"));
        }
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Status::failed_precondition("protocol version 1 is too old"));
        }
        let mut incoming = request.into_inner();
        let Some(WorkerMessage { message: Some(worker_message::Message::Hello(hello)) }) = incoming.message().await?
        else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (outgoing, receiver) = mpsc::channel(64);
        let session = Session::start(hello, incoming, outgoing);
        self.sessions.send(session).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl Coordinator {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, sessions) = mpsc::channel(8);
        let (down, refuses) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let service = Service { sessions: sender, down: Arc::clone(&down), refuses: Arc::clone(&refuses) };
        let server = tonic::transport::Server::builder().add_service(WorkerServiceServer::new(service));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, sessions, down, refuses }
    }

    /// The next session, its hello read.
    pub async fn accept(&mut self) -> Session {
        timeout(PATIENCE, self.sessions.recv()).await.expect("no worker came").unwrap()
    }

    /// The next session, welcomed with a lease of a minute.
    pub async fn welcome(&mut self) -> Session {
        let session = self.accept().await;
        session.welcome(Duration::from_secs(60)).await;
        session
    }

    pub fn be_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    pub fn refuse(&self) {
        self.refuses.store(true, Ordering::SeqCst);
    }
}

/// One session; dropping it cuts it.
pub struct Session {
    pub hello: v1::Hello,
    incoming: mpsc::Receiver<WorkerMessage>,
    /// The strong one is the pump's: the stream ends with it.
    outgoing: mpsc::WeakSender<Result<CoordinatorMessage, Status>>,
    pump: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Session {
    /// Like a real coordinator it ends its side of the stream when the worker has ended the other.
    fn start(
        hello: v1::Hello,
        mut incoming: Streaming<WorkerMessage>,
        outgoing: mpsc::Sender<Result<CoordinatorMessage, Status>>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(4096);
        let weak = outgoing.downgrade();
        let pump = tokio::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                // Where the test does not listen the worker's stream is read to its end all the same.
                let _ = sender.try_send(message);
            }
            drop(outgoing);
        });
        Self { hello, incoming: receiver, outgoing: weak, pump: pump.abort_handle() }
    }

    pub async fn say(&self, message: coordinator_message::Message) {
        let outgoing = self.outgoing.upgrade().expect("the worker has left");
        outgoing.send(Ok(CoordinatorMessage { message: Some(message) })).await.unwrap();
    }

    pub async fn welcome(&self, lease: Duration) {
        let welcome = v1::Welcome {
            coordinator_id: "test".to_owned(),
            heartbeat_interval_millis: 100,
            lease_ttl_millis: u32::try_from(lease.as_millis()).unwrap(),
        };
        self.say(coordinator_message::Message::Welcome(welcome)).await;
    }

    /// The next message of the worker; `None` when it has left.
    pub async fn next(&mut self) -> Option<worker_message::Message> {
        let message = timeout(PATIENCE, self.incoming.recv()).await.expect("the worker says nothing");
        message.and_then(|message| message.message)
    }

    /// The next report, whatever is said before it.
    pub async fn report(&mut self) -> v1::Report {
        loop {
            match self.next().await {
                Some(worker_message::Message::Report(report)) => return report,
                Some(_) => {}
                None => panic!("the worker has left without the report"),
            }
        }
    }

    /// The next report, acknowledged.
    pub async fn accepted_report(&mut self) -> v1::Report {
        let report = self.report().await;
        self.acknowledge(&report, Verdict::Accepted).await;
        report
    }

    pub async fn progress(&mut self) -> v1::Progress {
        loop {
            match self.next().await {
                Some(worker_message::Message::Progress(progress)) => return progress,
                Some(_) => {}
                None => panic!("the worker has left without progress"),
            }
        }
    }

    pub async fn acknowledge(&self, report: &v1::Report, verdict: Verdict) {
        let report_id = report.report_id.clone();
        let acknowledge = v1::Acknowledge { report_id, verdict: verdict.into(), ..Default::default() };
        self.say(coordinator_message::Message::Acknowledge(acknowledge)).await;
    }

    pub async fn assign(&self, assign: v1::Assign) {
        self.say(coordinator_message::Message::Assign(assign)).await;
    }

    pub async fn cancel(&self, attempt: AttemptRef) {
        let cancel = v1::Cancel { attempt: Some(attempt.into()), reason: "by the user".to_owned() };
        self.say(coordinator_message::Message::Cancel(cancel)).await;
    }

    pub async fn drain(&self) {
        self.say(coordinator_message::Message::Drain(v1::Drain { hand_back: false })).await;
    }

    pub async fn drain_at_once(&self) {
        self.say(coordinator_message::Message::Drain(v1::Drain { hand_back: true })).await;
    }

    pub async fn hand_back(&self, attempt: AttemptRef) {
        let reason = "a more urgent task needs the slot".to_owned();
        let hand_back = v1::HandBack { attempt: Some(attempt.into()), reason };
        self.say(coordinator_message::Message::HandBack(hand_back)).await;
    }

    /// Whether the worker says nothing about attempts for a while.
    pub async fn is_quiet_for(&mut self, duration: Duration) -> bool {
        let talk = async {
            loop {
                match self.incoming.recv().await {
                    Some(WorkerMessage { message: Some(worker_message::Message::Heartbeat(_)) }) => {}
                    other => return other,
                }
            }
        };
        timeout(duration, talk).await.is_err()
    }
}

/// An assignment of attempt `number` of the task.
pub fn assign(spec: &TaskSpec, number: u32) -> v1::Assign {
    let files = spec.files().into_iter().map(|digest| file(&digest)).collect();
    v1::Assign {
        attempt: Some(attempt(spec, number).into()),
        spec_json: spec.canonical_json(),
        inputs: Vec::new(),
        files,
        resume_from: None,
        label: "a test".to_owned(),
        memory: None,
        device: String::new(),
        memory_mib: 0,
    }
}

fn file(digest: &Digest) -> v1::FileLocation {
    v1::FileLocation { digest: digest.to_string(), location: "/nowhere/images.safetensors".to_owned() }
}

pub fn attempt(spec: &TaskSpec, number: u32) -> AttemptRef {
    AttemptRef { task: spec.id(), attempt: AttemptNumber(number) }
}

pub fn failed(report: &v1::Report) -> &v1::Failed {
    match &report.content {
        Some(v1::report::Content::Failed(failed)) => failed,
        other => panic!("not a failure: {other:?}"),
    }
}

pub fn handed_back(report: &v1::Report) -> &str {
    match &report.content {
        Some(v1::report::Content::HandedBack(handed_back)) => &handed_back.message,
        other => panic!("not handed back: {other:?}"),
    }
}

pub fn attacked(report: &v1::Report) -> &v1::Attacked {
    match &report.content {
        Some(v1::report::Content::Attacked(attacked)) => attacked,
        other => panic!("not attacked: {other:?}"),
    }
}

pub fn analyzed(report: &v1::Report) -> &v1::Analyzed {
    match report.content.as_ref().unwrap() {
        v1::report::Content::Analyzed(analyzed) => analyzed,
        other => panic!("analyzed was expected, {other:?} came"),
    }
}

pub fn trained(report: &v1::Report) -> ArtifactRef {
    match &report.content {
        Some(v1::report::Content::Trained(trained)) => trained.checkpoint.clone().unwrap().try_into().unwrap(),
        other => panic!("not trained: {other:?}"),
    }
}
