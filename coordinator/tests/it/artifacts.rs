//! Files that nothing refers to any more, and those who report them all the same.

use std::time::Duration;

use gauntlet_proto::v1;
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::report::Content;

use crate::house::{House, eventually};
use crate::sweep_files::scratch;
use crate::worker::{Worker, artifact, attempt, trained};

fn checkpoint(content: &str, epoch: u32) -> Content {
    Content::Checkpoint(v1::TrainingCheckpoint { artifact: Some(artifact(content)), epoch })
}

fn digest(content: &str) -> String {
    artifact(content).digest
}

/// Waits until an artifact stands so.
async fn stands(house: &House, state: &str) {
    let states = || async {
        let rows: Vec<String> =
            sqlx::query_scalar("select state::text from artifacts").fetch_all(&house.pool).await.unwrap();
        rows
    };
    eventually(|| async { (states().await == [state]).then_some(()) }).await;
}

async fn reports(worker: &mut Worker, id: &str, assign: &v1::Assign, content: Content) -> v1::Acknowledge {
    worker.send_report(id, Some(attempt(assign)), Some(content)).await;
    worker.acknowledged(id).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumable_checkpoints_go_when_they_are_replaced_and_when_their_task_is_done() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    worker.deletes = false;
    let training = worker.assigned().await;
    worker.report(attempt(&training), checkpoint("one", 1)).await;
    worker.report(attempt(&training), checkpoint("two", 2)).await;
    let order = worker.told_to_delete().await;
    assert_eq!(order.digests, [digest("one")]);
    worker.delete(order).await;
    worker.report(attempt(&training), trained("end")).await;
    let mut next = [worker.hear().await.unwrap(), worker.hear().await.unwrap()];
    next.sort_by_key(|message| format!("{message:?}"));
    let [_, v1::coordinator_message::Message::DeleteArtifacts(order)] = next else { panic!("{next:?}") };
    assert_eq!(order.digests, [digest("two")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checkpoints_of_a_deleted_sweep_go_unless_another_task_ended_in_the_same_one() {
    let house = House::start().await;
    let one = house.submit(&scratch("one", &[0, 1], &["2/255"])).await.sweep_id;
    house.submit(&scratch("two", &[1, 2], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    // Seed 0 ends in the same weights as seed 2.
    worker
        .work_by(|assign| match crate::worker::is_training(assign) {
            true => trained(if assign.spec_json.contains("\"seed\":1") { "b" } else { "a" }),
            false => crate::worker::result(assign),
        })
        .await;
    let delete = v1::DeleteSweepRequest { sweep_id: one, cancel: false };
    house.sweeps().await.delete_sweep(delete).await.unwrap();
    eventually(|| async { (house.number("select count(*) from tasks").await == 4).then_some(()) }).await;
    assert!(worker.hears_nothing_for(Duration::from_millis(700)).await);
    assert!(worker.deleted.is_empty(), "{:?}", worker.deleted);
    let two = v1::DeleteSweepRequest { sweep_id: "two".to_owned(), cancel: false };
    house.sweeps().await.delete_sweep(two).await.unwrap();
    assert!(worker.hears_nothing_for(Duration::from_millis(1500)).await);
    worker.deleted.sort();
    let mut all = [digest("a"), digest("b")];
    all.sort();
    assert_eq!(worker.deleted, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_of_a_condemned_artifact_saves_it_and_one_of_a_deleted_artifact_has_it_uploaded_again() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    worker.deletes = false;
    let training = worker.assigned().await;
    worker.report(attempt(&training), checkpoint("one", 1)).await;
    worker.report(attempt(&training), checkpoint("two", 2)).await;
    let order = worker.told_to_delete().await;
    // What is being deleted cannot be had now,
    let answer = reports(&mut worker, "a", &training, trained("one")).await;
    assert_eq!((answer.verdict(), answer.deleted_at_micros), (Verdict::UploadAgain, None));
    worker.delete(order).await;
    stands(&house, "deleted").await;
    // then it has to be uploaded after its deletion,
    let answer = reports(&mut worker, "b", &training, trained("one")).await;
    assert_eq!(answer.verdict(), Verdict::UploadAgain);
    let deleted_at = answer.deleted_at_micros.unwrap();
    worker.uploaded_after_micros = Some(deleted_at - 1);
    assert_eq!(reports(&mut worker, "c", &training, trained("one")).await.verdict(), Verdict::UploadAgain);
    assert_eq!(house.number("select count(*) from checkpoints").await, 0, "nothing was changed");
    assert_eq!(house.number("select count(*) from tasks where state = 'leased'").await, 1, "the attempt goes on");
    // and is kept when it was.
    worker.uploaded_after_micros = Some(deleted_at);
    assert_eq!(reports(&mut worker, "d", &training, trained("one")).await.verdict(), Verdict::Accepted);
    assert_eq!(
        house.number("select count(*) from artifacts where state <> 'condemned' and state <> 'deleting'").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_began_after_an_artifact_was_deleted_may_report_it_at_once() {
    let house = House::start().await;
    let toml = scratch("s", &[0], &["2/255"]);
    let id = house.submit(&toml).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    worker
        .work_by(
            |assign| if crate::worker::is_training(assign) { trained("same") } else { crate::worker::result(assign) },
        )
        .await;
    house.sweeps().await.delete_sweep(v1::DeleteSweepRequest { sweep_id: id, cancel: false }).await.unwrap();
    assert!(worker.hears_nothing_for(Duration::from_millis(700)).await);
    stands(&house, "deleted").await;
    house.submit(&toml).await;
    let training = worker.assigned().await;
    assert_eq!(worker.report(attempt(&training), trained("same")).await, Verdict::Accepted);
    assert_eq!(house.number("select count(*) from artifacts").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_gone_before_it_deleted_is_followed_by_another_when_its_lease_is_over() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    worker.deletes = false;
    let training = worker.assigned().await;
    worker.report(attempt(&training), checkpoint("one", 1)).await;
    worker.report(attempt(&training), checkpoint("two", 2)).await;
    worker.told_to_delete().await;
    drop(worker);
    let mut other = house.worker("w2", 1).await;
    other.deletes = false;
    assert!(other.hear_within(Duration::from_secs(1)).await.is_none(), "the lease is not over");
    loop {
        if let v1::coordinator_message::Message::DeleteArtifacts(order) = other.hear().await.unwrap() {
            assert_eq!(order.digests, [digest("one")]);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_reports_too_late_is_deleted_and_what_it_cannot_delete_is_tried_again() {
    let house = House::start().await;
    let id = house.submit(&scratch("s", &[0], &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    worker.deletes = false;
    let training = worker.assigned().await;
    house.cancel(&id).await;
    worker.cancelled().await;
    assert_eq!(worker.report(attempt(&training), trained("late")).await, Verdict::Stale);
    let order = worker.told_to_delete().await;
    assert_eq!(order.digests, [digest("late")]);
    let failed = v1::ArtifactsDeleted { deleted: Vec::new(), failed: order.digests };
    worker.send(v1::worker_message::Message::ArtifactsDeleted(failed)).await;
    let order = worker.told_to_delete().await;
    assert_eq!(order.digests, [digest("late")]);
    worker.delete(order).await;
    stands(&house, "deleted").await;
}
