//! Looks at the queues that build on earlier ones.

use gauntlet_domain::schedule::QueueKey;

use super::*;

async fn submit(store: &Store, seeds: std::ops::Range<u64>) {
    store.submit(&sweep_of(seeds, &["2/255"]), "", &[], &Charge::default()).await.unwrap();
}

fn fronts_of(contenders: &Contenders, count: usize) -> Vec<Front> {
    let front = |queue: &QueueView| Front { queue: queue.key, demands: queue.demands.clone(), count };
    contenders.queues.iter().map(front).collect()
}

fn ids(fronts: &std::collections::BTreeMap<QueueKey, Vec<ReadyTask>>) -> Vec<TaskId> {
    fronts.values().flatten().map(|task| task.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_marks_of_a_look_are_the_first_that_are_ready() {
    let house = House::start().await;
    submit(&house.store, 0..6).await;
    let all = ready(&house.store, 100).await;
    let contenders = house.store.contenders(None).await.unwrap();
    let first = Mark { critical_path_cost: all[0].critical_path_cost, task: all[0].id };
    assert_eq!(contenders.known.marks.values().copied().collect::<Vec<_>>(), [first]);
    let from_there = house.store.fronts(&fronts_of(&contenders, 100), &contenders.known.marks, false).await.unwrap();
    assert_eq!(from_there.into_values().flatten().collect::<Vec<_>>(), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_before_a_mark_is_seen_and_everything_from_it_on() {
    let house = House::start().await;
    submit(&house.store, 0..6).await;
    let all = ready(&house.store, 100).await;
    let mut contenders = house.store.contenders(None).await.unwrap();
    for (number, task) in all.iter().enumerate() {
        let mark = Mark { critical_path_cost: task.critical_path_cost, task: task.id };
        contenders.known.marks.values_mut().for_each(|it| *it = mark);
        let seen = house.store.fronts(&fronts_of(&contenders, 100), &contenders.known.marks, false).await.unwrap();
        assert_eq!(seen.into_values().flatten().collect::<Vec<_>>(), all[number..]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_builds_on_another_takes_that_as_given_and_finds_younger_sweeps() {
    let house = House::start().await;
    submit(&house.store, 0..3).await;
    let mut known = house.store.contenders(None).await.unwrap().known;
    known.running.insert(*known.running.keys().next().unwrap(), 7);
    submit(&house.store, 10..13).await;
    let later = house.store.contenders(Some(&known)).await.unwrap();
    let afresh = house.store.contenders(None).await.unwrap();
    assert_eq!(later.known.marks, afresh.known.marks);
    assert_eq!(later.queues.iter().map(|queue| queue.running).collect::<Vec<_>>(), [7, 0]);
    assert_eq!(later.users.iter().map(|user| user.running).collect::<Vec<_>>(), [7]);
    // Of what is no younger nothing is looked for.
    let youngest = house.store.youngest_queue().await.unwrap();
    assert!(youngest.is_some());
    let nothing = house.store.contenders(Some(&Known { youngest, ..Known::default() })).await.unwrap();
    assert_eq!((nothing.queues, nothing.users), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_ready_says_where_a_look_has_to_begin() {
    let house = House::start().await;
    submit(&house.store, 0..6).await;
    let contenders = house.store.contenders(None).await.unwrap();
    let all = ids(&house.store.fronts(&fronts_of(&contenders, 100), &Marks::new(), false).await.unwrap());
    let marks = house.store.marks_of(&[all[4], all[2], all[3]]).await.unwrap();
    assert_eq!(marks.values().map(|mark| mark.task).collect::<Vec<_>>(), [all[2]]);
    let (first, second) = (contenders.known.marks.values().next().unwrap(), marks.values().next().unwrap());
    assert!(first.is_before(second) && !second.is_before(first) && !first.is_before(first));
}
