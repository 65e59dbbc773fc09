use std::time::Duration;

use gauntlet_proto::v1;
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::coordinator_message::Message;
use gauntlet_proto::v1::report::Content;
use tonic::Code;

use crate::house::{Host, House};
use crate::sweep_files::scratch;
use crate::worker::attempt;

const LONG: Duration = Duration::from_millis(1500);

async fn pause(host: &Host, id: &str, hand_back: bool) -> v1::Sweep {
    let request = v1::PauseSweepRequest { sweep_id: id.to_owned(), hand_back };
    host.sweeps().await.pause_sweep(request).await.unwrap().into_inner()
}

async fn resume(host: &Host, id: &str) -> v1::Sweep {
    let request = v1::ResumeSweepRequest { sweep_id: id.to_owned() };
    host.sweeps().await.resume_sweep(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_paused_sweep_what_runs_goes_on_and_nothing_new_starts_until_it_is_resumed() {
    let house = House::start().await;
    let other = house.another().await;
    let id = house.submit(&scratch("s", &[0, 1], &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    let running = worker.assigned().await;
    // Through another coordinator than the one that gives the work out.
    assert_eq!(pause(&other, &id, false).await.state, "paused");
    assert_eq!(worker.finish(&running).await, Verdict::Accepted);
    assert!(worker.hears_nothing_for(LONG).await);
    let sweep = house.sweep(&id).await;
    assert_eq!((sweep.state.as_str(), house.counts(&id).await), ("paused", [1, 2, 0, 1, 0, 0, 0]));
    resume(&other, &id).await;
    assert_eq!(worker.work().await.len(), 3);
    assert_eq!(house.sweep(&id).await.state, "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_paused_sweep_shares_runs_for_the_other_one() {
    let house = House::start().await;
    let first = house.submit(&scratch("first", &[0, 1], &["2/255"])).await.sweep_id;
    let second = house.submit(&scratch("second", &[1, 2], &["2/255"])).await.sweep_id;
    pause(&house, &first, false).await;
    let mut worker = house.worker("w1", 1).await;
    assert_eq!(worker.work().await.len(), 4, "seeds 1 and 2");
    assert_eq!(house.sweep(&second).await.state, "succeeded");
    assert_eq!(house.counts(&first).await, [1, 1, 0, 2, 0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_a_paused_queue_runs_for_whoever_wants_it_and_is_submitted_or_resumed_later() {
    let house = House::start().await;
    let first = house.submit(&scratch("first", &[0], &["2/255"])).await.sweep_id;
    let second = house.submit(&scratch("second", &[0, 1], &["2/255"])).await.sweep_id;
    pause(&house, &second, false).await;
    pause(&house, &first, false).await;
    let mut worker = house.worker("w1", 1).await;
    assert!(worker.hears_nothing_for(LONG).await);
    resume(&house, &second).await;
    assert_eq!(worker.work().await.len(), 4);
    assert_eq!(house.sweep(&first).await.state, "succeeded", "all it wanted is done: there is nothing to resume");

    let third = house.submit(&scratch("third", &[5], &["2/255"])).await.sweep_id;
    pause(&house, &third, false).await;
    house.submit(&scratch("fourth", &[5], &["2/255", "4/255"])).await;
    assert_eq!(worker.work().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_sweeps_paused_at_once_nothing_starts() {
    let house = House::start().await;
    for round in 0..5 {
        let mut ids = Vec::new();
        for name in ["one", "two"] {
            ids.push(house.submit(&scratch(&format!("{name}-{round}"), &[round], &["2/255"])).await.sweep_id);
        }
        tokio::join!(pause(&house, &ids[0], false), pause(&house, &ids[1], false));
    }
    let mut worker = house.worker("w1", 4).await;
    assert!(worker.hears_nothing_for(LONG).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_for_a_sweep_that_is_paused_at_once_is_asked_back_through_any_coordinator() {
    let house = House::start().await;
    let other = house.another().await;
    let id = house.submit(&scratch("s", &[0], &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    let running = worker.assigned().await;
    pause(&other, &id, true).await;
    let Message::HandBack(asked) = worker.hear().await.unwrap() else { panic!("it is not asked back") };
    assert_eq!(asked.attempt, running.attempt);
    assert!(asked.reason.contains("is paused"), "{}", asked.reason);
    let back = Content::HandedBack(v1::HandedBack { message: asked.reason });
    assert_eq!(worker.report(attempt(&running), back).await, Verdict::Accepted);
    assert_eq!(house.counts(&id).await, [1, 1, 0, 0, 0, 0, 0]);
    resume(&other, &id).await;
    loop {
        // It may have been asked once more before it answered.
        if let Message::Assign(again) = worker.hear().await.unwrap() {
            assert_eq!(again.attempt.unwrap().attempt, 2);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_sweep_that_is_submitted_or_tried_again_stays_paused_and_says_so() {
    let house = House::start().await;
    let toml = scratch("s", &[0], &["2/255"]);
    let id = house.submit(&toml).await.sweep_id;
    assert!(!house.submit(&toml).await.paused);
    pause(&house, &id, false).await;
    assert!(house.submit(&toml).await.paused);
    let retry = v1::RetrySweepRequest { sweep_id: id.clone() };
    assert!(house.sweeps().await.retry_sweep(retry).await.unwrap().into_inner().paused);
    let mut worker = house.worker("w1", 1).await;
    assert!(worker.hears_nothing_for(LONG).await);
    let cancelled = house.cancel(&id).await;
    assert_eq!((cancelled.state.as_str(), house.submit(&toml).await.paused), ("cancelled", false));
    assert_eq!(worker.work().await.len(), 2, "a cancellation ends the pause");
    assert_eq!(pause(&house, &id, false).await.state, "succeeded", "what is over is not paused");
    assert!(!house.submit(&toml).await.paused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_says_that_its_sweep_is_paused() {
    let house = House::start().await;
    let id = house.submit(&scratch("s", &[0], &["2/255"])).await.sweep_id;
    pause(&house, &id, false).await;
    let tasks: Vec<String> = sqlx::query_scalar("select encode(task_id, 'hex') from tasks order by state desc")
        .fetch_all(&house.pool)
        .await
        .unwrap();
    let mut said = Vec::new();
    for task in &tasks {
        said.push(house.explain(task).await.explanation.replace(&id, "SWEEP"));
    }
    let since = said[0].find(", ").unwrap();
    assert_eq!(&said[0][since..], ", but its sweep SWEEP is paused: `gauntlet resume SWEEP` lets it start");
    assert!(said[1].ends_with("; its sweep SWEEP is paused"), "{}", said[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_a_sweep_sees_it_paused_and_goes_on_to_its_end() {
    let house = House::start().await;
    let id = house.submit(&scratch("s", &[0], &["2/255"])).await.sweep_id;
    let request = v1::WatchSweepRequest { sweep_id: id.clone() };
    let mut watch = house.sweeps().await.watch_sweep(request).await.unwrap().into_inner();
    pause(&house, &id, false).await;
    let mut states = Vec::new();
    while let Some(sweep) = watch.message().await.unwrap() {
        if states.last() != Some(&sweep.state) {
            states.push(sweep.state);
        }
        if states.last().is_some_and(|state| state == "paused") {
            resume(&house, &id).await;
            house.worker("w1", 1).await.work().await;
        }
    }
    assert_eq!(states.first().map(String::as_str), Some("running"));
    assert!(states.contains(&"paused".to_owned()) && states.last().is_some_and(|it| it == "succeeded"), "{states:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terms_of_a_sweep_can_be_changed_and_a_quota_taken_away() {
    let house = House::start().await;
    let source = v1::SweepSource { toml: scratch("s", &[0, 1, 2], &["2/255"]), files: Vec::new() };
    let submission = v1::SubmitSweepRequest {
        source: Some(source),
        max_concurrent: Some(1),
        user: "ada".to_owned(),
        ..Default::default()
    };
    let mut sweeps = house.sweeps().await;
    let id = sweeps.submit_sweep(submission.clone()).await.unwrap().into_inner().sweep_id;
    let mut worker = house.worker("w1", 3).await;
    worker.assigned().await;
    assert!(worker.hears_nothing_for(LONG).await);

    let change = v1::PrioritizeSweepRequest { sweep_id: id.clone(), ..Default::default() };
    let changed = v1::PrioritizeSweepRequest { priority: Some(-3), max_concurrent: Some(2), ..change.clone() };
    let changed = sweeps.prioritize_sweep(changed).await.unwrap().into_inner();
    let terms = |it: &v1::Sweep| (it.user.clone(), it.weight, it.priority, it.max_concurrent);
    assert_eq!(terms(&changed), ("ada".to_owned(), 1, -3, Some(2)));
    worker.assigned().await;
    assert!(worker.hears_nothing_for(LONG).await);

    let changed = v1::PrioritizeSweepRequest { weight: Some(7), no_max_concurrent: true, ..change.clone() };
    let changed = sweeps.prioritize_sweep(changed).await.unwrap().into_inner();
    assert_eq!(terms(&changed), ("ada".to_owned(), 7, -3, None));
    worker.assigned().await;

    sweeps.submit_sweep(submission.clone()).await.unwrap();
    assert_eq!(house.sweep(&id).await.max_concurrent, Some(1));
    let without = v1::SubmitSweepRequest { max_concurrent: None, no_max_concurrent: true, ..submission };
    sweeps.submit_sweep(without).await.unwrap();
    assert_eq!(house.sweep(&id).await.max_concurrent, None);

    let both = v1::PrioritizeSweepRequest { max_concurrent: Some(1), no_max_concurrent: true, ..change };
    assert_eq!(sweeps.prioritize_sweep(both).await.unwrap_err().code(), Code::InvalidArgument);
}
