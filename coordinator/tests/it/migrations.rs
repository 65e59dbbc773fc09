//! A coordinator of this version on a database that an earlier one filled.

use std::collections::BTreeMap;

use gauntlet_postgres::testing::TestDatabase;
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::{self, AttemptRef};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::house::{House, quick};
use crate::worker::{Worker, outcomes};

const POPULATED: &str = include_str!("../fixtures/populated_0004.sql");
/// Examples of each of its attacks.
const EXAMPLES: usize = 52;

/// A database as the coordinator of migration 0004 left it when it was stopped for an upgrade.
async fn of_migration_4() -> TestDatabase {
    let database = tokio::task::spawn_blocking(|| TestDatabase::create().unwrap()).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
    let mut migrations = sqlx::migrate!("../migrations");
    migrations.migrations.to_mut().retain(|migration| migration.version <= 4);
    migrations.run(&pool).await.unwrap();
    sqlx::raw_sql(POPULATED).execute(&pool).await.unwrap();
    pool.close().await;
    database
}

/// As many outcomes as these attacks have examples.
fn attacked(seed: &str) -> Content {
    let v1::Outcomes { label, clean_prediction, adversarial_prediction, clean_loss, adversarial_loss, distance } =
        outcomes(seed);
    fn tiled<T: Copy>(values: &[T]) -> Vec<T> {
        values.iter().copied().cycle().take(EXAMPLES).collect()
    }
    let outcomes = v1::Outcomes {
        label: tiled(&label),
        clean_prediction: tiled(&clean_prediction),
        adversarial_prediction: tiled(&adversarial_prediction),
        clean_loss: tiled(&clean_loss),
        adversarial_loss: tiled(&adversarial_loss),
        distance: tiled(&distance),
    };
    Content::Attacked(v1::Attacked { outcomes: Some(outcomes), model_queries: 8, zero_gradient_examples: 0 })
}

async fn leased(pool: &PgPool) -> Vec<AttemptRef> {
    let rows: Vec<(String, i32)> = sqlx::query_as(
        "select encode(task_id, 'hex'), attempt from tasks where state = 'leased' and worker_id = 'worker-a'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let attempt = |(task_id, number): (String, i32)| AttemptRef { task_id, attempt: number as u32 };
    rows.into_iter().map(attempt).collect()
}

/// AAI by row of the results, where there is one.
async fn aai(pool: &PgPool) -> BTreeMap<String, f64> {
    let rows: Vec<(String, f64)> = sqlx::query_as(
        "select concat_ws(' ', init, recipe, seed, attack, eps), aai::float8 from results where sweep = 'small-a714594b'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_populated_database_is_migrated_and_what_was_running_meanwhile_goes_on() {
    let database = of_migration_4().await;
    let pool = PgPoolOptions::new().max_connections(2).connect(database.url()).await.unwrap();
    let (running, before) = (leased(&pool).await, aai(&pool).await);
    assert_eq!((running.len(), before.len()), (2, 3));

    let house = House::on(database, quick()).await;
    // It computed through the upgrade, and its lease has long run out by the clock.
    let mut worker = Worker::connect(&house.endpoint, "worker-a", 2, &running).await.unwrap();
    for (number, attempt) in running.iter().enumerate() {
        let verdict = worker.report(attempt.clone(), attacked(&number.to_string())).await;
        assert_eq!(verdict, Verdict::Accepted, "{attempt:?}");
    }
    let mut others = house.worker("worker-b", 2).await;
    let (mine, theirs) =
        tokio::join!(worker.work_by(|it| attacked(&it.label)), others.work_by(|it| attacked(&it.label)));
    assert_eq!(mine.len() + theirs.len(), 7, "what was ready was given away, and nothing else");
    assert_eq!(house.counts("small-a714594b").await, [0, 0, 0, 20, 0, 0, 0]);

    let after = aai(&pool).await;
    assert_eq!(after.len(), 12);
    assert!(before.iter().all(|(row, aai)| after.get(row) == Some(aai)), "results from before are as they were");
    assert_eq!(house.number("select count(*) from attempts where outcome = 'lost'").await, 0);
}
