//! What workers have, what tasks need, and who may take slots from whom.

use std::time::Duration;

use gauntlet_proto::v1;
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::coordinator_message::Message;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::{AttemptPlace, Device, HandedBack, Hello, SubmitSweepRequest};
use tonic::Code;

use crate::house::{House, eventually};
use crate::sweep_files::scratch;
use crate::worker::{Worker, attempt, hello};

/// A submission of trainings with these seeds.
fn request(name: &str, seeds: &[u64]) -> SubmitSweepRequest {
    let source = v1::SweepSource { toml: scratch(name, seeds, &["2/255"]), files: Vec::new() };
    SubmitSweepRequest { source: Some(source), user: "ada".to_owned(), ..Default::default() }
}

async fn submit(house: &House, request: SubmitSweepRequest) {
    house.sweeps().await.submit_sweep(request).await.unwrap();
}

fn device(name: &str, memory_mib: u64, slots: u32) -> Device {
    Device { name: name.to_owned(), memory_mib, threads: 1, libtorch: "2.13.0".to_owned(), slots }
}

/// A worker with two GPUs of two slots each.
fn two_gpus(name: &str) -> Hello {
    Hello { devices: vec![device("cuda:0", 8192, 2), device("cuda:1", 4096, 2)], ..hello(name, 4, &[]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_get_the_devices_on_which_their_memory_fits_and_no_more_run_than_fit() {
    let house = House::start().await;
    submit(&house, SubmitSweepRequest { memory_mib: Some(4000), ..request("s", &[0, 1, 2, 3]) }).await;
    let mut worker = Worker::greet(&house.endpoint, two_gpus("w1")).await.unwrap();
    let mut devices = Vec::new();
    let mut last = None;
    for _ in 0..3 {
        let assign = worker.assigned().await;
        assert_eq!(assign.memory_mib, 4000);
        devices.push(assign.device.clone());
        last = Some(assign);
    }
    devices.sort();
    assert_eq!(devices, ["cuda:0", "cuda:0", "cuda:1"]);
    assert!(worker.hears_nothing_for(Duration::from_millis(1200)).await, "a slot is free, and no memory");
    let ready = house.text("select encode(task_id, 'hex') from tasks where state = 'ready'").await;
    let explained = house.explain(&ready).await.explanation;
    assert!(explained.contains("slots are free, but not the memory that it needs on their devices"), "{explained}");
    let last = last.unwrap();
    assert_eq!(worker.finish(&last).await, Verdict::Accepted);
    assert_eq!(worker.assigned().await.device, last.device);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_comes_back_says_what_is_taken_of_its_devices() {
    let mut house = House::start().await;
    submit(&house, SubmitSweepRequest { memory_mib: Some(4000), ..request("s", &[0, 1, 2, 3]) }).await;
    let mut worker = Worker::greet(&house.endpoint, two_gpus("w1")).await.unwrap();
    let (first, second) = (worker.assigned().await, worker.assigned().await);
    let third = worker.assigned().await;
    house.restart().await;
    let runs = [&first, &second, &third];
    let place = |assign: &&v1::Assign| AttemptPlace {
        attempt: assign.attempt.clone(),
        device: assign.device.clone(),
        memory_mib: assign.memory_mib,
    };
    let again =
        Hello { attempts: runs.map(attempt).to_vec(), places: runs.iter().map(place).collect(), ..two_gpus("w1") };
    let mut worker = Worker::greet(&house.endpoint, again).await.unwrap();
    assert!(worker.hears_nothing_for(Duration::from_millis(1200)).await, "its devices are as full as they were");
    assert_eq!(worker.finish(&second).await, Verdict::Accepted);
    assert_eq!(worker.assigned().await.device, second.device);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_that_requires_a_label_runs_where_it_is_and_holds_up_nobody_else() {
    let house = House::start().await;
    let required = || [("zone".to_owned(), "b".to_owned())].into();
    submit(&house, SubmitSweepRequest { required_labels: required(), priority: Some(9), ..request("b", &[0]) }).await;
    submit(&house, request("any", &[1])).await;
    let mut in_a = house.worker("w1", 1).await;
    let any = in_a.assigned().await;
    let task = house.text("select encode(task_id, 'hex') from tasks where state = 'ready'").await;
    let explained = house.explain(&task).await.explanation;
    assert!(explained.contains("no connected worker carries what its sweep requires: zone=b"), "{explained}");
    let labels = [("zone".to_owned(), "b".to_owned())].into();
    let mut in_b = Worker::greet(&house.endpoint, Hello { labels, ..hello("w2", 1, &[]) }).await.unwrap();
    let assigned = in_b.assigned().await;
    assert_eq!(attempt(&assigned).task_id, task);
    assert_ne!(attempt(&any).task_id, task);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_attempts_took_of_memory_bounds_how_many_like_them_run_together() {
    let house = House::start().await;
    submit(&house, request("s", &[0, 1, 2])).await;
    let on = |memory| Hello { devices: vec![device("cpu", memory, 2)], ..hello("w1", 2, &[]) };
    let mut worker = Worker::greet(&house.endpoint, on(1024)).await.unwrap();
    let (first, _second) = (worker.assigned().await, worker.assigned().await);
    worker.peak_memory_mib = Some(700);
    assert_eq!(worker.finish(&first).await, Verdict::Accepted);
    eventually(async || {
        (house.number("select count(*) from cost_rates where peak_memory_mib = 700").await > 0).then_some(())
    })
    .await;
    // What was learnt is read anew.
    drop(worker);
    let mut worker = Worker::greet(&house.endpoint, on(1024)).await.unwrap();
    worker.peak_memory_mib = Some(700);
    let (mut running, mut done) = (Vec::new(), Vec::new());
    while done.len() < 5 {
        while let Some(Ok(Message::Assign(assign))) = worker.hear_within(Duration::from_millis(700)).await {
            running.push(assign);
        }
        let trainings: Vec<&v1::Assign> =
            running.iter().filter(|it| it.spec_json.contains(r#""computes":"train""#)).collect();
        assert!(trainings.len() <= 1, "two of 700 MiB are more than 1024");
        assert!(trainings.iter().all(|it| it.memory_mib == 805), "{trainings:?}");
        assert!(running.iter().map(|it| it.memory_mib).sum::<u32>() <= 1024, "{running:?}");
        let first = running.remove(0);
        assert_eq!(worker.finish(&first).await, Verdict::Accepted);
        done.push(first);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_leaves_soon_gets_nothing_that_is_known_to_take_longer() {
    let house = House::start().await;
    submit(&house, request("s", &[0, 1])).await;
    // A million seconds for a training.
    house
        .number(
            "with learnt as (
                insert into cost_rates (device, work, attempts, secs, cost)
                select distinct 'cpu/1', work, 1, 1e6, cost from task_specs where work like 'train%' returning 1
            ) select count(*) from learnt",
        )
        .await;
    let stays = |secs, name| Hello { remaining_secs: Some(secs), ..hello(name, 1, &[]) };
    let mut short = Worker::greet(&house.endpoint, stays(1e3, "short")).await.unwrap();
    let first = short.assigned().await;
    assert_eq!(attempt(&first).attempt, 1, "of a training that no worker can finish it is given a part");
    let mut long = Worker::greet(&house.endpoint, stays(2e6, "long")).await.unwrap();
    long.assigned().await;
    let back = Content::HandedBack(HandedBack { message: "a test".to_owned() });
    assert_eq!(short.report(attempt(&first), back).await, Verdict::Accepted);
    assert!(short.hears_nothing_for(Duration::from_millis(1500)).await);
    let explained = house.explain(&attempt(&first).task_id).await.explanation;
    assert!(explained.contains("and no worker with room for it stays that long"), "{explained}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preempting_sweep_gets_the_slot_of_a_lower_priority_and_what_it_stopped_goes_on_later() {
    let house = House::start().await;
    submit(&house, request("low", &[0, 1])).await;
    let mut worker = house.worker("w1", 1).await;
    let low = worker.assigned().await;
    let urgent = SubmitSweepRequest { priority: Some(5), preempts: Some(true), ..request("high", &[10]) };
    submit(&house, urgent).await;
    let Message::HandBack(back) = worker.hear().await.unwrap() else { panic!("nothing is asked back") };
    assert_eq!(back.attempt, low.attempt);
    assert!(back.reason.contains("higher priority"), "{}", back.reason);
    assert!(
        worker.hears_nothing_for(Duration::from_millis(2500)).await,
        "it is asked once, and its slot is its own until it stops"
    );
    let stopped = Content::HandedBack(HandedBack { message: back.reason });
    assert_eq!(worker.report(attempt(&low), stopped).await, Verdict::Accepted);
    let high = worker.assigned().await;
    assert!(high.label.contains("seed 10"), "{}", high.label);
    assert_eq!(worker.finish(&high).await, Verdict::Accepted);
    assert_eq!(worker.work().await.len(), 5, "the attack of the urgent sweep, and two trainings with theirs");
    assert_eq!(house.number("select max(transient_failures + lost_leases + crashes)::bigint from tasks").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_preemption_a_higher_priority_waits_for_a_slot() {
    let house = House::start().await;
    submit(&house, request("low", &[0])).await;
    let mut worker = house.worker("w1", 1).await;
    worker.assigned().await;
    submit(&house, SubmitSweepRequest { priority: Some(5), ..request("high", &[10]) }).await;
    assert!(worker.hears_nothing_for(Duration::from_millis(2500)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requirements_that_make_no_sense_are_refused_by_their_names() {
    let house = House::start().await;
    for (field, bad) in [
        ("memory_mib", SubmitSweepRequest { memory_mib: Some(0), ..request("s", &[0]) }),
        (
            "required_labels",
            SubmitSweepRequest { required_labels: [(String::new(), "x".to_owned())].into(), ..request("s", &[0]) },
        ),
    ] {
        let refused = house.sweeps().await.submit_sweep(bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(&format!("`{field}`")), "{}", refused.message());
    }
    assert_eq!(house.number("select count(*) from sweeps").await, 0);
}
