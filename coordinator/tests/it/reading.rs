use gauntlet_domain::results::{OUTCOME_COLUMNS, RESULT_COLUMNS, ResultRow};
use gauntlet_proto::v1;
use sqlx::Row as _;
use tonic::Code;

use crate::house::House;
use crate::sweep_files::{both, pretrained, scratch};
use crate::worker::attempt;

async fn finished() -> (House, String) {
    let house = House::start().await;
    let sweep = house.submit(&both("study", &[0, 1], &["8/255", "2/255"])).await.sweep_id;
    house.submit(&scratch("other", &[0], &["2/255"])).await;
    assert_eq!(house.worker("w1", 3).await.work().await.len(), 14);
    (house, sweep)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streamed_results_are_the_rows_of_the_view() {
    let (house, sweep) = finished().await;
    let request = v1::StreamResultsRequest { sweep_id: sweep.clone() };
    let mut stream = house.sweeps().await.stream_results(request).await.unwrap().into_inner();
    let mut streamed = Vec::new();
    while let Some(row) = stream.message().await.unwrap() {
        streamed.push(ResultRow::from(row));
    }
    let rows = sqlx::query("select * from results where sweep = $1").bind(&sweep).fetch_all(&house.pool).await.unwrap();
    assert_eq!(rows[0].columns().iter().map(sqlx::Column::name).collect::<Vec<_>>(), RESULT_COLUMNS);
    let count = |row: &sqlx::postgres::PgRow, column| row.get::<i32, _>(column) as u32;
    let text = |row: &sqlx::postgres::PgRow, column| row.get::<String, _>(column);
    let viewed: Vec<ResultRow> = rows
        .iter()
        .map(|row| ResultRow {
            sweep: text(row, "sweep"),
            dataset: text(row, "dataset"),
            backbone: text(row, "backbone"),
            init: text(row, "init"),
            recipe: text(row, "recipe"),
            seed: row.get::<i64, _>("seed") as u64,
            attack: text(row, "attack"),
            norm: text(row, "norm"),
            eps: text(row, "eps"),
            examples: count(row, "examples"),
            clean_correct: count(row, "clean_correct"),
            robust_correct: count(row, "robust_correct"),
            aoi: row.get("aoi"),
            aai: row.get("aai"),
            decline_ratio: row.get("decline_ratio"),
            aai_low: row.get("aai_low"),
            aai_high: row.get("aai_high"),
            stop_at_interval: None,
            examples_asked: count(row, "examples"),
        })
        .collect();
    assert_eq!(streamed, viewed);
    let order: Vec<_> = streamed.iter().map(|row| (row.init.as_str(), row.seed, row.eps.as_str())).collect();
    let expected: Vec<_> = ["scratch", "pretrained"]
        .into_iter()
        .flat_map(|init| [0, 1].into_iter().flat_map(move |seed| ["8/255", "2/255"].map(|eps| (init, seed, eps))))
        .collect();
    assert_eq!(order, expected, "in the order of the sweep file");
    for row in &streamed {
        let (low, high) =
            gauntlet_domain::statistics::wilson_interval(row.robust_correct.into(), row.examples.into()).unwrap();
        assert!((row.aai_low - low).abs() < 1e-12 && (row.aai_high - high).abs() < 1e-12, "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streamed_outcomes_are_the_rows_of_the_view_and_recompute_the_results() {
    let (house, sweep) = finished().await;
    let request = v1::StreamOutcomesRequest { sweep_id: sweep.clone() };
    let mut stream = house.sweeps().await.stream_outcomes(request).await.unwrap().into_inner();
    let mut streamed = Vec::new();
    while let Some(batch) = stream.message().await.unwrap() {
        let o = batch.outcomes.unwrap();
        for index in 0..o.label.len() {
            let place = format!("{} {} {} {}", batch.init, batch.seed, batch.eps, index);
            let classes =
                [o.label[index], o.clean_prediction[index], o.adversarial_prediction[index]].map(|class| class as i32);
            streamed.push((place, classes, [o.clean_loss[index], o.adversarial_loss[index], o.distance[index]]));
        }
    }
    let rows =
        sqlx::query("select * from outcomes where sweep = $1").bind(&sweep).fetch_all(&house.pool).await.unwrap();
    assert_eq!(rows[0].columns().iter().map(sqlx::Column::name).collect::<Vec<_>>(), OUTCOME_COLUMNS);
    let viewed: Vec<_> = rows
        .iter()
        .map(|row| {
            let text = |column| row.get::<String, _>(column);
            let place = format!(
                "{} {} {} {}",
                text("init"),
                row.get::<i64, _>("seed"),
                text("eps"),
                row.get::<i32, _>("index")
            );
            let classes =
                ["label", "clean_prediction", "adversarial_prediction"].map(|column| row.get::<i32, _>(column));
            (place, classes, ["clean_loss", "adversarial_loss", "distance"].map(|column| row.get::<f32, _>(column)))
        })
        .collect();
    assert_eq!(streamed.len(), 32);
    assert_eq!(streamed, viewed);
    let odd = house
        .number(
            "select count(*) from results r join (
                select sweep, init, recipe, seed, attack, eps, count(*) as examples,
                    count(*) filter (where clean_prediction = label) as clean,
                    count(*) filter (where clean_prediction = label and adversarial_prediction = label) as robust
                from outcomes group by 1, 2, 3, 4, 5, 6
            ) o using (sweep, init, recipe, seed, attack, eps)
            where (r.examples, r.clean_correct, r.robust_correct) is distinct from (o.examples, o.clean, o.robust)",
        )
        .await;
    assert_eq!(odd, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transfer_gap_compares_each_run_with_its_standard_twin() {
    let (house, sweep) = finished().await;
    let gaps =
        sqlx::query("select * from transfer_gap where sweep = $1").bind(&sweep).fetch_all(&house.pool).await.unwrap();
    assert_eq!(gaps.len(), 4, "two seeds at two radii");
    for gap in gaps {
        let aai = async |init: &str| -> f64 {
            let query = "select aai from results where sweep = $1 and init = $2 and seed = $3 and eps = $4";
            let query = sqlx::query_scalar(query)
                .bind(&sweep)
                .bind(init)
                .bind(gap.get::<i64, _>("seed"))
                .bind(gap.get::<String, _>("eps"));
            query.fetch_one(&house.pool).await.unwrap()
        };
        assert_eq!(
            (gap.get::<String, _>("init").as_str(), gap.get::<String, _>("standard_init").as_str()),
            ("pretrained", "scratch")
        );
        let expected = aai("pretrained").await - aai("scratch").await;
        assert!((gap.get::<f64, _>("delta_aai") - expected).abs() < 1e-12);
        let discordant = gap.get::<i64, _>("only_fine_tuned") - gap.get::<i64, _>("only_standard");
        // The labels of the two made-up results differ, so the pairs tell nothing here; they are counted all the same.
        assert!(discordant.abs() <= 4 && gap.get::<f64, _>("p_value") <= 1.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_sees_the_sweep_move_and_end() {
    let house = House::start().await;
    let sweep = house.submit(&pretrained("s", &[0], &["2/255"])).await.sweep_id;
    let mut client = house.sweeps().await;
    let mut watch = client.watch_sweep(v1::WatchSweepRequest { sweep_id: "s".to_owned() }).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!((first.sweep_id.as_str(), first.state.as_str(), first.cells), (sweep.as_str(), "running", 1));
    let mut worker = house.worker("w1", 1).await;
    let working = tokio::spawn(async move { worker.work().await });
    let mut last = first;
    while let Some(next) = watch.message().await.unwrap() {
        assert_ne!(next, last, "only news is sent");
        assert!(next.done_cost >= last.done_cost);
        last = next;
    }
    assert_eq!((last.state.as_str(), last.done_cost), ("succeeded", last.total_cost));
    working.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_is_found_by_id_by_name_and_by_a_beginning_that_fits_only_one() {
    let house = House::start().await;
    let first = house.submit(&scratch("study", &[0], &["2/255"])).await.sweep_id;
    let second = house.submit(&scratch("study", &[0], &["8/255"])).await.sweep_id;
    assert_ne!(first, second);
    assert_eq!(house.sweep("study").await.sweep_id, second, "the latest of that name");
    assert_eq!(house.sweep(&first).await.sweep_id, first);
    assert_eq!(house.sweep(&first[..first.len() - 1]).await.sweep_id, first);
    let mut client = house.sweeps().await;
    let mut get =
        async |text: &str| client.get_sweep(v1::GetSweepRequest { sweep_id: text.to_owned() }).await.unwrap_err();
    let ambiguous = get("stud").await;
    assert_eq!(ambiguous.code(), Code::FailedPrecondition);
    assert!(ambiguous.message().contains(&first) && ambiguous.message().contains(&second), "{}", ambiguous.message());
    assert_eq!(get("nothing").await.code(), Code::NotFound);
    assert_eq!(get("%").await.code(), Code::NotFound);
    assert_eq!(get("").await.code(), Code::InvalidArgument);
    let source = v1::GetSweepSourceRequest { sweep_id: first.clone() };
    let source = house.sweeps().await.get_sweep_source(source).await.unwrap().into_inner();
    assert_eq!((source.sweep_id.as_str(), source.toml), (first.as_str(), scratch("study", &[0], &["2/255"])));
    let list = house.sweeps().await.list_sweeps(v1::ListSweepsRequest { limit: 0 }).await.unwrap().into_inner().sweeps;
    assert_eq!(list.iter().map(|sweep| sweep.sweep_id.as_str()).collect::<Vec<_>>(), [&second, &first]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_tells_what_is_there_already_and_writes_nothing() {
    let house = House::start().await;
    house.submit(&scratch("study", &[0], &["2/255"])).await;
    let mut worker = house.worker("w1", 1).await;
    let train = worker.assigned().await;
    worker.finish(&train).await;
    worker.assigned().await;
    let before = house.row_counts().await;
    let source = Some(v1::SweepSource { toml: scratch("study", &[0], &["2/255", "8/255"]), files: Vec::new() });
    let plan = house.sweeps().await.plan_sweep(v1::PlanSweepRequest { source }).await.unwrap().into_inner();
    let mut states: Vec<_> = plan.tasks.iter().map(|task| (task.kind.as_str(), task.state.as_str())).collect();
    states.sort_unstable();
    assert_eq!(states, [("attack", ""), ("attack", "leased"), ("train", "succeeded")]);
    assert_eq!(plan.cells, 2);
    assert_eq!(house.row_counts().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_says_why_a_task_waits_where_it_runs_and_how_it_ended() {
    let house = House::start().await;
    let sweep = house.submit(&pretrained("s", &[0], &["2/255"])).await.sweep_id;
    let source = Some(v1::SweepSource { toml: pretrained("s", &[0], &["2/255"]), files: Vec::new() });
    let tasks = house.sweeps().await.plan_sweep(v1::PlanSweepRequest { source }).await.unwrap().into_inner().tasks;
    let id = |kind: &str| tasks.iter().find(|task| task.kind == kind).unwrap().task_id.clone();
    let why = async |kind: &str| house.explain(&id(kind)).await.explanation;
    let waits = house.explain(&id("train")).await;
    let label = &waits.inputs[0].label;
    assert_eq!(waits.explanation, format!("waits for 1 of 1 input: {label} (ready)"));
    assert_eq!(waits.sweeps, [sweep]);
    let ready = why("pretrain").await;
    assert!(
        ready.starts_with("ready since")
            && ready.ends_with("no worker takes work: none is connected to this coordinator"),
        "{ready}"
    );
    let mut worker = house.worker("w1", 1).await;
    let assign = worker.assigned().await;
    assert_eq!(attempt(&assign).task_id, id("pretrain"));
    let runs = why("pretrain").await;
    assert!(
        runs.starts_with("runs on w1 as attempt 1 since") && runs.ends_with("no progress was reported yet"),
        "{runs}"
    );
    worker.finish(&assign).await;
    let done = why("pretrain").await;
    assert!(done.starts_with("succeeded on w1 in attempt 1 after"), "{done}");
    let mut client = house.sweeps().await;
    let mut explain = async |text: &str| {
        client.explain_task(v1::ExplainTaskRequest { task_id: text.to_owned() }).await.unwrap_err().code()
    };
    assert_eq!(explain("").await, Code::InvalidArgument);
    assert_eq!(explain("xyz").await, Code::InvalidArgument);
    assert_eq!(explain(&"0".repeat(64)).await, Code::NotFound);
}
