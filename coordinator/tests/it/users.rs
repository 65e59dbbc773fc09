use std::time::Duration;

use gauntlet_proto::v1;
use tonic::Code;

use crate::house::{Host, House};
use crate::sweep_files::scratch;

async fn set(host: &Host, request: v1::SetUserRequest) -> v1::User {
    host.fleet().await.set_user(request).await.unwrap().into_inner()
}

async fn submit(host: &Host, name: &str, seeds: &[u64], user: &str, max_concurrent: Option<u32>) -> String {
    let source = Some(v1::SweepSource { toml: scratch(name, seeds, &["2/255"]), files: Vec::new() });
    let request = v1::SubmitSweepRequest { source, user: user.to_owned(), max_concurrent, ..Default::default() };
    host.sweeps().await.submit_sweep(request).await.unwrap().into_inner().sweep_id
}

async fn running(house: &House, user: &str) -> i64 {
    let query =
        "select count(*) from tasks t join sweeps s using (queue_key) where t.state = 'leased' and s.user_name = $1";
    sqlx::query_scalar(query).bind(user).fetch_one(&house.pool).await.unwrap()
}

async fn a_ready_task(house: &House) -> String {
    let query = "select encode(task_id, 'hex') from tasks where state = 'ready' order by 1 limit 1";
    sqlx::query_scalar(query).fetch_one(&house.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_share_by_their_weights_and_are_listed_with_what_they_have_in_hand() {
    let house = House::start().await;
    let ada = v1::SetUserRequest { user: "ada".to_owned(), weight: Some(3), ..Default::default() };
    assert_eq!(set(&house, ada).await.weight, 3);
    submit(&house, "of-ada", &[0, 1, 2, 3, 4, 5, 6, 7], "ada", None).await;
    submit(&house, "of-bob", &[10, 11, 12, 13, 14, 15, 16, 17], "bob", None).await;
    let mut worker = house.worker("w1", 8).await;
    for _ in 0..8 {
        worker.assigned().await;
    }
    assert_eq!((running(&house, "ada").await, running(&house, "bob").await), (6, 2));
    let users = house.fleet().await.list_users(v1::ListUsersRequest {}).await.unwrap().into_inner().users;
    let user = |name: &str, weight, running, ready| v1::User {
        user: name.to_owned(),
        weight,
        max_concurrent: None,
        running,
        ready,
        sweeps: 1,
    };
    assert_eq!(users, [user("ada", 3, 6, 2), user("bob", 1, 2, 6)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quota_of_a_user_holds_over_all_his_sweeps_until_it_is_taken_away() {
    let house = House::start().await;
    let bounded = v1::SetUserRequest { user: "ada".to_owned(), max_concurrent: Some(3), ..Default::default() };
    set(&house, bounded).await;
    submit(&house, "one", &[0, 1, 2], "ada", None).await;
    submit(&house, "two", &[10, 11, 12], "ada", None).await;
    let mut worker = house.worker("w1", 8).await;
    for _ in 0..3 {
        worker.assigned().await;
    }
    assert!(worker.hears_nothing_for(Duration::from_millis(1500)).await);
    let said = house.explain(&a_ready_task(&house).await).await.explanation;
    assert!(said.contains("user ada may run 3 at once, and 3 run"), "{said}");
    let unbounded = v1::SetUserRequest { user: "ada".to_owned(), no_max_concurrent: true, ..Default::default() };
    assert_eq!(set(&house, unbounded).await.max_concurrent, None);
    for _ in 0..3 {
        worker.assigned().await;
    }
    let nonsense = v1::SetUserRequest { user: "a b".to_owned(), ..Default::default() };
    assert_eq!(house.fleet().await.set_user(nonsense).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_coordinators_that_claim_at_once_exceed_no_quota() {
    let house = House::start().await;
    let other = house.another().await;
    let bounded = v1::SetUserRequest { user: "bob".to_owned(), max_concurrent: Some(5), ..Default::default() };
    set(&house, bounded).await;
    let seeds: Vec<u64> = (0..30).collect();
    submit(&house, "of-ada", &seeds, "ada", Some(3)).await;
    submit(&house, "of-bob", &(100..130).collect::<Vec<_>>(), "bob", None).await;
    let pool = house.pool.clone();
    let watching = tokio::spawn(async move {
        let mut most = (0, 0);
        loop {
            let query = "select count(*) filter (where s.user_name = 'ada'), count(*) filter (where s.user_name = 'bob'),                 (select count(*) from tasks where state <> 'succeeded')                 from tasks t join sweeps s using (queue_key) where t.state = 'leased'";
            let (ada, bob, left): (i64, i64, i64) = sqlx::query_as(query).fetch_one(&pool).await.unwrap();
            most = (ada.max(most.0), bob.max(most.1));
            if left == 0 {
                return most;
            }
        }
    });
    let mut workers = Vec::new();
    for number in 0..6 {
        let host = if number % 2 == 0 { &house.host } else { &other };
        let mut worker = host.worker(&format!("w{number}"), 4).await;
        workers.push(tokio::spawn(async move { worker.work().await.len() }));
    }
    let mut done = 0;
    for worker in workers {
        done += worker.await.unwrap();
    }
    assert_eq!(done, 120);
    assert_eq!(watching.await.unwrap(), (3, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ready_task_says_that_its_sweep_is_full_or_who_goes_before_it() {
    let house = House::start().await;
    let ada = submit(&house, "of-ada", &[0, 1, 2], "ada", Some(1)).await;
    let mut worker = house.worker("w1", 1).await;
    worker.assigned().await;
    let task = a_ready_task(&house).await;
    let said = house.explain(&task).await.explanation;
    assert!(said.contains("its sweep may run 1 at once, and 1 run"), "{said}");
    let without = v1::PrioritizeSweepRequest { sweep_id: ada, no_max_concurrent: true, ..Default::default() };
    house.sweeps().await.prioritize_sweep(without).await.unwrap();
    submit(&house, "of-bob", &[10], "bob", None).await;
    let said = house.explain(&task).await.explanation;
    assert!(said.contains("1 user who runs less for his weight goes before its sweep"), "{said}");
}
