//! `gauntlet run`: everything on this machine, for one sweep.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use gauntlet_domain::analyses::AnalysisRow;
use gauntlet_domain::findings::findings;
use gauntlet_domain::results::{ResultRow, SkippedRow, summarize};
use gauntlet_proto::v1;

use super::answers::{fetch_analyses, fetch_results, fetch_skipped, fetch_warnings, outcomes_stream, say_warnings};
use super::roles::stop_signal;
use super::watching::{follow, verdict};
use crate::args::{Global, OutcomeFormat, ResultFormat, RunArgs};
use crate::client::refused;
use crate::local::{Local, LocalWorker, coordinator_config, executor_program, slots};
use crate::render::{Sink, footnotes, summary_table, write_analysis_tables, write_outcomes, write_results};
use crate::source::{self, GoodSweep};

/// Runs a sweep and prints its results.
///
/// # Errors
/// The sweep is bad, or a part does not start.
pub async fn run(global: &Global, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let sweep = source::read(&args.sweep, &global.data_dir())?;
    source::print_notes(&sweep.plan);
    executor_program(&args.executor)?;
    let local = Local::start_with(coordinator_config(args.planning), global, "127.0.0.1:0").await?;
    eprintln!("database: {}", local.database_url());
    let done = run_on(global, args, &sweep, &local).await;
    local.stop().await;
    done
}

async fn run_on(global: &Global, args: &RunArgs, sweep: &GoodSweep, local: &Local) -> anyhow::Result<ExitCode> {
    let mut client = local.client().await?;
    let submitted = client
        .sweeps
        .submit_sweep(v1::SubmitSweepRequest { source: Some(sweep.wire()), ..Default::default() })
        .await
        .map_err(refused)?
        .into_inner();
    eprintln!("{}", submission(&submitted));
    anyhow::ensure!(!submitted.paused, "sweep {} {}", submitted.sweep_id, paused(&submitted.sweep_id));
    let mut worker = LocalWorker::start(global, &args.executor, slots(args.workers), local.endpoint())?;
    let ended = tokio::select! {
        ended = follow(&mut client, &submitted.sweep_id) => ended,
        error = worker.ended() => return Err(error),
        _ = stop_signal() => Err(anyhow::anyhow!("interrupted; what is done is kept: the same command goes on from there")),
    };
    worker.stop().await;
    let ended = ended?;
    let rows = fetch_results(&mut client, &submitted.sweep_id).await?;
    let skipped = fetch_skipped(&mut client, &submitted.sweep_id).await?;
    let analyses = fetch_analyses(&mut client, &submitted.sweep_id).await?;
    print_results(args, sweep, &Answer { rows, skipped, analyses })?;
    say_warnings(&fetch_warnings(&mut client, &submitted.sweep_id).await?);
    if let Some(path) = &args.outcomes {
        let batches = outcomes_stream(&mut client, &submitted.sweep_id).await?;
        write_outcomes(batches, OutcomeFormat::Csv, Sink::open(Some(path))?).await?;
    }
    Ok(verdict(&ended))
}

/// What a submission meant, for people.
pub fn submission(submitted: &v1::SubmitSweepResponse) -> String {
    let v1::SubmitSweepResponse { sweep_id, tasks, new_tasks, retried_tasks, done_tasks, .. } = submitted;
    let mut text = format!("sweep {sweep_id}: {tasks} tasks, {new_tasks} new, {done_tasks} done already");
    if *retried_tasks > 0 {
        text.push_str(&format!(", {retried_tasks} tried again"));
    }
    if let Some(shards) = in_shards(submitted.sharded_attacks, submitted.shards) {
        text.push_str(&format!("; {shards}"));
    }
    if submitted.paused {
        text.push_str(&format!("; it {}", paused(sweep_id)));
    }
    text
}

/// Why nothing of a sweep starts that was paused.
pub fn paused(sweep_id: &str) -> String {
    format!("is paused since before: `gauntlet resume {sweep_id}` lets it go on")
}

/// How many attacks are split, if any is.
pub fn in_shards(attacks: u32, shards: u32) -> Option<String> {
    let plural = if attacks == 1 { "" } else { "s" };
    (attacks > 0).then(|| format!("{attacks} attack{plural} in {shards} shards"))
}

/// What came out of a sweep.
struct Answer {
    rows: Vec<ResultRow>,
    skipped: Vec<SkippedRow>,
    analyses: Vec<AnalysisRow>,
}

fn print_results(args: &RunArgs, sweep: &GoodSweep, answer: &Answer) -> anyhow::Result<()> {
    let Answer { rows, skipped, analyses } = answer;
    let mut sink = Sink::open(args.out.as_deref())?;
    if args.format != ResultFormat::Table {
        write_results(rows, skipped, args.format, &mut sink)?;
        return sink.finish();
    }
    writeln!(sink, "{}", summary_table(&summarize(rows), skipped)).context("the table cannot be written")?;
    for note in footnotes(rows, skipped) {
        writeln!(sink, "{note}").context("the table cannot be written")?;
    }
    write_analysis_tables(analyses, &mut sink).context("the table cannot be written")?;
    for finding in findings(&sweep.sweep, rows) {
        writeln!(sink, "{}", finding.sentence()).context("the finding cannot be written")?;
    }
    sink.finish()
}
