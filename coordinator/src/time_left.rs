//! How long a sweep will still take.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gauntlet_domain::AttemptRef;
use gauntlet_domain::forecast::{Forecast, Job, left_of, makespan};

use crate::shared::Shared;
use crate::store::{Error, Foresight, SweepStatus, UnfinishedRow};

/// Unfinished tasks that are looked at one by one; of more, sums tell enough.
const LOOKED_AT: usize = 5000;
/// An answer is good for so long, and for fifty times as long as it took to find.
const GOOD_FOR: Duration = Duration::from_secs(2);
/// Answers kept.
const KEPT: usize = 1000;

/// The latest answers.
#[derive(Debug, Default)]
pub struct TimesLeft {
    by_sweep: Mutex<BTreeMap<String, Answer>>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    at: Instant,
    good_until: Instant,
    secs: Option<f64>,
}

impl TimesLeft {
    fn get(&self, sweep: &str) -> Option<Answer> {
        let answers = self.by_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(sweep).copied().filter(|answer| Instant::now() < answer.good_until)
    }

    fn put(&self, sweep: &str, answer: Answer) {
        let mut answers = self.by_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= KEPT {
            answers.retain(|_, answer| Instant::now() < answer.good_until);
        }
        answers.insert(sweep.to_owned(), answer);
    }
}

/// Seconds until a sweep ends, as far as can be told: none if it has ended, or nobody works on it.
///
/// # Errors
/// The database is unavailable.
pub async fn of(shared: &Shared, status: &SweepStatus) -> Result<Option<f64>, Error> {
    if status.state() != "running" {
        return Ok(None);
    }
    let answer = match shared.times_left.get(&status.id) {
        Some(answer) => answer,
        None => {
            let start = Instant::now();
            let secs = shared.outage.note(look(shared, &status.id).await)?;
            let at = Instant::now();
            let answer = Answer { at, good_until: at + GOOD_FOR.max(start.elapsed() * 50), secs };
            shared.times_left.put(&status.id, answer);
            answer
        }
    };
    Ok(answer.secs.map(|secs| (secs - answer.at.elapsed().as_secs_f64()).max(0.0)))
}

async fn look(shared: &Shared, sweep: &str) -> Result<Option<f64>, Error> {
    let Foresight { forecast, slots } = shared.store.foresight().await?;
    // What others run is not to be had; what becomes free there is shared again.
    let free = slots.saturating_sub(shared.store.running_elsewhere(sweep).await?).max(u32::from(slots > 0)) as usize;
    let unfinished = shared.store.unfinished(sweep, LOOKED_AT + 1).await?;
    if unfinished.len() <= LOOKED_AT {
        let jobs: Vec<Job> = unfinished.into_iter().map(|row| job(shared, &forecast, row)).collect();
        return Ok(makespan(&jobs, free));
    }
    if free == 0 {
        return Ok(None);
    }
    let sums = shared.store.unfinished_sums(sweep).await?;
    let secs: f64 = sums.iter().map(|sum| forecast.secs(sum.work.as_ref(), sum.cost).0).sum();
    let longest = sums.iter().map(|sum| sum.longest_secs).fold(0.0, f64::max);
    Ok(Some((secs / free as f64).max(longest)))
}

fn job(shared: &Shared, forecast: &Forecast, row: UnfinishedRow) -> Job {
    let (secs, _) = forecast.secs(row.work.as_ref(), row.cost);
    let UnfinishedRow { task, inputs, running, .. } = row;
    let Some((worker, attempt, elapsed)) = running else { return Job { id: task, secs, running: false, inputs } };
    let progress = shared.sessions.progress(&worker, AttemptRef { task, attempt });
    let share = progress.filter(|progress| progress.total > 0).map_or(0.0, |it| it.done as f64 / it.total as f64);
    Job { id: task, secs: left_of(secs, elapsed, share), running: true, inputs }
}
