//! Reports that are stored together, and what can befall them.

use std::collections::BTreeMap;
use std::time::Duration;

use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::coordinator_message::Message;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::{self, Acknowledge};

use crate::house::House;
use crate::outages::{processes, signal};
use crate::sweep_files::scratch;
use crate::worker::{Worker, result};

const SEEDS: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// A worker that has trained eight models and was given the eight attacks on them.
async fn with_attacks(house: &House) -> (String, Worker, Vec<v1::Assign>) {
    let sweep = house.submit(&scratch("s", &SEEDS, &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 32).await;
    for _ in SEEDS {
        let training = worker.assigned().await;
        assert_eq!(worker.finish(&training).await, Verdict::Accepted);
    }
    let mut attacks = Vec::new();
    for _ in SEEDS {
        attacks.push(worker.assigned().await);
    }
    (sweep, worker, attacks)
}

/// The next answers to this many reports, by the reports' ids.
async fn answers(worker: &mut Worker, count: usize) -> BTreeMap<String, Acknowledge> {
    let mut answers = BTreeMap::new();
    while answers.len() < count {
        if let Message::Acknowledge(answer) = worker.hear().await.unwrap() {
            answers.insert(answer.report_id.clone(), answer);
        }
    }
    answers
}

/// Keeps every task locked while `meanwhile` runs: what is reported gathers.
async fn while_tasks_are_locked(house: &House, meanwhile: impl AsyncFnOnce()) {
    let mut lock = house.pool.begin().await.unwrap();
    sqlx::query("select from tasks for update").execute(&mut *lock).await.unwrap();
    meanwhile().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The server may be gone by now, and the locks with it.
    drop(lock.rollback().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_the_database_refuses_ends_its_attempt_and_no_other() {
    let house = House::start().await;
    let (sweep, mut worker, attacks) = with_attacks(&house).await;
    let rule = "alter table attack_results add constraint no_bad_luck check (model_queries <> 13)";
    sqlx::query(rule).execute(&house.pool).await.unwrap();
    while_tasks_are_locked(&house, async || {
        for (number, attack) in attacks.iter().enumerate() {
            let Content::Attacked(mut attacked) = result(attack) else { panic!() };
            if number == 5 {
                attacked.model_queries = 13;
            }
            let content = Some(Content::Attacked(attacked));
            worker.send_report(&number.to_string(), attack.attempt.clone(), content).await;
        }
    })
    .await;
    let mut answers = answers(&mut worker, 8).await;
    let refused = answers.remove("5").unwrap();
    assert_eq!(refused.verdict(), Verdict::Invalid);
    assert!(refused.message.starts_with("the coordinator could not store it"), "{}", refused.message);
    assert!(answers.values().all(|answer| answer.verdict() == Verdict::Accepted), "{answers:?}");
    assert_eq!(house.counts(&sweep).await, [0, 0, 0, 15, 1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_report_twice_in_one_batch_is_stored_once_and_answered_twice() {
    let house = House::start().await;
    let (sweep, mut worker, attacks) = with_attacks(&house).await;
    while_tasks_are_locked(&house, async || {
        for copy in ["a", "b"] {
            for (number, attack) in attacks.iter().enumerate() {
                worker.send_report(&format!("{number}{copy}"), attack.attempt.clone(), Some(result(attack))).await;
            }
        }
    })
    .await;
    let answers = answers(&mut worker, 16).await;
    assert!(answers.values().all(|answer| answer.verdict() == Verdict::Accepted), "{answers:?}");
    assert_eq!(house.counts(&sweep).await, [0, 0, 0, 16, 0, 0, 0]);
    assert_eq!(house.number("select count(*) from attempts").await, 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_postgres_is_killed_in_the_middle_of_a_batch_all_of_it_is_stored_once_it_is_back() {
    let house = House::durable().await;
    let (sweep, mut worker, attacks) = with_attacks(&house).await;
    while_tasks_are_locked(&house, async || {
        for (number, attack) in attacks.iter().enumerate() {
            worker.send_report(&number.to_string(), attack.attempt.clone(), Some(result(attack))).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        signal("-9", &processes(&house)[..1]);
    })
    .await;
    let answers = answers(&mut worker, 8).await;
    assert!(answers.values().all(|answer| answer.verdict() == Verdict::Accepted), "{answers:?}");
    assert_eq!(house.counts(&sweep).await, [0, 0, 0, 16, 0, 0, 0]);
    assert_eq!(house.number("select count(*) from attempts where outcome = 'succeeded'").await, 16);
    assert_eq!(house.number("select max(attempt)::bigint from tasks").await, 1);
}
