//! The session with a coordinator: one stream at a time, made again and again.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use gauntlet_proto::MAX_MESSAGE_BYTES;
use gauntlet_proto::v1::worker_service_client::WorkerServiceClient;
use gauntlet_proto::v1::{self, CoordinatorMessage, WorkerMessage, coordinator_message, worker_message};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use crate::error::AgentError;
use crate::event::Event;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the connection to the coordinator's Welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// From our last word to the coordinator's.
const FAREWELL: Duration = Duration::from_secs(1);
/// Messages under way: few, so that a heartbeat never waits behind many.
const OUTGOING: usize = 16;

/// What the session tells.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// A connection is being made: what is to be said first?
    HelloWanted(oneshot::Sender<v1::Hello>),
    /// The coordinator has taken us in.
    Welcomed {
        endpoint: String,
        lease: Duration,
        outgoing: mpsc::Sender<WorkerMessage>,
    },
    Said(coordinator_message::Message),
    /// The session is over, or did not come about; another one is tried after a pause.
    Lost {
        endpoint: String,
        reason: String,
        pause: Duration,
    },
    /// The coordinator does not want us. Tried again all the same.
    Refused {
        endpoint: String,
        reason: String,
        pause: Duration,
    },
}

/// Coordinators, tried in turn.
#[derive(Debug)]
pub(crate) struct Coordinators {
    endpoints: Vec<Endpoint>,
    next: usize,
}

impl Coordinators {
    pub(crate) fn new(addresses: &[String]) -> Result<Self, AgentError> {
        Ok(Self { endpoints: addresses.iter().map(|address| endpoint(address)).collect::<Result<_, _>>()?, next: 0 })
    }

    fn take_next(&mut self) -> Endpoint {
        let endpoint = self.endpoints[self.next].clone();
        self.next = (self.next + 1) % self.endpoints.len();
        endpoint
    }
}

fn endpoint(address: &str) -> Result<Endpoint, AgentError> {
    let refuse = |problem: &str| AgentError::setting("endpoints", format!("`{address}` {problem}"));
    let uri = match address.split_once("://") {
        Some(("http", _)) => address.to_owned(),
        Some((scheme, _)) => {
            return Err(refuse(&format!("has the scheme `{scheme}`: this build speaks `http://` alone")));
        }
        None => format!("http://{address}"),
    };
    let endpoint = Endpoint::from_shared(uri).map_err(|_| refuse("is not an address such as `http://host:7070`"))?;
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(refuse("names no host"));
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

/// Pauses between connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pauses {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl Pauses {
    fn start(self) -> ExponentialBackoff {
        let pauses = ExponentialBuilder::default().with_jitter().without_max_times();
        pauses.with_min_delay(self.min).with_max_delay(self.max).build()
    }
}

/// Keeps a session until told to leave.
pub(crate) async fn keep(
    mut coordinators: Coordinators,
    pauses: Pauses,
    events: mpsc::Sender<Event>,
    leave: CancellationToken,
) {
    let mut backoff = pauses.start();
    loop {
        let endpoint = coordinators.take_next();
        let mut session =
            Session { address: endpoint.uri().to_string(), events: &events, leave: &leave, welcomed: false };
        let end = tokio::select! {
            end = session.run(endpoint) => end,
            () = gone(&leave) => return,
        };
        if leave.is_cancelled() {
            return;
        }
        if session.welcomed {
            backoff = pauses.start();
        }
        let pause = backoff.next().unwrap_or(pauses.max);
        let address = session.address;
        let event = match end {
            End::Lost(reason) => SessionEvent::Lost { endpoint: address, reason, pause },
            End::Refused(reason) => SessionEvent::Refused { endpoint: address, reason, pause },
        };
        if events.send(Event::Session(event)).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = leave.cancelled() => return,
        }
    }
}

/// A farewell takes a moment, but not longer.
async fn gone(leave: &CancellationToken) {
    leave.cancelled().await;
    sleep(FAREWELL).await;
}

enum End {
    Lost(String),
    Refused(String),
}

