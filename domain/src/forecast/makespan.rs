//! How long tasks take together, on so many slots.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::ids::TaskId;

/// A task that is not done.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Which.
    pub id: TaskId,
    /// Seconds it still takes a slot; 0 where none runs it, such as a merge.
    pub secs: f64,
    /// A slot is on it now.
    pub running: bool,
    /// Tasks that it waits for; those that are no jobs are done.
    pub inputs: Vec<TaskId>,
}

/// Seconds that are left of a running task which was expected to take `secs`, has run for `elapsed` seconds and says that `share` of it is done.
///
/// The more is done, the more its own pace counts. One that says nothing and takes longer than expected is believed to be nearly done.
pub fn left_of(secs: f64, elapsed: f64, share: f64) -> f64 {
    let share = share.clamp(0.0, 1.0);
    if share <= 0.0 {
        return (secs - elapsed).max(0.1 * secs);
    }
    let at_its_pace = elapsed * (1.0 - share) / share;
    share * at_its_pace + (1.0 - share) * secs * (1.0 - share)
}

/// For each task (inputs before those that need them: id, seconds, inputs), the seconds of the longest chain that starts with it.
pub fn critical_paths<'a>(
    tasks: impl DoubleEndedIterator<Item = (TaskId, f64, &'a [TaskId])>,
) -> BTreeMap<TaskId, f64> {
    let mut paths: BTreeMap<TaskId, f64> = BTreeMap::new();
    for (task, secs, inputs) in tasks.rev() {
        let total = secs + paths.get(&task).copied().unwrap_or(0.0);
        paths.insert(task, total);
        for input in inputs {
            let below = paths.entry(*input).or_insert(0.0);
            *below = below.max(total);
        }
    }
    paths
}

/// Seconds until all are done, if `slots` slots take them in the order of their critical paths. None if there is work and no slot.
///
/// It is never less than the work over the slots, nor than the longest chain. Running tasks that are more than the slots have one each.
pub fn makespan(jobs: &[Job], slots: usize) -> Option<f64> {
    let slots = slots.max(jobs.iter().filter(|job| job.running).count());
    if slots == 0 {
        return jobs.is_empty().then_some(0.0);
    }
    Some(Run::new(jobs, slots).last())
}

/// Seconds as numbers that have an order.
fn micros(secs: f64) -> u64 {
    (secs.max(0.0) * 1e6).round() as u64
}

/// A run through the jobs, from one end of a job to the next.
struct Run<'a> {
    jobs: &'a [Job],
    /// For each job, those that wait for it.
    dependents: Vec<Vec<usize>>,
    /// For each job, how many it waits for.
    missing: Vec<usize>,
    /// For each job, its critical path.
    paths: Vec<u64>,
    free: usize,
    now: u64,
    /// Ready jobs, the longest path on top.
    ready: BinaryHeap<(u64, Reverse<usize>)>,
    /// Ends of what runs, the next on top.
    ends: BinaryHeap<Reverse<(u64, usize)>>,
}

impl<'a> Run<'a> {
    fn new(jobs: &'a [Job], slots: usize) -> Self {
        let numbers: BTreeMap<TaskId, usize> = jobs.iter().enumerate().map(|(number, job)| (job.id, number)).collect();
        let mut dependents = vec![Vec::new(); jobs.len()];
        let mut missing = vec![0; jobs.len()];
        for (number, job) in jobs.iter().enumerate().filter(|(_, job)| !job.running) {
            for input in job.inputs.iter().filter_map(|input| numbers.get(input)) {
                dependents[*input].push(number);
                missing[number] += 1;
            }
        }
        let paths = paths(jobs, &dependents, &missing);
        let (ready, ends) = (BinaryHeap::new(), BinaryHeap::new());
        let mut run = Self { jobs, dependents, missing, paths, free: slots, now: 0, ready, ends };
        for (number, job) in jobs.iter().enumerate() {
            if job.running {
                run.begin(number);
            } else if run.missing[number] == 0 {
                run.ready.push((run.paths[number], Reverse(number)));
            }
        }
        run
    }

    fn begin(&mut self, number: usize) {
        self.free -= 1;
        self.ends.push(Reverse((self.now + micros(self.jobs[number].secs), number)));
    }

    /// What waited for it comes closer.
    fn done(&mut self, number: usize) {
        for dependent in std::mem::take(&mut self.dependents[number]) {
            self.missing[dependent] -= 1;
            if self.missing[dependent] == 0 {
                self.ready.push((self.paths[dependent], Reverse(dependent)));
            }
        }
    }

    /// The end of the last job, in seconds.
    fn last(mut self) -> f64 {
        loop {
            while let Some((_, Reverse(number))) = self.ready.peek().copied() {
                let takes_no_slot = self.jobs[number].secs <= 0.0;
                if !takes_no_slot && self.free == 0 {
                    break;
                }
                self.ready.pop();
                if takes_no_slot { self.done(number) } else { self.begin(number) }
            }
            let Some(Reverse((end, number))) = self.ends.pop() else { return self.now as f64 / 1e6 };
            self.now = end;
            self.free += 1;
            self.done(number);
        }
    }
}

