use std::time::Duration;

use gauntlet_proto::v1::acknowledge::Verdict;
use tonic::Code;

use crate::house::{House, LEASE};
use crate::sweep_files::scratch;
use crate::worker::{Worker, attempt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_coordinator_is_killed_workers_come_back_and_finish_the_same_attempts() {
    let mut house = House::start().await;
    let sweep = house.submit(&scratch("s", &[0], &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    let assign = worker.assigned().await;
    house.restart().await;
    worker.hear().await.unwrap_err();
    let mut back = Worker::connect(&house.endpoint, "w1", 1, &[attempt(&assign)]).await.unwrap();
    assert_eq!(back.finish(&assign).await, Verdict::Accepted);
    assert_eq!(back.work().await.len(), 1);
    assert_eq!(house.sweep(&sweep).await.state, "succeeded");
    assert_eq!(house.number("select max(attempt)::bigint from tasks").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_ran_out_while_no_coordinator_was_there_have_a_term_of_grace() {
    let mut house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let assign = worker.assigned().await;
    house.host.kill();
    tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
    house.restart().await;
    let mut thief = house.worker("w2", 1).await;
    assert!(thief.hears_nothing_for(LEASE / 2).await);
    let mut back = Worker::connect(&house.endpoint, "w1", 1, &[attempt(&assign)]).await.unwrap();
    assert_eq!(back.finish(&assign).await, Verdict::Accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_workers_that_never_come_back_run_out_after_the_grace() {
    let mut house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let assign = worker.assigned().await;
    house.restart().await;
    let mut heir = house.worker("w2", 1).await;
    let inherited = heir.assigned().await;
    assert_eq!((attempt(&inherited).task_id, attempt(&inherited).attempt), (attempt(&assign).task_id, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_shuts_down_says_so_and_the_attempts_live_on() {
    let mut house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let assign = worker.assigned().await;
    let start = std::time::Instant::now();
    house.host.shut_down().await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(worker.hear().await.unwrap_err().code(), Code::Unavailable);
    house.restart().await;
    let mut back = Worker::connect(&house.endpoint, "w1", 1, &[attempt(&assign)]).await.unwrap();
    assert_eq!(back.finish(&assign).await, Verdict::Accepted);
}
