use std::time::Duration;

use gauntlet_proto::v1::acknowledge::Verdict;
use tonic::Code;

use crate::house::House;
use crate::sweep_files::scratch;
use crate::worker::{Worker, attempt};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_coordinators_never_give_a_task_twice() {
    let house = House::start().await;
    let other = house.another().await;
    let seeds: Vec<u64> = (0..40).collect();
    let sweep = house.submit(&scratch("s", &seeds, &["2/255", "8/255"])).await;
    let mut workers = Vec::new();
    for number in 0..8 {
        let host = if number % 2 == 0 { &house.host } else { &other };
        let mut worker = host.worker(&format!("w{number}"), 4).await;
        workers.push(tokio::spawn(async move { worker.work().await.len() }));
    }
    let mut done = 0;
    for worker in workers {
        done += worker.await.unwrap();
    }
    assert_eq!(done, 120);
    assert_eq!(house.sweep(&sweep.sweep_id).await.state, "succeeded");
    assert_eq!(house.number("select count(*) from attempts where outcome = 'succeeded'").await, 120);
    assert_eq!(house.number("select count(*) from attempts").await, 120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_may_move_to_another_coordinator_with_all_it_runs() {
    let house = House::start().await;
    let other = house.another().await;
    house.submit(&scratch("s", &[0, 1, 2], &["2/255"])).await;
    let mut worker = house.worker("w1", 2).await;
    let assigned = [worker.assigned().await, worker.assigned().await];
    let attempts: Vec<_> = assigned.iter().map(attempt).collect();
    let mut moved = Worker::connect(&other.endpoint, "w1", 3, &attempts).await.unwrap();
    assert_eq!(worker.hear().await.unwrap_err().code(), Code::Aborted, "its old coordinator lets it go");
    let third = moved.assigned().await;
    for assign in assigned.iter().chain([&third]) {
        assert_eq!(moved.finish(assign).await, Verdict::Accepted);
    }
    assert_eq!(moved.work().await.len(), 3);
    assert_eq!(house.number("select max(attempt)::bigint from tasks").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_at_a_coordinator_that_dies_goes_on_at_another() {
    let mut house = House::start().await;
    let other = house.another().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let assign = worker.assigned().await;
    house.host.kill();
    worker.hear().await.unwrap_err();
    let mut moved = Worker::connect(&other.endpoint, "w1", 1, &[attempt(&assign)]).await.unwrap();
    assert!(moved.hears_nothing_for(Duration::from_millis(500)).await);
    assert_eq!(moved.finish(&assign).await, Verdict::Accepted);
    assert_eq!(moved.work().await.len(), 1);
}
