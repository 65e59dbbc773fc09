//! What becomes of assignments.

use std::time::Duration;

use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{ArtifactRef, TaskSpec};
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::worker_message::Message;
use gauntlet_proto::{PROTOCOL_VERSION, v1};

use crate::behaviour;
use crate::coordinator::{Session, analyzed, assign, attacked, attempt, failed, handed_back, trained};
use crate::rig::{EXAMPLES, Rig, attack, construct, eventually, train, train_on};

#[tokio::test]
async fn a_worker_says_what_it_is_and_brings_a_result() {
    let mut rig = Rig::new().await;
    rig.config.slots = 2;
    rig.config.labels.insert("room".to_owned(), "basement".to_owned());
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let hello = &session.hello;
    assert_eq!((hello.protocol_version, hello.slots, hello.devices.len()), (PROTOCOL_VERSION, 2, 1));
    assert_eq!(hello.remaining_secs, None);
    assert_eq!((hello.devices[0].name.as_str(), hello.devices[0].memory_mib), ("cpu", 1024));
    assert_eq!((hello.labels["room"].as_str(), hello.attempts.len()), ("basement", 0));
    assert!(!hello.worker_id.is_empty() && !hello.hostname.is_empty());

    let spec = attack(behaviour::SUCCEED);
    session.assign(assign(&spec, 1)).await;
    let report = session.accepted_report().await;
    assert_eq!(report.attempt, Some(attempt(&spec, 1).into()));
    let outcomes = attacked(&report).outcomes.as_ref().unwrap();
    assert_eq!((outcomes.label.len(), outcomes.adversarial_loss[0]), (EXAMPLES as usize, 4.0));
    assert_eq!(report.peak_memory_mib, Some(123));
    eventually("the spool is empty", || rig.spooled().is_empty()).await;
    eventually("the folder of the attempt is gone", || rig.attempt_folders().is_empty()).await;
    agent.stop().await;
    assert!(rig.executors().is_empty(), "{:?}", rig.executors());
}

#[tokio::test]
async fn a_data_set_that_was_made_goes_to_the_store_and_from_there_to_the_training_that_wants_it() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let parent = train(behaviour::SUCCEED, None);
    session.assign(assign(&parent, 1)).await;
    let weights = ending(&mut session).await;
    let input = |task: &TaskSpec, artifact: ArtifactRef| v1::TaskArtifact {
        task_id: task.id().to_string(),
        artifact: Some(artifact.into()),
    };
    let made = construct(behaviour::SUCCEED, parent.id());
    let inputs = vec![input(&parent, trained(&weights))];
    session.assign(v1::Assign { inputs: inputs.clone(), ..assign(&made, 1) }).await;
    let report = ending(&mut session).await;
    let dataset = analyzed(&report).dataset.clone().unwrap().try_into().unwrap();
    assert_eq!(stored(&rig, &dataset), b"seen by trained");
    let child = train_on(behaviour::SUCCEED, made.id());
    session.assign(v1::Assign { inputs: vec![input(&made, dataset)], ..assign(&child, 1) }).await;
    let weights = trained(&ending(&mut session).await);
    assert_eq!(stored(&rig, &weights), b"seen by trained+trained");
    let nothing = construct(behaviour::MISCOUNT, parent.id());
    session.assign(v1::Assign { inputs, ..assign(&nothing, 1) }).await;
    let report = ending(&mut session).await;
    let (failure, expected) = (failed(&report), "no data set came, and this analysis makes one");
    assert!(failure.failure_class == "permanent" && failure.message.contains(expected), "{failure:?}");
    agent.stop().await;
}

/// The report that ends the attempt; those before it are acknowledged.
async fn ending(session: &mut Session) -> v1::Report {
    loop {
        let report = session.accepted_report().await;
        use v1::report::Content::{Checkpoint, Epoch};
        if !matches!(report.content, Some(Epoch(_) | Checkpoint(_))) {
            return report;
        }
    }
}

