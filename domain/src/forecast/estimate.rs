//! What a plan will take.

use std::collections::{BTreeMap, BTreeSet};

use super::makespan::{Job, makespan};
use super::rates::{Basis, Forecast};
use super::work::Work;
use crate::ids::TaskId;
use crate::plan::PlannedTask;

/// What a plan is expected to take, and how sure that is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Estimate {
    /// Seconds of all its tasks together, each on one slot.
    pub secs: f64,
    /// The same by what they rest on.
    pub secs_by_basis: BTreeMap<Basis, f64>,
    /// Attempts at the same work that were learnt from.
    pub attempts: u64,
    /// Seconds until the end, if the slots do nothing else; none without slots.
    pub makespan_secs: Option<f64>,
}

impl Estimate {
    /// Of tasks that are not done, each with what it waits for; `merges` says which of them no slot runs.
    pub fn of<'a>(
        tasks: impl Iterator<Item = (&'a PlannedTask, &'a [TaskId])>,
        merges: impl Fn(TaskId) -> bool,
        forecast: &Forecast,
        slots: usize,
    ) -> Self {
        let mut estimate = Self::default();
        let mut kinds = BTreeSet::new();
        let mut jobs = Vec::new();
        for (task, inputs) in tasks {
            let mut secs = 0.0;
            if !merges(task.id) {
                let work = Work::of(&task.spec);
                let (own, basis) = forecast.secs(Some(&work), task.cost);
                secs = own;
                estimate.secs += secs;
                *estimate.secs_by_basis.entry(basis).or_default() += secs;
                kinds.insert(work);
            }
            jobs.push(Job { id: task.id, secs, running: false, inputs: inputs.to_vec() });
        }
        estimate.attempts = kinds.iter().map(|work| forecast.attempts(work)).sum();
        estimate.makespan_secs = makespan(&jobs, slots);
        estimate
    }
}
