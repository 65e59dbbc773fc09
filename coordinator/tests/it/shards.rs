//! Attacks in shards: merged once, whatever happens to the shards.

use std::time::Duration;

use gauntlet_coordinator::Config;
use gauntlet_domain::experiment::{Outcomes, TaskSpec};
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::{self, Assign};

use crate::house::{House, LEASE, eventually, quick};
use crate::sweep_files::{CLASSES, scratch_under};
use crate::worker::{Worker, artifact, attempt, failed, is_training, result};

/// Examples of the attacks: three blocks, the last of which is not whole.
const EXAMPLES: u32 = 600;

fn attacks(eps: &[&str]) -> String {
    format!("\n[[attack]]\nname = \"fgsm\"\nmethod = \"fgsm\"\neps = {eps:?}\nexamples = {EXAMPLES}\n")
}

/// One training and one attack in three shards per seed and ε.
fn sweep(name: &str, seeds: &[u64], eps: &[&str]) -> String {
    scratch_under(name, seeds, &attacks(eps))
}

/// A coordinator that splits all it can.
async fn splitting() -> House {
    House::with(Config { shard_time: Duration::from_millis(1), ..quick() }).await
}

/// What becomes of the examples from `first` on, whoever attacks them.
fn outcomes(first: u32, examples: u32) -> v1::Outcomes {
    let indices = || first..first + examples;
    let label = |index: u32| index % CLASSES;
    let clean = |index: u32| if index.is_multiple_of(7) { (label(index) + 1) % CLASSES } else { label(index) };
    let adversarial = |index: u32| if index.is_multiple_of(3) { clean(index) } else { (clean(index) + 5) % CLASSES };
    v1::Outcomes {
        label: indices().map(label).collect(),
        clean_prediction: indices().map(clean).collect(),
        adversarial_prediction: indices().map(adversarial).collect(),
        clean_loss: indices().map(|index| index as f32 / 7.0).collect(),
        adversarial_loss: indices().map(|index| index as f32 / 3.0).collect(),
        distance: indices().map(|index| index as f32 / 1e5).collect(),
    }
}

/// What an honest worker reports.
pub fn honest(assign: &Assign) -> Content {
    if is_training(assign) {
        return result(assign);
    }
    let TaskSpec::Attack(spec) = serde_json::from_str(&assign.spec_json).unwrap() else { panic!("not an attack") };
    let outcomes = outcomes(spec.shard.map_or(0, |shard| shard.first), spec.examples());
    let model_queries = 2 * u64::from(spec.examples());
    Content::Attacked(v1::Attacked { outcomes: Some(outcomes), model_queries, zero_gradient_examples: 1 })
}

/// Trains and gives the assignments of the three shards of one attack, all to this worker.
async fn shards(worker: &mut Worker) -> [Assign; 3] {
    let train = worker.assigned().await;
    assert_eq!(worker.report(attempt(&train), honest(&train)).await, Verdict::Accepted);
    let mut shards = [worker.assigned().await, worker.assigned().await, worker.assigned().await];
    shards.sort_by(|a, b| a.label.cmp(&b.label));
    shards
}

async fn finish(worker: &mut Worker, shard: &Assign) -> Verdict {
    worker.report(attempt(shard), honest(shard)).await
}

