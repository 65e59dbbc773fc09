//! `gauntlet report`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use gauntlet_domain::claims::{Evaluation, Examples, claims};
use gauntlet_domain::results::ResultRow;
use gauntlet_domain::sweep::{Sweep, parse};
use gauntlet_proto::v1;

use super::answers::{fetch_analyses, fetch_images, fetch_results, fetch_skipped, fetch_warnings, outcomes_stream};
use super::connection::Connection;
use crate::args::{Global, ReportArgs};
use crate::client::{Client, refused};
use crate::render::Sink;
use crate::report::{Report, moment, page};

/// Writes a sweep as a page.
///
/// # Errors
/// The sweep is unknown, or the page cannot be written.
pub async fn report(global: &Global, args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::to_any(global).await?;
    let report = fetch(&mut connection.client, &args.id).await;
    connection.close().await;
    let page = page(&report?)?;
    let mut sink = Sink::open(Some(&args.out))?;
    sink.write_all(page.as_bytes()).context("the page cannot be written")?;
    sink.finish()?;
    eprintln!("report: {}", args.out.display());
    Ok(ExitCode::SUCCESS)
}

async fn fetch(client: &mut Client, id: &str) -> anyhow::Result<Report> {
    let request = v1::GetSweepRequest { sweep_id: id.to_owned() };
    let sweep = client.sweeps.get_sweep(request).await.map_err(refused)?.into_inner();
    // From here on by its id: another sweep may get the name meanwhile.
    let id = &sweep.sweep_id;
    let source = fetch_source(client, id).await?;
    let rows = fetch_results(client, id).await?;
    let mut evaluations: Vec<Evaluation> = rows.into_iter().map(|row| Evaluation { row, examples: None }).collect();
    if let Ok(source) = &source {
        add_examples(client, id, source, &mut evaluations).await?;
    }
    Ok(Report {
        skipped: fetch_skipped(client, id).await?,
        analyses: fetch_analyses(client, id).await?,
        images: fetch_images(client, id).await?,
        warnings: fetch_warnings(client, id).await?,
        made_at: moment(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)),
        source,
        evaluations,
        sweep,
    })
}

/// The sweep file, or why it is not known.
async fn fetch_source(client: &mut Client, id: &str) -> anyhow::Result<Result<Sweep, String>> {
    let request = v1::GetSweepSourceRequest { sweep_id: id.to_owned() };
    match client.sweeps.get_sweep_source(request).await {
        Ok(answer) => Ok(parse(&answer.into_inner().toml)
            .map_err(|_| "this version of gauntlet does not read it as the one that submitted it did".to_owned())),
        Err(status) if status.code() == tonic::Code::Unimplemented => {
            Ok(Err("the coordinator is of an earlier version, which does not tell it".to_owned()))
        }
        Err(status) => Err(refused(status)),
    }
}

/// Outcomes per example, where a claim cannot be tested without them: they are far more than everything else.
async fn add_examples(
    client: &mut Client,
    id: &str,
    source: &Sweep,
    evaluations: &mut [Evaluation],
) -> anyhow::Result<()> {
    if claims(source, evaluations, &[]).iter().all(|claim| claim.untested == 0) {
        return Ok(());
    }
    let mut found: BTreeMap<([String; 6], u64), Examples> = BTreeMap::new();
    let mut stream = outcomes_stream(client, id).await?;
    while let Some(batch) = stream.message().await.map_err(refused)? {
        let v1::OutcomeBatch { dataset, backbone, init, recipe, seed, attack, eps, outcomes, .. } = batch;
        let outcomes = outcomes.context("the coordinator sent a row of the results without outcomes")?;
        let examples = Examples::new(&outcomes.label, &outcomes.clean_prediction, &outcomes.adversarial_prediction);
        found.insert(([dataset, backbone, init, recipe, attack, eps], seed), examples);
    }
    for Evaluation { row, examples } in evaluations {
        *examples = found.remove(&key(row)).filter(|examples| examples.count() == row.examples as usize);
    }
    Ok(())
}

fn key(row: &ResultRow) -> ([String; 6], u64) {
    let ResultRow { dataset, backbone, init, recipe, seed, attack, eps, .. } = row;
    ([dataset, backbone, init, recipe, attack, eps].map(String::clone), *seed)
}
