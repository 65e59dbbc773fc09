//! Why a task waits, where it runs or how it ended, in plain words.

mod placement;

use gauntlet_domain::AttemptRef;
use gauntlet_domain::quota::Precedence;
use gauntlet_domain::schedule::Demand;
use gauntlet_domain::task::TaskState;

use crate::sessions::Progress;
use crate::shared::Shared;
use crate::store::{InputRow, TaskDetails};

/// Inputs named one by one.
const NAMED: usize = 3;

/// The workers of this coordinator, in a few numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Workers with a session here.
    pub connected: usize,
    /// Of these, such as take no new work because they leave.
    pub draining: usize,
    /// Of these, such as miss heartbeats.
    pub silent: usize,
    /// Slots of the others that are free.
    pub free_slots: usize,
    /// What they lack for the task, where none can take it.
    pub hindrance: Option<String>,
    /// How far attempts are.
    progress: Vec<(AttemptRef, Progress)>,
}

impl Fleet {
    /// As it is now, for a task that needs this.
    pub fn of(shared: &Shared, details: &TaskDetails, demand: &Demand) -> Self {
        let workers = shared.sessions.views(shared.config.silence());
        let longest_secs = shared.sessions.longest_secs();
        let hindrance = placement::hindrance(&workers, &details.requires, demand, details.cost, longest_secs);
        let mut fleet = Self { hindrance, ..Self::default() };
        for seen in shared.sessions.seen() {
            fleet.connected += 1;
            if seen.silence > shared.config.silence() {
                fleet.silent += 1;
            } else if seen.draining {
                fleet.draining += 1;
            } else {
                fleet.free_slots += (seen.slots as usize).saturating_sub(seen.running.len());
            }
            let progress = |attempt: &AttemptRef| Some((*attempt, shared.sessions.progress(&seen.worker, *attempt)?));
            fleet.progress.extend(seen.running.iter().filter_map(progress));
        }
        fleet
    }
}

/// What goes before a ready task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Before {
    /// Tasks of its own sweep.
    pub tasks: u64,
    /// What goes before its sweep, and what bounds it.
    pub precedence: Precedence,
}

/// Where a task stands, in a sentence. `before` is what goes before it, as far as it is ready.
pub fn explain(details: &TaskDetails, before: &Before, fleet: &Fleet) -> String {
    let standing = standing(details, before, fleet);
    match details.min_memory_mib {
        Some(needed) if details.task.state != TaskState::Succeeded => {
            format!(
                "{standing}; it needs {needed} MiB of memory or more: with less an attempt ran out that spared all it could"
            )
        }
        _ => standing,
    }
}

fn standing(details: &TaskDetails, before: &Before, fleet: &Fleet) -> String {
    let task = &details.task;
    let since = duration(details.now - details.changed_at);
    let reason = task.reason.as_deref().unwrap_or("no reason is known");
    match task.state {
        TaskState::Pending if task.merges => merging(&details.inputs),
        TaskState::Pending => match paused(details) {
            Some(sweep) => format!("{}; its sweep {sweep} is paused", pending(&details.inputs)),
            None => pending(&details.inputs),
        },
        TaskState::Ready if task.not_before.0 > details.now => {
            let wait = duration(task.not_before.0 - details.now);
            format!("waits {wait} before another try; attempt {} ended so: {reason}", task.attempt)
        }
        TaskState::Ready => {
            let last = task
                .reason
                .as_ref()
                .map(|reason| format!("; attempt {} ended so: {reason}", task.attempt))
                .unwrap_or_default();
            let how = match paused(details) {
                Some(sweep) => format!("but its sweep {sweep} is paused: `gauntlet resume {sweep}` lets it start"),
                None => ready(before, fleet),
            };
            format!("ready since {since}, {how}{last}")
        }
        TaskState::Leased => {
            let worker = task.lease.as_ref().map(|lease| lease.worker.as_str()).unwrap_or_default();
            format!("runs on {worker} as attempt {} since {since}, {}", task.attempt, progress(details, fleet))
        }
        TaskState::Succeeded if task.merges => {
            format!("succeeded {since} ago, merged from its {} shards", details.inputs.len())
        }
        TaskState::Succeeded => succeeded(details),
        TaskState::Failed => format!("failed: {reason}"),
        TaskState::Cancelled => format!("cancelled: {reason}"),
        TaskState::Skipped => format!("skipped: {reason}"),
    }
}

/// The sweep in whose queue it is, if that is paused.
fn paused(details: &TaskDetails) -> Option<&str> {
    details.charged.as_ref().filter(|sweep| sweep.paused).map(|sweep| sweep.id.as_str())
}

fn pending(inputs: &[InputRow]) -> String {
    let missing: Vec<&InputRow> = inputs.iter().filter(|input| input.state != TaskState::Succeeded).collect();
    let mut names: Vec<String> =
        missing.iter().take(NAMED).map(|input| format!("{} ({})", input.label, doing(input.state))).collect();
    if missing.len() > NAMED {
        names.push(format!("{} more", missing.len() - NAMED));
    }
    let plural = if inputs.len() == 1 { "" } else { "s" };
    format!("waits for {} of {} input{plural}: {}", missing.len(), inputs.len(), names.join(", "))
}

