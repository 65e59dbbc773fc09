//! One evaluation that answers every radius.

use gauntlet_domain::experiment::Outcomes;
use gauntlet_proto::v1;
use gauntlet_proto::v1::report::Content;
use sqlx::Row as _;

use crate::house::House;
use crate::sweep_files::{both, scratch_under};
use crate::worker::{is_training, result};

/// The last radius is exactly the distance of the third example, the one before it the number that rounds to it.
const RADII: [&str; 5] = ["0.25", "0.5", "1", "0.1", "0.10000000149011612"];

/// Examples fooled at 0.25, 0.75 and 0.1, one that is never fooled, one that was wrong before.
fn found() -> v1::Outcomes {
    v1::Outcomes {
        label: vec![1, 2, 3, 4, 5],
        clean_prediction: vec![1, 2, 3, 4, 0],
        adversarial_prediction: vec![0, 0, 0, 4, 0],
        clean_loss: vec![0.1, 0.2, 0.3, 0.4, 2.0],
        adversarial_loss: vec![1.1, 1.2, 1.3, 0.4, 2.0],
        distance: vec![0.25, 0.75, 0.1, f32::INFINITY, 0.0],
    }
}

fn report(assign: &v1::Assign) -> Content {
    if is_training(assign) {
        return result(assign);
    }
    // The model that starts from a pre-training falls at once.
    let outcomes = if assign.label.contains("pretrained") {
        v1::Outcomes { distance: vec![0.01, 0.01, 0.01, f32::INFINITY, 0.0], ..found() }
    } else {
        found()
    };
    Content::Attacked(v1::Attacked { outcomes: Some(outcomes), model_queries: 1, zero_gradient_examples: 0 })
}

fn deepfool(eps: &str) -> String {
    format!("[[attack]]\nname = \"df\"\nmethod = \"deepfool\"\nexamples = 5\n{eps}\n")
}

async fn robust(house: &House, sweep: &str) -> Vec<(String, i32)> {
    let query = sqlx::query("select eps, robust_correct from results where sweep = $1").bind(sweep);
    let rows = query.fetch_all(&house.pool).await.unwrap();
    rows.iter().map(|row| (row.get("eps"), row.get("robust_correct"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_evaluation_is_read_off_at_every_radius_and_without_one() {
    let house = House::start().await;
    let with = house.submit(&scratch_under("with", &[0], &deepfool(&format!("eps = {RADII:?}")))).await;
    let without = house.submit(&scratch_under("without", &[0], &deepfool(""))).await;
    assert_eq!(
        (with.tasks, without.new_tasks),
        (2, 0),
        "one training, one evaluation, and nothing more for the other sweep"
    );
    assert_eq!(house.worker("w1", 1).await.work_by(report).await.len(), 2);
    let expected = [2, 2, 1, 4, 3];
    assert_eq!(
        robust(&house, &with.sweep_id).await,
        RADII.into_iter().map(str::to_owned).zip(expected).collect::<Vec<_>>()
    );
    assert_eq!(robust(&house, &without.sweep_id).await, [(String::new(), 1)], "robust is what is never fooled");
    let domain: Outcomes = found().into();
    let in_domain = RADII.map(|eps| domain.robust_correct_at(eps.parse().unwrap()) as i32);
    assert_eq!(in_domain, expected, "Rust compares as SQL does");
    // Submitting again is the same sweep.
    let again = house.submit(&scratch_under("with", &[0], &deepfool(&format!("eps = {RADII:?}")))).await;
    assert_eq!((again.sweep_id, again.new_tasks, again.done_tasks), (with.sweep_id, 0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_at_a_radius_are_those_of_the_view_and_recompute_the_results() {
    let house = House::start().await;
    let attacks = deepfool(&format!("eps = {RADII:?}")) + &deepfool("").replace("\"df\"", "\"anywhere\"");
    let sweep = house.submit(&scratch_under("s", &[0], &attacks)).await.sweep_id;
    house.worker("w1", 1).await.work_by(report).await;
    let request = v1::StreamOutcomesRequest { sweep_id: sweep.clone() };
    let mut stream = house.sweeps().await.stream_outcomes(request).await.unwrap().into_inner();
    let mut streamed = Vec::new();
    while let Some(batch) = stream.message().await.unwrap() {
        let o = batch.outcomes.unwrap();
        for index in 0..o.label.len() {
            let classes = [o.label[index], o.clean_prediction[index], o.adversarial_prediction[index]];
            streamed.push((
                batch.eps.clone(),
                classes.map(|class| class as i32),
                o.adversarial_loss[index],
                o.distance[index],
            ));
        }
    }
    let rows =
        sqlx::query("select * from outcomes where sweep = $1").bind(&sweep).fetch_all(&house.pool).await.unwrap();
    let viewed: Vec<(String, [i32; 3], f32, f32)> = rows
        .iter()
        .map(|row| {
            let classes = ["label", "clean_prediction", "adversarial_prediction"].map(|column| row.get(column));
            (row.get("eps"), classes, row.get("adversarial_loss"), row.get("distance"))
        })
        .collect();
    assert_eq!(streamed, viewed);
    let at = |eps: &str| -> Vec<_> {
        viewed
            .iter()
            .filter(|row| row.0 == eps)
            .map(|(_, classes, loss, distance)| (classes[2], *loss, *distance))
            .collect()
    };
    let infinite = f32::INFINITY;
    assert_eq!(at("0.5"), [(0, 1.1, 0.25), (2, 0.2, 0.75), (0, 1.3, 0.1), (4, 0.4, infinite), (0, 2.0, 0.0)]);
    assert_eq!(at(""), [(0, 1.1, 0.25), (0, 1.2, 0.75), (0, 1.3, 0.1), (4, 0.4, infinite), (0, 2.0, 0.0)]);
    let odd = house
        .number(
            "select count(*) from results r join (
                select attack, eps, avg((clean_prediction = label)::int)::float8 as aoi,
                    avg((clean_prediction = label and adversarial_prediction = label)::int)::float8 as aai
                from outcomes group by 1, 2
            ) o using (attack, eps)
            where (r.aoi, r.aai) is distinct from (o.aoi, o.aai)",
        )
        .await;
    assert_eq!(odd, 0);
    assert_eq!(house.number("select count(*) from results").await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transfer_gap_compares_at_the_radius_of_the_row() {
    let house = House::start().await;
    let fgsm = both("s", &[0], &["8/255"]);
    let sweep = format!("{}\n{}", &fgsm[..fgsm.find("[[attack]]").unwrap()], deepfool("eps = [\"0.005\", \"0.2\"]"));
    house.submit(&sweep).await;
    house.worker("w1", 1).await.work_by(report).await;
    let rows = sqlx::query("select eps, delta_aai, only_fine_tuned, only_standard from transfer_gap")
        .fetch_all(&house.pool)
        .await
        .unwrap();
    let gaps: Vec<(String, f64, i64, i64)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    let expected = [("0.005", 0.0, 0, 0), ("0.2", -0.4, 0, 2)].map(|(eps, gap, a, b)| (eps.to_owned(), gap, a, b));
    assert_eq!(gaps, expected);
}
