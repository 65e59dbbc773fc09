//! What may happen to a task, and what follows.

use std::time::Duration;

use super::evidence;
use super::state::{Failure, FailureClass, FailureCounts, Lease, Task, TaskState, Timestamp};
use crate::ids::{AttemptNumber, WorkerId};

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// One of its inputs succeeded.
    InputSucceeded,
    /// One of its inputs will never come.
    InputLost {
        /// Which, and why.
        reason: String,
    },
    /// An earlier attack of its cascade has left it nothing to find.
    Pointless {
        /// Which, and what it left.
        reason: String,
    },
    /// The scheduler gave it to a worker.
    Leased {
        /// Who runs it.
        worker: WorkerId,
    },
    /// A worker reports the result of an attempt.
    Succeeded {
        /// Which attempt.
        attempt: AttemptNumber,
    },
    /// A worker reports that an attempt failed.
    Failed {
        /// Which attempt.
        attempt: AttemptNumber,
        /// Why.
        failure: Failure,
    },
    /// The worker of an attempt is gone, or came back without it.
    LeaseLost {
        /// Which attempt.
        attempt: AttemptNumber,
        /// What became of the worker.
        reason: String,
    },
    /// The worker of an attempt hands it back unfinished: a shutdown, a preemption, no room. No failure, however often.
    HandedBack {
        /// Which attempt.
        attempt: AttemptNumber,
    },
    /// A user stops it.
    Cancelled {
        /// Who and why.
        reason: String,
    },
    /// A user asks for another try, or submits a sweep that needs it.
    Retry {
        /// Inputs that have not succeeded at this moment.
        pending_inputs: u32,
    },
}

/// Why an event changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It speaks of an attempt that is no longer the current one, or has ended.
    #[error("attempt {found} is not running: the task is {state}, its latest attempt is {latest}")]
    Stale {
        /// The attempt spoken of.
        found: AttemptNumber,
        /// The task's state.
        state: TaskState,
        /// Its latest attempt.
        latest: AttemptNumber,
    },
    /// It makes no sense in this state.
    #[error("a {state} task cannot be {what}")]
    NotAllowed {
        /// The task's state.
        state: TaskState,
        /// What was to be done.
        what: &'static str,
    },
    /// Too early after a failure.
    #[error("the task may not be leased yet")]
    TooEarly,
}

/// How often and how fast failures are retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Lost leases after which a task is given up. Generous, because losing workers is what happens to long tasks on machines that come and go; and a
    /// limit all the same, because there are tasks that take their machine down.
    pub max_lost: u32,
    /// Transient failures after which a task is given up.
    pub max_transient: u32,
    /// Crashes of its executor after which a task is quarantined.
    pub max_crashes: u32,
    /// Resource failures after which it is given up.
    pub max_resource: u32,
    /// Wait after the first failure; doubled by each further one.
    pub backoff_base: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_lost: 100,
            max_transient: 10,
            max_crashes: 3,
            // As usual, sparing memory, and two larger devices.
            max_resource: 4,
            backoff_base: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// Wait before the next attempt after so many failures.
    pub fn backoff(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        self.backoff_base.saturating_mul(1 << doublings).min(self.backoff_max)
    }
}

/// What becomes of `task` when `event` happens at `now`.
///
/// # Errors
/// The event is stale or makes no sense in the task's state; the task stays as it is.
pub fn apply(task: &Task, event: Event, policy: &RetryPolicy, now: Timestamp) -> Result<Task, Rejected> {
    match event {
        Event::InputSucceeded => input_succeeded(task, now),
        Event::InputLost { reason } => match task.state {
            TaskState::Pending => Ok(ended(task, TaskState::Skipped, reason)),
            _ => not_allowed(task, "skipped"),
        },
        Event::Pointless { reason } => match task.state {
            TaskState::Pending | TaskState::Ready => {
                Ok(Task { pointless: true, ..ended(task, TaskState::Skipped, reason) })
            }
            _ => not_allowed(task, "skipped as pointless"),
        },
        Event::Leased { worker } => lease(task, worker, now),
        Event::Succeeded { attempt } => {
            current(task, attempt)?;
            Ok(Task { state: TaskState::Succeeded, lease: None, reason: None, ..task.clone() })
        }
        Event::Failed { attempt, failure } => {
            current(task, attempt)?;
            Ok(failed(task, failure, policy, now))
        }
        Event::LeaseLost { attempt, reason } => {
            current(task, attempt)?;
            Ok(lost(task, reason, policy, now))
        }
        Event::HandedBack { attempt } => {
            current(task, attempt)?;
            Ok(Task { state: TaskState::Ready, lease: None, not_before: now, ..task.clone() })
        }
        Event::Cancelled { reason } => match task.state {
            TaskState::Pending | TaskState::Ready | TaskState::Leased => Ok(ended(task, TaskState::Cancelled, reason)),
            _ => not_allowed(task, "cancelled"),
        },
        Event::Retry { pending_inputs } => retry(task, pending_inputs, now),
    }
}

