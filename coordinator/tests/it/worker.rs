//! A worker that says what a test lets it say.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gauntlet_domain::Digest;
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::coordinator_message::Message;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::worker_message::Message as FromWorker;
use gauntlet_proto::v1::worker_service_client::WorkerServiceClient;
use gauntlet_proto::v1::{self, AttemptRef, CoordinatorMessage, WorkerMessage};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::sweep_files::{CLASSES, EXAMPLES};

const PATIENCE: Duration = Duration::from_secs(20);

/// The hello of a worker of this name.
pub fn hello(name: &str, slots: u32, attempts: &[AttemptRef]) -> v1::Hello {
    v1::Hello {
        protocol_version: gauntlet_proto::PROTOCOL_VERSION,
        worker_id: name.to_owned(),
        hostname: "somewhere".to_owned(),
        devices: vec![v1::Device {
            name: "cpu".to_owned(),
            memory_mib: 1024,
            threads: 1,
            libtorch: "2.13.0".to_owned(),
            slots,
        }],
        slots,
        labels: HashMap::from([("zone".to_owned(), "a".to_owned())]),
        attempts: attempts.to_vec(),
        held_tasks: Vec::new(),
        remaining_secs: None,
        places: Vec::new(),
    }
}

/// Opens a session with these first messages.
pub async fn session(
    endpoint: &str,
    first: Vec<FromWorker>,
) -> Result<(mpsc::Sender<WorkerMessage>, Streaming<CoordinatorMessage>), Status> {
    let (sender, receiver) = mpsc::channel(64);
    for message in first {
        sender.send(WorkerMessage { message: Some(message) }).await.unwrap();
    }
    let channel = tonic::transport::Channel::from_shared(endpoint.to_owned()).unwrap();
    let channel = channel.connect().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let limit = gauntlet_proto::MAX_MESSAGE_BYTES;
    let mut client =
        WorkerServiceClient::new(channel).max_decoding_message_size(limit).max_encoding_message_size(limit);
    let stream = client.session(ReceiverStream::new(receiver)).await?.into_inner();
    Ok((sender, stream))
}

pub struct Worker {
    pub name: String,
    sender: mpsc::Sender<WorkerMessage>,
    stream: Streaming<CoordinatorMessage>,
    beating: Arc<AtomicBool>,
    reports: u32,
    /// Said with every report.
    pub peak_memory_mib: Option<u32>,
    /// Said with every report.
    pub uploaded_after_micros: Option<i64>,
    /// Whether it deletes what it is told to, at once.
    pub deletes: bool,
    /// What it deleted.
    pub deleted: Vec<String>,
    /// What came while something else was waited for.
    unheard: VecDeque<Message>,
}

impl Worker {
    /// Says hello, is welcomed, and sends heartbeats from then on.
    pub async fn connect(endpoint: &str, name: &str, slots: u32, attempts: &[AttemptRef]) -> Result<Self, Status> {
        Self::greet(endpoint, hello(name, slots, attempts)).await
    }

    /// The same with any hello.
    pub async fn greet(endpoint: &str, hello: v1::Hello) -> Result<Self, Status> {
        let name = hello.worker_id.clone();
        let (sender, mut stream) = session(endpoint, vec![FromWorker::Hello(hello)]).await?;
        let Some(Message::Welcome(_)) = stream.message().await?.and_then(|message| message.message) else {
            panic!("the first answer is not a welcome")
        };
        let beating = Arc::new(AtomicBool::new(true));
        tokio::spawn(beat(sender.clone(), Arc::clone(&beating)));
        Ok(Self {
            name,
            sender,
            stream,
            beating,
            reports: 0,
            peak_memory_mib: None,
            uploaded_after_micros: None,
            deletes: true,
            deleted: Vec::new(),
            unheard: VecDeque::new(),
        })
    }

    /// Sends no more heartbeats.
    pub fn fall_silent(&self) {
        self.beating.store(false, Ordering::Relaxed);
    }

    pub async fn send(&self, message: FromWorker) {
        self.sender.send(WorkerMessage { message: Some(message) }).await.unwrap();
    }

    /// The next message.
    pub async fn hear(&mut self) -> Result<Message, Status> {
        self.hear_within(PATIENCE).await.expect("the coordinator says nothing")
    }

    /// The next message, if it comes in time.
    pub async fn hear_within(&mut self, time: Duration) -> Option<Result<Message, Status>> {
        match self.unheard.pop_front() {
            Some(message) => Some(Ok(message)),
            None => self.hear_new(time).await,
        }
    }

    async fn hear_new(&mut self, time: Duration) -> Option<Result<Message, Status>> {
        loop {
            let next = tokio::time::timeout(time, self.stream.message()).await.ok()?;
            let message = next.and_then(|next| {
                next.and_then(|message| message.message).ok_or_else(|| Status::cancelled("the stream ended"))
            });
            match message {
                Ok(Message::DeleteArtifacts(order)) if self.deletes => self.delete(order).await,
                other => return Some(other),
            }
        }
    }

    /// Says that what it was told to delete is gone.
    pub async fn delete(&mut self, order: v1::DeleteArtifacts) {
        self.deleted.extend(order.digests.iter().cloned());
        let deleted = v1::ArtifactsDeleted { deleted: order.digests, failed: Vec::new() };
        self.send(FromWorker::ArtifactsDeleted(deleted)).await;
    }

    /// The next order to delete artifacts, of a worker that does not do it by itself.
    pub async fn told_to_delete(&mut self) -> v1::DeleteArtifacts {
        match self.hear().await.unwrap() {
            Message::DeleteArtifacts(order) => order,
            other => panic!("expected an order to delete artifacts: {other:?}"),
        }
    }

