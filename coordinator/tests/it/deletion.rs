use std::time::Duration;

use gauntlet_coordinator::Config;
use gauntlet_proto::v1;
use gauntlet_proto::v1::acknowledge::Verdict;
use tonic::{Code, Status};

use crate::house::{Host, House, eventually, quick};
use crate::sweep_files::{pretrained, scratch, scratch_under};
use crate::worker::{attempt, trained};

/// A coordinator that removes what is deleted only when a test waits for very long.
fn slow() -> Config {
    Config { removal_interval: Duration::from_secs(3600), ..quick() }
}

async fn try_delete(host: &Host, id: &str, cancel: bool) -> Result<(), Status> {
    let request = v1::DeleteSweepRequest { sweep_id: id.to_owned(), cancel };
    host.sweeps().await.delete_sweep(request).await.map(drop)
}

async fn delete(host: &Host, id: &str) {
    try_delete(host, id, false).await.unwrap();
}

/// Rows about sweeps, tasks and what came of them.
async fn rows(house: &House) -> i64 {
    let about = |name: &str| {
        ["sweep", "task", "attempt", "checkpoint", "attack", "epoch", "unwanted"].iter().any(|part| name.contains(part))
    };
    house.row_counts().await.into_iter().filter(|(table, _)| about(table)).map(|(_, count)| count).sum()
}

