//! Analyses: numbers that become rows once, and only of the attempt that holds the lease.

use gauntlet_domain::analyses::{ANALYSIS_COLUMNS, AnalysisRow, ImageRow};
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::{self, AnalysisValue, Assign};
use sqlx::Row as _;

use crate::house::House;
use crate::sweep_files::both;
use crate::worker::{Worker, attempt, is_training, result};

const TO_THE_START: &str =
    "[[analysis]]\nname = \"to-the-start\"\nmethod = \"similarity\"\nagainst = \"start\"\nexamples = 4\n";

fn sweep(name: &str) -> String {
    format!("{}{TO_THE_START}", both(name, &[0], &["8/255"]))
}

fn is_analysis(assign: &Assign) -> bool {
    assign.spec_json.contains(r#""computes":"analyze""#)
}

fn value(measure: &str, layer: &str, value: f64) -> AnalysisValue {
    AnalysisValue { measure: measure.to_owned(), layer: layer.to_owned(), x: None, value }
}

fn analyzed(values: Vec<AnalysisValue>) -> Content {
    Content::Analyzed(v1::Analyzed { values, ..v1::Analyzed::default() })
}

fn honest() -> Content {
    analyzed(vec![value("cka", "layer1", 0.25), value("svcca", "layer1", 1.0 / 3.0)])
}

/// Does all work but the analyses, which come back.
async fn up_to_the_analyses(worker: &mut Worker) -> Vec<Assign> {
    let mut analyses = Vec::new();
    let (mut others, expected) = (0, 5);
    while others < expected || analyses.len() < 2 {
        let assign = worker.assigned().await;
        if is_analysis(&assign) {
            analyses.push(assign);
        } else {
            others += 1;
            assert_eq!(worker.report(attempt(&assign), result(&assign)).await, Verdict::Accepted);
        }
    }
    analyses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_of_an_analysis_become_rows_in_its_order_and_are_streamed_as_the_view_has_them() {
    let house = House::start().await;
    let sweep = house.submit(&sweep("s")).await.sweep_id;
    let mut worker = house.worker("w1", 8).await;
    for assign in up_to_the_analyses(&mut worker).await {
        let inputs = if assign.label.contains("pretrained") { 2 } else { 1 };
        assert_eq!(assign.inputs.len(), inputs, "{}", assign.label);
        assert_eq!(worker.report(attempt(&assign), honest()).await, Verdict::Accepted);
        assert_eq!(worker.report(attempt(&assign), honest()).await, Verdict::Accepted, "again, and once stored");
    }
    assert_eq!(house.sweep(&sweep).await.state, "succeeded");
    let request = v1::StreamAnalysesRequest { sweep_id: sweep.clone() };
    let mut stream = house.sweeps().await.stream_analyses(request).await.unwrap().into_inner();
    let mut streamed = Vec::new();
    while let Some(row) = stream.message().await.unwrap() {
        streamed.push(AnalysisRow::from(row));
    }
    let found: Vec<(&str, &str, &str, f64)> =
        streamed.iter().map(|row| (row.init.as_str(), row.against.as_str(), row.measure.as_str(), row.value)).collect();
    let expected = ["scratch", "pretrained"]
        .into_iter()
        .flat_map(|init| [(init, "start", "cka", 0.25), (init, "start", "svcca", 1.0 / 3.0)]);
    assert_eq!(found, expected.collect::<Vec<_>>());
    let rows = sqlx::query("select * from analyses").fetch_all(&house.pool).await.unwrap();
    assert_eq!(rows[0].columns().iter().map(sqlx::Column::name).collect::<Vec<_>>(), ANALYSIS_COLUMNS);
    let viewed: Vec<(String, i32, f64)> =
        rows.iter().map(|row| (row.get("layer"), row.get("examples"), row.get("value"))).collect();
    assert_eq!(viewed, streamed.iter().map(|row| (row.layer.clone(), 4, row.value)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_the_analysis_cannot_have_come_to_end_the_attempt_and_leave_no_row() {
    let house = House::start().await;
    let sweep = house.submit(&sweep("s")).await.sweep_id;
    let mut worker = house.worker("w1", 8).await;
    let analyses = up_to_the_analyses(&mut worker).await;
    let not_finite = analyzed(vec![value("cka", "layer1", f64::NAN)]);
    assert_eq!(worker.report(attempt(&analyses[0]), not_finite).await, Verdict::Invalid);
    let foreign = v1::AttemptRef { attempt: 7, ..attempt(&analyses[1]) };
    assert_eq!(worker.report(foreign, honest()).await, Verdict::Stale);
    let outcomes = analyses.iter().find(|assign| !is_training(assign)).map(result).unwrap();
    assert_eq!(worker.report(attempt(&analyses[1]), outcomes).await, Verdict::Invalid);
    let status = house.sweep(&sweep).await;
    let reasons: Vec<&str> = status.unsuccessful.iter().map(|task| task.reason.as_str()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("value 0 is not a finite number")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("came for a task that analyzes")), "{reasons:?}");
    let rows: i64 = sqlx::query_scalar("select count(*) from analysis_values").fetch_one(&house.pool).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_analysis_is_shared_between_sweeps_and_goes_with_the_last_of_them() {
    let house = House::start().await;
    let first = house.submit(&sweep("first")).await.sweep_id;
    let mut worker = house.worker("w1", 8).await;
    for assign in up_to_the_analyses(&mut worker).await {
        assert_eq!(worker.report(attempt(&assign), honest()).await, Verdict::Accepted);
    }
    let second = house.submit(&sweep("second")).await;
    assert_eq!((second.new_tasks, second.done_tasks), (0, 7));
    let rows = || async {
        let query = "select (select count(*) from analyses), (select count(*) from analysis_values)";
        let row = sqlx::query(query).fetch_one(&house.pool).await.unwrap();
        (row.get::<i64, _>(0), row.get::<i64, _>(1))
    };
    assert_eq!(rows().await, (8, 4));
    for (sweep, left) in [(first, (4, 4)), (second.sweep_id, (0, 0))] {
        let request = v1::DeleteSweepRequest { sweep_id: sweep, cancel: false };
        house.sweeps().await.delete_sweep(request).await.unwrap();
        for _ in 0..200 {
            if rows().await == left {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(rows().await, left);
    }
}

fn image(name: &str, rest: &[u8]) -> v1::AnalysisImage {
    v1::AnalysisImage { name: name.to_owned(), png: [b"\x89PNG\r\n\x1a\n", rest].concat() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_that_analyses_leave_are_streamed_as_the_view_has_them_and_others_are_refused() {
    let house = House::start().await;
    let sweep = house.submit(&sweep("s")).await.sweep_id;
    let mut worker = house.worker("w1", 8).await;
    let analyses = up_to_the_analyses(&mut worker).await;
    let with =
        |images| Content::Analyzed(v1::Analyzed { values: vec![value("cka", "layer1", 0.25)], images, dataset: None });
    let of = |init: &str| analyses.iter().find(|assign| assign.label.contains(init)).unwrap();
    let left = vec![image("example-0-original", b"one"), image("example-0-adversarial", b"two")];
    assert_eq!(worker.report(attempt(of("pretrained")), with(left)).await, Verdict::Accepted);
    let no_png = v1::AnalysisImage { name: "example-0".to_owned(), png: b"GIF89a".to_vec() };
    assert_eq!(worker.report(attempt(of("scratch")), with(vec![no_png])).await, Verdict::Invalid);
    let request = v1::StreamAnalysisImagesRequest { sweep_id: sweep.clone() };
    let mut stream = house.sweeps().await.stream_analysis_images(request).await.unwrap().into_inner();
    let mut streamed = Vec::new();
    while let Some(row) = stream.message().await.unwrap() {
        let row = ImageRow::from(row);
        streamed.push((row.sweep, row.init, row.seed as i64, row.image, row.png));
    }
    let rows = sqlx::query("select * from images").fetch_all(&house.pool).await.unwrap();
    let viewed: Vec<(String, String, i64, String, Vec<u8>)> = rows
        .iter()
        .map(|row| (row.get("sweep"), row.get("init"), row.get("seed"), row.get("image"), row.get("png")))
        .collect();
    assert_eq!(viewed, streamed);
    let names: Vec<&str> = streamed.iter().map(|(.., name, _)| name.as_str()).collect();
    assert_eq!(names, ["example-0-original", "example-0-adversarial"]);
    assert_eq!((streamed[0].0.as_str(), streamed[0].1.as_str()), (sweep.as_str(), "pretrained"));
}
