//! `[[analysis]]`, typed, and whether it can be asked.

use std::collections::HashSet;

use super::attack_section::SourceRun;
use super::grid::{GridRun, MOST_CELLS, Rule};
use super::place::{Located, Place};
use super::report::Report;
use super::sections::Sweep;
use super::words::grouped;
use crate::experiment::AnalysisMethod;

/// An analysis: `[[analysis]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisSection {
    /// Its name.
    pub name: String,
    /// The section.
    pub at: Place,
    /// What it asks.
    pub method: AnalysisMethod,
    /// What each run is compared with, where the method compares.
    pub against: Option<Located<Against>>,
    /// First so many of the test split; all if none.
    pub examples: Option<Located<u32>>,
    /// The runs it is asked of; all if none.
    pub(crate) runs: Option<Rule>,
}

/// What a run is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// What it started from: the model that its init brings, or, of a run from scratch, the untrained network.
    Start,
    /// Another run.
    Run(SourceRun),
}

impl AnalysisSection {
    /// Whether it is asked of a run.
    pub(crate) fn asks(&self, run: &GridRun, sweep: &Sweep) -> bool {
        self.runs.as_ref().is_none_or(|rule| rule.meets(run, sweep)) && !self.compares_with_itself(run)
    }

    fn compares_with_itself(&self, run: &GridRun) -> bool {
        let Some(Located { value: Against::Run(other), .. }) = &self.against else { return false };
        key(&other.of(run)) == key(run)
    }
}

fn key(run: &GridRun) -> (usize, usize, usize, usize, u64) {
    (run.dataset, run.model, run.init, run.recipe, run.seed)
}

/// Says of each analysis why it cannot be asked.
pub(super) fn can_be_asked(sweep: &Sweep, report: &Report) {
    let runs: HashSet<_> = sweep.grid.runs.iter().map(key).collect();
    let mut asked = 0_u64;
    for section in &sweep.analyses {
        let of: Vec<&GridRun> = sweep.grid.runs.iter().filter(|run| section.asks(run, sweep)).collect();
        asked += of.len() as u64;
        if of.is_empty() {
            let message = format!("the analysis `{}` is asked of no run", section.name);
            report.mistake_with_help(
                &section.at,
                message,
                "its `runs` meet none, or each would be compared with itself",
            );
        }
        let Some(Located { value: Against::Run(other), at }) = &section.against else { continue };
        if let Some(run) = of.iter().find(|run| !runs.contains(&key(&other.of(run)))) {
            let missing = sweep.describe(&other.of(run));
            let message =
                format!("the grid has no run {missing}, with which {} is to be compared", sweep.describe(run));
            report.mistake_with_help(at, message, "let the rules keep that run, or leave the other out by `runs`");
        }
    }
    if asked > MOST_CELLS {
        let message = format!("{} analyses are too many: at most {}", grouped(asked), grouped(MOST_CELLS));
        report.mistake(&sweep.analyses[0].at, message);
    }
}
