//! What the coordinator has done in the artifact store.

use std::path::{Path, PathBuf};

use gauntlet_agent::artifact_path;
use gauntlet_domain::Digest;
use gauntlet_proto::v1;
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::coordinator_message::Message;
use gauntlet_proto::v1::worker_message;

use crate::behaviour;
use crate::coordinator::{Session, assign, failed, trained};
use crate::rig::{Rig, eventually, train};

fn stored(store: &Path, digest: &Digest) -> PathBuf {
    store.join(artifact_path(digest).as_ref())
}

async fn deleted(session: &mut Session) -> v1::ArtifactsDeleted {
    loop {
        match session.next().await {
            Some(worker_message::Message::ArtifactsDeleted(deleted)) => return deleted,
            Some(_) => {}
            None => panic!("the worker has left"),
        }
    }
}

/// The report of a training's end, not acknowledged; those before it are.
async fn end(session: &mut Session) -> v1::Report {
    loop {
        let report = session.report().await;
        if matches!(report.content, Some(v1::report::Content::Trained(_))) {
            return report;
        }
        session.acknowledge(&report, Verdict::Accepted).await;
    }
}

async fn upload_again(session: &Session, report: &v1::Report, deleted_at_micros: Option<i64>) {
    let report_id = report.report_id.clone();
    let verdict = Verdict::UploadAgain.into();
    let again = v1::Acknowledge { report_id, verdict, deleted_at_micros, ..Default::default() };
    session.say(Message::Acknowledge(again)).await;
}

#[tokio::test]
async fn artifacts_are_deleted_when_the_coordinator_says_so_and_it_is_told() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    let (here, gone) = (Digest::of(b"here"), Digest::of(b"gone"));
    let path = stored(&rig.path("store"), &here);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, b"here").unwrap();
    let digests = vec![here.to_string(), gone.to_string()];
    session.say(Message::DeleteArtifacts(v1::DeleteArtifacts { digests: digests.clone() })).await;
    assert_eq!(deleted(&mut session).await, v1::ArtifactsDeleted { deleted: digests, failed: Vec::new() });
    assert!(!path.exists());
    agent.stop().await;
}

#[tokio::test]
async fn a_checkpoint_that_was_deleted_before_its_report_came_is_uploaded_again_and_reported_again() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&train(behaviour::SUCCEED, None), 1)).await;
    let first = end(&mut session).await;
    let path = stored(&rig.path("store"), &trained(&first).digest);
    std::fs::remove_file(&path).unwrap();
    // First the deletion is under way, then it is over.
    upload_again(&session, &first, None).await;
    let second = session.report().await;
    assert_eq!(second, first);
    assert!(!path.exists());
    upload_again(&session, &second, Some(7)).await;
    let third = session.accepted_report().await;
    assert_eq!(third, v1::Report { uploaded_after_micros: Some(7), ..first });
    assert!(path.exists());
    eventually("the spool is empty", || rig.spooled().is_empty()).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_uploaded_again_costs_its_attempt_and_no_more() {
    let mut rig = Rig::new().await;
    let agent = rig.start();
    let mut session = rig.coordinator.welcome().await;
    session.assign(assign(&train(behaviour::SUCCEED, None), 1)).await;
    let first = end(&mut session).await;
    for cached in std::fs::read_dir(rig.path("state/cache")).unwrap() {
        std::fs::remove_file(cached.unwrap().path()).unwrap();
    }
    upload_again(&session, &first, Some(7)).await;
    let end = session.accepted_report().await;
    assert_eq!((failed(&end).failure_class.as_str(), &end.attempt), ("transient", &first.attempt));
    assert!(failed(&end).message.contains("not in the cache any more"), "{}", failed(&end).message);
    eventually("the spool is empty", || rig.spooled().is_empty()).await;
    agent.stop().await;
}
