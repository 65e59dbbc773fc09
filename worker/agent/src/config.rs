//! What an agent is told at its start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use gauntlet_domain::WorkerId;

use crate::error::AgentError;

/// Settings of an agent.
#[derive(Debug, Clone)]
pub struct Config {
    /// Coordinators of one database, as `http://host:port` or `host:port`; tried in turn.
    pub endpoints: Vec<String>,
    /// Where it keeps its id, unacknowledged reports, cached checkpoints and the folders of its attempts. One agent each.
    pub state_dir: PathBuf,
    /// Its name; by default one is made up and kept in the state directory.
    pub worker_id: Option<WorkerId>,
    /// Attempts it runs at once: executors it keeps.
    pub slots: u32,
    /// `cpu`, `cuda:0`, …: slot `i` computes on device `i` modulo their number.
    pub devices: Vec<String>,
    /// Memory of each device in MiB that tasks may take; what the machine tells, where nothing is stated. tch does not tell that of a CUDA device.
    pub device_memory_mib: Option<u64>,
    /// Threads of one operation on the CPU.
    pub threads_per_executor: u32,
    /// The `gauntlet-executor` to start.
    pub executor_binary: PathBuf,
    /// Variables set for the executors, beyond the agent's own.
    pub executor_environment: Vec<(String, String)>,
    /// Where artifacts are kept: a folder, as a path or as `file:///path`, that all workers of the coordinator share.
    pub artifact_store: String,
    /// Where data that set-up brings (fonts) lies.
    pub data_dir: PathBuf,
    /// What users ask for when they place work.
    pub labels: BTreeMap<String, String>,
    /// Wall time from now on after which this process will be ended. It gets no work that is not expected to fit, and leaves by itself in time to hand
    /// back what it runs.
    pub wall_time: Option<Duration>,
    /// Times and sizes.
    pub tuning: Tuning,
}

impl Config {
    /// One slot of one thread on the CPU.
    pub fn new(
        endpoint: impl Into<String>,
        state_dir: impl Into<PathBuf>,
        executor_binary: impl Into<PathBuf>,
        artifact_store: impl Into<String>,
        data_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            endpoints: vec![endpoint.into()],
            state_dir: state_dir.into(),
            worker_id: None,
            slots: 1,
            devices: vec!["cpu".to_owned()],
            device_memory_mib: None,
            threads_per_executor: 1,
            executor_binary: executor_binary.into(),
            executor_environment: Vec::new(),
            artifact_store: artifact_store.into(),
            data_dir: data_dir.into(),
            labels: BTreeMap::new(),
            wall_time: None,
            tuning: Tuning::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), AgentError> {
        if self.slots == 0 {
            return Err(AgentError::setting("slots", "a worker without slots runs nothing: expected 1 or more"));
        }
        if self.devices.is_empty() {
            return Err(AgentError::setting("devices", "expected at least one, such as `cpu`"));
        }
        if self.endpoints.is_empty() {
            return Err(AgentError::setting("endpoints", "expected at least one coordinator"));
        }
        if let Some(wall_time) = self.wall_time
            && wall_time <= self.tuning.leave_time()
        {
            let needed = self.tuning.leave_time();
            let problem =
                format!("{wall_time:?} are over before anything can run: handing back takes up to {needed:?}");
            return Err(AgentError::setting("wall time", problem));
        }
        Ok(())
    }
}

/// Times and sizes that seldom need to be changed.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Longest start of an executor.
    pub executor_start_timeout: Duration,
    /// Most bytes of cached checkpoints.
    pub cache_bytes: u64,
    /// First wait before a reconnection; doubled (and jittered) by each further one.
    pub reconnect_min: Duration,
    /// Longest wait before a reconnection, before jitter.
    pub reconnect_max: Duration,
    /// Time after which an unanswered report is sent again over a session that still stands.
    pub resend_after: Duration,
    /// Longest time that an attempt may take to stop in good order when it is handed back; then its executor is killed.
    pub grace: Duration,
    /// At a shutdown: longest wait for the coordinator's acknowledgements, after everything has stopped.
    pub farewell: Duration,
    /// How often progress is passed on, leases are watched and silence is noticed.
    pub tick: Duration,
    /// Silence of a running attempt after which a warning is logged.
    pub silence: Duration,
}

impl Tuning {
    /// Longest time from the wish to leave to the end.
    pub fn leave_time(&self) -> Duration {
        self.grace + self.farewell
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            executor_start_timeout: Duration::from_secs(60),
            cache_bytes: 20 << 30,
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(5),
            resend_after: Duration::from_secs(30),
            // With the farewell below the 30 s that Kubernetes grants.
            grace: Duration::from_secs(25),
            farewell: Duration::from_secs(2),
            tick: Duration::from_millis(500),
            silence: Duration::from_secs(60),
        }
    }
}
