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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use crate::experiment::TaskSpec;
    use crate::forecast::{DeviceKind, Rates, shards};
    use crate::plan::{self, TaskKind};
    use crate::sweep;

    const SWEEP: &str = r#"
        name = "s"
        seeds = [0]
        [[dataset]]
        name = "glyphs"
        [[model]]
        backbone = "resnet18-w16"
        [[init]]
        name = "scratch"
        [[recipe]]
        name = "standard"
        method = "standard"
        epochs = 1
        [[attack]]
        name = "pgd"
        method = "pgd"
        eps = "8/255"
        steps = 10
        examples = 1024
    "#;

    #[test]
    fn shards_cost_what_their_attack_costs_and_end_sooner_on_more_slots() {
        let plan = plan::plan(&sweep::parse(SWEEP).unwrap(), &catalogue::pinned_facts()).unwrap();
        let forecast = Forecast::new(Rates::default(), [(DeviceKind::of("cpu", 1), 4)]);
        let attack = plan.tasks.iter().find(|task| task.kind == TaskKind::Attack).unwrap();
        let TaskSpec::Attack(spec) = &attack.spec else { panic!("an attack that attacks nothing") };
        let parts = attack.split(&shards(spec, 400.0, 100.0));
        let parents: Vec<TaskId> = parts.iter().map(|part| part.id).collect();
        assert_eq!(parts.len(), 4);
        assert!(parts.iter().all(|part| part.inputs == attack.inputs && part.kind == TaskKind::Shard));
        let whole = |slots| {
            let tasks = plan.tasks.iter().map(|task| (task, task.inputs.as_slice()));
            Estimate::of(tasks, |_| false, &forecast, slots)
        };
        let split = |slots| {
            let inputs = |id: TaskId, own| if id == attack.id { parents.as_slice() } else { own };
            let tasks = plan.tasks.iter().chain(&parts).map(|task| (task, inputs(task.id, task.inputs.as_slice())));
            Estimate::of(tasks, |task| task == attack.id, &forecast, slots)
        };
        assert!((whole(4).secs - split(4).secs).abs() < 1e-9 * whole(4).secs);
        assert_eq!(split(4).secs_by_basis.keys().collect::<Vec<_>>(), [&Basis::Guess]);
        let attack_secs = forecast.task_secs(attack).0;
        let saved = whole(4).makespan_secs.unwrap() - split(4).makespan_secs.unwrap();
        assert!((saved - 0.75 * attack_secs).abs() < 1e-3, "{saved} of {attack_secs}");
        assert!((whole(1).makespan_secs.unwrap() - split(1).makespan_secs.unwrap()).abs() < 1e-3);
        assert_eq!(split(0).makespan_secs, None);
    }
}
