//! Data sets that analyses make, from the report to the training that takes one.

use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::{self, Assign};

use crate::house::House;
use crate::sweep_files::both;
use crate::worker::{Worker, artifact, attempt, result, trained};

/// A training from scratch on what the pre-trained model sees in the letters, and one from it on the same.
fn sweep(name: &str) -> String {
    let features = "train_examples = 26\nfeatures = { set = \"det\", from = \"pretrained\", steps = 3 }\n";
    both(name, &[0], &["8/255"]).replacen("train_examples = 26\n", features, 1)
}

fn made(dataset: Option<v1::Artifact>) -> Content {
    let value = |measure: &str| v1::AnalysisValue { measure: measure.to_owned(), value: 0.5, ..Default::default() };
    Content::Analyzed(v1::Analyzed { values: vec![value("agreement"), value("distance")], images: vec![], dataset })
}

fn is_construction(assign: &Assign) -> bool {
    assign.spec_json.contains(r#""asks":"robust-features""#)
}

/// Does the pre-training; the construction comes back.
async fn construction(worker: &mut Worker) -> Assign {
    let pretraining = worker.assigned().await;
    assert_eq!(worker.report(attempt(&pretraining), trained("pretrained")).await, Verdict::Accepted);
    let construction = worker.assigned().await;
    assert!(is_construction(&construction), "{}", construction.label);
    construction
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trainings_get_the_data_set_that_was_made_and_another_sweep_makes_it_no_second_time() {
    let house = House::start().await;
    let sweep_id = house.submit(&sweep("first")).await.sweep_id;
    let mut worker = house.worker("w1", 8).await;
    let construction = construction(&mut worker).await;
    assert_eq!(construction.inputs.len(), 1, "the model that looks");
    let dataset = artifact("images");
    assert_eq!(worker.report(attempt(&construction), made(Some(dataset.clone()))).await, Verdict::Accepted);
    assert_eq!(worker.report(attempt(&construction), made(Some(dataset.clone()))).await, Verdict::Accepted);
    let task = attempt(&construction).task_id;
    for _ in 0..4 {
        let assign = worker.assigned().await;
        if assign.spec_json.contains(r#""computes":"train""#) {
            let input = assign.inputs.iter().find(|input| input.task_id == task);
            assert_eq!(input.and_then(|input| input.artifact.clone()), Some(dataset.clone()), "{}", assign.label);
        }
        assert_eq!(worker.report(attempt(&assign), result(&assign)).await, Verdict::Accepted);
    }
    assert_eq!(house.sweep(&sweep_id).await.state, "succeeded");
    let second = house.submit(&sweep("second")).await;
    assert_eq!((second.new_tasks, second.done_tasks), (0, 6));
    let told =
        "select count(*) from analyses where method = 'robust-features' and recipe = 'none' and measure = 'agreement'";
    let rows: i64 = sqlx::query_scalar(told).fetch_one(&house.pool).await.unwrap();
    assert_eq!(rows, 2, "one for each sweep");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_construction_without_its_data_set_makes_no_sense_and_what_waits_for_it_is_skipped() {
    let house = House::start().await;
    let sweep_id = house.submit(&sweep("s")).await.sweep_id;
    let mut worker = house.worker("w1", 8).await;
    let construction = construction(&mut worker).await;
    assert_eq!(worker.report(attempt(&construction), made(None)).await, Verdict::Invalid);
    let status = house.sweep(&sweep_id).await;
    let reasons: Vec<&str> = status.unsuccessful.iter().map(|task| task.reason.as_str()).collect();
    assert!(
        reasons.iter().any(|reason| reason.contains("no data set came, and this analysis makes one")),
        "{reasons:?}"
    );
    assert_eq!(status.unsuccessful.len(), 5, "{reasons:?}");
    let malformed = v1::Artifact { digest: "abc".to_owned(), size_bytes: 1 };
    let other = house.submit(&sweep("s").replace("steps = 3", "steps = 4")).await.sweep_id;
    let construction = worker.assigned().await;
    assert_eq!(worker.report(attempt(&construction), made(Some(malformed))).await, Verdict::Invalid);
    let status = house.sweep(&other).await;
    assert!(status.unsuccessful.iter().any(|task| task.reason.contains("analyzed.dataset")), "{status:?}");
}