#[tokio::test]
async fn a_training_brings_metrics_a_checkpoint_and_weights_that_the_next_task_starts_from() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let parent = train(behaviour::SUCCEED, None);
    session.assign(assign(&parent, 1)).await;
    let mut epochs = Vec::new();
    let mut state = None;
    let weights = loop {
        let report = session.accepted_report().await;
        match report.content.as_ref().unwrap() {
            v1::report::Content::Epoch(epoch) => epochs.push(epoch.epoch),
            v1::report::Content::Checkpoint(checkpoint) => {
                state.get_or_insert(checkpoint.clone());
            }
            _ => break trained(&report),
        }
    };
    assert_eq!(epochs, [1, 2]);
    let state = state.expect("no checkpoint was reported");
    assert_eq!(stored(&rig, &weights), b"trained");

    let child = train(behaviour::SUCCEED, Some(parent.id()));
    let mut assignment = assign(&child, 1);
    assignment.inputs = vec![v1::TaskArtifact { task_id: parent.id().to_string(), artifact: Some(weights.into()) }];
    assignment.resume_from = Some(state);
    session.assign(assignment).await;
    let weights = loop {
        let report = session.accepted_report().await;
        if matches!(report.content, Some(v1::report::Content::Trained(_))) {
            break trained(&report);
        }
    };
    assert_eq!(stored(&rig, &weights), b"trained+state 1+trained");
    drop(session);
    let mut held = rig.coordinator.welcome().await.hello.held_tasks.clone();
    held.sort();
    let mut expected = [parent.id().to_string(), child.id().to_string()];
    expected.sort();
    assert_eq!(held, expected);
    agent.stop().await;
}

fn stored(rig: &Rig, artifact: &ArtifactRef) -> Vec<u8> {
    std::fs::read(rig.path("store").join(gauntlet_agent::artifact_path(&artifact.digest).as_ref())).unwrap()
}

#[tokio::test]
async fn a_cancelled_attempt_is_gone_within_a_second_and_nothing_more_is_said_of_it() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let spec = attack(behaviour::HANG);
    session.assign(assign(&spec, 1)).await;
    session.progress().await;
    let [executor] = rig.executors()[..] else { panic!("not one executor") };
    session.cancel(attempt(&spec, 1)).await;
    let waited = eventually("the executor is gone", || !rig.executors().contains(&executor)).await;
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    eventually("its folder is gone", || rig.attempt_folders().is_empty()).await;
    assert!(session.is_quiet_for(Duration::from_millis(300)).await);
    works(&mut session).await;
    agent.stop().await;
}

/// The slot takes another task and brings its result.
async fn works(session: &mut Session) {
    let spec = attack(behaviour::SUCCEED);
    session.assign(assign(&spec, 9)).await;
    let report = session.accepted_report().await;
    assert_eq!(report.attempt, Some(attempt(&spec, 9).into()));
    attacked(&report);
}

#[tokio::test]
async fn the_same_assignment_twice_gives_one_result() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let spec = attack(behaviour::SUCCEED);
    session.assign(assign(&spec, 1)).await;
    session.assign(assign(&spec, 1)).await;
    let report = session.report().await;
    // Also while only the acknowledgement is missing.
    session.assign(assign(&spec, 1)).await;
    assert!(session.is_quiet_for(Duration::from_millis(300)).await);
    session.acknowledge(&report, Verdict::Accepted).await;
    agent.stop().await;
}

#[tokio::test]
async fn what_is_beyond_the_slots_is_handed_back() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&attack(behaviour::HANG), 1)).await;
    session.assign(assign(&attack(behaviour::SUCCEED), 1)).await;
    let report = session.accepted_report().await;
    assert_eq!(report.attempt, Some(attempt(&attack(behaviour::SUCCEED), 1).into()));
    assert_eq!(handed_back(&report), "the worker has no free slot");
    session.cancel(attempt(&attack(behaviour::HANG), 1)).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_spec_that_is_not_the_tasks_fails_permanently() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let mut assignment = assign(&attack(behaviour::SUCCEED), 1);
    assignment.spec_json.push(' ');
    session.assign(assignment).await;
    let report = session.accepted_report().await;
    let failed = failed(&report);
    assert_eq!(failed.failure_class, "permanent");
    assert!(failed.message.contains("is not the task's id"), "{}", failed.message);
    works(&mut session).await;
    agent.stop().await;
}

