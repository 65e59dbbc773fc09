//! `gauntlet doctor`: is everything there, and what to do if not.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use gauntlet_domain::catalogue::{self, defaults};
use gauntlet_domain::experiment::{GlyphOptions, ImageShape, Split};
use serde::Serialize;

use super::connection::running;
use crate::args::{ExecutorArgs, Global, ListArgs, ListFormat};
use crate::local::{Local, executor_program};

#[derive(Serialize)]
struct Check {
    what: &'static str,
    good: bool,
    found: String,
    /// What to do, where it is not good.
    advice: &'static str,
}

/// Checks device, libtorch, database and data; exit 0 only if a sweep can run here.
///
/// # Errors
/// The report cannot be printed.
pub async fn doctor(global: &Global, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut checks = vec![executor().await, database(global).await];
    checks.extend(data(global));
    match args.format {
        ListFormat::Json => println!("{}", serde_json::to_string_pretty(&checks)?),
        ListFormat::Table => checks.iter().for_each(print),
    }
    Ok(if checks.iter().all(|check| check.good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(check: &Check) {
    println!("{} {}: {}", if check.good { "ok  " } else { "FAIL" }, check.what, check.found);
    if !check.good {
        println!("     {}", check.advice);
    }
}

fn check(what: &'static str, found: anyhow::Result<String>, advice: &'static str) -> Check {
    match found {
        Ok(found) => Check { what, good: true, found, advice },
        Err(error) => Check { what, good: false, found: format!("{error:#}"), advice },
    }
}

async fn executor() -> Check {
    check("executor", probe().await, "run `make build`; for a GPU, `GAUNTLET_LIBTORCH=cuda make build`")
}

async fn probe() -> anyhow::Result<String> {
    let args = ExecutorArgs {
        devices: Vec::new(),
        threads: 1,
        executor: std::env::var_os("GAUNTLET_EXECUTOR").map(Into::into),
    };
    let program = executor_program(&args)?;
    let output =
        tokio::process::Command::new(&program).arg("--probe").output().await.context("the executor does not start")?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    anyhow::ensure!(output.status.success(), "{} --probe: {}: {complaint}", program.display(), output.status);
    Ok(said)
}

async fn database(global: &Global) -> Check {
    check(
        "database and coordinator",
        start_and_stop(global).await,
        "install Postgres 15 or later or run `make setup`; or name a database with --database-url",
    )
}

async fn start_and_stop(global: &Global) -> anyhow::Result<String> {
    if running(global).await?.is_some() {
        return Ok("a coordinator answers".to_owned());
    }
    let local = Local::start(global, "127.0.0.1:0").await?;
    let url = local.database_url().to_owned();
    local.client().await?;
    local.stop().await;
    Ok(format!(
        "start, answer and stop; {}",
        if global.database_url.is_some() { "the database that was named" } else { &url }
    ))
}

fn data(global: &Global) -> Vec<Check> {
    let data_dir = global.data_dir();
    let advice = "run `make setup`, or name the place with --data-dir";
    let mut checks = Vec::new();
    checks.push(check("fonts for glyphs", draw_letters(&data_dir), advice));
    let pinned = catalogue::pinned_facts();
    let mut found = Ok(format!("{} files", pinned.files.len()));
    for (place, facts) in &pinned.files {
        let gauntlet_domain::sweep::FilePlace::Data(path) = place else { continue };
        match gauntlet_data::digest_file(&data_dir.join(path)) {
            Ok(digest) if digest == facts.digest => {}
            Ok(digest) => found = Err(anyhow::anyhow!("{path} has digest {digest}, expected {}", facts.digest)),
            Err(error) => found = Err(anyhow::Error::new(error)),
        }
    }
    checks.push(check("pinned data sets", found, advice));
    checks
}

/// Draws one letter of each split, which reads and verifies every face.
fn draw_letters(data_dir: &Path) -> anyhow::Result<String> {
    let shape = ImageShape { channels: 1, height: defaults::GLYPH_IMAGE_SIZE, width: defaults::GLYPH_IMAGE_SIZE };
    for split in [Split::Train, Split::Test] {
        let options = GlyphOptions {
            split,
            fonts: catalogue::glyph_fonts(),
            generator: catalogue::GLYPH_GENERATOR,
            seed: defaults::GLYPH_SEED,
            rotation_degrees: defaults::GLYPH_ROTATION_DEGREES,
            min_size: defaults::GLYPH_MIN_SIZE,
            max_size: defaults::GLYPH_MAX_SIZE,
            shift: defaults::GLYPH_SHIFT,
            noise: defaults::GLYPH_NOISE,
            cue: None,
        };
        gauntlet_data::glyphs::draw(&options, shape, 1, data_dir)?;
    }
    Ok("all there".to_owned())
}
