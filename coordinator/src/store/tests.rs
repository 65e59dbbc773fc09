//! The store alone, on a real Postgres.

mod batches;
mod counting;
mod looking;

use gauntlet_domain::plan::{Plan, PlannedTask};
use gauntlet_domain::schedule::{QueueView, ReadyTask};
use gauntlet_domain::statistics::{mean_and_deviation, wilson_interval};
use gauntlet_domain::task::{FailureCounts, Lease, RetryPolicy, Task, TaskState, Timestamp};
use gauntlet_domain::{AttemptNumber, AttemptRef, TaskId, WorkerId, catalogue, plan, sweep};
use gauntlet_postgres::testing::TestDatabase;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::report::Content;
use super::rows::LockedTask;
use super::work::Transition;
use super::*;

struct House {
    store: Store,
    _database: TestDatabase,
}

impl House {
    async fn start() -> Self {
        let database = tokio::task::spawn_blocking(|| TestDatabase::create().unwrap()).await.unwrap();
        let store = Store::connect(database.url(), 8, RetryPolicy::default()).unwrap();
        store.migrate().await.unwrap();
        Self { store, _database: database }
    }

    async fn worker(&self, name: &str) -> i64 {
        let hello = Hello {
            worker: name.parse().unwrap(),
            hostname: String::new(),
            slots: 1000,
            devices: serde_json::json!([]),
            labels: Default::default(),
            attempts: Vec::new(),
            remaining_secs: None,
        };
        self.store.open_session(&hello, "c", Duration::from_secs(30)).await.unwrap().session
    }
}

fn sweep_of(seeds: std::ops::Range<u64>, eps: &[&str]) -> Plan {
    sweep_under(seeds, eps, "")
}

/// The same with more sections.
fn sweep_under(seeds: std::ops::Range<u64>, eps: &[&str], more: &str) -> Plan {
    let toml = format!(
        r#"
        name = "s"
        seeds = {:?}
        [[dataset]]
        name = "glyphs"
        train_examples = 26
        [[model]]
        backbone = "resnet18-w16"
        [[init]]
        name = "scratch"
        [[recipe]]
        name = "standard"
        method = "standard"
        epochs = 1
        [[attack]]
        name = "fgsm"
        method = "fgsm"
        eps = {eps:?}
        examples = 4
        {more}
        "#,
        seeds.collect::<Vec<_>>()
    );
    plan::plan(&sweep::parse(&toml).unwrap(), &catalogue::pinned_facts()).unwrap()
}