/// The critical path of each job.
fn paths(jobs: &[Job], dependents: &[Vec<usize>], missing: &[usize]) -> Vec<u64> {
    let mut missing = missing.to_vec();
    let mut order: Vec<usize> = (0..jobs.len()).filter(|number| missing[*number] == 0).collect();
    let mut next = 0;
    while let Some(number) = order.get(next).copied() {
        next += 1;
        for dependent in &dependents[number] {
            missing[*dependent] -= 1;
            if missing[*dependent] == 0 {
                order.push(*dependent);
            }
        }
    }
    let mut paths = vec![0; jobs.len()];
    for number in order.into_iter().rev() {
        let below = dependents[number].iter().map(|dependent| paths[*dependent]).max().unwrap_or(0);
        paths[number] = micros(jobs[number].secs) + below;
    }
    paths
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Digest;

    fn id(number: usize) -> TaskId {
        TaskId::from_digest(Digest::of(&number.to_le_bytes()))
    }

    fn job(number: usize, secs: f64, inputs: &[usize]) -> Job {
        Job { id: id(number), secs, running: false, inputs: inputs.iter().map(|input| id(*input)).collect() }
    }

    #[test]
    fn a_sweep_takes_as_long_as_its_slots_need_and_no_less_than_its_longest_chain() {
        // A training, then an attack in three shards that are merged, and a lonely attack.
        let jobs = [
            job(0, 10.0, &[]),
            job(1, 4.0, &[0]),
            job(2, 4.0, &[0]),
            job(3, 4.0, &[0]),
            job(4, 0.0, &[1, 2, 3]),
            job(5, 6.0, &[99]),
        ];
        assert_eq!([1, 2, 3, 9].map(|slots| makespan(&jobs, slots)), [28.0, 18.0, 14.0, 14.0].map(Some));
        assert_eq!(makespan(&jobs, 0), None, "nobody will do it");
        assert_eq!(makespan(&[], 0), Some(0.0));
    }

    #[test]
    fn what_runs_keeps_its_slot() {
        let running = Job { running: true, ..job(0, 3.0, &[]) };
        assert_eq!(makespan(&[running.clone(), job(1, 2.0, &[0]), job(2, 4.0, &[])], 1), Some(9.0));
        assert_eq!(makespan(&[running], 0), Some(3.0), "its worker leaves, and finishes it before");
    }

    #[test]
    fn a_running_task_is_believed_the_more_the_further_it_is() {
        assert_eq!(left_of(100.0, 30.0, 0.0), 70.0);
        assert_eq!(left_of(100.0, 500.0, 0.0), 10.0);
        // Half done in 200 seconds: its pace says 200 more, the forecast 50.
        assert_eq!(left_of(100.0, 200.0, 0.5), 125.0);
        assert!((left_of(100.0, 900.0, 0.9) - (0.9 * 100.0 + 0.1 * 10.0)).abs() < 1e-9);
        assert_eq!(left_of(100.0, 200.0, 1.0), 0.0);
    }

    #[test]
    fn critical_paths_add_up_along_the_longest_chain() {
        let inputs = [vec![], vec![id(0)], vec![id(0)], vec![id(1), id(2)]];
        let secs = [1.0, 2.0, 5.0, 0.0];
        let paths = critical_paths((0..4).map(|n| (id(n), secs[n], inputs[n].as_slice())));
        assert_eq!([0, 1, 2, 3].map(|n| paths[&id(n)]), [6.0, 2.0, 5.0, 0.0]);
    }

    proptest! {
        #[test]
        fn the_makespan_lies_between_its_bounds(
            tasks in prop::collection::vec((0.001f64..100.0, prop::collection::vec(0usize..40, 0..3)), 1..40),
            slots in 1usize..8,
        ) {
            let jobs: Vec<Job> = tasks
                .iter()
                .enumerate()
                .map(|(n, (secs, inputs))| job(n, *secs, &inputs.iter().filter(|i| **i < n).copied().collect::<Vec<_>>()))
                .collect();
            let paths = critical_paths(jobs.iter().map(|job| (job.id, job.secs, job.inputs.as_slice())));
            let longest = paths.values().copied().fold(0.0, f64::max);
            let total: f64 = jobs.iter().map(|job| job.secs).sum();
            let found = makespan(&jobs, slots).unwrap();
            let slack = 1e-3;
            prop_assert!(found >= total / slots as f64 - slack && found >= longest - slack);
            // No list of jobs takes longer (Graham 1969).
            let share = 1.0 / slots as f64;
            prop_assert!(found <= total * share + longest * (1.0 - share) + slack, "{found}");
        }
    }
}
