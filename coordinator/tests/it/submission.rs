use std::collections::BTreeSet;

use tonic::Code;

use crate::house::House;
use crate::sweep_files::{both, scratch};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_sweep_submitted_again_runs_nothing_new() {
    let house = House::start().await;
    let sweep = scratch("twice", &[0, 1], &["2/255", "8/255"]);
    let first = house.submit(&sweep).await;
    assert_eq!((first.tasks, first.new_tasks, first.done_tasks), (6, 6, 0));
    let mut worker = house.worker("w1", 2).await;
    assert_eq!(worker.work().await.len(), 6);
    let again = house.submit(&sweep).await;
    assert_eq!(again.sweep_id, first.sweep_id);
    assert_eq!((again.tasks, again.new_tasks, again.retried_tasks, again.done_tasks), (6, 0, 0, 6));
    assert!(worker.work().await.is_empty());
    assert_eq!(house.sweep(&first.sweep_id).await.state, "succeeded");
    assert_eq!(house.number("select count(*) from attempts").await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_attack_is_added_only_that_one_runs() {
    let house = House::start().await;
    house.submit(&scratch("study", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    assert_eq!(worker.work().await.len(), 2);
    let more = house.submit(&scratch("study", &[0], &["2/255", "8/255"])).await;
    assert_eq!((more.tasks, more.new_tasks, more.done_tasks), (3, 1, 2));
    let done = worker.work().await;
    assert_eq!(done.len(), 1, "{done:?}");
    assert!(done[0].contains("8/255"), "{done:?}");
    assert_eq!(house.sweep(&more.sweep_id).await.state, "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_sweep_leaves_nothing_behind_and_every_mistake_is_named() {
    let house = House::start().await;
    house.submit(&scratch("good", &[0], &["2/255"])).await;
    let before = house.row_counts().await;
    let bad = scratch("bad", &[0], &["300"])
        .replace("train_examples", "train_exampels")
        .replace("epochs = 1", "epochs = \"x\"");
    let refused = house.try_submit(&bad).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let lines: Vec<&str> = refused.message().lines().collect();
    assert!(lines.len() >= 3, "{}", refused.message());
    for (line, word) in [(0, "train_examples"), (1, "epochs"), (2, "eps")] {
        let (row, rest) = lines[line].split_once(':').unwrap();
        assert!(row.parse::<u32>().is_ok() && rest.contains(word), "{}", lines[line]);
    }
    for nonsense in ["", "name = ", "\u{0}", "[[dataset]]\nname = \"nowhere\""] {
        assert_eq!(house.try_submit(nonsense).await.unwrap_err().code(), Code::InvalidArgument, "{nonsense:?}");
    }
    assert_eq!(house.row_counts().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shares_a_training_waits_for_it_and_not_twice() {
    let house = House::start().await;
    let small = house.submit(&scratch("small", &[0], &["2/255"])).await;
    let big = house.submit(&both("big", &[0], &["2/255"])).await;
    assert_eq!((big.tasks, big.new_tasks), (5, 3));
    let mut worker = house.worker("w1", 4).await;
    assert_eq!(worker.work().await.len(), 5);
    for sweep in [small, big] {
        assert_eq!(house.sweep(&sweep.sweep_id).await.state, "succeeded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn overlapping_sweeps_submitted_at_once_neither_block_nor_lose_each_other() {
    let house = House::start().await;
    let other = house.another().await;
    let eps = ["1/255", "2/255", "3/255", "4/255", "6/255", "8/255"];
    let mut submissions = Vec::new();
    for round in 0..24usize {
        let seeds: Vec<u64> = (0..8).filter(|seed| (seed + round) % 3 != 0).map(|seed| seed as u64).collect();
        let eps: Vec<&str> =
            eps.iter().enumerate().filter(|(index, _)| (index + round) % 2 == 0).map(|(_, eps)| *eps).collect();
        let sweep = both(&format!("sweep-{}", round % 12), &seeds, &eps);
        let mut client = if round % 2 == 0 { house.sweeps().await } else { other.sweeps().await };
        submissions.push(tokio::spawn(async move {
            let source = gauntlet_proto::v1::SweepSource { toml: sweep, files: Vec::new() };
            let request = gauntlet_proto::v1::SubmitSweepRequest { source: Some(source), ..Default::default() };
            client.submit_sweep(request).await.unwrap().into_inner()
        }));
    }
    let mut worker = house.worker("w1", 16).await;
    let mut ids = BTreeSet::new();
    let mut created = 0;
    for submission in submissions {
        let submitted = submission.await.unwrap();
        created += i64::from(submitted.new_tasks);
        ids.insert(submitted.sweep_id);
    }
    assert_eq!(created, house.number("select count(*) from tasks").await, "each task is new to exactly one submission");
    worker.work().await;
    for id in ids {
        let sweep = house.sweep(&id).await;
        assert_eq!(sweep.state, "succeeded", "{sweep:?}");
    }
    assert_eq!(house.number("select count(*) from attempts").await, created);
}
