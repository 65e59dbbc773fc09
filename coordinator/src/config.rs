//! Settings of a coordinator.

use std::time::Duration;

use gauntlet_domain::task::RetryPolicy;

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
            database_connections: 16,
            database_patience: Duration::from_secs(30),
        }
    }
}

impl Config {
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
