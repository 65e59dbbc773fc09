//! Attacks that an earlier one of their cascade makes pointless.

use std::time::Duration;

use gauntlet_coordinator::Config;
use gauntlet_domain::experiment::TaskSpec;
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::{self, Assign};

use crate::adaptive::attacked;
use crate::house::{Host, House, quick};
use crate::sweep_files::scratch_under;
use crate::worker::{Worker, attempt, failed, is_training, result};

/// Two blocks and the beginning of a third.
const EXAMPLES: u32 = 600;

fn attack(name: &str, eps: &[&str], more: &str) -> String {
    format!("[[attack]]\nname = \"{name}\"\nmethod = \"fgsm\"\neps = {eps:?}\nexamples = {EXAMPLES}\n{more}\n")
}

fn after(name: &str, earlier: &str, eps: &[&str]) -> String {
    // Another target is another attack.
    let more = format!(
        "target = \"{}\"\ncascade = {{ after = \"{earlier}\" }}",
        if earlier == "first" { "random" } else { "runner-up" }
    );
    attack(name, eps, &more)
}

/// An attack, one that comes after it, and one after that.
fn cascade(name: &str, eps: &[&str]) -> String {
    let attacks = attack("first", eps, "") + &after("second", "first", eps) + &after("third", "second", eps);
    scratch_under(name, &[0], &attacks)
}

/// Nothing withstands 8/255, half of the examples withstand less.
fn report(assign: &Assign) -> Content {
    if is_training(assign) {
        return result(assign);
    }
    let TaskSpec::Attack(spec) = serde_json::from_str(&assign.spec_json).unwrap() else { panic!("not an attack") };
    attacked(spec.examples(), if assign.label.contains(" 8/255") { 0 } else { 2 })
}

async fn next(worker: &mut Worker) -> String {
    let assign = worker.assigned().await;
    assert_eq!(worker.report(attempt(&assign), report(&assign)).await, Verdict::Accepted);
    assign.label.rsplit(" · ").next().unwrap().to_owned()
}

async fn skipped(host: &Host, sweep: &str) -> Vec<(String, String, String)> {
    let request = v1::ListSkippedEvaluationsRequest { sweep_id: sweep.to_owned() };
    let answer = host.sweeps().await.list_skipped_evaluations(request).await.unwrap().into_inner();
    answer.evaluations.into_iter().map(|row| (row.attack, row.eps, row.reason)).collect()
}

const WHY: &str = "pointless: first 8/255 left 0 of 600 examples robust";

