//! Reports on their way from the executor to the coordinator's acknowledgement.

use std::fs;
use std::time::Duration;

use gauntlet_proto::v1;
use gauntlet_proto::v1::acknowledge::Verdict;

use crate::behaviour;
use crate::coordinator::{assign, attacked, attempt, handed_back};
use crate::rig::{Rig, attack, eventually};

#[tokio::test]
async fn a_result_is_on_disk_until_acknowledged_and_comes_again_after_a_reconnection_under_the_same_id() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let spec = attack(behaviour::SUCCEED);
    session.assign(assign(&spec, 1)).await;
    let first = session.report().await;
    assert_eq!(rig.spooled().len(), 1);
    drop(session);
    let mut session = rig.coordinator.welcome().await;
    assert_eq!(session.hello.attempts, [v1::AttemptRef::from(attempt(&spec, 1))]);
    let again = session.accepted_report().await;
    assert_eq!(again, first);
    eventually("the spool is empty", || rig.spooled().is_empty()).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_result_whose_acknowledgement_got_lost_is_sent_again() {
    let mut rig = Rig::new().await;
    rig.config.tuning.resend_after = Duration::from_millis(200);
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&attack(behaviour::SUCCEED), 1)).await;
    let first = session.report().await;
    let again = session.accepted_report().await;
    assert_eq!(again.report_id, first.report_id);
    eventually("the spool is empty", || rig.spooled().is_empty()).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_result_that_nobody_answered_outlives_the_agent() {
    let mut rig = Rig::new().await;
    rig.config.tuning.farewell = Duration::from_millis(100);
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let spec = attack(behaviour::SUCCEED);
    session.assign(assign(&spec, 1)).await;
    let first = session.report().await;
    agent.stop().await;
    drop(session);
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    assert_eq!(session.hello.attempts, [v1::AttemptRef::from(attempt(&spec, 1))]);
    // A verdict that is none settles nothing.
    let again = session.report().await;
    session.acknowledge(&again, Verdict::Unspecified).await;
    drop(session);
    let mut session = rig.coordinator.welcome().await;
    assert_eq!((session.report().await, &again), (first.clone(), &first));
    session.acknowledge(&again, Verdict::Stale).await;
    eventually("the spool is empty", || rig.spooled().is_empty()).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_spooled_report_that_was_damaged_is_moved_aside_and_its_attempt_not_announced() {
    let mut rig = Rig::new().await;
    rig.config.tuning.farewell = Duration::from_millis(100);
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&attack(behaviour::SUCCEED), 1)).await;
    session.report().await;
    agent.stop().await;
    drop(session);
    let spooled = rig.spooled();
    let mut content = fs::read(&spooled[0]).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&spooled[0], content).unwrap();
    let agent = rig.start();
    let session = rig.coordinator.welcome().await;
    assert_eq!(session.hello.attempts, []);
    assert_eq!(rig.spooled().len(), 0);
    assert!(rig.path("state/spool/corrupt").join(spooled[0].file_name().unwrap()).exists());
    agent.stop().await;
}

#[tokio::test]
async fn a_result_that_the_disk_will_not_have_is_delivered_and_new_work_is_handed_back_until_it_will() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    // Tests run as root, whom no permission stops: without its folder the spool cannot be written either.
    fs::remove_dir_all(rig.path("state/spool")).unwrap();
    session.assign(assign(&attack(behaviour::SUCCEED), 1)).await;
    let report = session.report().await;
    attacked(&report);
    session.assign(assign(&attack(behaviour::SUCCEED + 10), 1)).await;
    let refusal = session.accepted_report().await;
    assert!(handed_back(&refusal).starts_with("the worker cannot write to its spool: No such file"), "{refusal:?}");
    drop(session);
    let mut session = rig.coordinator.welcome().await;
    assert_eq!(session.accepted_report().await, report);

    fs::create_dir(rig.path("state/spool")).unwrap();
    for number in 2.. {
        session.assign(assign(&attack(behaviour::SUCCEED + 10), number)).await;
        let report = session.accepted_report().await;
        if matches!(report.content, Some(v1::report::Content::Attacked(_))) {
            break;
        }
        assert!(number < 100, "the worker takes no work again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    agent.stop().await;
}
