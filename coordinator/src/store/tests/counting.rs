//! The numbers that sweeps keep of their tasks.

use gauntlet_domain::task::{Failure, FailureClass};
use proptest::collection::vec;

use super::batches::{claim_all, report, result};
use super::*;
use crate::store::counts::{Counts, Standing};

/// What may happen to a few sweeps that share tasks.
#[derive(Debug, Clone, Copy)]
enum Step {
    Submit(usize),
    Cancel(usize),
    Retry(usize),
    Pause(usize),
    Resume(usize),
    Delete(usize),
    /// One step of the removal of what was deleted.
    Remove,
    /// Claims what is ready, and hands half of it back.
    Claim,
    /// Ends some of what is claimed: the first by results, then by failures of either kind, then by silence.
    End(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0usize..5).prop_map(Step::Submit),
        1 => (0usize..5).prop_map(Step::Cancel),
        1 => (0usize..5).prop_map(Step::Retry),
        1 => (0usize..5).prop_map(Step::Pause),
        1 => (0usize..5).prop_map(Step::Resume),
        1 => (0usize..5).prop_map(Step::Delete),
        2 => Just(Step::Remove),
        3 => Just(Step::Claim),
        4 => (0u8..8).prop_map(Step::End),
    ]
}

/// Attacks after the first, which leaves half of the examples robust: one that this makes pointless with what comes after it, and one that it does not.
const CASCADE: &str = r#"
    [[attack]]
    name = "pointless"
    method = "noise"
    eps = "2/255"
    examples = 4
    cascade = { after = "fgsm", until_aai = 0.5 }
    [[attack]]
    name = "last"
    method = "noise"
    draws = 2
    eps = "2/255"
    examples = 4
    cascade = { after = "pointless" }
    [[attack]]
    name = "goes-on"
    method = "noise"
    eps = "2/255"
    examples = 4
    cascade = { after = "fgsm", until_aai = 0.4 }
"#;

fn plans() -> [Plan; 5] {
    [
        sweep_of(0..3, &["1/255", "2/255"]),
        sweep_of(1..4, &["2/255"]),
        sweep_of(0..4, &["2/255", "4/255"]),
        sweep_of(3..5, &["1/255"]),
        sweep_under(1..4, &["2/255"], CASCADE),
    ]
}

async fn happen(store: &Store, step: Step, claimed: &mut Vec<Claimed>, session: i64) {
    let plans = plans();
    match step {
        Step::Submit(sweep) => drop(store.submit(&plans[sweep], "", &[], &Charge::default()).await.unwrap()),
        Step::Cancel(sweep) => drop(store.cancel_sweep(plans[sweep].sweep_id.as_str()).await.unwrap()),
        Step::Retry(sweep) => drop(store.retry_sweep(plans[sweep].sweep_id.as_str()).await.unwrap()),
        Step::Pause(sweep) => store.pause_sweep(plans[sweep].sweep_id.as_str(), false).await.unwrap(),
        Step::Resume(sweep) => store.resume_sweep(plans[sweep].sweep_id.as_str()).await.unwrap(),
        Step::Delete(sweep) => drop(store.delete_sweep(plans[sweep].sweep_id.as_str(), true).await.unwrap()),
        Step::Remove => drop(store.remove_some().await.unwrap()),
        Step::Claim => {
            let mut claims = claim_all(store, "w1", session).await;
            let kept = claims.split_off(claims.len() / 2);
            let handed_back: Vec<Report> =
                claims.iter().map(|claim| report(claim, Content::HandedBack(String::new()))).collect();
            store.store_reports(&handed_back.iter().collect::<Vec<_>>()).await.unwrap();
            claimed.extend(kept);
        }
        Step::End(7) => {
            let orphans: Vec<Orphan> =
                claimed.drain(..).map(|claim| Orphan { attempt: claim.attempt, worker: claim.worker }).collect();
            store.take_back(&orphans).await.unwrap();
        }
        Step::End(kind) => {
            let ends: Vec<Claimed> = claimed.drain(..claimed.len().div_ceil(2)).collect();
            let content = |(number, claim): (usize, &Claimed)| match (usize::from(kind) + number) % 7 {
                0 => Content::Nonsense("nothing".to_owned()),
                1 => Content::Failed(Failure { class: FailureClass::Transient, message: "lost".to_owned() }),
                2 => Content::Failed(Failure { class: FailureClass::Permanent, message: "bad data".to_owned() }),
                _ => result(claim),
            };
            let reports: Vec<Report> =
                ends.iter().enumerate().map(|(number, claim)| report(claim, content((number, claim)))).collect();
            store.store_reports(&reports.iter().collect::<Vec<_>>()).await.unwrap();
        }
    }
}

