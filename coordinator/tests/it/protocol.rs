use std::time::Duration;

use gauntlet_proto::PROTOCOL_VERSION;
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::coordinator_message::Message;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::worker_message::Message as FromWorker;
use gauntlet_proto::v1::{self, AttemptRef};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::house::{House, eventually};
use crate::sweep_files::scratch;
use crate::worker::{Worker, artifact, attacked, attempt, failed, hello, is_training, outcomes, session, trained};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_another_protocol_version_is_refused_with_both_versions() {
    let house = House::start().await;
    let strange = v1::Hello { protocol_version: 99, ..hello("w1", 1, &[]) };
    let refused = session(&house.endpoint, vec![FromWorker::Hello(strange)]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains(&format!("version {PROTOCOL_VERSION} ")) && refused.message().contains("version 99"),
        "{}",
        refused.message()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_begins_with_a_hello_that_makes_sense() {
    let house = House::start().await;
    let task = "0".repeat(64);
    let wrong = [
        (FromWorker::Heartbeat(v1::Heartbeat {}), "hello"),
        (FromWorker::Hello(v1::Hello { worker_id: String::new(), ..hello("w", 1, &[]) }), "worker_id"),
        (FromWorker::Hello(v1::Hello { worker_id: "../x".to_owned(), ..hello("w", 1, &[]) }), "worker_id"),
        (FromWorker::Hello(hello("w", 0, &[])), "slots"),
        (FromWorker::Hello(hello("w", u32::MAX, &[])), "slots"),
        (FromWorker::Hello(hello("w", 1, &[AttemptRef { task_id: "x".to_owned(), attempt: 1 }])), "task_id"),
        (FromWorker::Hello(v1::Hello { held_tasks: vec!["x".to_owned()], ..hello("w", 1, &[]) }), "held_tasks"),
        (FromWorker::Hello(v1::Hello { remaining_secs: Some(-1.0), ..hello("w", 1, &[]) }), "remaining_secs"),
        (FromWorker::Hello(v1::Hello { remaining_secs: Some(f64::NAN), ..hello("w", 1, &[]) }), "remaining_secs"),
    ];
    for (message, field) in wrong {
        let refused = session(&house.endpoint, vec![message]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused:?}");
        assert!(refused.message().contains(field), "{field}: {}", refused.message());
    }
    assert_eq!(house.number("select count(*) from workers").await, 0);
    let odd = v1::Hello {
        hostname: "a\0b".repeat(100_000),
        labels: [("a\0".to_owned(), "\0".to_owned())].into(),
        devices: vec![v1::Device {
            name: "\0".to_owned(),
            memory_mib: u64::MAX,
            threads: u32::MAX,
            libtorch: String::new(),
            slots: u32::MAX,
        }],
        ..hello("odd", 1, &[AttemptRef { task_id: task.clone(), attempt: u32::MAX }])
    };
    let (_sender, mut stream) = session(&house.endpoint, vec![FromWorker::Hello(odd)]).await.unwrap();
    let answers = [stream.message().await.unwrap().unwrap(), stream.message().await.unwrap().unwrap()];
    assert!(matches!(answers[0].message, Some(Message::Welcome(_))));
    assert!(
        matches!(&answers[1].message, Some(Message::Cancel(cancel)) if cancel.attempt.as_ref().unwrap().task_id == task)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_any_field_of_a_report_is_invalid_and_fails_the_attempt_for_good() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let train = worker.assigned().await;
    // Nobody's attempt: nothing happens to anybody.
    let malformed = |task_id: &str| AttemptRef { task_id: task_id.to_owned(), attempt: 1 };
    for (nobody, verdict) in [
        (None, Verdict::Invalid),
        (Some(malformed("")), Verdict::Invalid),
        (Some(malformed(&"g".repeat(64))), Verdict::Invalid),
        (Some(malformed(&"0".repeat(64))), Verdict::Stale),
        (Some(AttemptRef { attempt: 0, ..attempt(&train) }), Verdict::Stale),
        (Some(AttemptRef { attempt: u32::MAX, ..attempt(&train) }), Verdict::Stale),
    ] {
        worker.send_report("nobody", nobody.clone(), Some(trained("x"))).await;
        assert_eq!(worker.acknowledged("nobody").await.verdict(), verdict, "{nobody:?}");
    }
    let metrics = v1::EpochMetrics {
        epoch: 1,
        iterations: 1,
        learning_rate: f64::NAN,
        train_loss: f64::INFINITY,
        train_accuracy: -1.0,
        validation: None,
    };
    assert_eq!(
        worker.report(attempt(&train), Content::Epoch(metrics)).await,
        Verdict::Accepted,
        "odd numbers are numbers"
    );
    let wrong_artifact = |digest: &str, size_bytes| Some(v1::Artifact { digest: digest.to_owned(), size_bytes });
    let huge = artifact("x").digest;
    let for_training = vec![
        None,
        Some(Content::Epoch(v1::EpochMetrics { epoch: 0, ..metrics })),
        Some(Content::Epoch(v1::EpochMetrics { epoch: u32::MAX, ..metrics })),
        Some(Content::Epoch(v1::EpochMetrics { iterations: u32::MAX, ..metrics })),
        Some(Content::Checkpoint(v1::TrainingCheckpoint { artifact: None, epoch: 1 })),
        Some(Content::Checkpoint(v1::TrainingCheckpoint { artifact: Some(artifact("x")), epoch: 0 })),
        Some(Content::Trained(v1::Trained { checkpoint: None })),
        Some(Content::Trained(v1::Trained { checkpoint: wrong_artifact("", 1) })),
        Some(Content::Trained(v1::Trained { checkpoint: wrong_artifact(&huge, u64::MAX) })),
        Some(failed("sporadic", "?")),
        Some(attacked("x")),
    ];
    fail_with_each(&house, &mut worker, train, for_training).await;
    let train = worker.assigned().await;
    assert!(is_training(&train));
    assert_eq!(worker.finish(&train).await, Verdict::Accepted);
    let good = outcomes("x");
    let outcome =
        |outcomes| Some(Content::Attacked(v1::Attacked { outcomes, model_queries: 1, zero_gradient_examples: 0 }));
    let for_attack = vec![
        outcome(None),
        outcome(Some(v1::Outcomes::default())),
        outcome(Some(v1::Outcomes { label: vec![0; 3], ..good.clone() })),
        outcome(Some(v1::Outcomes { label: vec![26, 0, 0, 0], ..good.clone() })),
        outcome(Some(v1::Outcomes { clean_prediction: vec![u32::MAX; 4], ..good.clone() })),
        outcome(Some(v1::Outcomes { adversarial_prediction: vec![0; 5], ..good.clone() })),
        outcome(Some(v1::Outcomes { clean_loss: vec![f32::NAN; 4], ..good.clone() })),
        outcome(Some(v1::Outcomes { distance: vec![-1.0; 4], ..good.clone() })),
        outcome(Some(v1::Outcomes { distance: vec![f32::INFINITY; 4], ..good.clone() })),
        outcome(Some(v1::Outcomes { adversarial_loss: Vec::new(), ..good.clone() })),
        Some(Content::Attacked(v1::Attacked {
            outcomes: Some(good.clone()),
            model_queries: 1,
            zero_gradient_examples: 5,
        })),
        Some(Content::Attacked(v1::Attacked {
            outcomes: Some(good.clone()),
            model_queries: u64::MAX,
            zero_gradient_examples: 0,
        })),
        Some(trained("x")),
        Some(Content::Epoch(metrics)),
    ];
    let attack = worker.assigned().await;
    fail_with_each(&house, &mut worker, attack, for_attack).await;
    assert_eq!(worker.work().await.len(), 1, "nothing of it left a mark");
}

async fn fail_with_each(house: &House, worker: &mut Worker, mut assign: v1::Assign, contents: Vec<Option<Content>>) {
    let sweep = house.sweep("s").await.sweep_id;
    for content in contents {
        worker.send_report("garbage", assign.attempt.clone(), content.clone()).await;
        let acknowledge = worker.acknowledged("garbage").await;
        assert_eq!(acknowledge.verdict(), Verdict::Invalid, "{content:?}");
        let explained = house.explain(&attempt(&assign).task_id).await;
        assert_eq!(
            explained.explanation,
            format!("failed: the worker's report makes no sense: {}", acknowledge.message)
        );
        assert!(house.retry(&sweep).await > 0);
        assign = worker.assigned().await;
    }
    // The caller goes on with the next attempt.
    let back = Content::HandedBack(v1::HandedBack { message: "\0".repeat(50_000) });
    assert_eq!(worker.report(attempt(&assign), back).await, Verdict::Accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_with_useless_ids_and_texts_with_nul_do_no_harm() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let train = worker.assigned().await;
    assert_eq!(worker.report(attempt(&train), failed("transient", &"a\0é".repeat(20_000))).await, Verdict::Accepted);
    let train = worker.assigned().await;
    worker.send_report("", train.attempt.clone(), Some(trained("x"))).await;
    assert_eq!(worker.acknowledged("").await.verdict(), Verdict::Invalid);
    assert_eq!(house.sweep("s").await.state, "failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_shown_and_that_of_a_foreign_attempt_is_answered_by_a_cancellation() {
    let house = House::start().await;
    let sweep = house.submit(&scratch("s", &[0], &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    let train = worker.assigned().await;
    let progress = v1::Progress { attempt: train.attempt.clone(), done: 40, total: 100, unit: "images".to_owned() };
    worker.send(FromWorker::Progress(progress.clone())).await;
    let shown = || async {
        let running = house.sweep(&sweep).await.running.pop()?;
        (running.done == 40).then_some(running)
    };
    let running = eventually(shown).await;
    assert_eq!((running.total, running.unit.as_str(), running.worker_id.as_str()), (100, "images", "w1"));
    let explained = house.explain(&running.task_id[..8]).await.explanation;
    assert!(
        explained.starts_with("runs on w1 as attempt 1") && explained.ends_with("40 % done (40 of 100 images)"),
        "{explained}"
    );
    let foreign = AttemptRef { attempt: 2, ..attempt(&train) };
    worker.send(FromWorker::Progress(v1::Progress { attempt: Some(foreign.clone()), ..progress })).await;
    assert_eq!(worker.cancelled().await.attempt, Some(foreign));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_worker_gets_no_new_work_and_loses_none_yet() {
    let house = House::start().await;
    let mut worker = house.worker("w1", 2).await;
    worker.fall_silent();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    assert!(worker.hears_nothing_for(Duration::from_millis(800)).await);
    let workers = house.fleet().await.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    assert_eq!(workers[0].state, "silent");
    worker.send(FromWorker::Heartbeat(v1::Heartbeat {})).await;
    worker.assigned().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_worker_finishes_what_it_runs_and_gets_nothing_new() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0, 1], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let assign = worker.assigned().await;
    let mut fleet = house.fleet().await;
    let drained = fleet
        .drain_worker(v1::DrainWorkerRequest { worker_id: "w1".to_owned(), hand_back: false })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((drained.state.as_str(), drained.running.len(), drained.devices.len()), ("draining", 1, 1));
    assert!(matches!(worker.hear().await.unwrap(), Message::Drain(_)));
    assert_eq!(worker.finish(&assign).await, Verdict::Accepted);
    assert!(worker.hears_nothing_for(Duration::from_millis(1500)).await);
    let unknown =
        fleet.drain_worker(v1::DrainWorkerRequest { worker_id: "w9".to_owned(), hand_back: true }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    // Started again with nothing to finish, it serves again.
    drop(worker);
    house.worker("w1", 1).await.assigned().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_drained_at_once_is_asked_to_hand_back_also_after_a_reconnection_and_through_another_coordinator()
 {
    let house = House::start().await;
    let other = house.another().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let assign = worker.assigned().await;
    let drain = |hand_back| v1::DrainWorkerRequest { worker_id: "w1".to_owned(), hand_back };
    let mut fleet = other.fleet().await;
    fleet.drain_worker(drain(false)).await.unwrap();
    assert!(matches!(worker.hear().await.unwrap(), Message::Drain(v1::Drain { hand_back: false })));
    fleet.drain_worker(drain(true)).await.unwrap();
    assert!(matches!(worker.hear().await.unwrap(), Message::Drain(v1::Drain { hand_back: true })));
    drop(worker);
    let mut worker = Worker::connect(&house.endpoint, "w1", 1, &[attempt(&assign)]).await.unwrap();
    assert!(matches!(worker.hear().await.unwrap(), Message::Drain(v1::Drain { hand_back: true })));
    let back = Content::HandedBack(v1::HandedBack { message: "drained".to_owned() });
    assert_eq!(worker.report(attempt(&assign), back).await, Verdict::Accepted);
    assert!(worker.hears_nothing_for(Duration::from_millis(1500)).await);
    // Started again with nothing to finish, it serves again.
    drop(worker);
    assert_eq!(attempt(&house.worker("w1", 1).await.assigned().await).attempt, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wall_time_that_a_worker_has_left_is_listed() {
    let house = House::start().await;
    let limited = v1::Hello { remaining_secs: Some(3600.0), ..hello("limited", 1, &[]) };
    let (_sender, mut stream) = session(&house.endpoint, vec![FromWorker::Hello(limited)]).await.unwrap();
    assert!(matches!(stream.message().await.unwrap().unwrap().message, Some(Message::Welcome(_))));
    let _unlimited = house.worker("unlimited", 1).await;
    let workers = house.fleet().await.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    let left: Vec<Option<f64>> = workers.iter().map(|worker| worker.remaining_secs).collect();
    assert!(matches!(left[..], [Some(3500.0..=3600.0), None]), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_whether_it_serves() {
    let house = House::start().await;
    let mut client = HealthClient::new(house.channel().await);
    let check = || {
        let mut client = client.clone();
        async move {
            let answer =
                client.check(HealthCheckRequest { service: "gauntlet.v1.SweepService".to_owned() }).await.ok()?;
            (answer.into_inner().status == 1).then_some(())
        }
    };
    eventually(check).await;
    assert!(client.check(HealthCheckRequest { service: "nothing".to_owned() }).await.is_err());
}
