//! What work took is learnt, and what is to come foretold.

use std::time::Duration;

use gauntlet_coordinator::{Config, Order};
use gauntlet_proto::v1;
use gauntlet_proto::v1::acknowledge::Verdict;

use crate::house::{House, eventually, quick};
use crate::sweep_files::{scratch, scratch_under};
use crate::worker::{attempt, is_training, result};

async fn learning() -> House {
    House::with(Config { learning_interval: Duration::from_millis(100), ..quick() }).await
}

async fn planned(house: &House, toml: &str) -> v1::PlanSweepResponse {
    let source = v1::SweepSource { toml: toml.to_owned(), files: Vec::new() };
    house.sweeps().await.plan_sweep(v1::PlanSweepRequest { source: Some(source) }).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_a_guess_until_the_same_work_was_seen() {
    let house = learning().await;
    let sweep = |name, seeds: &[u64]| scratch(name, seeds, &["2/255"]);
    let guess = planned(&house, &sweep("a", &[0, 1])).await.estimate.unwrap();
    assert!(guess.secs > 0.0 && guess.guessed_secs == guess.secs && guess.attempts == 0, "{guess:?}");
    assert_eq!((guess.slots, guess.makespan_secs), (0, None), "nobody is here");

    house.submit(&sweep("a", &[0])).await;
    let mut worker = house.worker("w1", 1).await;
    for pause in [800, 200] {
        let assign = worker.assigned().await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        assert_eq!(worker.report(attempt(&assign), result(&assign)).await, Verdict::Accepted);
    }
    eventually(|| async {
        (house.number("select coalesce(sum(attempts), 0)::bigint from cost_rates").await == 2).then_some(())
    })
    .await;
    let estimate = planned(&house, &sweep("a", &[0, 1])).await.estimate.unwrap();
    assert_eq!(
        (estimate.attempts, estimate.guessed_secs, estimate.devices.as_slice()),
        (2, 0.0, &["cpu/1".to_owned()][..])
    );
    assert_eq!(estimate.secs, estimate.same_work_secs);
    assert!(
        (1.0..3.0).contains(&estimate.secs),
        "one training and one attack, as long as those that were seen: {estimate:?}"
    );
    assert_eq!(estimate.slots, 1);
    assert!((estimate.makespan_secs.unwrap() - estimate.secs).abs() < 1e-3, "one after the other");
    let done = planned(&house, &sweep("a", &[0])).await.estimate.unwrap();
    assert_eq!((done.secs, done.makespan_secs), (0.0, Some(0.0)));
    // Nothing is learnt twice.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(house.number("select sum(attempts)::bigint from cost_rates").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_learnt_decides_what_is_split() {
    let attack = "\n[[attack]]\nname = \"fgsm\"\nmethod = \"fgsm\"\neps = \"2/255\"\nexamples = 600\n";
    let sweep = scratch_under("s", &[0], attack);
    let house = learning().await;
    let before = planned(&house, &sweep).await;
    assert_eq!((before.shards, before.sharded_attacks), (0, 0), "a guess of a few seconds");
    sqlx::raw_sql("insert into cost_rates values ('cpu/1', 'attack fgsm/resnet18-w16/1x32x32', 3, 3000, 1)")
        .execute(&house.pool)
        .await
        .unwrap();
    let after = planned(&house, &sweep).await;
    assert_eq!((after.shards, after.sharded_attacks, after.tasks.len()), (3, 1, 2));
    let submitted = house.submit(&sweep).await;
    assert_eq!((submitted.shards, submitted.tasks), (3, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_left_is_told_while_somebody_works_on_the_sweep() {
    let house = House::start().await;
    let sweep = house.submit(&scratch("s", &[0, 1, 2], &["2/255"])).await.sweep_id;
    assert_eq!(house.sweep(&sweep).await.seconds_left, None, "nobody is here");
    let mut worker = house.worker("w1", 2).await;
    let first = worker.assigned().await;
    assert!(is_training(&first));
    let left = eventually(|| async { house.sweep(&sweep).await.seconds_left }).await;
    let all = planned(&house, &scratch("s", &[0, 1, 2], &["2/255"])).await.estimate.unwrap();
    assert!(left > 0.0 && left <= all.secs, "{left} of {}", all.secs);
    assert_eq!(worker.report(attempt(&first), result(&first)).await, Verdict::Accepted);
    worker.work().await;
    assert_eq!(house.sweep(&sweep).await.seconds_left, None, "it is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_chain_goes_first_unless_the_order_is_that_of_the_file() {
    let toml = "name = \"s\"\n[[dataset]]\nname = \"glyphs\"\ntrain_examples = 26\n[[model]]\nbackbone = \"resnet18-w16\"\n[[init]]\nname = \"scratch\"\n\
        [[recipe]]\nname = \"short\"\nmethod = \"standard\"\nepochs = 1\n[[recipe]]\nname = \"long\"\nmethod = \"standard\"\nepochs = 50\n\
        [[attack]]\nname = \"fgsm\"\nmethod = \"fgsm\"\neps = \"2/255\"\nexamples = 4\n";
    for (order, expected) in [(Order::CriticalPath, "long"), (Order::Fifo, "short")] {
        let house = House::with(Config { order, ..quick() }).await;
        house.submit(toml).await;
        let first = house.worker("w1", 1).await.assigned().await;
        assert!(first.label.contains(&format!("· {expected} ·")), "{order:?}: {}", first.label);
    }
}
