//! A session that is cut at each of its messages, in either direction, before and after what the coordinator commits of it.
//!
//! A worker that keeps to the protocol walks a sweep of a training and an attack. One run is undisturbed and tells which messages there are; then each of
//! them is the last one of its session once, as if the connection had gone, and once as if the worker had died, whose memory is gone and whose spool is not.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::coordinator_message::Message;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::worker_message::Message as FromWorker;
use gauntlet_proto::v1::{self, AttemptRef, EpochMetrics, TrainingCheckpoint};

use crate::house::House;
use crate::sweep_files::scratch;
use crate::worker::{Worker, artifact, attempt, hello, is_training, result, session};

/// What happens to the message at which the session is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The worker's message never left.
    BeforeItLeft,
    /// The worker's message arrived, and what follows from it is committed.
    AfterTheCommit,
    /// The coordinator's message never arrived.
    BeforeItArrived,
}

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Worker,
    Coordinator,
}

/// The session is cut.
struct IsCut;

type AttemptKey = (String, u32);

/// A worker that forgets nothing of what the protocol asks it to keep.
struct Diligent<'a> {
    house: &'a House,
    name: String,
    sweep: String,
    plan: Option<(usize, Cut)>,
    /// Whether it dies with the session.
    dies: bool,
    messages: Vec<From>,
    /// What it still has to say of what it runs.
    running: BTreeMap<AttemptKey, VecDeque<Content>>,
    /// Its spool.
    unacknowledged: VecDeque<v1::Report>,
    reports: u32,
    accepted_results: Vec<AttemptKey>,
}

fn key(attempt: &AttemptRef) -> AttemptKey {
    (attempt.task_id.clone(), attempt.attempt)
}

fn reference((task_id, attempt): &AttemptKey) -> AttemptRef {
    AttemptRef { task_id: task_id.clone(), attempt: *attempt }
}

fn is_result(content: Option<&Content>) -> bool {
    matches!(content, Some(Content::Trained(_) | Content::Attacked(_)))
}

/// All that is to be reported of an assignment.
fn contents(assign: &v1::Assign) -> VecDeque<Content> {
    let metrics = EpochMetrics {
        epoch: 1,
        iterations: 2,
        learning_rate: 0.1,
        train_loss: 1.5,
        train_accuracy: 0.5,
        validation: None,
    };
    let checkpoint = TrainingCheckpoint { artifact: Some(artifact("epoch 1")), epoch: 1 };
    match is_training(assign) {
        true => [Content::Epoch(metrics), Content::Checkpoint(checkpoint), result(assign)].into(),
        false => [result(assign)].into(),
    }
}

impl<'a> Diligent<'a> {
    async fn new(house: &'a House, number: u64, plan: Option<(usize, Cut)>, dies: bool) -> Self {
        let sweep = house.submit(&scratch(&format!("s{number}"), &[number], &["2/255"])).await.sweep_id;
        Self {
            house,
            name: format!("w{number}"),
            sweep,
            plan,
            dies,
            messages: Vec::new(),
            running: BTreeMap::new(),
            unacknowledged: VecDeque::new(),
            reports: 0,
            accepted_results: Vec::new(),
        }
    }

    /// Session after session until the sweep is done.
    async fn live(&mut self) {
        for _ in 0..5 {
            match self.session().await {
                Ok(()) => return,
                Err(IsCut) if self.dies => self.running.clear(),
                Err(IsCut) => {}
            }
        }
        panic!("{:?}: the sweep is not done after five sessions", self.plan);
    }

    /// Notes the next message. Whether the session is cut there, and how.
    fn next(&mut self, from: From) -> Option<Cut> {
        self.messages.push(from);
        let (at, cut) = self.plan?;
        (at + 1 == self.messages.len()).then_some(cut)
    }

    fn announced(&self) -> Vec<AttemptRef> {
        let ended = self.unacknowledged.iter().filter(|report| is_result(report.content.as_ref()));
        let mut all: Vec<AttemptRef> = self.running.keys().map(reference).collect();
        all.extend(ended.filter_map(|report| report.attempt.clone()));
        all.sort_by_key(key);
        all.dedup();
        all
    }

