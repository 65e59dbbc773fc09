use std::process::Command;
use std::time::Duration;

use gauntlet_proto::v1;
use gauntlet_proto::v1::acknowledge::Verdict;
use tonic::Code;

use crate::house::{House, LEASE};
use crate::sweep_files::scratch;
use crate::worker::{attempt, result};

pub fn signal(signal: &str, pids: &[u32]) {
    let pids = pids.iter().map(ToString::to_string);
    assert!(Command::new("kill").arg(signal).args(pids).status().unwrap().success());
}

/// The server and the processes it forked.
pub fn processes(house: &House) -> Vec<u32> {
    let server = house.database.postgres().pid().expect("Postgres runs");
    let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
    std::iter::once(server).chain(children.split_whitespace().map(|pid| pid.parse().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_postgres_is_killed_sessions_stay_and_reports_are_acknowledged_once_it_is_back() {
    let house = House::durable().await;
    let sweep = house.submit(&scratch("s", &[0, 1], &["2/255"])).await.sweep_id;
    let mut client = house.sweeps().await;
    let mut watch = client.watch_sweep(v1::WatchSweepRequest { sweep_id: sweep.clone() }).await.unwrap().into_inner();
    let mut worker = house.worker("w1", 1).await;
    for round in 0..4 {
        let assign = worker.assigned().await;
        signal("-9", &processes(&house)[..1]);
        worker.send_report(&round.to_string(), assign.attempt.clone(), Some(result(&assign))).await;
        assert_eq!(worker.acknowledged(&round.to_string()).await.verdict(), Verdict::Accepted);
    }
    let mut last = None;
    while let Some(status) = watch.message().await.unwrap() {
        last = Some(status);
    }
    assert_eq!(last.unwrap().state, "succeeded", "who watches notices nothing");
    assert_eq!(house.number("select count(*) from attempts where outcome = 'succeeded'").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_for_longer_than_a_lease_costs_no_attempt() {
    let house = House::start().await;
    house.submit(&scratch("s", &[0, 1], &["2/255"])).await;
    let (mut one, mut two) = (house.worker("w1", 1).await, house.worker("w2", 1).await);
    let assigned = [one.assigned().await, two.assigned().await];
    let all = processes(&house);
    signal("-STOP", &all);
    tokio::time::sleep(LEASE + Duration::from_secs(2)).await;
    signal("-CONT", &all);
    assert!(one.hears_nothing_for(LEASE / 2).await, "nothing is taken away");
    assert_eq!(one.finish(&assigned[0]).await, Verdict::Accepted);
    assert_eq!(two.finish(&assigned[1]).await, Verdict::Accepted);
    assert_eq!(house.number("select max(attempt)::bigint from tasks").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_is_away_calls_are_unavailable_and_say_so_and_sessions_stay() {
    let house = House::start().await;
    let sweep = house.submit(&scratch("s", &[0], &["2/255"])).await.sweep_id;
    let mut worker = house.worker("w1", 1).await;
    let assign = worker.assigned().await;
    let House { host, database, .. } = house;
    tokio::task::spawn_blocking(|| drop(database)).await.unwrap();
    worker.send_report("kept", assign.attempt.clone(), Some(result(&assign))).await;
    let mut client = host.sweeps().await;
    let refused = client.get_sweep(v1::GetSweepRequest { sweep_id: sweep }).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(refused.message(), "the coordinator cannot reach its database; try again in a moment");
    let refused = host.try_submit(&scratch("t", &[0], &["2/255"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(worker.hears_nothing_for(LEASE).await, "neither an acknowledgement nor a word of leaving");
    assert_eq!(attempt(&assign).attempt, 1);
}