#[tokio::test]
async fn an_input_whose_content_is_another_fails_the_attempt_and_not_the_worker() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let parent = train(behaviour::SUCCEED, None);
    let child = train(behaviour::SUCCEED, Some(parent.id()));
    let artifact = ArtifactRef { digest: Digest::of(b"weights"), size_bytes: 7 };
    let place = rig.path("store").join(gauntlet_agent::artifact_path(&artifact.digest).as_ref());
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, b"WEIGHTS").unwrap();
    let mut assignment = assign(&child, 1);
    assignment.inputs = vec![v1::TaskArtifact { task_id: parent.id().to_string(), artifact: Some(artifact.into()) }];
    session.assign(assignment).await;
    let report = session.accepted_report().await;
    let failed = failed(&report);
    assert_eq!(failed.failure_class, "transient");
    assert!(failed.message.contains("damaged: its SHA-256 is"), "{}", failed.message);
    works(&mut session).await;
    agent.stop().await;
}

#[tokio::test]
async fn an_assignment_that_leaves_something_out_fails_with_its_name() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let parent = train(behaviour::SUCCEED, None).id();
    let mut without_file = assign(&attack(behaviour::SUCCEED), 1);
    without_file.files.clear();
    let mut with_relative_path = assign(&attack(behaviour::SUCCEED), 2);
    with_relative_path.files[0].location = "../images".to_owned();
    let without_input = assign(&train(behaviour::SUCCEED, Some(parent)), 1);
    for (assignment, expected) in [
        (without_file, "does not say where the file"),
        (with_relative_path, "field `files[0].location`: `../images` is not an absolute path"),
        (without_input, "names no checkpoint of its input task"),
    ] {
        session.assign(assignment).await;
        let report = session.accepted_report().await;
        assert_eq!(failed(&report).failure_class, "permanent");
        assert!(failed(&report).message.contains(expected), "{}", failed(&report).message);
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_disowned_attempt_is_stopped() {
    for verdict in [Verdict::Stale, Verdict::Invalid] {
        let mut rig = Rig::new().await;
        let agent = rig.start();
        let mut session = rig.coordinator.welcome().await;
        let spec = train(behaviour::SUCCEED, None);
        session.assign(assign(&spec, 1)).await;
        let epoch = session.report().await;
        let [executor] = rig.executors()[..] else { panic!("not one executor") };
        session.acknowledge(&epoch, verdict).await;
        eventually("the executor is gone", || !rig.executors().contains(&executor)).await;
        eventually("the spool is empty", || rig.spooled().is_empty()).await;
        works_after_chatter(&mut session).await;
        agent.stop().await;
    }
}

/// As [`works`], after reports of another attempt that were on their way.
async fn works_after_chatter(session: &mut Session) {
    let spec = attack(behaviour::SUCCEED);
    session.assign(assign(&spec, 9)).await;
    while session.accepted_report().await.attempt != Some(attempt(&spec, 9).into()) {}
}

#[tokio::test]
async fn progress_is_passed_on_while_the_session_shows_signs_of_life() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let spec = attack(behaviour::HANG);
    session.assign(assign(&spec, 1)).await;
    let progress = session.progress().await;
    assert_eq!((progress.done, progress.total, progress.unit.as_str()), (1, 2, "steps"));
    assert_eq!(progress.attempt, Some(attempt(&spec, 1).into()));
    for _ in 0..3 {
        assert!(matches!(session.next().await, Some(Message::Heartbeat(_))));
    }
    session.cancel(attempt(&spec, 1)).await;
    agent.stop().await;
}
