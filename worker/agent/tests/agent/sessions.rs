//! Sessions that break, coordinators that are away.

use std::time::Duration;

use gauntlet_agent::AgentError;
use gauntlet_proto::v1;

use crate::behaviour;
use crate::coordinator::{assign, attacked, attempt, handed_back};
use crate::rig::{Rig, attack, eventually};

#[tokio::test]
async fn what_runs_goes_on_while_the_coordinator_restarts() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let session = rig.coordinator.welcome().await;
    let spec = attack(behaviour::WAIT_FOR_GO);
    session.assign(assign(&spec, 1)).await;
    eventually("the attempt runs", || !rig.attempt_folders().is_empty()).await;
    rig.coordinator.be_down(true);
    drop(session);
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.coordinator.be_down(false);
    let mut session = rig.coordinator.welcome().await;
    assert_eq!(session.hello.attempts, [v1::AttemptRef::from(attempt(&spec, 1))]);
    std::fs::write(rig.path("data/go"), "").unwrap();
    attacked(&session.accepted_report().await);
    agent.stop().await;
}

#[tokio::test]
async fn a_coordinator_that_is_away_for_longer_than_the_lease_loses_what_runs_but_no_result() {
    let mut rig = Rig::new().await;
    rig.config.slots = 2;
    let agent = rig.start();
    let mut session = rig.coordinator.accept().await;
    session.welcome(Duration::from_millis(300)).await;
    session.assign(assign(&attack(behaviour::SUCCEED), 1)).await;
    let result = session.report().await;
    session.assign(assign(&attack(behaviour::HANG), 1)).await;
    session.progress().await;
    let before = rig.executors();
    rig.coordinator.be_down(true);
    drop(session);
    eventually("the executor is stopped", || before.iter().any(|pid| !rig.executors().contains(pid))).await;
    rig.coordinator.be_down(false);
    let mut session = rig.coordinator.welcome().await;
    assert_eq!(session.hello.attempts, [v1::AttemptRef::from(attempt(&attack(behaviour::SUCCEED), 1))]);
    assert_eq!(session.accepted_report().await, result);
    agent.stop().await;
}

#[tokio::test]
async fn what_is_given_up_between_hello_and_welcome_is_handed_back() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.accept().await;
    session.welcome(Duration::from_millis(300)).await;
    let spec = attack(behaviour::HANG);
    session.assign(assign(&spec, 1)).await;
    session.progress().await;
    let [executor] = rig.executors()[..] else { panic!("not one executor") };
    drop(session);
    let mut session = rig.coordinator.accept().await;
    assert_eq!(session.hello.attempts, [v1::AttemptRef::from(attempt(&spec, 1))]);
    eventually("the lease is over", || !rig.executors().contains(&executor)).await;
    session.welcome(Duration::from_secs(60)).await;
    let report = session.accepted_report().await;
    assert_eq!(report.attempt, Some(attempt(&spec, 1).into()));
    assert!(handed_back(&report).contains("out of reach"), "{report:?}");
    agent.stop().await;
}

#[tokio::test]
async fn the_next_coordinator_of_the_list_is_tried_when_one_is_dead() {
    let mut rig = Rig::new().await;
    let alive = rig.config.endpoints[0].trim_start_matches("http://").to_owned();
    rig.config.endpoints = vec!["http://127.0.0.1:1".to_owned(), alive];
    let agent = rig.start();
    let session = rig.coordinator.welcome().await;
    assert_eq!(session.hello.slots, 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_refused_from_the_beginning_says_why_and_ends() {
    let rig = Rig::new().await;
    rig.coordinator.refuse();
    let error = rig.start().ends().await.unwrap_err();
    assert!(matches!(error, AgentError::Refused { .. }));
    assert!(error.to_string().contains("protocol version 1 is too old"), "{error}");
    assert!(rig.executors().is_empty(), "{:?}", rig.executors());
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_refused_with_what_was_found() {
    for (endpoint, expected) in [
        ("https://host:1", "has the scheme `https`"),
        ("http://", "`http://` is not an address"),
        ("two words", "`two words` is not an address"),
    ] {
        let mut rig = Rig::new().await;
        rig.config.endpoints = vec![endpoint.to_owned()];
        let error = rig.start().ends().await.unwrap_err().to_string();
        assert!(error.starts_with("worker setting `endpoints`: ") && error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_second_agent_on_one_state_directory_is_refused() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    rig.coordinator.welcome().await;
    let error = rig.start().ends().await.unwrap_err();
    assert!(matches!(error, AgentError::InUse { .. }), "{error}");
    agent.stop().await;
}