    async fn session(&mut self) -> Result<(), IsCut> {
        let announced = self.announced();
        let greeting = vec![FromWorker::Hello(hello(&self.name, 1, &announced))];
        match self.next(From::Worker) {
            Some(Cut::BeforeItLeft) => return Err(IsCut),
            Some(_) => {
                let _opened = session(&self.house.endpoint, greeting).await.unwrap();
                return Err(IsCut);
            }
            None => {}
        }
        if self.next(From::Coordinator).is_some() {
            let _unread = session(&self.house.endpoint, greeting).await.unwrap();
            return Err(IsCut);
        }
        let mut worker = Worker::connect(&self.house.endpoint, &self.name, 1, &announced).await.unwrap();
        while let Some(report) = self.unacknowledged.front().cloned() {
            self.deliver(&mut worker, report).await?;
        }
        loop {
            while let Some(attempt) = self.running.keys().next().cloned() {
                self.work(&mut worker, attempt).await?;
            }
            if self.house.sweep(&self.sweep).await.state == "succeeded" {
                return Ok(());
            }
            let Some(message) = worker.hear_within(Duration::from_secs(1)).await else { continue };
            if self.next(From::Coordinator).is_some() {
                return Err(IsCut);
            }
            match message.unwrap() {
                Message::Assign(assign) => {
                    self.running.entry(key(&attempt(&assign))).or_insert_with(|| contents(&assign));
                }
                Message::Cancel(cancel) => {
                    self.running.remove(&key(&cancel.attempt.unwrap()));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Says the next thing of an attempt.
    async fn work(&mut self, worker: &mut Worker, attempt: AttemptKey) -> Result<(), IsCut> {
        let Some(content) = self.running.get_mut(&attempt).and_then(VecDeque::pop_front) else {
            self.running.remove(&attempt);
            return Ok(());
        };
        if is_result(Some(&content)) {
            self.running.remove(&attempt);
        }
        self.reports += 1;
        let report = v1::Report {
            report_id: format!("{}-{}", self.name, self.reports),
            attempt: Some(reference(&attempt)),
            content: Some(content),
            peak_memory_mib: Some(100),
            uploaded_after_micros: None,
        };
        self.unacknowledged.push_back(report.clone());
        self.deliver(worker, report).await
    }

    async fn deliver(&mut self, worker: &mut Worker, report: v1::Report) -> Result<(), IsCut> {
        let cut = self.next(From::Worker);
        if cut == Some(Cut::BeforeItLeft) {
            return Err(IsCut);
        }
        worker.send(FromWorker::Report(report.clone())).await;
        let verdict = worker.acknowledged(&report.report_id).await.verdict();
        // The acknowledgement says that it is committed; whether it is read is another matter.
        if cut == Some(Cut::AfterTheCommit) || self.next(From::Coordinator).is_some() {
            return Err(IsCut);
        }
        self.unacknowledged.retain(|other| other.report_id != report.report_id);
        let attempt = key(report.attempt.as_ref().unwrap());
        match verdict {
            Verdict::Accepted if is_result(report.content.as_ref()) => self.accepted_results.push(attempt),
            Verdict::Accepted => {}
            Verdict::Stale => drop(self.running.remove(&attempt)),
            // The same file came before, was replaced and is deleted: a worker does without it.
            Verdict::UploadAgain if matches!(report.content, Some(Content::Checkpoint(_))) => {}
            other => panic!("{other:?} to {report:?}"),
        }
        Ok(())
    }
}

/// What holds after every cut.
async fn check(house: &House, worker: &Diligent<'_>) {
    let context = format!("{:?}, dies: {}", worker.plan, worker.dies);
    assert_eq!(house.counts(&worker.sweep).await, [0, 0, 0, 2, 0, 0, 0], "{context}");
    assert!(worker.unacknowledged.is_empty() && worker.running.is_empty(), "{context}");
    assert!((1..=2).contains(&worker.accepted_results.len()), "{context}: {:?}", worker.accepted_results);
    let (succeeded, results, checkpoints, epochs): (i64, i64, i64, i64) = sqlx::query_as(
        "select count(*) filter (where a.outcome = 'succeeded'), count(distinct r.task_id), count(distinct c.task_id), count(distinct m.epoch)
        from sweep_tasks s left join attempts a using (task_id) left join attack_results r on r.task_id = s.task_id and r.attempt = a.attempt
            left join checkpoints c on c.task_id = s.task_id and c.attempt = a.attempt left join epoch_metrics m on m.task_id = s.task_id
        where s.sweep_id = $1",
    )
    .bind(&worker.sweep)
    .fetch_one(&house.pool)
    .await
    .unwrap();
    assert_eq!((succeeded, results, checkpoints, epochs), (2, 1, 1, 1), "{context}");
    // The result that was acknowledged is the one that is kept.
    for (task, number) in &worker.accepted_results {
        let kept: bool = sqlx::query_scalar(
            "select exists (select from attempts where task_id = decode($1, 'hex') and attempt = $2 and outcome = 'succeeded')",
        )
        .bind(task)
        .bind(*number as i32)
        .fetch_one(&house.pool)
        .await
        .unwrap();
        assert!(kept, "{context}: attempt {number} of {task}");
    }
}

async fn cut_at_every_message(dies: bool) {
    let house = House::start().await;
    let mut calm = Diligent::new(&house, 0, None, dies).await;
    calm.live().await;
    check(&house, &calm).await;
    // Hello, three reports of the training, one of the attack; welcome, two assignments, four acknowledgements.
    assert_eq!(calm.messages.len(), 12, "{:?}", calm.messages);
    let mut number = 0;
    for (at, from) in calm.messages.iter().enumerate() {
        let cuts: &[Cut] = match from {
            From::Worker => &[Cut::BeforeItLeft, Cut::AfterTheCommit],
            From::Coordinator => &[Cut::BeforeItArrived],
        };
        for cut in cuts {
            number += 1;
            let mut worker = Diligent::new(&house, number, Some((at, *cut)), dies).await;
            worker.live().await;
            check(&house, &worker).await;
        }
    }
    assert_eq!(house.number("select count(*) from attempts where outcome = 'failed'").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_at_any_message_costs_nothing_that_was_acknowledged_and_doubles_nothing() {
    cut_at_every_message(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_at_any_message_costs_nothing_that_was_acknowledged_and_doubles_nothing() {
    cut_at_every_message(true).await;
}
