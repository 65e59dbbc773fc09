use std::time::Duration;

use gauntlet_domain::task::MemoryPlan;
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::{EpochMetrics, HandedBack, TrainingCheckpoint, ValidationMetrics};

use crate::house::{House, eventually};
use crate::sweep_files::{both, pretrained, scratch};
use crate::worker::{Worker, artifact, attacked, attempt, failed, hello, trained};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_skips_what_needs_the_task_with_the_reason_and_retry_revives_all() {
    let house = House::start().await;
    let sweep = house.submit(&pretrained("s", &[0], &["2/255", "8/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    let pretrain = worker.assigned().await;
    assert_eq!(worker.report(attempt(&pretrain), failed("permanent", "the loss is NaN")).await, Verdict::Accepted);
    let status = house.sweep(&sweep).await;
    assert_eq!(status.state, "failed");
    assert_eq!(house.counts(&sweep).await, [0, 0, 0, 0, 1, 0, 3]);
    assert_eq!(
        (status.unsuccessful[0].state.as_str(), status.unsuccessful[0].reason.as_str()),
        ("failed", "the loss is NaN")
    );
    for skipped in &status.unsuccessful[1..] {
        assert_eq!(skipped.state, "skipped");
        assert!(
            skipped.reason.contains(&pretrain.label) && skipped.reason.ends_with("failed: the loss is NaN"),
            "{}",
            skipped.reason
        );
    }
    assert!(house.explain(&status.unsuccessful[0].task_id).await.explanation.contains("failed: the loss is NaN"));
    assert_eq!(house.retry(&sweep).await, 4);
    assert_eq!(house.counts(&sweep).await[4..], [0, 0, 0]);
    let again = worker.assigned().await;
    assert_eq!(attempt(&again).attempt, 2, "a retried task keeps counting its attempts");
    assert_eq!(worker.finish(&again).await, Verdict::Accepted);
    assert_eq!(worker.work().await.len(), 3);
    assert_eq!(house.sweep(&sweep).await.state, "succeeded");
    assert_eq!(house.retry(&sweep).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_failed_is_tried_again() {
    let house = House::start().await;
    let toml = both("s", &[0], &["2/255"]);
    let sweep = house.submit(&toml).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    // The longer chain goes first.
    let pretrain = worker.assigned().await;
    worker.report(attempt(&pretrain), failed("permanent", "no")).await;
    assert_eq!(worker.work().await.len(), 2);
    assert_eq!(house.counts(&sweep).await, [0, 0, 0, 2, 1, 0, 2]);
    assert_eq!(house.submit(&toml).await.retried_tasks, 3);
    assert_eq!(worker.work().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_failures_are_tried_again_until_the_limit() {
    let house = House::start().await;
    let sweep = house.submit(&scratch("s", &[0], &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    for number in 1..=10 {
        let assign = worker.assigned().await;
        assert_eq!(attempt(&assign).attempt, number);
        assert_eq!(worker.report(attempt(&assign), failed("transient", "the disk is full")).await, Verdict::Accepted);
    }
    let status = house.sweep(&sweep).await;
    assert_eq!(status.state, "failed");
    assert_eq!(status.unsuccessful[0].reason, "gave up after 10 transient failures; the last: the disk is full");
    assert!(worker.hears_nothing_for(Duration::from_millis(500)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_workers_are_no_transient_failures_and_allowed_far_more_often() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    for number in 1..=12 {
        let mut worker = house.worker("w1", 1).await;
        assert_eq!(attempt(&worker.assigned().await).attempt, number);
        // It comes back without the attempt.
    }
    let mut worker = house.worker("w1", 1).await;
    assert_eq!(worker.work().await.len(), 2);
    assert_eq!(house.number("select max(lost_leases)::bigint from tasks").await, 12);
    assert_eq!(house.number("select max(transient_failures)::bigint from tasks").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_crashes_its_executor_three_times_is_quarantined_with_the_evidence_until_a_retry() {
    let house = House::start().await;
    let sweep = house.submit(&scratch("s", &[0], &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    for number in 1..=3 {
        let assign = worker.assigned().await;
        let evidence = format!("killed by signal 11 (SIGSEGV); its last lines:\nframe {number}");
        assert_eq!(worker.report(attempt(&assign), failed("crash", &evidence)).await, Verdict::Accepted);
        // The same report once more is no second crash.
        assert_eq!(worker.report(attempt(&assign), failed("crash", &evidence)).await, Verdict::Accepted);
    }
    let status = house.sweep(&sweep).await;
    assert_eq!(house.counts(&sweep).await, [0, 0, 0, 0, 1, 0, 1]);
    let [quarantined, skipped] = &status.unsuccessful[..] else { panic!("{:?}", status.unsuccessful) };
    assert!(
        quarantined.reason.starts_with("quarantined: its executor crashed 3 times\nattempt 1: killed by signal 11")
    );
    for number in 1..=3 {
        assert!(quarantined.reason.contains(&format!("frame {number}")), "{}", quarantined.reason);
    }
    assert!(skipped.reason.ends_with("failed: quarantined: its executor crashed 3 times"), "{}", skipped.reason);
    let explained = house.explain(&quarantined.task_id).await;
    assert!(explained.explanation.contains("frame 3"), "{}", explained.explanation);
    let classes: Vec<&str> = explained.attempts.iter().map(|attempt| attempt.failure_class.as_str()).collect();
    assert_eq!(classes, ["crash"; 3]);
    assert!(worker.hears_nothing_for(Duration::from_millis(500)).await);
    assert_eq!(house.retry(&sweep).await, 2);
    assert_eq!(worker.work().await.len(), 2, "after a retry it begins anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_out_of_memory_is_tried_sparingly_and_what_then_lacks_memory_tells_what_it_needs() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let first = worker.assigned().await;
    assert_eq!(first.memory, Some(MemoryPlan::default().into()));
    worker.peak_memory_mib = Some(6000);
    assert_eq!(worker.report(attempt(&first), failed("resource", "out of memory")).await, Verdict::Accepted);
    let second = worker.assigned().await;
    assert_eq!(second.memory, Some(MemoryPlan::SPARING.into()));
    let task = attempt(&first).task_id;
    assert_eq!(house.explain(&task).await.min_memory_mib, None, "it could have spared memory");
    worker.peak_memory_mib = Some(4000);
    assert_eq!(worker.report(attempt(&second), failed("resource", "out of memory")).await, Verdict::Accepted);
    assert!(worker.hears_nothing_for(Duration::from_millis(500)).await, "its device has 1024 MiB");
    let explained = house.explain(&task).await;
    assert_eq!(explained.min_memory_mib, Some(4001));
    assert!(explained.explanation.contains("it needs 4001 MiB of memory or more"), "{}", explained.explanation);
    let lacks = "it needs 4096 MiB of memory, and the largest device of a worker that it may run on has 1024 MiB";
    assert!(explained.explanation.contains(lacks), "{}", explained.explanation);
    let mut larger = hello("w2", 1, &[]);
    larger.devices[0].memory_mib = 8192;
    let mut worker = Worker::greet(&house.endpoint, larger).await.unwrap();
    let third = worker.assigned().await;
    worker.peak_memory_mib = Some(4500);
    assert_eq!(worker.finish(&third).await, Verdict::Accepted);
    let explained = house.explain(&task).await;
    let peaks: Vec<Option<u32>> = explained.attempts.iter().map(|attempt| attempt.peak_memory_mib).collect();
    assert_eq!(peaks, [Some(6000), Some(4000), Some(4500)]);
    assert!(!explained.explanation.contains("MiB"), "{}", explained.explanation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handing_back_again_and_again_is_no_failure() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    for number in 1..=150 {
        let assign = worker.assigned().await;
        assert_eq!(attempt(&assign).attempt, number);
        let back = Content::HandedBack(HandedBack { message: "preempted".to_owned() });
        assert_eq!(worker.report(attempt(&assign), back).await, Verdict::Accepted);
    }
    assert_eq!(worker.work().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_handed_back_is_no_failure_and_goes_on_from_the_latest_checkpoint() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let first = worker.assigned().await;
    assert_eq!(first.resume_from, None);
    let metrics = |epoch, loss| {
        Content::Epoch(EpochMetrics {
            epoch,
            iterations: epoch * 2,
            learning_rate: 0.1,
            train_loss: loss,
            train_accuracy: 0.5,
            validation: (epoch == 2).then_some(ValidationMetrics { loss, accuracy: 0.75, robust_accuracy: Some(0.25) }),
        })
    };
    let checkpoint =
        |epoch| Content::Checkpoint(TrainingCheckpoint { artifact: Some(artifact(&format!("epoch {epoch}"))), epoch });
    for content in [metrics(1, 2.0), checkpoint(1), metrics(2, 1.5), checkpoint(2), metrics(2, 1.5), checkpoint(1)] {
        assert_eq!(worker.report(attempt(&first), content).await, Verdict::Accepted);
    }
    let hand_back = Content::HandedBack(HandedBack { message: "SIGTERM".to_owned() });
    for _ in 0..2 {
        assert_eq!(worker.report(attempt(&first), hand_back.clone()).await, Verdict::Accepted);
    }
    let second = worker.assigned().await;
    assert_eq!(attempt(&second).attempt, 2);
    assert_eq!(second.resume_from, Some(TrainingCheckpoint { artifact: Some(artifact("epoch 2")), epoch: 2 }));
    assert_eq!(worker.report(attempt(&first), checkpoint(9)).await, Verdict::Stale);
    assert_eq!(worker.report(attempt(&second), metrics(2, 1.25)).await, Verdict::Accepted);
    assert_eq!(worker.finish(&second).await, Verdict::Accepted);
    assert_eq!(
        worker.report(attempt(&second), metrics(3, 1.0)).await,
        Verdict::Accepted,
        "replayed, or sent out of order"
    );
    let explained = house.explain(&attempt(&first).task_id).await;
    assert_eq!(
        (explained.attempts[0].outcome.as_str(), explained.attempts[0].message.as_str()),
        ("handed-back", "SIGTERM")
    );
    let losses: Vec<f64> =
        sqlx::query_scalar("select train_loss from run_metrics order by epoch").fetch_all(&house.pool).await.unwrap();
    assert_eq!(losses, [2.0, 1.25, 1.0]);
    let validated: Vec<(Option<f64>, Option<f64>, Option<f64>)> = sqlx::query_as(
        "select validation_loss, validation_accuracy, validation_robust_accuracy from run_metrics order by epoch",
    )
    .fetch_all(&house.pool)
    .await
    .unwrap();
    assert_eq!(validated, [(None, None, None), (Some(1.25), Some(0.75), Some(0.25)), (None, None, None)]);
    assert_eq!(house.number("select count(*) from training_checkpoints").await, 0);
    assert_eq!(house.number("select max(transient_failures)::bigint from tasks").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_of_the_wrong_kind_fails_the_task_and_leaves_no_result() {
    let house = House::start().await;
    let sweep = house.submit(&scratch("s", &[0], &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    let train = worker.assigned().await;
    worker.send_report("odd", train.attempt.clone(), Some(attacked("x"))).await;
    let acknowledge = worker.acknowledged("odd").await;
    assert_eq!(
        (acknowledge.verdict(), acknowledge.message.as_str()),
        (Verdict::Invalid, "outcomes came for a task that trains")
    );
    assert_eq!(house.counts(&sweep).await, [0, 0, 0, 0, 1, 0, 1]);
    let explained = house.explain(&attempt(&train).task_id).await;
    assert_eq!(
        explained.explanation,
        "failed: the worker's report makes no sense: outcomes came for a task that trains"
    );
    assert_eq!(house.number("select count(*) from attack_results").await, 0);
    house.retry(&sweep).await;
    assert_eq!(worker.work().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slot_of_an_attempt_that_ended_is_free_again() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0, 1, 2], &["2/255"])).await;
    let mut worker = house.worker("w1", 2).await;
    let (one, two) = (worker.assigned().await, worker.assigned().await);
    assert!(worker.hears_nothing_for(Duration::from_millis(500)).await, "two slots, two attempts");
    assert_eq!(worker.report(attempt(&one), trained("1")).await, Verdict::Accepted);
    let three = worker.assigned().await;
    assert!(worker.hears_nothing_for(Duration::from_millis(500)).await);
    for assign in [two, three] {
        assert_eq!(worker.finish(&assign).await, Verdict::Accepted);
    }
    assert_eq!(worker.work().await.len(), 3);
    let leased =
        || async { (house.number("select count(*) from tasks where state = 'leased'").await == 0).then_some(()) };
    eventually(leased).await;
}