struct Session<'a> {
    address: String,
    events: &'a mpsc::Sender<Event>,
    leave: &'a CancellationToken,
    welcomed: bool,
}

impl Session<'_> {
    async fn run(&mut self, endpoint: Endpoint) -> End {
        let opened = match timeout(WELCOME_TIMEOUT, self.open(endpoint)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(end)) => return end,
            Err(_) => return End::Lost(format!("no welcome within {WELCOME_TIMEOUT:?}")),
        };
        self.welcomed = true;
        let Opened { mut incoming, outgoing, welcome } = opened;
        let _heartbeats = Heartbeats::start(&welcome, outgoing.clone(), self.leave.clone());
        let lease = Duration::from_millis(welcome.lease_ttl_millis.max(1).into());
        self.tell(SessionEvent::Welcomed { endpoint: self.address.clone(), lease, outgoing }).await;
        loop {
            match incoming.message().await {
                Ok(Some(CoordinatorMessage { message: Some(message) })) => self.tell(SessionEvent::Said(message)).await,
                Ok(Some(CoordinatorMessage { message: None })) => {
                    tracing::warn!(
                        coordinator = self.address,
                        "the coordinator says something that this worker does not know"
                    );
                }
                Ok(None) => return End::Lost("the coordinator has closed the session".to_owned()),
                Err(status) => return End::Lost(describe(&status)),
            }
        }
    }

    async fn open(&self, endpoint: Endpoint) -> Result<Opened, End> {
        let channel = endpoint.connect().await.map_err(|error| End::Lost(with_causes(&error)))?;
        let mut client = WorkerServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (outgoing, receiver) = mpsc::channel(OUTGOING);
        let hello = worker_message::Message::Hello(self.hello().await?);
        let leaving = |_| End::Lost("the worker is leaving".to_owned());
        outgoing.send(WorkerMessage { message: Some(hello) }).await.map_err(|_| leaving(()))?;
        let response = client.session(ReceiverStream::new(receiver)).await.map_err(|status| refused(&status))?;
        let mut incoming = response.into_inner();
        match incoming.message().await.map_err(|status| refused(&status))? {
            Some(CoordinatorMessage { message: Some(coordinator_message::Message::Welcome(welcome)) }) => {
                Ok(Opened { incoming, outgoing, welcome })
            }
            Some(_) => Err(End::Lost("the coordinator's first message is not a welcome".to_owned())),
            None => Err(End::Lost("the coordinator has closed the session without a welcome".to_owned())),
        }
    }

    async fn hello(&self) -> Result<v1::Hello, End> {
        let (sender, hello) = oneshot::channel();
        self.tell(SessionEvent::HelloWanted(sender)).await;
        hello.await.map_err(|_| End::Lost("the worker is leaving".to_owned()))
    }

    async fn tell(&self, event: SessionEvent) {
        // Nobody listens any more when the agent leaves.
        let _ = self.events.send(Event::Session(event)).await;
    }
}

struct Opened {
    incoming: Streaming<CoordinatorMessage>,
    outgoing: mpsc::Sender<WorkerMessage>,
    welcome: v1::Welcome,
}

/// Signs of life, until this is dropped.
struct Heartbeats(AbortHandle);

impl Heartbeats {
    fn start(welcome: &v1::Welcome, outgoing: mpsc::Sender<WorkerMessage>, leave: CancellationToken) -> Self {
        let period = Duration::from_millis(welcome.heartbeat_interval_millis.clamp(50, 60_000).into());
        let beat = async move {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    // The stream ends when nobody holds a sender.
                    () = leave.cancelled() => return,
                }
                let heartbeat = worker_message::Message::Heartbeat(v1::Heartbeat {});
                if outgoing.send(WorkerMessage { message: Some(heartbeat) }).await.is_err() {
                    return;
                }
            }
        };
        Self(tokio::spawn(beat).abort_handle())
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn refused(status: &Status) -> End {
    match status.code() {
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::PermissionDenied
        | Code::Unauthenticated => End::Refused(describe(status)),
        _ => End::Lost(describe(status)),
    }
}

fn describe(status: &Status) -> String {
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    format!("{message} ({:?})", status.code())
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
