use std::time::{Duration, Instant};

use gauntlet_proto::v1::acknowledge::Verdict;

use crate::house::House;
use crate::sweep_files::{pretrained, scratch};
use crate::worker::{attempt, trained};

const TWO_SECONDS: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_reaches_a_running_worker_within_two_seconds() {
    let house = House::start().await;
    let sweep = house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let assign = worker.assigned().await;
    let start = Instant::now();
    assert_eq!(house.cancel(&sweep.sweep_id).await.state, "cancelled");
    let cancel = worker.cancelled().await;
    assert!(start.elapsed() < TWO_SECONDS, "{:?}", start.elapsed());
    assert_eq!((cancel.attempt, cancel.reason.contains("was cancelled")), (assign.attempt.clone(), true));
    assert_eq!(worker.report(attempt(&assign), trained("late")).await, Verdict::Stale);
    assert_eq!(house.counts(&sweep.sweep_id).await, [0, 0, 0, 0, 0, 2, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_through_another_coordinator_arrives_as_fast() {
    let house = House::start().await;
    let other = house.another().await;
    let sweep = house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    worker.assigned().await;
    let start = Instant::now();
    other.cancel(&sweep.sweep_id).await;
    worker.cancelled().await;
    assert!(start.elapsed() < TWO_SECONDS, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_sweep_wants_survives_until_that_one_is_cancelled_too() {
    let house = House::start().await;
    let one = house.submit(&scratch("one", &[0], &["2/255"])).await.sweep_id;
    let two = house.submit(&scratch("two", &[0], &["2/255", "8/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    worker.assigned().await;
    assert_eq!(house.cancel(&two).await.state, "cancelled");
    assert_eq!(
        house.counts(&one).await,
        [1, 0, 1, 0, 0, 0, 0],
        "the training and the attack at 2/255 are still wanted"
    );
    assert_eq!(house.counts(&two).await, [1, 0, 1, 0, 0, 1, 0]);
    assert!(worker.hears_nothing_for(Duration::from_millis(700)).await);
    house.cancel(&one).await;
    worker.cancelled().await;
    assert_eq!(house.counts(&two).await, [0, 0, 0, 0, 0, 3, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_sweeps_cancelled_at_once_nothing_stays() {
    let house = House::start().await;
    for round in 0..10 {
        let names = [format!("one-{round}"), format!("two-{round}")];
        let mut ids = Vec::new();
        for name in &names {
            ids.push(house.submit(&pretrained(name, &[round], &["2/255"])).await.sweep_id);
        }
        let (a, b) = tokio::join!(house.cancel(&ids[0]), house.cancel(&ids[1]));
        assert_eq!((a.state.as_str(), b.state.as_str()), ("cancelled", "cancelled"));
        assert_eq!(house.counts(&ids[0]).await, [0, 0, 0, 0, 0, 3, 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_sweep_runs_when_it_is_submitted_again_and_a_finished_one_cannot_be_cancelled() {
    let house = House::start().await;
    let toml = pretrained("s", &[0], &["2/255"]);
    let sweep = house.submit(&toml).await.sweep_id;
    house.cancel(&sweep).await;
    let again = house.submit(&toml).await;
    assert_eq!((again.new_tasks, again.retried_tasks), (0, 3));
    assert_eq!(house.counts(&sweep).await, [2, 1, 0, 0, 0, 0, 0]);
    let mut worker = house.worker("w1", 1).await;
    assert_eq!(worker.work().await.len(), 3);
    assert_eq!(house.cancel(&sweep).await.state, "succeeded");
}
