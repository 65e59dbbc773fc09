//! The only SQL of Gauntlet, checked at compile time. Every change of a task's state is decided by `domain::task::apply` and written by
//! [`Work`], but for the claim of ready tasks, which mirrors `Event::Leased` for a whole batch in one statement.
//!
//! Locks are taken in one order everywhere, so that transactions never deadlock: workers by id, the sweep, specs, demands, tasks by `(depth, task_id)`
//! (inputs first), files, artifacts, counts of sweeps by sweep. Tasks are locked `for no key update`, which lets rows that refer to them be inserted beside it.

mod analyses;
mod artifacts;
mod cascade;
mod checks;
mod claim;
mod contenders;
mod counts;
mod deletion;
mod demands;
mod error;
mod explain;
mod fleet;
mod forecast;
mod leases;
mod masking;
mod merge;
mod outputs;
mod pauses;
mod queues;
mod quotas;
mod removal;
mod report;
mod results;
mod rows;
mod shards;
mod snapshots;
mod submit;
mod sweeps;
mod terms;
#[cfg(test)]
mod tests;
mod users;
mod wanted;
mod work;

use std::str::FromStr as _;
use std::time::Duration;

use gauntlet_domain::task::RetryPolicy;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

pub use claim::{ClaimFor, Claimed, TrainingCheckpoint};
pub use contenders::{Contenders, Known, Mark, Marks};
pub use deletion::Deletion;
pub use demands::{DemandRow, Learnt};
pub use error::{Error, retry_conflicts};
pub use explain::{AttemptRow, InputRow, TaskDetails};
pub use fleet::WorkerRow;
pub use forecast::{Foresight, UnfinishedRow};
pub use leases::{Hello, Orphan, Welcomed};
pub use queues::{Front, PreemptibleRow};
pub use removal::Removal;
pub use report::{Content, Report, Stored, Verdict};
pub use submit::Charge;
pub use sweeps::{EndedRow, Resolved, RunningRow, SweepStatus};
pub use users::UserRow;
pub use work::Transition;

use work::Work;

/// How submissions become tasks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planning {
    /// Attacks expected to take longer are split into shards that take about so long; 0 for never.
    pub shard_secs: f64,
    /// What goes first of what is ready.
    pub order: Order,
}

/// What goes first of the ready tasks of one sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The one with the longest chain of tasks behind it, in expected seconds.
    #[default]
    CriticalPath,
    /// The one that stands first in its sweep: to compare with.
    Fifo,
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    policy: RetryPolicy,
    planning: Planning,
}

impl Store {
    /// The database behind `pool`. Nothing is split unless [`Self::planning`] says so.
    pub const fn new(pool: PgPool, policy: RetryPolicy) -> Self {
        Self { pool, policy, planning: Planning { shard_secs: 0.0, order: Order::CriticalPath } }
    }

    /// The same with submissions planned so.
    #[must_use]
    pub fn planning(self, planning: Planning) -> Self {
        Self { planning, ..self }
    }

    /// Connections to the database at `url`, made when they are needed.
    ///
    /// # Errors
    /// The URL makes no sense.
    pub fn connect(url: &str, connections: u32, policy: RetryPolicy) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)?.application_name("gauntlet-coordinator").options([
            ("statement_timeout", "120s"),
            ("lock_timeout", "30s"),
            ("idle_in_transaction_session_timeout", "60s"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(5))
            .test_before_acquire(true)
            .connect_lazy_with(options);
        Ok(Self::new(pool, policy))
    }

    /// Brings the schema up to this version's.
    ///
    /// # Errors
    /// The database cannot be reached, or its schema is of a later version.
    pub async fn migrate(&self) -> Result<(), Error> {
        let migrated = sqlx::migrate!("../migrations").run(&self.pool).await;
        migrated.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            other => Error::Refused(sqlx::Error::Migrate(Box::new(other))),
        })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query_scalar!(r#"select 1 as "one!""#).fetch_one(&self.pool).await?;
        Ok(())
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn begin(&self) -> Result<Work, Error> {
        Work::begin(&self.pool, self.policy).await
    }
}