/// The fronts of all queues, one after the other.
pub async fn ready(store: &Store, limit: usize) -> Vec<ReadyTask> {
    let queues = store.contenders(None).await.unwrap().queues;
    let front = |queue: QueueView| super::Front { queue: queue.key, demands: queue.demands, count: limit };
    let wanted: Vec<_> = queues.into_iter().map(front).collect();
    store.fronts(&wanted, &Marks::new(), false).await.unwrap().into_values().flatten().take(limit).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_from_before_minimum_norm_attacks_get_their_radii_as_numbers() {
    let database = tokio::task::spawn_blocking(|| TestDatabase::create().unwrap()).await.unwrap();
    let store = Store::connect(database.url(), 2, RetryPolicy::default()).unwrap();
    let mut before = sqlx::migrate!("../migrations");
    before.migrations.to_mut().retain(|migration| migration.version < 3);
    before.run(&store.pool).await.unwrap();
    let old = "insert into task_specs values ('\\x0000000000000000000000000000000000000000000000000000000000000000', 'attack', 'a', '{}', 1, 0);
        insert into tasks (task_id, state, pending_inputs) select task_id, 'ready', 0 from task_specs;
        insert into sweeps (sweep_id, name, source) values ('s-1', 's', '');
        insert into sweep_cells select 's-1', position, 'd', 'b', 'i', 'r', 0, 'a', 'linf', eps, null, task_id
            from task_specs, unnest(array['8/255', '0.5', '1e-3', '2.0/255.0']) with ordinality as e (eps, position)";
    sqlx::raw_sql(old).execute(&store.pool).await.unwrap();
    store.migrate().await.unwrap();
    let radii: Vec<Option<f64>> =
        sqlx::query_scalar("select eps_value from sweep_cells order by position").fetch_all(&store.pool).await.unwrap();
    assert_eq!(radii, [Some(8.0 / 255.0), Some(0.5), Some(1e-3), Some(2.0 / 255.0)]);
}

fn any_task() -> impl Strategy<Value = Task> {
    let state = prop::sample::select(TaskState::ALL.to_vec());
    let lease = prop::option::of(Just(Lease { worker: "w1".parse::<WorkerId>().unwrap() }));
    let reason = prop::option::of(Just("because".to_owned()));
    let failures = (0u32..4, 0u32..4, 0u32..3, 0u32..4).prop_map(|(lost, transient, crash, resource)| FailureCounts {
        lost,
        transient,
        crash,
        resource,
    });
    let evidence = prop::option::of(Just("attempt 1: killed by signal 6".to_owned()));
    let numbers = (0u32..3, 0u32..3, 0i64..4_000_000_000_000_000);
    let kind = (any::<bool>(), prop::bool::weighted(0.3));
    (state, lease, reason, kind, failures, evidence, numbers).prop_map(
        |(
            state,
            lease,
            reason,
            (merges, pointless),
            failures,
            crash_evidence,
            (attempt, pending_inputs, not_before),
        )| Task {
            state,
            attempt: AttemptNumber(attempt),
            lease,
            pending_inputs,
            merges,
            pointless,
            not_before: Timestamp(not_before),
            failures,
            crash_evidence,
            reason,
        },
    )
}

/// Writes `after` over `before`, and says whether Postgres let it. Nothing stays.
async fn writes(store: &Store, id: gauntlet_domain::TaskId, after: Task) -> Result<(), Error> {
    let mut work = store.begin().await?;
    let LockedTask { label, task: before, .. } = work.lock(&[id]).await?.remove(0);
    work.write(&[Transition::for_test(id, label, before, after.clone())]).await?;
    let written = work.lock(&[id]).await?.remove(0).task;
    assert_eq!(written, after, "what is written is read");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_refuses_exactly_the_tasks_that_the_domain_calls_impossible() {
    let house = House::start().await;
    let plan = sweep_of(0..1, &["2/255"]);
    house.store.submit(&plan, "", &[], &Charge::default()).await.unwrap();
    // Whether a task merges never changes: there is one of each.
    let ids = [plan.tasks[0].id, plan.tasks[1].id];
    let query = sqlx::query("update tasks set merges = true where task_id = $1").bind(super::rows::bytes(ids[1]));
    query.execute(&house.store.pool).await.unwrap();
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() });
        let result = runner.run(&any_task(), |task| {
            let written = handle.block_on(writes(&house.store, ids[usize::from(task.merges)], task.clone()));
            match (task.check(), written) {
                (Ok(()), Ok(())) => Ok(()),
                (Err(_), Err(Error::Refused(sqlx::Error::Database(error)))) if error.is_check_violation() => Ok(()),
                (domain, database) => {
                    Err(TestCaseError::fail(format!("{task:?}: domain {domain:?}, database {database:?}")))
                }
            }
        });
        result.unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_at_once_never_give_a_task_twice() {
    let house = House::start().await;
    let plan = sweep_of(0..200, &["2/255"]);
    house.store.submit(&plan, "", &[], &Charge::default()).await.unwrap();
    let mut claiming = Vec::new();
    for number in 0..4 {
        let name = format!("w{number}");
        let session = house.worker(&name).await;
        let store = house.store.clone();
        claiming.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let ready = ready(&store, 30).await;
                if ready.is_empty() {
                    return mine;
                }
                let claim = |task: gauntlet_domain::schedule::ReadyTask| ClaimFor {
                    task: task.id,
                    worker: name.parse().unwrap(),
                    session,
                    queue: None,
                    bounded: None,
                };
                let claims: Vec<ClaimFor> = ready.into_iter().map(claim).collect();
                mine.extend(store.claim(&claims).await.unwrap().into_iter().map(|claim| claim.attempt));
            }
        }));
    }
    let mut all = Vec::new();
    for claims in claiming {
        all.extend(claims.await.unwrap());
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!((count, all.len()), (200, 200));
    assert!(all.iter().all(|attempt| attempt.attempt == AttemptNumber(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_given_to_a_session_that_was_replaced() {
    let house = House::start().await;
    let plan = sweep_of(0..1, &["2/255"]);
    house.store.submit(&plan, "", &[], &Charge::default()).await.unwrap();
    let old = house.worker("w1").await;
    let new = house.worker("w1").await;
    let claim = |session| {
        vec![ClaimFor { task: plan.tasks[0].id, worker: "w1".parse().unwrap(), session, queue: None, bounded: None }]
    };
    assert!(house.store.claim(&claim(old)).await.unwrap().is_empty());
    assert_eq!(house.store.claim(&claim(new)).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reports_submissions_and_cancellations_at_once_never_deadlock_nor_lose_an_input() {
    let house = House::start().await;
    let plan = sweep_of(0..12, &["1/255", "2/255", "4/255"]);
    house.store.submit(&plan, "", &[], &Charge::default()).await.unwrap();
    let session = house.worker("w1").await;
    let worker: WorkerId = "w1".parse().unwrap();
    let trainings: Vec<&PlannedTask> = plan.tasks.iter().filter(|task| task.inputs.is_empty()).collect();
    let claims: Vec<ClaimFor> = trainings
        .iter()
        .map(|task| ClaimFor { task: task.id, worker: worker.clone(), session, queue: None, bounded: None })
        .collect();
    let claimed = house.store.claim(&claims).await.unwrap();
    let mut all = Vec::new();
    for claim in claimed {
        let (store, worker) = (house.store.clone(), worker.clone());
        all.push(tokio::spawn(async move {
            let artifact =
                gauntlet_domain::experiment::ArtifactRef { digest: gauntlet_domain::Digest::of(b"x"), size_bytes: 1 };
            let content = Content::Trained(artifact);
            let report = Report {
                worker,
                attempt: claim.attempt,
                spec: claim.spec,
                content,
                peak_memory_mib: None,
                uploaded_after: None,
            };
            store.store_reports(&[&report]).await.map(drop)
        }));
    }
    for seeds in [0..6, 3..9, 6..12, 0..12] {
        let store = house.store.clone();
        all.push(tokio::spawn(async move {
            let plan = sweep_of(seeds, &["2/255", "8/255", "4/255"]);
            store.submit(&plan, "", &[], &Charge::default()).await?;
            store.cancel_sweep(plan.sweep_id.as_str()).await?;
            store.submit(&plan, "", &[], &Charge::default()).await.map(drop)
        }));
    }
    for task in all {
        task.await.unwrap().unwrap();
    }
    let wrong = sqlx::query_scalar!(
        r#"select count(*) as "count!" from tasks t
        where t.pending_inputs <> (
            select count(*) from task_inputs i join tasks input on input.task_id = i.input_task_id
            where i.task_id = t.task_id and input.state <> 'succeeded'
        ) or t.state not in ('ready', 'succeeded')"#
    );
    assert_eq!(wrong.fetch_one(&house.store.pool).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_intervals_of_the_views_are_those_of_the_domain() {
    let house = House::start().await;
    for (successes, trials) in [(0, 1), (1, 1), (0, 500), (500, 500), (137, 500), (1, 10_000), (9_999, 10_000), (3, 7)]
    {
        let (low, high) = wilson_interval(successes, trials).unwrap();
        let bounds = sqlx::query!(
            r#"select wilson_bound($1, $2, -1) as "low!", wilson_bound($1, $2, 1) as "high!""#,
            successes as i64,
            trials as i64
        );
        let bounds = bounds.fetch_one(&house.store.pool).await.unwrap();
        assert!((bounds.low - low).abs() < 1e-12 && (bounds.high - high).abs() < 1e-12, "{successes} of {trials}");
    }
    let none = sqlx::query_scalar!(r#"select wilson_bound(0, 0, 1)"#).fetch_one(&house.store.pool).await.unwrap();
    assert_eq!(none, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mean_and_deviation_of_sql_are_those_of_the_domain() {
    let house = House::start().await;
    for values in [vec![0.5], vec![0.1, 0.7], vec![0.813, 0.79, 0.8221, 0.0, 1.0]] {
        let query = sqlx::query!(
            r#"select avg(x) as "mean!", stddev_samp(x) as deviation from unnest($1::double precision[]) as v (x)"#,
            &values
        );
        let sql = query.fetch_one(&house.store.pool).await.unwrap();
        let (mean, deviation) = mean_and_deviation(&values).unwrap();
        assert!((sql.mean - mean).abs() < 1e-12);
        assert_eq!(sql.deviation.is_some(), deviation.is_some());
        assert!(sql.deviation.zip(deviation).is_none_or(|(a, b)| (a - b).abs() < 1e-12));
    }
}

/// Values of R's `binom.test(a, a + b)$p.value`, which is the exact McNemar test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_paired_test_gives_known_values() {
    let house = House::start().await;
    let known = [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 5, 1.0),
        (10, 0, 0.001953125),
        (0, 10, 0.001953125),
        (3, 9, 0.14599609375),
        (1, 8, 0.0390625),
    ];
    for (a, b, p) in known {
        let found = sqlx::query_scalar!(r#"select mcnemar_exact($1, $2) as "p!""#, a, b)
            .fetch_one(&house.store.pool)
            .await
            .unwrap();
        assert!((found - p).abs() < 1e-12, "{a} against {b}: {found}, expected {p}");
    }
    let tiny =
        sqlx::query_scalar!(r#"select mcnemar_exact(0, 5000) as "p!""#).fetch_one(&house.store.pool).await.unwrap();
    assert!((0.0..1e-300).contains(&tiny));
    let even =
        sqlx::query_scalar!(r#"select mcnemar_exact(4000, 4000) as "p!""#).fetch_one(&house.store.pool).await.unwrap();
    assert!((even - 1.0).abs() < 1e-9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_beyond_all_columns_is_nobodys() {
    let house = House::start().await;
    let plan = sweep_of(0..1, &["2/255"]);
    house.store.submit(&plan, "", &[], &Charge::default()).await.unwrap();
    let attempt = AttemptRef { task: plan.tasks[0].id, attempt: AttemptNumber(u32::MAX) };
    let content = Content::HandedBack(String::new());
    let report = Report {
        worker: "w1".parse().unwrap(),
        attempt,
        spec: None,
        content,
        peak_memory_mib: None,
        uploaded_after: None,
    };
    let stored = house.store.store_reports(&[&report]).await.unwrap();
    assert!(matches!(stored.verdicts[..], [Verdict::Stale(_)]));
}
