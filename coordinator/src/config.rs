//! Settings of a coordinator.

use std::time::Duration;

use gauntlet_domain::task::RetryPolicy;

use crate::store::Planning;

pub use crate::store::Order;

/// Settings of a coordinator. The defaults are right for a cluster; tests shorten the times.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name in the database and in messages; different for each of several coordinators on one database.
    pub coordinator_id: String,
    /// How often workers are asked to send a heartbeat. One that misses three gets no new work.
    pub heartbeat_interval: Duration,
    /// How long a worker out of touch keeps what it runs.
    pub lease_ttl: Duration,
    /// How often and how fast failures are retried.
    pub retry: RetryPolicy,
    /// Attacks expected to take longer are split into shards that take about so long each; zero for never. Results do not depend on it.
    pub shard_time: Duration,
    /// What goes first of the ready tasks of one sweep.
    pub order: Order,
    /// How often it is learnt from finished attempts what work takes.
    pub learning_interval: Duration,
    /// How long sweeps are kept after their end; for ever where it is none.
    pub retention: Option<Duration>,
    /// How often it is looked for something to remove, where nothing tells of it.
    pub removal_interval: Duration,
    /// Most connections to the database.
    pub database_connections: u32,
    /// How long to wait for the database at the start.
    pub database_patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        Self {
            coordinator_id: format!("coordinator-{}", &unique[..8]),
            heartbeat_interval: Duration::from_secs(2),
            lease_ttl: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            shard_time: Duration::from_secs(120),
            order: Order::CriticalPath,
            learning_interval: Duration::from_secs(5),
            retention: None,
            removal_interval: Duration::from_secs(5),
            database_connections: 16,
            database_patience: Duration::from_secs(30),
        }
    }
}

impl Config {
    pub(crate) fn planning(&self) -> Planning {
        Planning { shard_secs: self.shard_time.as_secs_f64(), order: self.order }
    }

    /// A worker not heard of for this long gets no new work.
    pub fn silence(&self) -> Duration {
        self.heartbeat_interval * 3
    }

    /// How often leases are looked after: often enough that a cancellation through another coordinator arrives within two seconds.
    pub(crate) fn tick(&self) -> Duration {
        (self.lease_ttl / 6).min(Duration::from_secs(1))
    }

    /// A lease is renewed when this much of it has passed.
    pub(crate) fn renewal(&self) -> Duration {
        self.lease_ttl / 3
    }
}
