//! How far a sweep is: bars on a terminal, plain lines elsewhere; on stderr.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use gauntlet_proto::v1;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::commands::goes_on;
use crate::render::tables::duration;

/// Plain lines come at most this often.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows the progress of one sweep.
pub enum Progress {
    Bars(Bars),
    Lines(Lines),
}

impl Progress {
    /// Bars where stderr is a terminal, lines otherwise.
    pub fn new() -> Self {
        if std::io::stderr().is_terminal() { Self::Bars(Bars::new()) } else { Self::Lines(Lines::new()) }
    }

    /// Shows where the sweep stands.
    pub fn show(&mut self, sweep: &v1::Sweep) {
        match self {
            Self::Bars(bars) => bars.show(sweep),
            Self::Lines(lines) => lines.show(sweep),
        }
    }

    /// Takes the bars away.
    pub fn finish(&mut self) {
        if let Self::Bars(bars) = self {
            bars.finish();
        }
    }
}

/// The time left, in words, where the coordinator can tell it.
fn left(sweep: &v1::Sweep) -> String {
    sweep.seconds_left.map_or_else(String::new, |left| format!(", about {} left", duration(left)))
}

/// Cost of what is done, running tasks counted by their progress.
fn done_cost(sweep: &v1::Sweep) -> f64 {
    let share = |task: &v1::RunningTask| if task.total == 0 { 0.0 } else { task.done as f64 / task.total as f64 };
    sweep.done_cost + sweep.running.iter().map(|task| task.cost * share(task).min(1.0)).sum::<f64>()
}

fn ended(counts: &v1::TaskCounts) -> u32 {
    counts.succeeded + counts.failed + counts.cancelled + counts.skipped + counts.pointless
}

fn total(counts: &v1::TaskCounts) -> u32 {
    ended(counts) + counts.pending + counts.ready + counts.leased
}

/// Where the sweep stands, in words.
fn standing(sweep: &v1::Sweep) -> String {
    let text = counts_text(&sweep.tasks.unwrap_or_default());
    if sweep.state == "paused" { format!("paused, {text}") } else { text }
}

fn counts_text(counts: &v1::TaskCounts) -> String {
    let mut text = format!("{}/{} tasks done, {} running", counts.succeeded, total(counts), counts.leased);
    for (count, what) in [
        (counts.failed, "failed"),
        (counts.skipped, "skipped"),
        (counts.cancelled, "cancelled"),
        (counts.pointless, "pointless"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

/// Bars on a terminal.
pub struct Bars {
    all: MultiProgress,
    overall: ProgressBar,
    tasks: BTreeMap<String, ProgressBar>,
}

/// Steps of a bar's full length.
const FULL: u64 = 10_000;

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let overall = all.add(ProgressBar::new(FULL));
        overall.set_style(style("{bar:40.green} {percent:>3} % │ {elapsed} │ {msg}"));
        overall.enable_steady_tick(Duration::from_millis(500));
        Self { all, overall, tasks: BTreeMap::new() }
    }

    fn show(&mut self, sweep: &v1::Sweep) {
        let share = if sweep.total_cost > 0.0 { done_cost(sweep) / sweep.total_cost } else { 1.0 };
        self.overall.set_position((share * FULL as f64) as u64);
        self.overall.set_message(format!("{}{}", standing(sweep), left(sweep)));
        self.tasks.retain(|id, bar| {
            let running = sweep.running.iter().any(|task| &task.task_id == id);
            if !running {
                bar.finish_and_clear();
            }
            running
        });
        for task in &sweep.running {
            let bar = self.tasks.entry(task.task_id.clone()).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new(task.total));
                bar.set_style(style("{bar:20.cyan} {msg} {pos}/{len} {prefix} ({per_sec})"));
                bar
            });
            bar.set_length(task.total);
            bar.set_position(task.done);
            bar.set_prefix(task.unit.clone());
            bar.set_message(format!("{} · {}", task.kind, task.label));
        }
    }

    fn finish(&mut self) {
        for bar in self.tasks.values() {
            bar.finish_and_clear();
        }
        self.overall.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Lines elsewhere.
pub struct Lines {
    started: Instant,
    last: Option<(Instant, String)>,
}

impl Lines {
    fn new() -> Self {
        Self { started: Instant::now(), last: None }
    }

    fn show(&mut self, sweep: &v1::Sweep) {
        let text = standing(sweep);
        let due = match &self.last {
            None => true,
            Some((at, last)) => (at.elapsed() >= LINE_INTERVAL && *last != text) || !goes_on(sweep),
        };
        if due {
            eprintln!("[{}] {text}{}", duration(self.started.elapsed().as_secs_f64()), left(sweep));
            self.last = Some((Instant::now(), text));
        }
    }
}
