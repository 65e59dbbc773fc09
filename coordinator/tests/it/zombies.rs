use std::time::Duration;

use gauntlet_proto::v1::acknowledge::Verdict;

use crate::house::{House, LEASE};
use crate::sweep_files::scratch;
use crate::worker::{Worker, attempt, failed, is_training, result, trained};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombies_report_changes_nothing_and_it_is_told_so() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut zombie = house.worker("zombie", 1).await;
    let first = zombie.assigned().await;
    zombie.fall_silent();
    tokio::time::sleep(LEASE / 2).await;
    let mut heir = house.worker("heir", 1).await;
    let second = heir.assigned().await;
    assert_eq!(attempt(&second).task_id, attempt(&first).task_id);
    assert_eq!((attempt(&first).attempt, attempt(&second).attempt), (1, 2));
    assert_eq!(zombie.cancelled().await.attempt, first.attempt, "a worker that lost its lease is told to stop");
    // That its files are to be deleted is noted.
    let rows = || async {
        let counts = house.row_counts().await;
        counts.into_iter().filter(|(table, _)| !table.contains("artifacts")).collect::<Vec<_>>()
    };
    let before = rows().await;
    for content in [trained("late"), failed("permanent", "late")] {
        assert_eq!(zombie.report(attempt(&first), content).await, Verdict::Stale);
    }
    // Nor may it speak for its heir.
    assert_eq!(zombie.report(attempt(&second), trained("stolen")).await, Verdict::Stale);
    assert_eq!(rows().await, before);
    assert_eq!(heir.finish(&second).await, Verdict::Accepted);
    assert_eq!(zombie.report(attempt(&first), trained("later")).await, Verdict::Stale);
    let attempts = house.explain(&attempt(&first).task_id).await.attempts;
    assert_eq!(attempts.iter().map(|a| a.outcome.as_str()).collect::<Vec<_>>(), ["lost", "succeeded"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicated_result_is_accepted_once_more_and_stored_once() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    for _ in 0..2 {
        let assign = worker.assigned().await;
        worker.send_report("one", assign.attempt.clone(), Some(result(&assign))).await;
        worker.send_report("two", assign.attempt.clone(), Some(result(&assign))).await;
        for id in ["one", "two"] {
            assert_eq!(worker.acknowledged(id).await.verdict(), Verdict::Accepted);
        }
    }
    assert_eq!(house.number("select count(*) from attack_results").await, 1);
    assert_eq!(house.number("select count(*) from checkpoints").await, 1);
    assert_eq!(house.number("select count(*) from attempts").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_whose_acknowledgement_was_lost_is_accepted_when_replayed() {
    let house = House::start().await;
    let sweep = house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let assign = worker.assigned().await;
    worker.send_report("lost", assign.attempt.clone(), Some(result(&assign))).await;
    crate::house::eventually(|| async { (house.counts(&sweep.sweep_id).await[3] == 1).then_some(()) }).await;
    drop(worker);
    let mut back = Worker::connect(&house.endpoint, "w1", 1, &[attempt(&assign)]).await.unwrap();
    back.send_report("lost", assign.attempt.clone(), Some(result(&assign))).await;
    assert_eq!(back.acknowledged("lost").await.verdict(), Verdict::Accepted);
    // Not a word of a cancellation before it.
    back.assigned().await;
    assert_eq!(house.number("select count(*) from checkpoints").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_comes_back_without_is_given_away_at_once() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let first = worker.assigned().await;
    drop(worker);
    let mut back = house.worker("w1", 1).await;
    let second = tokio::time::timeout(LEASE / 2, back.assigned()).await.expect("before the lease is over");
    assert_eq!((attempt(&second).task_id, attempt(&second).attempt), (attempt(&first).task_id, 2));
    let lost = &house.explain(&attempt(&first).task_id).await.attempts[0];
    assert_eq!((lost.outcome.as_str(), lost.message.as_str()), ("lost", "worker w1 came back without it"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_cut_off_keeps_its_attempt_until_its_lease_is_over() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let first = worker.assigned().await;
    drop(worker);
    let mut other = house.worker("w2", 1).await;
    assert!(other.hears_nothing_for(LEASE / 2).await, "the lease is not over");
    let mut back = Worker::connect(&house.endpoint, "w1", 1, &[attempt(&first)]).await.unwrap();
    assert!(back.hears_nothing_for(LEASE + LEASE / 2).await, "it is back, and what it runs stays its own");
    assert_eq!(back.finish(&first).await, Verdict::Accepted);
    // It holds the checkpoint, so the evaluation is its own too.
    assert!(!is_training(&back.assigned().await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_session_of_a_worker_replaces_the_first() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut first = house.worker("w1", 1).await;
    let assign = first.assigned().await;
    let mut second = Worker::connect(&house.endpoint, "w1", 1, &[attempt(&assign)]).await.unwrap();
    let end = first.hear().await.unwrap_err();
    assert_eq!(end.code(), tonic::Code::Aborted, "{end:?}");
    assert!(second.hears_nothing_for(Duration::from_millis(300)).await);
    assert_eq!(second.finish(&assign).await, Verdict::Accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_wrongly_believes_to_run_is_cancelled_when_it_says_hello() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let assign = worker.assigned().await;
    let foreign = gauntlet_proto::v1::AttemptRef { attempt: 7, ..attempt(&assign) };
    let mut back = Worker::connect(&house.endpoint, "w1", 1, &[attempt(&assign), foreign.clone()]).await.unwrap();
    assert_eq!(back.cancelled().await.attempt, Some(foreign));
    assert_eq!(back.finish(&assign).await, Verdict::Accepted);
}