/// What is skipped of [`cascade`] at 8/255.
fn both() -> Vec<(String, String, String)> {
    ["second", "third"].map(|attack| (attack.to_owned(), "8/255".to_owned(), WHY.to_owned())).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_an_attack_that_leaves_nothing_is_skipped_with_its_result_and_is_no_failure() {
    let house = House::start().await;
    let sweep = cascade("s", &["8/255", "2/255"]);
    let submitted = house.submit(&sweep).await;
    let id = submitted.sweep_id;
    assert_eq!((submitted.tasks, house.counts(&id).await), (7, [6, 1, 0, 0, 0, 0, 0]));
    let mut worker = house.worker("w1", 1).await;
    assert_eq!(next(&mut worker).await, "seed 0");
    let mut done = Vec::new();
    while !done.contains(&"first 8/255".to_owned()) {
        done.push(next(&mut worker).await);
    }
    // In the transaction of the result: no moment in which it is there and they still wait.
    assert_eq!(skipped(&house, &id).await, both());
    let status = house.sweep(&id).await;
    let tasks = status.tasks.unwrap();
    assert_eq!((tasks.pointless, tasks.skipped, status.unsuccessful.len()), (2, 0, 0));
    done.extend(worker.work_by(report).await.iter().map(|label| label.rsplit(" · ").next().unwrap().to_owned()));
    done.sort();
    assert_eq!(done, ["first 2/255", "first 8/255", "second 2/255", "third 2/255"]);

    let status = house.sweep(&id).await;
    assert_eq!((status.state.as_str(), status.tasks.unwrap().pointless), ("succeeded", 2));
    assert!((status.total_cost - status.done_cost).abs() < 1e-9 * status.total_cost);
    assert_eq!(house.number("select count(*) from results").await, 4, "nothing is said of what was not evaluated");
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("select attack, eps, reason from skipped_evaluations").fetch_all(&house.pool).await.unwrap();
    assert_eq!(rows, both());
    let task: String = sqlx::query_scalar("select encode(task_id, 'hex') from tasks where pointless limit 1")
        .fetch_one(&house.pool)
        .await
        .unwrap();
    let explained = house.explain(&task).await;
    assert_eq!((explained.state.as_str(), explained.explanation), ("skipped", format!("skipped: {WHY}")));

    assert_eq!(house.retry(&id).await, 0);
    let again = house.submit(&sweep).await;
    assert_eq!((again.new_tasks, again.retried_tasks, again.done_tasks), (0, 0, 7));
    assert!(worker.hears_nothing_for(Duration::from_millis(500)).await);
    assert_eq!(house.sweep(&id).await.state, "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attacks_in_shards_are_skipped_whole_with_the_last_shard_of_the_earlier_one() {
    let house = House::with(Config { shard_time: Duration::from_millis(1), ..quick() }).await;
    let submitted = house.submit(&cascade("s", &["8/255"])).await;
    assert_eq!((submitted.tasks, submitted.shards, submitted.sharded_attacks), (1 + 3 * 4, 9, 3));
    let mut worker = house.worker("w1", 1).await;
    for _ in 0..3 {
        next(&mut worker).await;
    }
    assert_eq!(skipped(&house, &submitted.sweep_id).await, []);
    next(&mut worker).await;
    assert_eq!(skipped(&house, &submitted.sweep_id).await, both());
    let status = house.sweep(&submitted.sweep_id).await;
    assert_eq!((status.state.as_str(), status.tasks.unwrap().pointless), ("succeeded", 2 * 4));
    assert!((status.total_cost - status.done_cost).abs() < 1e-9 * status.total_cost);
    assert_eq!(house.number("select count(*) from tasks where reason is distinct from case when pointless then 'pointless: first 8/255 left 0 of 600 examples robust' end").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attacks_in_shards_that_have_a_point_wait_for_the_earlier_one_and_run() {
    let house = House::with(Config { shard_time: Duration::from_millis(1), ..quick() }).await;
    let submitted = house.submit(&cascade("s", &["2/255"])).await;
    let mut worker = house.worker("w1", 3).await;
    let done = worker.work_by(report).await;
    assert_eq!(done.len(), 1 + 3 * 3);
    let first_of = |name: &str| done.iter().position(|label| label.contains(name)).unwrap();
    let last_of = |name: &str| done.iter().rposition(|label| label.contains(name)).unwrap();
    assert!(last_of("first") < first_of("second") && last_of("second") < first_of("third"), "{done:?}");
    assert_eq!(house.sweep(&submitted.sweep_id).await.state, "succeeded");
    assert_eq!(house.number("select count(*) from results where examples = 600").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_attack_that_another_sweep_evaluated_decides_at_the_submission() {
    let house = House::start().await;
    let alone = house.submit(&scratch_under("alone", &[0], &attack("first", &["8/255", "2/255"], ""))).await;
    let mut worker = house.worker("w1", 1).await;
    assert_eq!(worker.work_by(report).await.len(), 3);
    let submitted = house.submit(&cascade("s", &["8/255", "2/255"])).await;
    assert_eq!((submitted.tasks, submitted.new_tasks, submitted.done_tasks), (7, 4, 3));
    assert_eq!(skipped(&house, &submitted.sweep_id).await, both());
    assert_eq!(house.sweep(&submitted.sweep_id).await.tasks.unwrap().pointless, 2);
    assert_eq!(worker.work_by(report).await.len(), 2, "what has a point is run");
    for sweep in [&submitted.sweep_id, &alone.sweep_id] {
        assert_eq!(house.sweep(sweep).await.state, "succeeded");
    }
    assert_eq!(skipped(&house, &alone.sweep_id).await, []);
    // A third sweep finds them skipped, and one without the cascade evaluates the attack itself.
    let third = house.submit(&cascade("third", &["8/255"])).await;
    assert_eq!(
        (third.new_tasks, third.done_tasks, house.sweep(&third.sweep_id).await.state.as_str()),
        (0, 4, "succeeded")
    );
    let plain = house.submit(&scratch_under("plain", &[0], &attack("second", &["8/255"], "target = \"random\""))).await;
    assert_eq!((plain.new_tasks, plain.done_tasks), (1, 1));
    assert_eq!(worker.work_by(report).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cancelled_and_became_pointless_meanwhile_is_skipped_by_the_retry() {
    let house = House::start().await;
    let submitted = house.submit(&cascade("s", &["8/255"])).await;
    assert_eq!(house.cancel(&submitted.sweep_id).await.state, "cancelled");
    house.submit(&scratch_under("alone", &[0], &attack("first", &["8/255"], ""))).await;
    let mut worker = house.worker("w1", 1).await;
    assert_eq!(worker.work_by(report).await.len(), 2);
    assert_eq!(house.counts(&submitted.sweep_id).await, [0, 0, 0, 2, 0, 2, 0]);
    house.retry(&submitted.sweep_id).await;
    assert_eq!(skipped(&house, &submitted.sweep_id).await, both());
    assert_eq!(house.sweep(&submitted.sweep_id).await.state, "succeeded");
    assert!(worker.hears_nothing_for(Duration::from_millis(500)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_attack_that_fails_takes_the_others_with_it_until_it_is_tried_again() {
    let house = House::start().await;
    let submitted = house.submit(&cascade("s", &["8/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    next(&mut worker).await;
    let first = worker.assigned().await;
    assert_eq!(worker.report(attempt(&first), failed("permanent", "a cosmic ray")).await, Verdict::Accepted);
    let status = house.sweep(&submitted.sweep_id).await;
    let tasks = status.tasks.unwrap();
    assert_eq!((status.state.as_str(), tasks.failed, tasks.skipped, tasks.pointless), ("failed", 1, 2, 0));
    assert_eq!(house.retry(&submitted.sweep_id).await, 3);
    assert_eq!(next(&mut worker).await, "first 8/255");
    assert_eq!(skipped(&house, &submitted.sweep_id).await, both());
    assert_eq!(house.sweep(&submitted.sweep_id).await.state, "succeeded");
}
