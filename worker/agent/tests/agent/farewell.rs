//! Shutdown and drain.

use std::time::{Duration, Instant};

use gauntlet_proto::v1;
use gauntlet_proto::v1::worker_message::Message;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::behaviour;
use crate::coordinator::{Session, assign, attacked, attempt, handed_back};
use crate::rig::{Rig, attack, eventually, train};

#[tokio::test]
async fn a_shutdown_hands_back_what_runs_and_leaves_no_process() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&attack(behaviour::HANG), 1)).await;
    session.progress().await;
    agent.shutdown.cancel();
    let report = session.accepted_report().await;
    let reason = handed_back(&report);
    assert!(reason.starts_with("the worker shuts down; it did not stop in time"), "{reason}");
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

/// What is reported of a training until it is handed back.
async fn kinds_until_handed_back(session: &mut Session) -> (Vec<&'static str>, String) {
    let mut kinds = Vec::new();
    loop {
        let report = session.accepted_report().await;
        match report.content.as_ref().unwrap() {
            v1::report::Content::Epoch(_) => kinds.push("epoch"),
            v1::report::Content::Checkpoint(checkpoint) => {
                assert_eq!(checkpoint.epoch, 2);
                kinds.push("checkpoint");
            }
            _ => return (kinds, handed_back(&report).to_owned()),
        }
    }
}

#[tokio::test]
async fn at_a_shutdown_trainings_are_handed_back_after_the_checkpoint_they_stopped_at() {
    let mut rig = Rig::new().await;
    rig.config.slots = 2;
    rig.config.tuning.grace = Duration::from_secs(20);
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&train(behaviour::WORK_UNTIL_ASKED, None), 1)).await;
    session.progress().await;
    let started = Instant::now();
    agent.shutdown.cancel();
    let (kinds, reason) = kinds_until_handed_back(&mut session).await;
    assert_eq!((kinds, reason.as_str()), (vec!["epoch", "checkpoint"], "the worker shuts down"));
    while session.next().await.is_some() {}
    drop(session);
    agent.ends().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!((rig.executors(), rig.spooled()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_worker_that_is_told_to_leave_at_once_waits_for_nothing() {
    let mut rig = Rig::new().await;
    rig.config.tuning.grace = Duration::from_secs(60);
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&attack(behaviour::HANG), 1)).await;
    session.progress().await;
    agent.shutdown.cancel();
    while !matches!(session.next().await.unwrap(), Message::Draining(_)) {}
    let started = Instant::now();
    agent.at_once.cancel();
    assert_eq!(handed_back(&session.accepted_report().await), "the worker was told to leave at once");
    drop(session);
    agent.ends().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_worker_that_is_drained_at_once_hands_back_and_leaves() {
    let mut rig = Rig::new().await;
    rig.config.tuning.grace = Duration::from_secs(20);
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&attack(behaviour::WORK_UNTIL_ASKED), 1)).await;
    session.progress().await;
    session.drain_at_once().await;
    let report = session.accepted_report().await;
    assert_eq!((handed_back(&report), report.peak_memory_mib), ("the worker is drained at once", Some(64)));
    while session.next().await.is_some() {}
    drop(session);
    agent.ends().await.unwrap();
}

#[tokio::test]
async fn a_preempted_attempt_is_handed_back_and_the_slot_serves_on_even_if_it_must_be_stopped() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let willing = train(behaviour::WORK_UNTIL_ASKED, None);
    session.assign(assign(&willing, 1)).await;
    session.progress().await;
    session.hand_back(attempt(&willing, 2)).await;
    session.hand_back(attempt(&willing, 1)).await;
    let (kinds, reason) = kinds_until_handed_back(&mut session).await;
    assert_eq!((kinds, reason.as_str()), (vec!["epoch", "checkpoint"], "a more urgent task needs the slot"));
    let stubborn = attack(behaviour::HANG);
    session.assign(assign(&stubborn, 1)).await;
    session.progress().await;
    session.hand_back(attempt(&stubborn, 1)).await;
    let report = session.accepted_report().await;
    assert!(handed_back(&report).contains("did not stop in time"), "{report:?}");
    session.assign(assign(&attack(behaviour::SUCCEED), 1)).await;
    attacked(&session.accepted_report().await);
    agent.stop().await;
}

#[tokio::test]
async fn a_worker_says_what_wall_time_it_has_left_and_leaves_in_time() {
    let mut rig = Rig::new().await;
    rig.config.tuning.farewell = Duration::from_millis(200);
    rig.config.wall_time = Some(Duration::from_secs(3));
    let started = Instant::now();
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let remaining = session.hello.remaining_secs.unwrap();
    assert!((1.0..=3.0).contains(&remaining), "{remaining}");
    session.assign(assign(&attack(behaviour::WORK_UNTIL_ASKED), 1)).await;
    assert_eq!(handed_back(&session.accepted_report().await), "the worker's wall time is nearly over");
    while session.next().await.is_some() {}
    drop(session);
    agent.ends().await.unwrap();
    assert!((2000..3000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_wall_time_in_which_nothing_can_run_is_refused() {
    let mut rig = Rig::new().await;
    rig.config.wall_time = Some(Duration::from_secs(1));
    let error = rig.start().ends().await.unwrap_err().to_string();
    assert!(error.contains("wall time") && error.contains("handing back takes up to 2.3s"), "{error}");
}

#[tokio::test]
async fn executors_ignore_the_signals_that_are_meant_for_their_agent() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&attack(behaviour::WAIT_FOR_GO), 1)).await;
    session.progress().await;
    for executor in rig.executors() {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            kill(Pid::from_raw(executor), signal).unwrap();
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::fs::write(rig.path("data/go"), "").unwrap();
    attacked(&session.accepted_report().await);
    agent.stop().await;
}
