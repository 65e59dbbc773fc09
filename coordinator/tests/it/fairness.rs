use std::time::Duration;

use gauntlet_proto::v1;
use gauntlet_proto::v1::acknowledge::Verdict;
use tonic::Code;

use crate::house::House;
use crate::sweep_files::scratch;
use crate::worker::{Worker, attempt, trained};

/// A submission of trainings with these seeds by a user.
fn request(name: &str, seeds: &[u64], user: &str) -> v1::SubmitSweepRequest {
    let source = v1::SweepSource { toml: scratch(name, seeds, &["2/255"]), files: Vec::new() };
    v1::SubmitSweepRequest { source: Some(source), user: user.to_owned(), ..Default::default() }
}

async fn submit(house: &House, request: v1::SubmitSweepRequest) -> String {
    let mut sweeps = house.sweeps().await;
    sweeps.submit_sweep(request).await.unwrap().into_inner().sweep_id
}

/// Tasks of ada's and of bob's sweeps that run.
async fn running(house: &House) -> (i64, i64) {
    let of_ada =
        "select count(*) from tasks t join sweeps s using (queue_key) where t.state = 'leased' and s.user_name = 'ada'";
    let of_bob =
        "select count(*) from tasks t join sweeps s using (queue_key) where t.state = 'leased' and s.user_name = 'bob'";
    (house.number(of_ada).await, house.number(of_bob).await)
}

/// Ends a training, and waits for what comes in its place.
async fn next(worker: &mut Worker, running: &v1::Assign, checkpoint: &str) -> v1::Assign {
    assert_eq!(worker.report(attempt(running), trained(checkpoint)).await, Verdict::Accepted);
    worker.assigned().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_to_a_long_queue_of_another_user_gets_the_next_slot_that_is_freed() {
    let house = House::start().await;
    let many: Vec<u64> = (0..500).collect();
    submit(&house, request("many", &many, "ada")).await;
    let mut worker = house.worker("w1", 2).await;
    let (first, second) = (worker.assigned().await, worker.assigned().await);
    submit(&house, request("few", &[1000, 1001], "bob")).await;
    let of_bob = next(&mut worker, &first, "a").await;
    assert_eq!(running(&house).await, (1, 1));
    // Both have one: each gets back what he gives.
    let of_ada = next(&mut worker, &second, "b").await;
    assert_eq!(running(&house).await, (1, 1));
    next(&mut worker, &of_bob, "c").await;
    next(&mut worker, &of_ada, "d").await;
    assert_eq!(running(&house).await, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_runs_no_more_tasks_at_once_than_its_quota() {
    let house = House::start().await;
    submit(&house, v1::SubmitSweepRequest { max_concurrent: Some(2), ..request("s", &[0, 1, 2, 3], "ada") }).await;
    let mut worker = house.worker("w1", 4).await;
    let (first, _second) = (worker.assigned().await, worker.assigned().await);
    assert!(worker.hears_nothing_for(Duration::from_millis(1500)).await);
    next(&mut worker, &first, "a").await;
    assert!(worker.hears_nothing_for(Duration::from_millis(700)).await);
    assert_eq!(running(&house).await, (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_user_the_sweep_of_higher_priority_goes_first() {
    let house = House::start().await;
    submit(&house, request("low", &[0, 1, 2], "ada")).await;
    let high = v1::SubmitSweepRequest { priority: Some(5), ..request("high", &[10, 11], "ada") };
    submit(&house, high).await;
    let mut worker = house.worker("w1", 2).await;
    worker.assigned().await;
    worker.assigned().await;
    let of_priority =
        "select count(*) from tasks t join sweeps s using (queue_key) where t.state = 'leased' and s.priority = 5";
    assert_eq!(house.number(of_priority).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cancelled_sweep_leaves_to_another_is_charged_to_that_one() {
    let house = House::start().await;
    let first = submit(&house, request("first", &[0], "ada")).await;
    house.cancel(&first).await;
    submit(&house, request("second", &[0], "bob")).await;
    let mut worker = house.worker("w1", 1).await;
    worker.assigned().await;
    assert_eq!(running(&house).await, (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_and_what_runs_for_a_sweep_moves_to_another_that_wants_it_when_it_is_cancelled() {
    let house = House::start().await;
    let first = v1::SubmitSweepRequest { max_concurrent: Some(1), ..request("first", &[0, 1], "ada") };
    let first = submit(&house, first).await;
    submit(&house, request("second", &[0, 1], "bob")).await;
    let mut worker = house.worker("w1", 2).await;
    worker.assigned().await;
    assert!(worker.hears_nothing_for(Duration::from_millis(1500)).await, "the quota of the sweep that is charged");
    assert_eq!(running(&house).await, (1, 0));
    house.cancel(&first).await;
    worker.assigned().await;
    assert_eq!(running(&house).await, (0, 2));
    let left = "select count(*) from tasks t join sweeps s using (queue_key) where s.cancelled_at is not null";
    assert_eq!(house.number(left).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_is_charged_for_what_is_tried_again_for_it() {
    let house = House::start().await;
    let first = submit(&house, request("first", &[0], "ada")).await;
    let second = submit(&house, request("second", &[0], "bob")).await;
    house.cancel(&first).await;
    house.cancel(&second).await;
    assert_eq!(house.retry(&first).await, 2);
    let mut worker = house.worker("w1", 1).await;
    worker.assigned().await;
    assert_eq!(running(&house).await, (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terms_that_make_no_sense_are_refused_by_their_names_and_change_nothing() {
    let house = House::start().await;
    let good = || request("s", &[0], "ada");
    for (field, bad) in [
        ("user", v1::SubmitSweepRequest { user: "a b".to_owned(), ..good() }),
        ("weight", v1::SubmitSweepRequest { weight: Some(0), ..good() }),
        ("max_concurrent", v1::SubmitSweepRequest { max_concurrent: Some(0), ..good() }),
    ] {
        let mut sweeps = house.sweeps().await;
        let refused = sweeps.submit_sweep(bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(&format!("`{field}`")), "{}", refused.message());
    }
    assert_eq!(house.number("select count(*) from sweeps").await, 0);
}