/// The sweep's results are those of whole attacks, and nothing of the shards is left.
async fn assert_merged(house: &House, sweep: &str, attacks: i64) {
    eventually(|| async { (house.sweep(sweep).await.state == "succeeded").then_some(()) }).await;
    let request = v1::StreamOutcomesRequest { sweep_id: sweep.to_owned() };
    let mut stream = house.sweeps().await.stream_outcomes(request).await.unwrap().into_inner();
    let mut rows = 0;
    while let Some(batch) = stream.message().await.unwrap() {
        assert_eq!(batch.outcomes, Some(outcomes(0, EXAMPLES)));
        rows += 1;
    }
    assert_eq!(rows, attacks);
    let whole: Outcomes = outcomes(0, EXAMPLES).into();
    let counts: Vec<(i32, i32, i32, i64, i64)> = sqlx::query_as(
        "select examples, clean_correct, robust_correct, model_queries, zero_gradient_examples from attack_results",
    )
    .fetch_all(&house.pool)
    .await
    .unwrap();
    let [clean, robust] = [whole.clean_correct(), whole.robust_correct()].map(|count| count as i32);
    let expected = (EXAMPLES as i32, clean, robust, 2 * i64::from(EXAMPLES), 3);
    assert_eq!(counts, vec![expected; attacks as usize]);
    let run = "select count(*) from attempts a join tasks t using (task_id) where t.merges";
    assert_eq!(house.number(run).await, 0, "nobody runs what is merged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attack_in_shards_comes_to_what_it_would_have_come_to_whole() {
    let house = splitting().await;
    let submitted = house.submit(&sweep("s", &[0], &["2/255"])).await;
    let v1::SubmitSweepResponse { tasks, new_tasks, shards: parts, sharded_attacks, .. } = submitted.clone();
    assert_eq!((tasks, new_tasks, parts, sharded_attacks), (5, 5, 3, 1));
    let mut worker = house.worker("w1", 3).await;
    let parts = shards(&mut worker).await;
    assert!(parts[0].label.ends_with("fgsm 2/255 · shard 1/3"), "{}", parts[0].label);
    // Not in the order of their examples.
    for shard in [&parts[2], &parts[0]] {
        assert_eq!(finish(&mut worker, shard).await, Verdict::Accepted);
    }
    let attack: String = sqlx::query_scalar("select encode(task_id, 'hex') from tasks where merges")
        .fetch_one(&house.pool)
        .await
        .unwrap();
    let explained = house.explain(&attack).await;
    let explanation = "is merged from its 3 shards when all have succeeded: 1 running, 2 succeeded";
    assert_eq!((explained.state.as_str(), explained.explanation.as_str()), ("pending", explanation));
    assert_eq!(explained.inputs.len(), 3);
    assert_eq!(finish(&mut worker, &parts[1]).await, Verdict::Accepted);
    assert_merged(&house, &submitted.sweep_id, 1).await;
    assert!(house.explain(&attack).await.explanation.contains("merged from its 3 shards"));
    assert_eq!(finish(&mut worker, &parts[1]).await, Verdict::Accepted, "the same report once more changes nothing");
    assert_merged(&house, &submitted.sweep_id, 1).await;
    let status = house.sweep(&submitted.sweep_id).await;
    assert!((status.total_cost - status.done_cost).abs() < 1e-9 * status.total_cost);
    let again = house.submit(&sweep("s", &[0], &["2/255"])).await;
    assert_eq!((again.new_tasks, again.done_tasks, again.retried_tasks), (0, 5, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn shards_that_end_at_once_through_two_coordinators_are_merged_exactly_once() {
    let house = splitting().await;
    let other = house.another().await;
    let seeds: Vec<u64> = (0..6).collect();
    let submitted = house.submit(&sweep("s", &seeds, &["2/255", "4/255"])).await;
    assert_eq!((submitted.tasks, submitted.sharded_attacks), (6 + 12 * 4, 12));
    let mut workers = Vec::new();
    for number in 0..6 {
        let host = if number % 2 == 0 { &house.host } else { &other };
        let mut worker = host.worker(&format!("w{number}"), 3).await;
        workers.push(tokio::spawn(async move { worker.work_by(honest).await.len() }));
    }
    let mut done = 0;
    for worker in workers {
        done += worker.await.unwrap();
    }
    assert_eq!(done, 6 + 36);
    assert_merged(&house, &submitted.sweep_id, 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_that_reports_a_shard_late_changes_nothing() {
    let house = splitting().await;
    let submitted = house.submit(&sweep("s", &[0], &["2/255"])).await;
    let mut zombie = house.worker("zombie", 3).await;
    let lost = shards(&mut zombie).await;
    assert_eq!(finish(&mut zombie, &lost[0]).await, Verdict::Accepted);
    zombie.fall_silent();
    tokio::time::sleep(LEASE / 2).await;
    let mut heir = house.worker("heir", 2).await;
    let [second, third] = [heir.assigned().await, heir.assigned().await];
    assert_eq!(finish(&mut heir, &second).await, Verdict::Accepted);
    for shard in &lost[1..] {
        assert_eq!(finish(&mut zombie, shard).await, Verdict::Stale);
    }
    assert_eq!(house.counts(&submitted.sweep_id).await, [1, 0, 1, 3, 0, 0, 0]);
    assert_eq!(finish(&mut heir, &third).await, Verdict::Accepted);
    for shard in &lost[1..] {
        assert_eq!(finish(&mut zombie, shard).await, Verdict::Stale);
    }
    assert_merged(&house, &submitted.sweep_id, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_dies_between_two_shards_leaves_them_to_be_merged() {
    let mut house = splitting().await;
    let submitted = house.submit(&sweep("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 3).await;
    let parts = shards(&mut worker).await;
    assert_eq!(finish(&mut worker, &parts[0]).await, Verdict::Accepted);
    assert_eq!(finish(&mut worker, &parts[1]).await, Verdict::Accepted);
    // The last report is on its way as the coordinator dies, and is sent again as by the worker's spool.
    worker.send_report("last", parts[2].attempt.clone(), Some(honest(&parts[2]))).await;
    house.restart().await;
    let mut back = Worker::connect(&house.endpoint, "w1", 3, &[attempt(&parts[2])]).await.unwrap();
    back.send_report("last", parts[2].attempt.clone(), Some(honest(&parts[2]))).await;
    assert_eq!(back.acknowledged("last").await.verdict(), Verdict::Accepted);
    assert_merged(&house, &submitted.sweep_id, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_cancelled_in_the_middle_of_an_attack_goes_on_with_the_shards_that_are_missing() {
    let house = splitting().await;
    let submitted = house.submit(&sweep("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 3).await;
    let parts = shards(&mut worker).await;
    assert_eq!(finish(&mut worker, &parts[1]).await, Verdict::Accepted);
    assert_eq!(house.cancel(&submitted.sweep_id).await.state, "cancelled");
    let stopped = [worker.cancelled().await.attempt, worker.cancelled().await.attempt];
    assert!(stopped.contains(&parts[0].attempt) && stopped.contains(&parts[2].attempt));
    assert_eq!(house.counts(&submitted.sweep_id).await, [0, 0, 0, 2, 0, 3, 0]);
    assert_eq!(finish(&mut worker, &parts[0]).await, Verdict::Stale);
    assert_eq!(house.retry(&submitted.sweep_id).await, 3);
    assert_eq!(worker.work_by(honest).await.len(), 2, "the shard that was done is not done again");
    assert_merged(&house, &submitted.sweep_id, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_runs_the_one_shard_that_failed() {
    let house = splitting().await;
    let submitted = house.submit(&sweep("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 3).await;
    let parts = shards(&mut worker).await;
    assert_eq!(worker.report(attempt(&parts[1]), failed("permanent", "a cosmic ray")).await, Verdict::Accepted);
    for shard in [&parts[0], &parts[2]] {
        assert_eq!(finish(&mut worker, shard).await, Verdict::Accepted);
    }
    assert_eq!(house.counts(&submitted.sweep_id).await, [0, 0, 0, 3, 1, 0, 1]);
    let skipped = house.sweep(&submitted.sweep_id).await.unsuccessful.into_iter().find(|task| task.kind == "attack");
    let reason = skipped.unwrap().reason;
    assert!(reason.contains("shard 2/3") && reason.contains("a cosmic ray"), "{reason}");
    assert_eq!(house.retry(&submitted.sweep_id).await, 2);
    assert_eq!(worker.work_by(honest).await.len(), 1);
    assert_merged(&house, &submitted.sweep_id, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attack_that_exists_keeps_its_shards_and_brings_them_into_every_sweep_that_wants_it() {
    let house = splitting().await;
    let one = house.submit(&sweep("one", &[0], &["2/255"])).await;
    // This coordinator splits nothing that is so short.
    let other = house.another().await;
    let two = other.submit(&sweep("two", &[0], &["2/255", "4/255"])).await;
    assert_eq!((two.tasks, two.new_tasks, two.shards, two.sharded_attacks), (6, 1, 3, 1));
    let mut worker = house.worker("w1", 8).await;
    let train = worker.assigned().await;
    assert_eq!(worker.report(attempt(&train), honest(&train)).await, Verdict::Accepted);
    let mut running = Vec::new();
    for _ in 0..4 {
        running.push(worker.assigned().await);
    }
    house.cancel(&one.sweep_id).await;
    assert!(worker.hears_nothing_for(Duration::from_millis(700)).await, "the other sweep wants all of it");
    for assign in &running {
        assert_eq!(finish(&mut worker, assign).await, Verdict::Accepted);
    }
    assert_eq!(house.counts(&two.sweep_id).await, [0, 0, 0, 6, 0, 0, 0]);
    assert_eq!(house.number("select count(*) from attack_results").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_goes_on_at_the_block_where_it_was_handed_back() {
    let house = House::start().await;
    house.submit(&sweep("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let train = worker.assigned().await;
    assert_eq!(worker.report(attempt(&train), honest(&train)).await, Verdict::Accepted);
    let attack = worker.assigned().await;
    assert_eq!(attack.resume_from, None);
    let checkpoint = v1::TrainingCheckpoint { artifact: Some(artifact("two blocks")), epoch: 2 };
    let stored = worker.report(attempt(&attack), Content::Checkpoint(checkpoint.clone())).await;
    assert_eq!(stored, Verdict::Accepted);
    let back = Content::HandedBack(v1::HandedBack { message: "drained".to_owned() });
    assert_eq!(worker.report(attempt(&attack), back).await, Verdict::Accepted);
    let again = worker.assigned().await;
    assert_eq!((attempt(&again).attempt, &again.resume_from), (2, &Some(checkpoint)));
    assert_eq!(finish(&mut worker, &again).await, Verdict::Accepted);
    assert_eq!(house.number("select count(*) from training_checkpoints").await, 0, "nobody needs it any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_of_another_number_of_examples_than_the_shards_are_refused() {
    let house = splitting().await;
    let submitted = house.submit(&sweep("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 3).await;
    let parts = shards(&mut worker).await;
    let attacked = v1::Attacked { outcomes: Some(outcomes(0, EXAMPLES)), model_queries: 1, zero_gradient_examples: 0 };
    assert_eq!(worker.report(attempt(&parts[0]), Content::Attacked(attacked)).await, Verdict::Invalid);
    assert_eq!(house.counts(&submitted.sweep_id).await, [0, 0, 2, 1, 1, 0, 1]);
}
