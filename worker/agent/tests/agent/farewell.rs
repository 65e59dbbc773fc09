//! Shutdown and drain.

use std::time::{Duration, Instant};

use gauntlet_proto::v1::worker_message::Message;

use crate::behaviour;
use crate::coordinator::{assign, attacked, handed_back};
use crate::rig::{Rig, attack, eventually};

#[tokio::test]
async fn a_shutdown_hands_back_what_runs_and_leaves_no_process() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&attack(behaviour::HANG), 1)).await;
    session.progress().await;
    agent.shutdown.cancel();
    let report = session.accepted_report().await;
    assert_eq!(handed_back(&report), "the worker shuts down");
    while session.next().await.is_some() {}
    drop(session);
    agent.ends().await.unwrap();
    assert_eq!((rig.executors(), rig.spooled()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_shutdown_waits_for_its_acknowledgements_only_so_long() {
    let mut rig = Rig::new().await;
    rig.config.tuning.farewell = Duration::from_millis(500);
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&attack(behaviour::HANG), 1)).await;
    session.progress().await;
    let started = Instant::now();
    agent.shutdown.cancel();
    session.report().await;
    agent.ends().await.unwrap();
    assert!((500..3000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(rig.spooled().len(), 1, "it is told at the next start");
}

#[tokio::test]
async fn a_drained_worker_finishes_what_it_runs_takes_nothing_new_and_leaves() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&attack(behaviour::WAIT_FOR_GO), 1)).await;
    eventually("the attempt runs", || !rig.attempt_folders().is_empty()).await;
    session.drain().await;
    while !matches!(session.next().await.unwrap(), Message::Draining(_)) {}
    session.assign(assign(&attack(behaviour::SUCCEED), 1)).await;
    assert_eq!(handed_back(&session.accepted_report().await), "the worker takes no new work");
    std::fs::write(rig.path("data/go"), "").unwrap();
    attacked(&session.accepted_report().await);
    while session.next().await.is_some() {}
    drop(session);
    agent.ends().await.unwrap();
}

#[tokio::test]
async fn a_worker_without_a_coordinator_shuts_down_at_once() {
    let rig = Rig::new().await;
    rig.coordinator.be_down(true);
    let agent = rig.start();
    eventually("the executor is up", || !rig.executors().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    agent.stop().await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}