fn current(task: &Task, attempt: AttemptNumber) -> Result<(), Rejected> {
    if task.state == TaskState::Leased && task.attempt == attempt {
        Ok(())
    } else {
        Err(Rejected::Stale { found: attempt, state: task.state, latest: task.attempt })
    }
}

fn not_allowed(task: &Task, what: &'static str) -> Result<Task, Rejected> {
    Err(Rejected::NotAllowed { state: task.state, what })
}

fn ended(task: &Task, state: TaskState, reason: String) -> Task {
    Task { state, lease: None, reason: Some(reason), ..task.clone() }
}

fn input_succeeded(task: &Task, now: Timestamp) -> Result<Task, Rejected> {
    if task.state != TaskState::Pending {
        return not_allowed(task, "given an input");
    }
    let pending_inputs = task.pending_inputs.saturating_sub(1);
    let state = match (pending_inputs, task.merges) {
        (0, true) => TaskState::Succeeded,
        (0, false) => TaskState::Ready,
        _ => TaskState::Pending,
    };
    Ok(Task { state, pending_inputs, not_before: now, ..task.clone() })
}

fn lease(task: &Task, worker: WorkerId, now: Timestamp) -> Result<Task, Rejected> {
    if task.state != TaskState::Ready {
        return not_allowed(task, "leased");
    }
    if task.not_before > now {
        return Err(Rejected::TooEarly);
    }
    Ok(Task { state: TaskState::Leased, attempt: task.attempt.next(), lease: Some(Lease { worker }), ..task.clone() })
}

fn lost(task: &Task, reason: String, policy: &RetryPolicy, now: Timestamp) -> Task {
    let failures = FailureCounts { lost: task.failures.lost + 1, ..task.failures };
    let after = Task { failures, ..task.clone() };
    if failures.lost >= policy.max_lost {
        let reason = format!("gave up after its workers were lost {} times; the last: {reason}", failures.lost);
        return ended(&after, TaskState::Failed, reason);
    }
    ready_again(after, failures.lost, reason, policy, now)
}

fn failed(task: &Task, failure: Failure, policy: &RetryPolicy, now: Timestamp) -> Task {
    let mut after = task.clone();
    let (count, limit) = match failure.class {
        FailureClass::Permanent => return ended(task, TaskState::Failed, failure.message),
        FailureClass::Transient => (&mut after.failures.transient, policy.max_transient),
        FailureClass::Crash => (&mut after.failures.crash, policy.max_crashes),
        FailureClass::Resource => (&mut after.failures.resource, policy.max_resource),
    };
    *count += 1;
    let (count, gives_up) = (*count, *count >= limit);
    if failure.class == FailureClass::Crash {
        after.crash_evidence = Some(evidence::added(task, &failure.message));
    }
    match (&after.crash_evidence, gives_up) {
        (Some(evidence), true) if failure.class == FailureClass::Crash => {
            let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
            let reason = format!("quarantined: its executor crashed {times}\n{evidence}");
            ended(&after, TaskState::Failed, reason)
        }
        (_, true) => {
            let (class, last) = (failure.class.name(), failure.message);
            ended(&after, TaskState::Failed, format!("gave up after {count} {class} failures; the last: {last}"))
        }
        (_, false) => ready_again(after, count, failure.message, policy, now),
    }
}

fn ready_again(task: Task, failures: u32, reason: String, policy: &RetryPolicy, now: Timestamp) -> Task {
    let not_before = now + policy.backoff(failures);
    Task { state: TaskState::Ready, lease: None, not_before, reason: Some(reason), ..task }
}

