//! Executors that misbehave.

use gauntlet_agent::AgentError;
use gauntlet_domain::task::MemoryPlan;
use gauntlet_proto::v1;
use std::time::Duration;

use crate::behaviour;
use crate::coordinator::{Session, assign, attacked, failed};
use crate::rig::{Rig, attack, train};

/// Gives the worker a task whose executor misbehaves, then one whose does not; the failure of the first.
async fn failure_of(seed: u64) -> v1::Failed {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&attack(seed), 1)).await;
    let failure = failed(&session.accepted_report().await).clone();
    works(&mut session).await;
    agent.stop().await;
    assert!(rig.executors().is_empty(), "{:?}", rig.executors());
    failure
}

async fn works(session: &mut Session) {
    session.assign(assign(&attack(behaviour::SUCCEED), 1)).await;
    attacked(&session.accepted_report().await);
}

#[tokio::test]
async fn a_killed_executor_costs_one_attempt_and_leaves_evidence() {
    let failure = failure_of(behaviour::DIE).await;
    assert_eq!(failure.failure_class, "transient", "{failure:?}");
    assert_eq!(
        failure.message,
        "the executor was killed by signal 9 (SIGKILL), not for lack of memory: somebody killed it; its last lines:\nabout to fall"
    );
}

#[tokio::test]
async fn an_executor_that_aborts_has_crashed() {
    let failure = failure_of(behaviour::ABORT).await;
    assert_eq!(
        (failure.failure_class.as_str(), failure.message.as_str()),
        ("crash", "the executor was killed by signal 6 (SIGABRT); its last lines:\nassertion failed")
    );
}

#[tokio::test]
async fn an_executor_that_can_get_no_more_memory_lacks_a_resource() {
    let failure = failure_of(behaviour::EXHAUST_MEMORY).await;
    assert_eq!(failure.failure_class, "resource", "{failure:?}");
    assert!(failure.message.contains("SIGABRT), out of memory; its last lines:"), "{failure:?}");
    assert!(failure.message.contains("memory allocation of"), "{failure:?}");
}

#[tokio::test]
async fn an_executor_is_told_to_spare_memory_and_says_how_much_it_took() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let spec = attack(behaviour::NEEDS_TO_SPARE);
    session.assign(assign(&spec, 1)).await;
    let report = session.accepted_report().await;
    assert_eq!((failed(&report).failure_class.as_str(), report.peak_memory_mib), ("resource", Some(4000)));
    session.assign(v1::Assign { memory: Some(MemoryPlan::SPARING.into()), ..assign(&spec, 2) }).await;
    attacked(&session.accepted_report().await);
    agent.stop().await;
}

#[tokio::test]
async fn an_executor_that_says_nonsense_costs_one_attempt() {
    let failure = failure_of(behaviour::TALK_NONSENSE).await;
    assert_eq!(failure.failure_class, "crash");
    assert!(
        failure.message.contains("sent nonsense") && failure.message.contains("a library prints this"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn an_executor_that_talks_endlessly_costs_one_attempt() {
    let failure = failure_of(behaviour::TALK_ENDLESSLY).await;
    assert_eq!(failure.failure_class, "crash");
    assert!(failure.message.contains("16777217 bytes or more"), "{failure:?}");
}

#[tokio::test]
async fn a_failure_that_the_executor_tells_keeps_its_class() {
    let failure = failure_of(behaviour::FAIL).await;
    assert_eq!((failure.failure_class.as_str(), failure.message.as_str()), ("permanent", "the loss is not a number"));
}

#[tokio::test]
async fn a_result_that_makes_no_sense_is_not_reported_as_one() {
    let failure = failure_of(behaviour::MISCOUNT).await;
    assert_eq!(failure.failure_class, "permanent");
    assert!(failure.message.contains("outcomes of 4 examples came for a task of 3"), "{failure:?}");
}

#[tokio::test]
async fn a_checkpoint_written_before_the_crash_is_reported_before_the_failure() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&train(behaviour::DIE_AFTER_CHECKPOINT, None), 1)).await;
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(match session.accepted_report().await.content.unwrap() {
            v1::report::Content::Epoch(_) => "epoch",
            v1::report::Content::Checkpoint(_) => "checkpoint",
            v1::report::Content::Failed(_) => "failed",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(kinds, ["epoch", "checkpoint", "failed"]);
    agent.stop().await;
}

#[tokio::test]
async fn an_executor_that_cannot_be_started_ends_the_agent_with_its_path() {
    let mut rig = Rig::new().await;
    rig.config.executor_binary = rig.path("absent");
    let error = rig.start().ends().await.unwrap_err().to_string();
    assert!(
        error.starts_with("the executor cannot be started: ") && error.contains("/absent: No such file"),
        "{error}"
    );
}

#[tokio::test]
async fn an_executor_that_is_never_ready_ends_the_agent_with_its_last_words() {
    let mut rig = Rig::new().await;
    rig.config.tuning.executor_start_timeout = Duration::from_millis(500);
    rig.config.executor_environment.push((behaviour::NEVER_READY.to_owned(), String::new()));
    let error = rig.start().ends().await.unwrap_err();
    assert!(matches!(error, AgentError::Executor { .. }));
    let text = error.to_string();
    assert!(text.contains("not ready within 500ms") && text.contains("waiting for a device"), "{text}");
    assert!(rig.executors().is_empty(), "{:?}", rig.executors());
}