async fn nothing_is_left(house: &House) {
    eventually(|| async { (rows(house).await == 0).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_sweep_is_gone_from_everywhere_at_once_and_from_the_database_a_little_later() {
    let house = House::start().await;
    let id = house.submit(&pretrained("s", &[0, 1], &["2/255", "4/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 2).await;
    worker.work().await;
    assert_eq!(house.number("select count(*) from results").await, 4);
    delete(&house, "s").await;
    for view in ["results", "outcomes", "run_metrics", "transfer_gap", "masking_warnings"] {
        let query = sqlx::AssertSqlSafe(format!("select count(*) from {view}"));
        assert_eq!(sqlx::query_scalar::<_, i64>(query).fetch_one(&house.pool).await.unwrap(), 0, "{view}");
    }
    let mut sweeps = house.sweeps().await;
    assert!(sweeps.list_sweeps(v1::ListSweepsRequest::default()).await.unwrap().into_inner().sweeps.is_empty());
    let gone = sweeps.get_sweep(v1::GetSweepRequest { sweep_id: id.clone() }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert_eq!(try_delete(&house, &id, false).await.unwrap_err().code(), Code::NotFound);
    nothing_is_left(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_that_has_not_ended_is_deleted_only_together_with_its_cancellation() {
    let house = House::start().await;
    let id = house.submit(&scratch("s", &[0], &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    let running = worker.assigned().await;
    let refused = try_delete(&house, &id, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("2 of its tasks are unfinished"), "{}", refused.message());
    try_delete(&house, &id, true).await.unwrap();
    assert_eq!(worker.cancelled().await.attempt, running.attempt);
    nothing_is_left(&house).await;
    assert_eq!(worker.report(attempt(&running), trained("late")).await, Verdict::Stale);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_sweep_wants_survives_with_its_results() {
    let house = House::start().await;
    let one = house.submit(&scratch("one", &[0, 1], &["2/255"])).await.sweep_id;
    let two = house.submit(&scratch("two", &[1, 2], &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 2).await;
    worker.work().await;
    let before = house.number("select sum(robust_correct)::bigint from results where sweep like 'two%'").await;
    delete(&house, &one).await;
    eventually(|| async { (house.number("select count(*) from tasks").await == 4).then_some(()) }).await;
    eventually(|| async { (house.number("select count(*) from unwanted_tasks").await == 0).then_some(()) }).await;
    assert_eq!(house.counts(&two).await, [0, 0, 0, 4, 0, 0, 0]);
    let after = house.number("select sum(robust_correct)::bigint from results where sweep like 'two%'").await;
    assert_eq!((before, house.number("select count(*) from results").await), (after, 2));
    let task: String =
        sqlx::query_scalar("select encode(task_id, 'hex') from tasks limit 1").fetch_one(&house.pool).await.unwrap();
    assert_eq!(house.explain(&task).await.sweeps, [two]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_for_a_deleted_sweep_and_another_one_goes_on_for_that_one() {
    let house = House::start().await;
    let one = house.submit(&scratch("one", &[0], &["2/255"])).await.sweep_id;
    let two = house.submit(&scratch("two", &[0], &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    let running = worker.assigned().await;
    try_delete(&house, &one, true).await.unwrap();
    eventually(|| async { (house.number("select count(*) from sweeps").await == 1).then_some(()) }).await;
    assert_eq!(worker.finish(&running).await, Verdict::Accepted);
    assert_eq!(worker.work().await.len(), 1);
    assert_eq!(house.sweep(&two).await.state, "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_looks_while_a_sweep_is_deleted_sees_all_of_it_or_nothing() {
    let house = House::start().await;
    let seeds: Vec<u64> = (0..60).collect();
    let id = house.submit(&scratch("s", &seeds, &["1/255", "2/255", "4/255"])).await.sweep_id;
    house.worker("w1", 100).await.work().await;
    let pool = house.pool.clone();
    let looking = tokio::spawn(async move {
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let rows: i64 = sqlx::query_scalar("select count(*) from results").fetch_one(&pool).await.unwrap();
            seen.insert(rows);
            let tasks: i64 = sqlx::query_scalar("select count(*) from tasks").fetch_one(&pool).await.unwrap();
            if tasks == 0 {
                return seen;
            }
        }
    });
    delete(&house, &id).await;
    nothing_is_left(&house).await;
    assert!(looking.await.unwrap().into_iter().all(|rows| rows == 0 || rows == 180));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_a_coordinator_leaves_in_the_middle_is_finished_by_another() {
    let mut house = House::start().await;
    let seeds: Vec<u64> = (0..700).collect();
    let id = house.submit(&scratch("s", &seeds, &["2/255"])).await.sweep_id;
    try_delete(&house, &id, true).await.unwrap();
    // A removal takes at most 200 tasks at once.
    eventually(|| async { (house.number("select count(*) from tasks").await < 1400).then_some(()) }).await;
    house.host.kill();
    assert!(rows(&house).await > 0, "it was killed in the middle");
    let _other = house.another().await;
    nothing_is_left(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_submission_that_wants_what_is_being_removed_gets_all_of_it() {
    let house = House::start().await;
    let other = house.another().await;
    let mut worker = house.worker("w1", 8).await;
    for round in 0..6u64 {
        let seeds: Vec<u64> = (10 * round..10 * round + 10).collect();
        let old = scratch(&format!("old-{round}"), &seeds, &["1/255", "2/255"]);
        let id = house.submit(&old).await.sweep_id;
        worker.work().await;
        // The same sweep again, or another one that wants the same and more.
        let new = if round % 2 == 0 { old } else { scratch(&format!("new-{round}"), &seeds, &["2/255", "4/255"]) };
        delete(&house, &id).await;
        tokio::time::sleep(Duration::from_millis(15 * round)).await;
        let submitted = other.submit(&new).await;
        worker.work().await;
        let sweep = house.sweep(&submitted.sweep_id).await;
        assert_eq!((sweep.state.as_str(), sweep.tasks.unwrap().succeeded), ("succeeded", 30), "round {round}");
        let results = "select count(*) from results r where r.sweep in (select sweep_id from sweeps order by submitted_at desc limit 1)";
        assert_eq!(house.number(results).await, 20, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attack_goes_together_with_its_shards_and_is_computed_anew_when_it_is_wanted_again() {
    let config = Config { shard_time: Duration::from_millis(1), ..quick() };
    let house = House::with(config).await;
    let attack = "\n[[attack]]\nname = \"fgsm\"\nmethod = \"fgsm\"\neps = \"2/255\"\nexamples = 600\n";
    let toml = scratch_under("s", &[0], attack);
    let submitted = house.submit(&toml).await;
    assert_eq!(submitted.shards, 3);
    let mut worker = house.worker("w1", 1).await;
    assert_eq!(worker.work_by(crate::shards::honest).await.len(), 4);
    let id = submitted.sweep_id;
    delete(&house, &id).await;
    nothing_is_left(&house).await;
    let again = house.submit(&toml).await;
    assert_eq!((again.new_tasks, again.done_tasks), (5, 0));
    assert_eq!(worker.work_by(crate::shards::honest).await.len(), 4);
    assert_eq!(house.sweep(&id).await.state, "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_sweep_that_is_submitted_again_begins_anew() {
    let house = House::with(slow()).await;
    let source = v1::SweepSource { toml: scratch("s", &[0], &["2/255"]), files: Vec::new() };
    let request = v1::SubmitSweepRequest { source: Some(source), ..Default::default() };
    let terms = v1::SubmitSweepRequest { weight: Some(5), max_concurrent: Some(1), ..request.clone() };
    let mut sweeps = house.sweeps().await;
    let id = sweeps.submit_sweep(terms).await.unwrap().into_inner().sweep_id;
    try_delete(&house, &id, true).await.unwrap();
    sweeps.submit_sweep(request).await.unwrap();
    let sweep = house.sweep(&id).await;
    assert_eq!((sweep.state.as_str(), sweep.weight, sweep.max_concurrent, sweep.cells), ("running", 1, None, 1));
    assert_eq!(house.worker("w1", 1).await.work().await.len(), 2);
    assert_eq!(house.counts(&id).await, [0, 0, 0, 2, 0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweeps_that_ended_longer_ago_than_they_are_kept_go_by_themselves() {
    let house = House::start().await;
    let old = house.submit(&scratch("old", &[0], &["2/255"])).await.sweep_id;
    let young = house.submit(&scratch("young", &[1], &["2/255"])).await.sweep_id;
    house.worker("w1", 1).await.work().await;
    let unfinished = house.submit(&scratch("unfinished", &[2], &["2/255"])).await.sweep_id;
    let aged = "update sweeps set submitted_at = submitted_at - interval '40 days'";
    sqlx::query(aged).execute(&house.pool).await.unwrap();
    let ended = "update tasks t set changed_at = changed_at - interval '31 days' from sweep_tasks st
        where st.task_id = t.task_id and st.sweep_id <> $1";
    sqlx::query(ended).bind(&young).execute(&house.pool).await.unwrap();
    let retention = Some(Duration::from_secs(30 * 24 * 3600));
    let _keeper = house.another_with(Config { retention, ..quick() }).await;
    eventually(|| async { (house.number("select count(*) from sweeps").await == 2).then_some(()) }).await;
    assert_eq!(house.sweep(&young).await.state, "succeeded");
    assert_eq!(house.sweep(&unfinished).await.state, "running");
    let gone = house.sweeps().await.get_sweep(v1::GetSweepRequest { sweep_id: old }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}