fn retry(task: &Task, pending_inputs: u32, now: Timestamp) -> Result<Task, Rejected> {
    if !task.ended_without_result() {
        return not_allowed(task, "retried");
    }
    let afresh = if task.merges { Task::merging(pending_inputs, now) } else { Task::submitted(pending_inputs, now) };
    Ok(Task { attempt: task.attempt, ..afresh })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn worker() -> WorkerId {
        "w1".parse().unwrap()
    }

    fn step(task: &Task, event: Event) -> Task {
        apply(task, event, &RetryPolicy::default(), NOW).unwrap()
    }

    fn leased() -> Task {
        step(&Task::submitted(0, NOW), Event::Leased { worker: worker() })
    }

    #[test]
    fn a_zombies_report_changes_nothing() {
        let second = step(&leased(), Event::HandedBack { attempt: AttemptNumber(1) });
        let second = step(&second, Event::Leased { worker: worker() });
        let late = apply(&second, Event::Succeeded { attempt: AttemptNumber(1) }, &RetryPolicy::default(), NOW);
        assert!(matches!(late, Err(Rejected::Stale { latest: AttemptNumber(2), .. })));
    }

    #[test]
    fn transient_failures_back_off_and_end_at_the_limit() {
        let policy = RetryPolicy { max_transient: 2, ..RetryPolicy::default() };
        let failed = |attempt| Event::Failed {
            attempt: AttemptNumber(attempt),
            failure: Failure { class: FailureClass::Transient, message: "no route to the file server".into() },
        };
        let once = apply(&leased(), failed(1), &policy, NOW).unwrap();
        assert_eq!((once.state, once.not_before), (TaskState::Ready, NOW + Duration::from_secs(1)));
        assert_eq!(apply(&once, Event::Leased { worker: worker() }, &policy, NOW), Err(Rejected::TooEarly));
        let again = apply(&once, Event::Leased { worker: worker() }, &policy, once.not_before).unwrap();
        let twice = apply(&again, failed(2), &policy, NOW).unwrap();
        assert_eq!(
            twice.reason.as_deref(),
            Some("gave up after 2 transient failures; the last: no route to the file server")
        );
        assert_eq!(twice.state, TaskState::Failed);
    }

    /// The task after so many attempts of which each ended by the event made for it.
    fn after_attempts(count: u32, event: impl Fn(AttemptNumber) -> Event) -> Task {
        let policy = RetryPolicy::default();
        let mut task = Task::submitted(0, NOW);
        for number in 1..=count {
            task = apply(&task, Event::Leased { worker: worker() }, &policy, task.not_before).unwrap();
            task = apply(&task, event(AttemptNumber(number)), &policy, task.not_before).unwrap();
        }
        task
    }

    #[test]
    fn a_hundred_lost_workers_end_a_task_and_a_thousand_hand_backs_do_not() {
        let lost = |attempt| Event::LeaseLost { attempt, reason: "worker w1 is gone".into() };
        assert_eq!(after_attempts(99, lost).state, TaskState::Ready);
        let given_up = after_attempts(100, lost);
        assert_eq!(
            (given_up.state, given_up.reason.as_deref()),
            (TaskState::Failed, Some("gave up after its workers were lost 100 times; the last: worker w1 is gone"))
        );
        let returned = after_attempts(1000, |attempt| Event::HandedBack { attempt });
        assert_eq!((returned.state, returned.failures), (TaskState::Ready, FailureCounts::default()));
    }

    #[test]
    fn the_third_crash_quarantines_a_task_with_the_evidence_of_each_and_a_retry_begins_anew() {
        let crash = |attempt: AttemptNumber| {
            let message = format!("killed by signal {}; its last lines:\nassertion {attempt}", 5 + attempt.0);
            Event::Failed { attempt, failure: Failure { class: FailureClass::Crash, message } }
        };
        let twice = after_attempts(2, crash);
        assert_eq!((twice.state, twice.failures.crash), (TaskState::Ready, 2));
        // Other misfortunes in between neither count nor wipe out what was seen.
        let leased = apply(&twice, Event::Leased { worker: worker() }, &RetryPolicy::default(), twice.not_before);
        let attempt = AttemptNumber(3);
        let failure = Failure { class: FailureClass::Resource, message: "out of memory".into() };
        let between = step(&leased.unwrap(), Event::Failed { attempt, failure });
        assert_eq!((between.crash_evidence.as_ref(), between.state), (twice.crash_evidence.as_ref(), TaskState::Ready));
        let quarantined = after_attempts(3, crash);
        assert_eq!(quarantined.state, TaskState::Failed);
        assert_eq!(
            quarantined.reason.as_deref(),
            Some(
                "quarantined: its executor crashed 3 times\n\
                attempt 1: killed by signal 6; its last lines:\nassertion 1\n\
                attempt 2: killed by signal 7; its last lines:\nassertion 2\n\
                attempt 3: killed by signal 8; its last lines:\nassertion 3"
            )
        );
        let retried = step(&quarantined, Event::Retry { pending_inputs: 0 });
        assert_eq!((retried.failures, retried.crash_evidence), (FailureCounts::default(), None));
    }

    #[test]
    fn a_permanent_failure_ends_the_task_at_once() {
        let failure = Failure { class: FailureClass::Permanent, message: "the loss is NaN".into() };
        let task = step(&leased(), Event::Failed { attempt: AttemptNumber(1), failure });
        assert_eq!((task.state, task.reason.as_deref()), (TaskState::Failed, Some("the loss is NaN")));
    }

    #[test]
    fn a_retried_task_keeps_counting_its_attempts() {
        let cancelled = step(&leased(), Event::Cancelled { reason: "by the user".into() });
        let retried = step(&cancelled, Event::Retry { pending_inputs: 0 });
        assert_eq!(step(&retried, Event::Leased { worker: worker() }).attempt, AttemptNumber(2));
    }

    #[test]
    fn a_task_that_merges_succeeds_with_its_last_input_and_is_never_ready() {
        let task = Task::merging(2, NOW);
        let one = step(&task, Event::InputSucceeded);
        assert_eq!((one.state, one.pending_inputs), (TaskState::Pending, 1));
        let done = step(&one, Event::InputSucceeded);
        assert_eq!((done.state, done.attempt), (TaskState::Succeeded, AttemptNumber(0)));
        assert_eq!(done.check(), Ok(()));
        let lost = step(&one, Event::InputLost { reason: "a shard failed".into() });
        let again = step(&lost, Event::Retry { pending_inputs: 1 });
        assert_eq!((again.state, again.merges), (TaskState::Pending, true));
    }

    #[test]
    fn what_is_pointless_is_skipped_before_it_runs_and_is_not_tried_again() {
        let reason = "pgd20 left 0 of 1000 examples robust";
        let pointless = Event::Pointless { reason: reason.into() };
        for waits in [Task::submitted(1, NOW), Task::submitted(0, NOW), Task::merging(3, NOW)] {
            let skipped = step(&waits, pointless.clone());
            assert_eq!((skipped.state, skipped.pointless), (TaskState::Skipped, true));
            assert_eq!((skipped.reason.as_deref(), skipped.ended_without_result()), (Some(reason), false));
            assert_eq!(skipped.check(), Ok(()));
            for event in [Event::Retry { pending_inputs: 0 }, Event::Cancelled { reason: "by the user".into() }] {
                assert!(apply(&skipped, event, &RetryPolicy::default(), NOW).is_err());
            }
        }
        assert!(apply(&leased(), pointless, &RetryPolicy::default(), NOW).is_err(), "what runs is let run");
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let attempt = (0u32..5).prop_map(AttemptNumber);
        let class = prop::sample::select(FailureClass::ALL.to_vec());
        prop_oneof![
            Just(Event::InputSucceeded),
            Just(Event::InputLost { reason: "input failed".into() }),
            Just(Event::Pointless { reason: "nothing is left".into() }),
            Just(Event::Leased { worker: worker() }),
            attempt.clone().prop_map(|attempt| Event::Succeeded { attempt }),
            (attempt.clone(), class).prop_map(|(attempt, class)| Event::Failed {
                attempt,
                failure: Failure { class, message: "x".into() }
            }),
            attempt.clone().prop_map(|attempt| Event::LeaseLost { attempt, reason: "gone".into() }),
            attempt.prop_map(|attempt| Event::HandedBack { attempt }),
            Just(Event::Cancelled { reason: "by the user".into() }),
            (0u32..3).prop_map(|pending_inputs| Event::Retry { pending_inputs }),
        ]
    }

    proptest! {
        #[test]
        fn every_history_keeps_the_rules(merges: bool, inputs in 0u32..3, events in prop::collection::vec(any_event(), 0..60)) {
            let mut task = if merges { Task::merging(inputs + 1, NOW) } else { Task::submitted(inputs, NOW) };
            let mut now = NOW;
            for event in events {
                now = now + Duration::from_secs(120);
                let Ok(next) = apply(&task, event.clone(), &RetryPolicy::default(), now) else { continue };
                prop_assert_eq!(next.check(), Ok(()));
                prop_assert!(next.attempt >= task.attempt, "the fencing token never falls");
                let leases = matches!(event, Event::Leased { .. });
                prop_assert_eq!(next.attempt > task.attempt, leases, "an attempt starts with a lease and only then");
                prop_assert!(task.state != TaskState::Succeeded, "nothing follows success");
                prop_assert!(!task.pointless, "nothing follows what was pointless");
                prop_assert_eq!(next.merges, merges);
                prop_assert!(!merges || next.attempt.0 == 0, "nobody runs what merges");
                task = next;
            }
        }

        #[test]
        fn only_the_current_attempt_of_a_leased_task_is_heard(inputs in 0u32..2, events in prop::collection::vec(any_event(), 0..20), attempt in 0u32..6) {
            let mut task = Task::submitted(inputs, NOW);
            for event in events {
                task = apply(&task, event, &RetryPolicy::default(), NOW + Duration::from_secs(9999)).unwrap_or(task);
            }
            let heard = apply(&task, Event::Succeeded { attempt: AttemptNumber(attempt) }, &RetryPolicy::default(), NOW).is_ok();
            prop_assert_eq!(heard, task.state == TaskState::Leased && task.attempt.0 == attempt);
        }
    }
}