/// An attack in shards, by the states of these.
fn merging(shards: &[InputRow]) -> String {
    let counts = TaskState::ALL.map(|state| (state, shards.iter().filter(|shard| shard.state == state).count()));
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts.map(|(state, count)| format!("{count} {}", doing(state))).collect();
    format!("is merged from its {} shards when all have succeeded: {}", shards.len(), counts.join(", "))
}

const fn doing(state: TaskState) -> &'static str {
    match state {
        TaskState::Leased => "running",
        other => other.name(),
    }
}

/// What keeps the sweep of a ready task from its turn.
fn shares(precedence: &Precedence) -> Vec<String> {
    let several = |count: usize, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    };
    let full = precedence.full.map(|most| format!("its sweep may run {most} at once, and {most} run"));
    let user_full =
        precedence.user_full.as_ref().map(|(user, most)| format!("user {user} may run {most} at once, and {most} run"));
    let users = several(
        precedence.users_before,
        "user who runs less for his weight goes",
        "users who run less for their weights go",
    );
    let sweeps = several(
        precedence.sweeps_before,
        "sweep of the same user with a higher priority or less running for its weight goes",
        "sweeps of the same user with a higher priority or less running for their weights go",
    );
    let before = |who: String| format!("{who} before its sweep");
    full.into_iter().chain(user_full).chain(users.map(before)).chain(sweeps.map(before)).collect()
}

fn ready(before: &Before, fleet: &Fleet) -> String {
    if fleet.connected == 0 {
        return "no worker takes work: none is connected to this coordinator".to_owned();
    }
    if let Some(hindrance) = &fleet.hindrance {
        return hindrance.clone();
    }
    let shares = shares(&before.precedence);
    let bounded = before.precedence.full.is_some() || before.precedence.user_full.is_some();
    if !shares.is_empty() && (bounded || fleet.free_slots == 0) {
        let own = match before.tasks {
            0 => "it is the next of its sweep".to_owned(),
            tasks => format!("of its sweep {}", go_before(tasks)),
        };
        return format!("{}; {own}", shares.join("; "));
    }
    in_its_queue(before.tasks, fleet)
}

fn go_before(tasks: u64) -> String {
    match tasks {
        1 => "1 task goes before it".to_owned(),
        1000.. => "1000 tasks or more go before it".to_owned(),
        tasks => format!("{tasks} tasks go before it"),
    }
}

fn in_its_queue(ahead: u64, fleet: &Fleet) -> String {
    if fleet.free_slots > 0 && ahead == 0 {
        return "next in the queue, and a slot is free".to_owned();
    }
    let mut parts = vec![match fleet.connected {
        1 => "1 worker is connected".to_owned(),
        connected => format!("{connected} workers are connected"),
    }];
    parts.extend((fleet.silent > 0).then(|| format!("{} silent", fleet.silent)));
    parts.extend((fleet.draining > 0).then(|| format!("{} draining", fleet.draining)));
    parts.push(match fleet.free_slots {
        0 => "no slot is free".to_owned(),
        1 => "1 slot is free".to_owned(),
        free => format!("{free} slots are free"),
    });
    let before = match ahead {
        0 => "next in the queue".to_owned(),
        ahead => go_before(ahead),
    };
    format!("{before}; {}", parts.join(", "))
}

fn progress(details: &TaskDetails, fleet: &Fleet) -> String {
    let attempt = AttemptRef { task: details.id, attempt: details.task.attempt };
    match fleet.progress.iter().find(|(running, _)| *running == attempt).map(|(_, progress)| progress) {
        Some(Progress { done, total, unit }) if *total > 0 => {
            let percent = (*done as f64 / *total as f64 * 100.0).min(100.0);
            format!("{percent:.0} % done ({done} of {total} {unit})")
        }
        _ => "no progress was reported yet".to_owned(),
    }
}

fn succeeded(details: &TaskDetails) -> String {
    let last = details.attempts.iter().find(|attempt| attempt.outcome == "succeeded");
    let how = last.and_then(|attempt| Some((attempt, attempt.ended_at? - attempt.started_at)));
    match how {
        Some((attempt, took)) => {
            format!("succeeded on {} in attempt {} after {}", attempt.worker, attempt.attempt, duration(took))
        }
        None => "succeeded".to_owned(),
    }
}

/// A length of time for people: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
fn duration(micros: i64) -> String {
    let seconds = micros.max(0) / 1_000_000;
    match seconds {
        0..10 => format!("{:.1} s", micros.max(0) as f64 / 1e6),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_task_says_what_its_sweep_waits_for() {
        let fleet = Fleet { connected: 2, ..Fleet::default() };
        let free = Fleet { free_slots: 1, ..fleet.clone() };
        let precedence = |full, user_full: Option<(&str, u32)>, users_before, sweeps_before| Precedence {
            full,
            user_full: user_full.map(|(user, most)| (user.parse().unwrap(), most)),
            users_before,
            sweeps_before,
        };
        let told = [
            (precedence(Some(2), None, 0, 0), &free),
            (precedence(None, Some(("ada", 8)), 0, 0), &free),
            (precedence(None, None, 3, 0), &fleet),
            (precedence(None, None, 1, 2), &fleet),
            (precedence(None, None, 1, 2), &free),
            (precedence(None, None, 0, 1), &fleet),
        ]
        .map(|(precedence, fleet)| ready(&Before { tasks: precedence.sweeps_before as u64, precedence }, fleet));
        insta::assert_snapshot!(told.join("\n"));
    }
}
