//! How the loop looks at the queues where that is slow.
//!
//! While somebody's old transaction keeps Postgres from removing dead rows, a look at all queues walks over each of them, and the next look does so
//! again. Then such a look is made only now and then, and what lies between builds on it: it begins where the last one found something, finds
//! younger sweeps and what this coordinator has made ready at once, and counts what runs by what this coordinator started and saw end. Only what
//! others start, and what they make ready before the place where a look begins, is seen later. Where looks are fast, each is one at everything.

mod ripe;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gauntlet_domain::TaskId;
use gauntlet_domain::schedule::{QueueKey, ReadyTask};

use crate::pace::Pace;
use crate::shared::Shared;
use crate::store::{Contenders, Error, Known, Mark, Marks};

pub use ripe::Ripe;

/// How often it is said why looks are slow.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What is remembered of the looks at the queues.
#[derive(Debug, Default)]
pub struct Looks {
    pace: Pace,
    known: Known,
    /// What ran on the workers of this coordinator when all was looked at.
    ran: BTreeMap<QueueKey, u32>,
    /// Whether the last look built on an earlier one.
    quick: bool,
    /// Whether the last look found nothing to do.
    in_vain: bool,
    told_at: Option<Instant>,
}

impl Looks {
    /// Who waits for slots.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn contenders(&mut self, shared: &Shared) -> Result<Contenders, Error> {
        self.quick = !self.pace.is_due(Instant::now(), self.in_vain);
        self.in_vain = false;
        // Before the database is asked: what becomes ready meanwhile is seen twice and not missed.
        let ripe = shared.ripe.take(self.pace.is_slow());
        if self.quick { self.build_on(ripe, shared).await } else { self.look_afresh(shared).await }
    }

    /// What is known, with what became ready and who came since.
    async fn build_on(&mut self, ripe: Vec<TaskId>, shared: &Shared) -> Result<Contenders, Error> {
        self.step_back(shared.store.marks_of(&ripe).await?);
        let running = moved_on(&self.known.running, &self.ran, &shared.sessions.running_of_queues());
        let known = Known { running, ..self.known.clone() };
        let contenders = shared.store.contenders(Some(&known)).await?;
        self.known.marks.clone_from(&contenders.known.marks);
        Ok(contenders)
    }

    async fn look_afresh(&mut self, shared: &Shared) -> Result<Contenders, Error> {
        let mut youngest = None;
        // Where looks are fast, nothing builds on them.
        if self.pace.is_slow() {
            self.ran = shared.sessions.running_of_queues();
            youngest = shared.store.youngest_queue().await?;
        }
        let begun = Instant::now();
        let contenders = shared.store.contenders(None).await?;
        let now = Instant::now();
        self.known = Known { youngest, ..contenders.known.clone() };
        self.pace.looked(now, now.saturating_duration_since(begun));
        self.tell(now, shared).await?;
        Ok(contenders)
    }

    /// Says whose transaction makes looks slow, for those who can end it.
    async fn tell(&mut self, now: Instant, shared: &Shared) -> Result<(), Error> {
        let told = self.told_at.is_some_and(|at| now.saturating_duration_since(at) < TOLD_EVERY);
        let Some(took) = self.pace.slow_look().filter(|_| !told) else { return Ok(()) };
        if let Some(holder) = shared.store.oldest_snapshot().await? {
            self.told_at = Some(now);
            tracing::warn!(
                look_secs = took.as_secs_f64(),
                pid = holder.pid,
                application = holder.application,
                open_secs = holder.open_secs,
                "an open transaction keeps the database from removing dead rows of the queue, which becomes slower"
            );
        }
        Ok(())
    }

    /// From where on something is ready.
    pub const fn marks(&self) -> &Marks {
        &self.known.marks
    }

    /// Looks begin at these places, or before.
    fn step_back(&mut self, marks: Marks) {
        for (key, mark) in marks {
            let known = self.known.marks.entry(key).or_insert(mark);
            if mark.is_before(known) {
                *known = mark;
            }
        }
    }

    /// The fronts of queues were seen: the next look begins there.
    pub fn saw(&mut self, fronts: &BTreeMap<QueueKey, Vec<ReadyTask>>) {
        for (queue, ready) in fronts {
            // The first of each demand is to stay.
            for task in ready.iter().rev() {
                let mark = Mark { critical_path_cost: task.critical_path_cost, task: task.id };
                self.known.marks.insert((*queue, task.demand), mark);
            }
        }
    }

    /// The last look found nothing to do. True if the next one would see more and is due.
    pub fn found_nothing(&mut self) -> bool {
        self.in_vain = true;
        self.quick && self.pace.is_due(Instant::now(), true)
    }
}

/// What runs of each queue, after so much ran on the workers of this coordinator and now so much does.
fn moved_on(
    running: &BTreeMap<QueueKey, u32>,
    ran: &BTreeMap<QueueKey, u32>,
    runs: &BTreeMap<QueueKey, u32>,
) -> BTreeMap<QueueKey, u32> {
    let of = |counts: &BTreeMap<QueueKey, u32>, queue| counts.get(queue).copied().unwrap_or(0);
    let queues = running.keys().chain(runs.keys());
    queues.map(|queue| (*queue, (of(running, queue) + of(runs, queue)).saturating_sub(of(ran, queue)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_what_ran_and_what_was_started_less_what_has_ended() {
        let counts = |counts: &[(i32, u32)]| counts.iter().map(|(queue, count)| (QueueKey(*queue), *count)).collect();
        // Of queue 1 another coordinator runs 3, of queue 2 all has ended, queue 3 is new; what 4 has was taken over and its end was not seen.
        let (running, ran) = (counts(&[(1, 5), (2, 4), (4, 1)]), counts(&[(1, 2), (2, 4)]));
        let runs = counts(&[(1, 7), (3, 6)]);
        assert_eq!(moved_on(&running, &ran, &runs), counts(&[(1, 10), (2, 0), (3, 6), (4, 1)]));
    }
}
