//! Evaluations that stop once the interval of AAI is narrow enough.

use std::time::Duration;

use gauntlet_coordinator::Config;
use gauntlet_proto::v1::acknowledge::Verdict;
use gauntlet_proto::v1::report::Content;
use gauntlet_proto::v1::{self, Assign};
use sqlx::Row as _;

use crate::house::{House, quick};
use crate::sweep_files::{CLASSES, both, scratch_under};
use crate::worker::{Worker, attempt, is_training, result};

/// Two blocks and the beginning of a third.
const EXAMPLES: u32 = 600;

fn attack(eps: &[&str]) -> String {
    format!(
        "[[attack]]\nname = \"fgsm\"\nmethod = \"fgsm\"\neps = {eps:?}\nexamples = {EXAMPLES}\nstop_at_interval = 0.05\n"
    )
}

/// So many examples, of which every `period`-th is robust; none where it is 0.
pub fn outcomes(examples: u32, period: u32) -> v1::Outcomes {
    let robust = |index: u32| period > 0 && index.is_multiple_of(period);
    let label: Vec<u32> = (0..examples).map(|index| index % CLASSES).collect();
    let after = |index: u32| if robust(index) { index % CLASSES } else { (index + 1) % CLASSES };
    v1::Outcomes {
        clean_prediction: label.clone(),
        adversarial_prediction: (0..examples).map(after).collect(),
        clean_loss: vec![0.1; examples as usize],
        adversarial_loss: vec![1.1; examples as usize],
        distance: vec![0.01; examples as usize],
        label,
    }
}

pub fn attacked(examples: u32, period: u32) -> Content {
    let outcomes = Some(outcomes(examples, period));
    Content::Attacked(v1::Attacked { outcomes, model_queries: 1, zero_gradient_examples: 0 })
}

async fn train(worker: &mut Worker) {
    let train = worker.assigned().await;
    assert_eq!(worker.report(attempt(&train), result(&train)).await, Verdict::Accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_number_of_examples_that_the_rule_gives_is_accepted() {
    let house = House::with(Config { shard_time: Duration::from_millis(1), ..quick() }).await;
    let wrong = ["1/255", "2/255", "3/255", "4/255"];
    let submitted = house.submit(&scratch_under("s", &[0], &attack(&[&wrong[..], &["8/255", "9/255"]].concat()))).await;
    assert_eq!((submitted.tasks, submitted.shards), (7, 0), "what may stop early is not split, long as it may take");
    let mut worker = house.worker("w1", 1).await;
    train(&mut worker).await;
    let mut reasons = Vec::new();
    for _ in 0..6 {
        let assign = worker.assigned().await;
        let is = |eps: &str| assign.label.ends_with(eps);
        // Where nothing is robust the first block is enough; where half of all are, 600 examples are not.
        let (content, expected) = match () {
            () if is(" 1/255") => (attacked(512, 0), Verdict::Invalid),
            () if is(" 2/255") => (attacked(100, 0), Verdict::Invalid),
            () if is(" 3/255") => (attacked(EXAMPLES, 0), Verdict::Invalid),
            () if is(" 4/255") => (attacked(512, 2), Verdict::Invalid),
            () if is(" 8/255") => (attacked(256, 0), Verdict::Accepted),
            () => (attacked(EXAMPLES, 2), Verdict::Accepted),
        };
        assert_eq!(worker.report(attempt(&assign), content).await, expected, "{}", assign.label);
    }
    let status = house.sweep(&submitted.sweep_id).await;
    for eps in wrong {
        let task = status.unsuccessful.iter().find(|task| task.label.ends_with(&format!(" {eps}"))).unwrap();
        reasons.push(task.reason.trim_start_matches("the worker's report makes no sense: ").to_owned());
    }
    let expected = [
        "outcomes of 512 examples came, and after 256 the interval was narrow enough to stop",
        "outcomes of 100 examples came for a task of 600, which could not stop there",
        "outcomes of 600 examples came, and after 256 the interval was narrow enough to stop",
        "outcomes of 512 examples came for a task of 600, which could not stop there",
    ];
    assert_eq!(reasons, expected);
    let rows =
        sqlx::query(
            "select eps, r.examples, s.examples_asked, s.stop_at_interval, aai_high - aai_low as width
            from results r left join early_stops s using (sweep, dataset, backbone, init, recipe, seed, attack, norm, eps)",
        );
    let rows = rows.fetch_all(&house.pool).await.unwrap();
    let found: Vec<(String, i32, i32, f64)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    assert_eq!(found, [("8/255".to_owned(), 256, 600, 0.05), ("9/255".to_owned(), 600, 600, 0.05)]);
    let widths: Vec<bool> = rows.iter().map(|row| row.get::<f64, _>("width") < 0.05).collect();
    assert_eq!(widths, [true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transfer_gap_compares_the_examples_that_both_models_were_evaluated_on() {
    let house = House::start().await;
    let fgsm = both("s", &[0], &["8/255"]);
    let sections = &fgsm[..fgsm.find("[[attack]]").unwrap()];
    let sweep = house.submit(&format!("{sections}{}", attack(&["8/255"]))).await.sweep_id;
    let report = |assign: &Assign| match is_training(assign) {
        true => result(assign),
        false if assign.label.contains("pretrained") => attacked(256, 0),
        false => attacked(EXAMPLES, 2),
    };
    assert_eq!(house.worker("w1", 1).await.work_by(report).await.len(), 5);
    assert_eq!(house.sweep(&sweep).await.state, "succeeded");
    let query =
        "select examples, delta_aoi, delta_aai, delta_decline_ratio, only_fine_tuned, only_standard from transfer_gap";
    let row = sqlx::query(query).fetch_one(&house.pool).await.unwrap();
    let gap: (i32, f64, f64, f64, i64, i64) = (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5));
    // Of the twin's first 256 examples 128 are robust; of all its 600 they are 300.
    assert_eq!(gap, (256, 0.0, -0.5, 0.5, 0, 128));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stopped_early_teaches_the_cost_of_the_examples_it_evaluated() {
    let house = House::start().await;
    house.submit(&scratch_under("s", &[0], &attack(&["8/255"]))).await;
    let report = |assign: &Assign| if is_training(assign) { result(assign) } else { attacked(256, 0) };
    assert_eq!(house.worker("w1", 1).await.work_by(report).await.len(), 2);
    let learnt = crate::house::eventually(|| async {
        let query = "select (r.cost / s.cost)::float8 from cost_rates r join task_specs s using (work) where r.work like 'attack fgsm/%'";
        sqlx::query_scalar::<_, f64>(query).fetch_optional(&house.pool).await.unwrap()
    })
    .await;
    assert!((learnt - 256.0 / 600.0).abs() < 1e-9, "{learnt}");
}