/// What the sweeps keep, and what a count of all tasks gives.
async fn kept_and_counted(store: &Store) -> Vec<(Counts, Counts)> {
    let sweeps: Vec<String> = sqlx::query_scalar("select sweep_id from sweeps where deleted_at is null order by 1")
        .fetch_all(&store.pool)
        .await
        .unwrap();
    let kept = store.sweep_counts(&sweeps).await.unwrap();
    let mut both = Vec::new();
    for sweep in &sweeps {
        let mut counted = Counts::default();
        let mut leased = 0;
        let rows = sqlx::query_as::<_, (String, bool, f64)>(
            "select t.state::text, t.pointless, s.cost from sweep_tasks st join tasks t using (task_id) join task_specs s using (task_id) where st.sweep_id = $1",
        );
        for (state, pointless, cost) in rows.bind(sweep).fetch_all(&store.pool).await.unwrap() {
            let state = TaskState::from_name(&state).unwrap();
            counted.add(Standing { state, pointless, cost });
            leased += u64::from(state == TaskState::Leased);
        }
        let cells = sqlx::query_scalar::<_, i64>("select count(*) from sweep_cells where sweep_id = $1");
        counted.cells = cells.bind(sweep).fetch_one(&store.pool).await.unwrap().try_into().unwrap();
        let (mut kept, kept_leased) = kept[sweep];
        assert_eq!(kept_leased, leased);
        for (kept, counted) in [(&mut kept.total_cost, counted.total_cost), (&mut kept.done_cost, counted.done_cost)] {
            assert!((*kept - counted).abs() <= 1e-9 * counted.max(1.0), "{kept} against {counted}");
            *kept = counted;
        }
        both.push((kept, counted));
    }
    both
}

/// Tasks that could go on for a sweep that runs, and are in the queue of one that is cancelled, paused or gone.
async fn waiting_for_nobody(store: &Store) -> i64 {
    let query = sqlx::query_scalar(
        "select count(*) from tasks t
        where t.state in ('pending', 'ready', 'leased')
            and exists (
                select from sweep_tasks st join sweeps s using (sweep_id)
                where st.task_id = t.task_id and s.cancelled_at is null and s.paused_at is null
            )
            and not exists (select from sweeps s where s.queue_key = t.queue_key and s.cancelled_at is null and s.paused_at is null)",
    );
    query.fetch_one(&store.pool).await.unwrap()
}

/// Rows that stay when all sweeps are deleted and everything is removed.
async fn left_when_all_is_deleted(store: &Store) -> i64 {
    for plan in plans() {
        store.delete_sweep(plan.sweep_id.as_str(), true).await.unwrap();
    }
    while store.remove_some().await.unwrap() == Removal::Some {}
    let query = sqlx::query_scalar(
        "select (select count(*) from sweeps) + (select count(*) from sweep_cells) + (select count(*) from sweep_tasks)
            + (select count(*) from sweep_counts) + (select count(*) from task_specs) + (select count(*) from tasks)
            + (select count(*) from task_inputs) + (select count(*) from attempts) + (select count(*) from attack_results)
            + (select count(*) from checkpoints) + (select count(*) from unwanted_tasks)",
    );
    query.fetch_one(&store.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_history_a_sweeps_numbers_are_those_of_a_recount() {
    let handle = tokio::runtime::Handle::current();
    let house = House::start().await;
    let check = move || {
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() });
        let result = runner.run(&vec(any_step(), 5..30), |steps| {
            handle.block_on(async {
                sqlx::query("truncate sweeps, sweep_cells, task_specs, workers, attempts, attack_results, unwanted_tasks, artifacts, unreferenced_artifacts cascade")
                    .execute(&house.store.pool)
                    .await
                    .unwrap();
                let session = house.worker("w1").await;
                let mut claimed = Vec::new();
                for step in steps {
                    happen(&house.store, step, &mut claimed, session).await;
                }
                for (kept, counted) in kept_and_counted(&house.store).await {
                    prop_assert_eq!(kept, counted);
                }
                prop_assert_eq!(waiting_for_nobody(&house.store).await, 0);
                prop_assert_eq!(left_when_all_is_deleted(&house.store).await, 0);
                Ok(())
            })
        });
        result.unwrap();
    };
    tokio::task::spawn_blocking(check).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sweeps_that_change_at_once_keep_their_numbers_and_never_deadlock() {
    let house = House::start().await;
    let mut all = Vec::new();
    for number in 0..4usize {
        let name = format!("w{number}");
        let session = house.worker(&name).await;
        let store = house.store.clone();
        all.push(tokio::spawn(async move {
            let plans = plans();
            for round in 0..12usize {
                store.submit(&plans[(number + round) % 5], "", &[], &Charge::default()).await?;
                let claims = claim_all(&store, &name, session).await;
                let reports: Vec<Report> = claims.iter().map(|claim| report(claim, result(claim))).collect();
                store.store_reports(&reports.iter().collect::<Vec<_>>()).await?;
                if round % 3 == 0 {
                    store.cancel_sweep(plans[(number + 2 * round) % 5].sweep_id.as_str()).await?;
                    store.retry_sweep(plans[(number + 2 * round) % 5].sweep_id.as_str()).await?;
                }
                if round % 4 == 1 {
                    retry_conflicts(|| store.delete_sweep(plans[(number + round) % 5].sweep_id.as_str(), true)).await?;
                }
                retry_conflicts(|| store.remove_some()).await?;
                retry_conflicts(|| store.condemn_unreferenced()).await?;
            }
            Ok::<(), Error>(())
        }));
    }
    for task in all {
        task.await.unwrap().unwrap();
    }
    for (kept, counted) in kept_and_counted(&house.store).await {
        assert_eq!(kept, counted);
    }
    assert_eq!(waiting_for_nobody(&house.store).await, 0);
    assert_eq!(left_when_all_is_deleted(&house.store).await, 0);
}
