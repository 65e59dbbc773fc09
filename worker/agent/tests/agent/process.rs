//! The agent as a process that is killed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use gauntlet_agent::Agent;
use gauntlet_proto::v1;
use tokio_util::sync::CancellationToken;

use crate::behaviour;
use crate::coordinator::{assign, attempt};
use crate::rig::{self, Rig, attack, eventually};

const ENDPOINT: &str = "GAUNTLET_TEST_AGENT_ENDPOINT";
const FOLDER: &str = "GAUNTLET_TEST_AGENT_FOLDER";

/// Not a test by itself: the process that the tests below start and kill.
#[test]
fn the_agent_process() {
    let (Ok(endpoint), Some(folder)) = (std::env::var(ENDPOINT), std::env::var_os(FOLDER)) else { return };
    let config = rig::config(&endpoint, &PathBuf::from(folder));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(Agent::run(config, CancellationToken::new())).unwrap();
}

struct Killed(Child);

impl Killed {
    fn start(rig: &Rig) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process::the_agent_process"]).stdout(Stdio::null());
        command.env(ENDPOINT, &rig.coordinator.address).env(FOLDER, rig.folder.path());
        Self(command.spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // Also where a test has failed before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn executors_die_with_a_killed_agent_and_the_next_one_announces_nothing() {
    let mut rig = Rig::new().await;
    let mut agent = Killed::start(&rig);
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&attack(behaviour::HANG), 1)).await;
    session.progress().await;
    assert_eq!(rig.executors().len(), 1);
    agent.kill();
    eventually("no executor lives", || rig.executors().is_empty()).await;
    drop(session);
    let agent = rig.start();
    let session = rig.coordinator.welcome().await;
    assert_eq!((session.hello.attempts.len(), rig.attempt_folders().len()), (0, 0));
    agent.stop().await;
}

#[tokio::test]
async fn a_result_outlives_a_killed_agent_and_comes_again_under_the_same_id() {
    let mut rig = Rig::new().await;
    let mut agent = Killed::start(&rig);
    let mut session = rig.coordinator.welcome().await;
    let worker = session.hello.worker_id.clone();
    let spec = attack(behaviour::SUCCEED);
    session.assign(assign(&spec, 1)).await;
    let first = session.report().await;
    agent.kill();
    drop(session);
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    assert_eq!(session.hello.worker_id, worker);
    assert_eq!(session.hello.attempts, [v1::AttemptRef::from(attempt(&spec, 1))]);
    assert_eq!(session.accepted_report().await, first);
    eventually("the spool is empty", || rig.spooled().is_empty()).await;
    agent.stop().await;
}
