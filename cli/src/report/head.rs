//! What ran, and what is missing.

use gauntlet_domain::claims::Start;
use gauntlet_domain::results::ResultRow;
use gauntlet_domain::sweep::{AttackSection, InitSection, InitStart, RecipeSection, Sweep};
use gauntlet_proto::v1;
use maud::{Markup, html};

use super::Report;

/// Name, state and axes of the sweep.
pub fn section(report: &Report, rows: &[ResultRow]) -> Markup {
    let sweep = &report.sweep;
    let description = report.source.as_ref().ok().and_then(|source| source.description.as_deref());
    html! {
        header {
            h1 { (sweep.name) }
            @if let Some(description) = description { p.lead { (description) } }
            (banner(report, rows))
            dl {
                dt { "sweep" } dd { code { (sweep.sweep_id) } }
                dt { "state" } dd { (sweep.state) }
                dt { "submitted" } dd { (moment(sweep.submitted_at_micros)) @if !sweep.user.is_empty() { " by " (sweep.user) } }
                dt { "tasks" } dd { (counts(&sweep.tasks.unwrap_or_default())) }
                dt { "rows" } dd { (rows.len()) " of " (sweep.cells) @if !report.skipped.is_empty() { ", " (report.skipped.len()) " skipped as pointless" } }
                @match &report.source {
                    Ok(source) => (axes(source)),
                    Err(_) => (axes_of(rows)),
                }
                dt { "reported" } dd { (report.made_at) ", gauntlet " (env!("CARGO_PKG_VERSION")) }
            }
        }
    }
}

/// When, in UTC.
pub fn moment(micros: i64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok();
    time.and_then(|time| time.format(format).ok()).unwrap_or_else(|| "at an unknown time".to_owned())
}

fn total(tasks: &v1::TaskCounts) -> u32 {
    unfinished(tasks) + without_result(tasks) + tasks.succeeded + tasks.pointless
}

const fn unfinished(tasks: &v1::TaskCounts) -> u32 {
    tasks.pending + tasks.ready + tasks.leased
}

const fn without_result(tasks: &v1::TaskCounts) -> u32 {
    tasks.failed + tasks.cancelled + tasks.skipped
}

fn counts(tasks: &v1::TaskCounts) -> String {
    let named = [
        (tasks.succeeded, "succeeded"),
        (tasks.leased, "running"),
        (tasks.pending + tasks.ready, "waiting"),
        (tasks.failed, "failed"),
        (tasks.cancelled, "cancelled"),
        (tasks.skipped, "skipped for want of an input"),
        (tasks.pointless, "pointless"),
    ];
    let parts: Vec<String> =
        named.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
    format!("{}: {}", total(tasks), if parts.is_empty() { "none".to_owned() } else { parts.join(", ") })
}

/// Says how much is missing, if anything is.
fn banner(report: &Report, rows: &[ResultRow]) -> Markup {
    let tasks = report.sweep.tasks.unwrap_or_default();
    let missing = unfinished(&tasks) + without_result(&tasks);
    let cells = report.sweep.cells as usize;
    let rows_missing = cells.saturating_sub(rows.len() + report.skipped.len());
    html! {
        @if missing > 0 || rows_missing > 0 {
            p.banner role="status" {
                strong { "Not complete. " }
                (missing) " of " (total(&tasks)) " tasks have no result (" (unfinished(&tasks)) " not finished, " (without_result(&tasks))
                " ended without one), and " (rows_missing) " of " (cells) " rows of the results are missing. All below is of what is there."
            }
        }
        @if let Err(reason) = &report.source {
            p.banner role="status" {
                strong { "The sweep file is not known. " }
                "Claims are not tested, because rows alone do not tell how an init was pre-trained: " (reason)
            }
        }
    }
}

fn axes(source: &Sweep) -> Markup {
    let seeds: Vec<String> = source.seeds.iter().map(u64::to_string).collect();
    html! {
        dt { "data sets" } dd { (source.datasets.iter().map(|dataset| dataset.name.as_str()).collect::<Vec<_>>().join(", ")) }
        dt { "models" } dd { (source.models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", ")) }
        dt { "inits" } dd { ul { @for init in &source.inits { li { b { (init.name) } ": " (start(source, init)) } } } }
        dt { "recipes" } dd { ul { @for recipe in &source.recipes { li { b { (recipe.name) } ": " (method(recipe)) } } } }
        dt { "attacks" } dd { ul { @for attack in &source.attacks { li { b { (attack.name) } ": " (threat(attack)) } } } }
        dt { "seeds" } dd { (seeds.join(", ")) }
    }
}

fn method(recipe: &RecipeSection) -> String {
    let method = recipe.training.as_ref().map_or("none (evaluated as it is)", |training| training.method());
    let frozen = if recipe.freeze.is_some() { ", partly frozen" } else { "" };
    format!("{method}{frozen}")
}

/// What runs of an init start from. Of a checkpoint nothing is known but what the sweep file declares.
fn start(sweep: &Sweep, init: &InitSection) -> String {
    let words = Start::of(sweep, init).words();
    match init.start {
        InitStart::Checkpoint { robust: Some(_), .. } => {
            format!("an imported checkpoint, declared to come from {words}")
        }
        InitStart::Checkpoint { robust: None, .. } | InitStart::Scratch | InitStart::Pretrain(_) => words.to_owned(),
    }
}

fn threat(attack: &AttackSection) -> String {
    let radii: Vec<&str> = attack.eps.iter().map(|eps| eps.text()).collect();
    let radii = if radii.is_empty() { "any ε".to_owned() } else { format!("ε {}", radii.join(", ")) };
    let examples = attack.examples.as_ref().map(|examples| format!(", first {} examples", examples.value));
    format!("{}, {}, {radii}{}", attack.method.name(), attack.norm, examples.unwrap_or_default())
}

/// The axes, as far as the rows tell them.
fn axes_of(rows: &[ResultRow]) -> Markup {
    let named = |name: &str, of: fn(&ResultRow) -> String| {
        let mut values: Vec<String> = Vec::new();
        for value in rows.iter().map(of) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        html! { dt { (name) } dd { (values.join(", ")) } }
    };
    html! {
        (named("data sets", |row| row.dataset.clone()))
        (named("models", |row| row.backbone.clone()))
        (named("inits", |row| row.init.clone()))
        (named("recipes", |row| row.recipe.clone()))
        (named("attacks", |row| format!("{} ({})", row.attack, row.norm)))
        (named("seeds", |row| row.seed.to_string()))
    }
}