    /// Whether nothing is said for so long.
    pub async fn hears_nothing_for(&mut self, time: Duration) -> bool {
        self.hear_within(time).await.is_none()
    }

    pub async fn assigned(&mut self) -> v1::Assign {
        match self.hear().await.unwrap() {
            Message::Assign(assign) => assign,
            other => panic!("expected an assignment: {other:?}"),
        }
    }

    pub async fn cancelled(&mut self) -> v1::Cancel {
        match self.hear().await.unwrap() {
            Message::Cancel(cancel) => cancel,
            other => panic!("expected a cancellation: {other:?}"),
        }
    }

    /// Sends a report under this id without waiting.
    pub async fn send_report(&self, id: &str, attempt: Option<AttemptRef>, content: Option<Content>) {
        self.send(FromWorker::Report(v1::Report {
            report_id: id.to_owned(),
            attempt,
            content,
            peak_memory_mib: self.peak_memory_mib,
            uploaded_after_micros: self.uploaded_after_micros,
        }))
        .await;
    }

    /// The acknowledgement of this report. What comes before it is heard later.
    pub async fn acknowledged(&mut self, id: &str) -> v1::Acknowledge {
        loop {
            match self.hear_new(PATIENCE).await.expect("the coordinator says nothing").unwrap() {
                Message::Acknowledge(acknowledge) if acknowledge.report_id == id => return acknowledge,
                other => self.unheard.push_back(other),
            }
        }
    }

    /// Sends a report and says what became of it. What it names is uploaded again as often as that is needed.
    pub async fn report(&mut self, attempt: AttemptRef, content: Content) -> Verdict {
        loop {
            self.reports += 1;
            let id = format!("{}-{}", self.name, self.reports);
            self.send_report(&id, Some(attempt.clone()), Some(content.clone())).await;
            let answer = self.acknowledged(&id).await;
            if answer.verdict() != Verdict::UploadAgain {
                return answer.verdict();
            }
            self.uploaded_after_micros = answer.deleted_at_micros;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Reports the right kind of result for an assignment.
    pub async fn finish(&mut self, assign: &v1::Assign) -> Verdict {
        self.report(attempt(assign), result(assign)).await
    }

    /// Does all it is given until nothing has come for a while. The labels of what it did.
    pub async fn work(&mut self) -> Vec<String> {
        self.work_by(result).await
    }

    /// The same with results of one's own.
    pub async fn work_by(&mut self, result: impl Fn(&v1::Assign) -> Content) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(message) = self.hear_within(Duration::from_millis(1500)).await {
            let Message::Assign(assign) = message.unwrap() else { panic!("only assignments are expected") };
            assert_eq!(self.report(attempt(&assign), result(&assign)).await, Verdict::Accepted);
            done.push(assign.label);
        }
        done
    }
}

async fn beat(sender: mpsc::Sender<WorkerMessage>, beating: Arc<AtomicBool>) {
    while beating.load(Ordering::Relaxed) {
        let heartbeat = WorkerMessage { message: Some(FromWorker::Heartbeat(v1::Heartbeat {})) };
        if sender.send(heartbeat).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.fall_silent();
    }
}

pub fn attempt(assign: &v1::Assign) -> AttemptRef {
    assign.attempt.clone().unwrap()
}

pub fn is_training(assign: &v1::Assign) -> bool {
    assign.spec_json.contains(r#""computes":"train""#)
}

/// The result that any honest worker would report.
pub fn result(assign: &v1::Assign) -> Content {
    if is_training(assign) { trained(&assign.spec_json) } else { attacked(&assign.spec_json) }
}

pub fn artifact(content: &str) -> v1::Artifact {
    v1::Artifact { digest: Digest::of(content.as_bytes()).to_string(), size_bytes: content.len() as u64 }
}

pub fn trained(content: &str) -> Content {
    Content::Trained(v1::Trained { checkpoint: Some(artifact(content)) })
}

pub fn failed(class: &str, message: &str) -> Content {
    Content::Failed(v1::Failed { failure_class: class.to_owned(), message: message.to_owned() })
}

pub fn attacked(seed: &str) -> Content {
    Content::Attacked(v1::Attacked { outcomes: Some(outcomes(seed)), model_queries: 8, zero_gradient_examples: 0 })
}

/// Outcomes that depend on nothing but the seed.
pub fn outcomes(seed: &str) -> v1::Outcomes {
    let bytes = *Digest::of(seed.as_bytes()).as_bytes();
    let class = |index: usize| u32::from(bytes[index]) % CLASSES;
    let label: Vec<u32> = (0..EXAMPLES).map(class).collect();
    let clean: Vec<u32> =
        (0..EXAMPLES).map(|i| if bytes[i + 8] < 200 { label[i] } else { (label[i] + 1) % CLASSES }).collect();
    let adversarial: Vec<u32> =
        (0..EXAMPLES).map(|i| if bytes[i + 16] < 100 { clean[i] } else { (clean[i] + 1) % CLASSES }).collect();
    let float = |index: usize| f32::from(bytes[index]) / 256.0;
    v1::Outcomes {
        label,
        clean_prediction: clean,
        adversarial_prediction: adversarial,
        clean_loss: (0..EXAMPLES).map(|i| float(i + 20)).collect(),
        adversarial_loss: (0..EXAMPLES).map(|i| float(i + 24)).collect(),
        distance: (0..EXAMPLES).map(|i| float(i + 28)).collect(),
    }
}
