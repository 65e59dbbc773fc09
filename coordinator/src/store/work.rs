//! A transaction that changes tasks: lock, decide, write, and what follows for the tasks that need them.

use std::collections::BTreeMap;

use gauntlet_domain::task::{Event, Rejected, RetryPolicy, Task, TaskState, Timestamp, apply};
use gauntlet_domain::{AttemptRef, TaskId, WorkerId};
use sqlx::{PgPool, Postgres, Transaction};
use time::OffsetDateTime;

use super::rows::{LockedTask, TaskRow, bytes, column, corrupt, moment, task_ids, timestamp, unsigned};
use super::{Error, counts};

/// What happened to a task in a transaction that is committed.
#[derive(Debug, Clone)]
pub struct Transition {
    /// Which.
    pub task: TaskId,
    /// What people call it.
    pub label: String,
    /// Before.
    pub before: Task,
    /// After.
    pub after: Task,
    /// The event, in a word.
    pub event: &'static str,
    /// Moment of the transaction.
    pub now: Timestamp,
    /// Expected cost of the whole task.
    pub(super) cost: f64,
    /// When it came into the state before.
    since: OffsetDateTime,
    end: Option<AttemptEnd>,
}

impl Transition {
    /// The attempt that this ended, and its worker.
    pub fn ended_attempt(&self) -> Option<(AttemptRef, &WorkerId)> {
        let lease = self.before.lease.as_ref()?;
        (self.after.state != TaskState::Leased)
            .then_some((AttemptRef { task: self.task, attempt: self.before.attempt }, &lease.worker))
    }

    /// Why a worker must stop the attempt that this ended; none where the worker ended it itself.
    pub fn taken_away(&self) -> Option<&str> {
        let end = self.end.as_ref()?;
        let taken = self.ended_attempt().is_some() && matches!(end.outcome, "lost" | "cancelled");
        taken.then(|| end.message.as_deref().unwrap_or(end.outcome))
    }
}

#[cfg(test)]
impl Transition {
    pub fn for_test(task: TaskId, label: String, before: Task, after: Task) -> Self {
        let now = after.not_before;
        let since = OffsetDateTime::UNIX_EPOCH;
        Self { task, label, before, after, event: "test", now, cost: 1.0, since, end: None }
    }
}

/// How an attempt ended, for the table of attempts.
#[derive(Debug, Clone)]
struct AttemptEnd {
    outcome: &'static str,
    failure_class: Option<&'static str>,
    message: Option<String>,
}

/// A transaction in progress.
pub(super) struct Work {
    pub tx: Transaction<'static, Postgres>,
    pub now: Timestamp,
    policy: RetryPolicy,
    transitions: Vec<Transition>,
}

impl Work {
    pub async fn begin(pool: &PgPool, policy: RetryPolicy) -> Result<Self, Error> {
        let mut tx = pool.begin().await?;
        let now = sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(&mut *tx).await?;
        Ok(Self { tx, now: timestamp(now), policy, transitions: Vec::new() })
    }

    /// Makes everything durable, and tells what happened.
    pub async fn commit(mut self) -> Result<Vec<Transition>, Error> {
        counts::follow(&self.transitions, &mut self.tx).await?;
        self.tx.commit().await?;
        Ok(self.transitions)
    }

    /// Locks those of these tasks that exist, inputs first.
    pub async fn lock(&mut self, ids: &[TaskId]) -> Result<Vec<LockedTask>, Error> {
        let rows = sqlx::query_as!(
            TaskRow,
            r#"select t.task_id, t.state::text as "state!", t.attempt, t.worker_id, t.pending_inputs, t.merges, t.pointless, t.not_before, t.lost_leases,
                t.transient_failures, t.crashes, t.resource_failures, t.crash_evidence, t.reason, t.changed_at, s.label, s.cost
            from tasks t join task_specs s using (task_id)
            where t.task_id = any($1::bytea[])
            order by s.depth, t.task_id
            for no key update of t"#,
            &task_ids(ids)
        );
        rows.fetch_all(&mut *self.tx).await?.into_iter().map(LockedTask::try_from).collect()
    }

    /// Lets these events happen to these tasks, each of which may stand here once, with all that follows for the tasks that need them. Rejected
    /// events change nothing.
    pub async fn advance(&mut self, events: Vec<(LockedTask, Event)>) -> Result<Vec<(TaskId, Rejected)>, Error> {
        let first = self.transitions.len();
        let rejected = self.happen(events.into_iter().map(Change::once).collect()).await?;
        let mut followed = first;
        // What is merged succeeds with its inputs, and what is pointless makes pointless what comes after it.
        while followed < self.transitions.len() {
            let succeeded = self.ended_since(followed, |task| task.state == TaskState::Succeeded);
            let pointless = self.ended_since(followed, |task| task.pointless);
            followed = self.transitions.len();
            if !succeeded.is_empty() {
                self.inputs_succeeded(&succeeded).await?;
            }
            if !pointless.is_empty() {
                let waiting = self.waiting_for(&pointless).await?;
                let skips = self.skips(&waiting).await?;
                self.happen(skips.into_iter().map(Change::once).collect()).await?;
            }
        }
        let lost = self.ended_since(first, Task::ended_without_result);
        if !lost.is_empty() {
            self.inputs_lost(&lost).await?;
        }
        Ok(rejected)
    }

    fn ended_since(&self, first: usize, of: fn(&Task) -> bool) -> Vec<TaskId> {
        self.transitions[first..].iter().filter(|it| of(&it.after)).map(|it| it.task).collect()
    }

    /// Brings all that needs one of these tasks closer to ready, or skips it where they have made it pointless.
    async fn inputs_succeeded(&mut self, inputs: &[TaskId]) -> Result<(), Error> {
        let dependents = sqlx::query!(
            r#"select i.task_id as "task_id!: Vec<u8>", count(*) as "inputs!", bool_or(i.until_aai is not null) as "cascades!"
            from task_inputs i join tasks t using (task_id)
            where i.input_task_id = any($1::bytea[]) and t.state = 'pending'
            group by i.task_id"#,
            &task_ids(inputs)
        );
        let (mut succeeded, mut cascading): (BTreeMap<TaskId, u32>, Vec<TaskId>) = Default::default();
        for row in dependents.fetch_all(&mut *self.tx).await? {
            let task = super::rows::task_id(row.task_id)?;
            succeeded.insert(task, unsigned(row.inputs)?);
            cascading.extend(row.cascades.then_some(task));
        }
        if succeeded.is_empty() {
            return Ok(());
        }
        let locked = self.lock(&succeeded.keys().copied().collect::<Vec<_>>()).await?;
        let mut pointless = self.pointless(&cascading).await?;
        let change = |task: LockedTask| match pointless.remove(&task.id) {
            Some(reason) => Change::once((task, Event::Pointless { reason })),
            None => {
                let times = succeeded.get(&task.id).copied().unwrap_or(0);
                Change { task, event: Event::InputSucceeded, times }
            }
        };
        self.happen(locked.into_iter().map(change).collect()).await?;
        Ok(())
    }

    /// Skips all that needs one of these tasks, directly or not.
    async fn inputs_lost(&mut self, lost: &[TaskId]) -> Result<(), Error> {
        let rows = sqlx::query!(
            r#"with recursive doomed (root, task_id) as (
                select r.task_id, i.task_id
                from unnest($1::bytea[]) as r (task_id)
                join task_inputs i on i.input_task_id = r.task_id
                join tasks t on t.task_id = i.task_id and t.state = 'pending'
                union
                select d.root, i.task_id
                from doomed d
                join task_inputs i on i.input_task_id = d.task_id
                join tasks t on t.task_id = i.task_id and t.state = 'pending'
            )
            select task_id as "task_id!: Vec<u8>", (array_agg(root))[1] as "root!: Vec<u8>" from doomed group by task_id"#,
            &task_ids(lost)
        );
        let mut roots: BTreeMap<TaskId, TaskId> = BTreeMap::new();
        for row in rows.fetch_all(&mut *self.tx).await? {
            roots.insert(super::rows::task_id(row.task_id)?, super::rows::task_id(row.root)?);
        }
        if roots.is_empty() {
            return Ok(());
        }
        let locked = self.lock(&roots.keys().copied().collect::<Vec<_>>()).await?;
        let reasons: BTreeMap<TaskId, String> = self.transitions.iter().map(|t| (t.task, lost_reason(t))).collect();
        let reason =
            |task: &LockedTask| roots.get(&task.id).and_then(|root| reasons.get(root)).cloned().unwrap_or_default();
        let lose = |task: LockedTask| {
            let reason = reason(&task);
            Change::once((task, Event::InputLost { reason }))
        };
        self.happen(locked.into_iter().map(lose).collect()).await?;
        Ok(())
    }

    async fn happen(&mut self, changes: Vec<Change>) -> Result<Vec<(TaskId, Rejected)>, Error> {
        let mut rejected = Vec::new();
        let mut transitions = Vec::with_capacity(changes.len());
        for change in changes {
            let id = change.task.id;
            match change.apply(&self.policy, self.now) {
                Ok(transition) => transitions.push(transition),
                Err(problem) => rejected.push((id, problem)),
            }
        }
        for chunk in transitions.chunks(5000) {
            self.write(chunk).await?;
            self.write_attempts(chunk).await?;
        }
        let merged = |t: &&Transition| t.after.merges && t.after.state == TaskState::Succeeded;
        self.merge(&transitions.iter().filter(merged).map(|t| t.task).collect::<Vec<_>>()).await?;
        self.transitions.append(&mut transitions);
        Ok(rejected)
    }

    /// The one place where a task's state is written: only over the state it was decided from.
    pub async fn write(&mut self, transitions: &[Transition]) -> Result<(), Error> {
        if transitions.is_empty() {
            return Ok(());
        }
        let rows = NewStates::of(transitions)?;
        let query = sqlx::query!(
            "update tasks t set
                state = n.state::task_state, attempt = n.attempt, worker_id = n.worker_id, pending_inputs = n.pending_inputs,
                not_before = n.not_before, lost_leases = n.lost, transient_failures = n.transient, crashes = n.crashes,
                resource_failures = n.resource, crash_evidence = n.evidence, reason = n.reason, pointless = n.pointless, changed_at = now()
            from unnest($1::bytea[], $2::text[], $3::integer[], $4::text[], $5::integer[], $6::text[], $7::integer[],
                    $8::timestamptz[], $9::integer[], $10::integer[], $11::integer[], $12::integer[], $13::text[], $14::text[],
                    $15::boolean[])
                as n (task_id, was_state, was_attempt, state, attempt, worker_id, pending_inputs, not_before, lost, transient, crashes,
                    resource, evidence, reason, pointless)
            where t.task_id = n.task_id and t.state = n.was_state::task_state and t.attempt = n.was_attempt",
            &rows.ids,
            &rows.was_state as _,
            &rows.was_attempt,
            &rows.state as _,
            &rows.attempt,
            &rows.worker as _,
            &rows.pending_inputs,
            &rows.not_before,
            &rows.lost,
            &rows.transient,
            &rows.crashes,
            &rows.resource,
            &rows.evidence as _,
            &rows.reason as _,
            &rows.pointless
        );
        let written = query.execute(&mut *self.tx).await?.rows_affected();
        if written == transitions.len() as u64 {
            Ok(())
        } else {
            Err(corrupt(format_args!("{written} of {} locked tasks were where they had been seen", transitions.len())))
        }
    }

    /// Attempts are written when they are over, and never again.
    async fn write_attempts(&mut self, transitions: &[Transition]) -> Result<(), Error> {
        let rows = EndedAttempts::of(transitions)?;
        if rows.ids.is_empty() {
            return Ok(());
        }
        let query = sqlx::query!(
            "insert into attempts (task_id, attempt, worker_id, started_at, ended_at, outcome, failure_class, message)
            select task_id, attempt, worker_id, started_at, now(), outcome::attempt_outcome, class::failure_class, message
            from unnest($1::bytea[], $2::integer[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[])
                as n (task_id, attempt, worker_id, started_at, outcome, class, message)",
            &rows.ids,
            &rows.attempt,
            &rows.worker as _,
            &rows.started_at,
            &rows.outcome as _,
            &rows.class as _,
            &rows.message as _
        );
        query.execute(&mut *self.tx).await?;
        Ok(())
    }
}

/// An event that happens to a task, once or several times over.
struct Change {
    task: LockedTask,
    event: Event,
    times: u32,
}

impl Change {
    fn once((task, event): (LockedTask, Event)) -> Self {
        Self { task, event, times: 1 }
    }

    fn apply(self, policy: &RetryPolicy, now: Timestamp) -> Result<Transition, Rejected> {
        let Self { task: LockedTask { id, label, cost, changed_at, task: before }, event, times } = self;
        let (name, end) = (event_name(&event), attempt_end(&event));
        let mut after = apply(&before, event.clone(), policy, now)?;
        for _ in 1..times {
            let Ok(further) = apply(&after, event.clone(), policy, now) else { break };
            after = further;
        }
        Ok(Transition { task: id, label, before, after, event: name, now, cost, since: changed_at, end })
    }
}

/// The columns of [`Work::write_attempts`].
#[derive(Default)]
struct EndedAttempts<'a> {
    ids: Vec<Vec<u8>>,
    attempt: Vec<i32>,
    worker: Vec<&'a str>,
    started_at: Vec<OffsetDateTime>,
    outcome: Vec<&'static str>,
    class: Vec<Option<&'static str>>,
    message: Vec<Option<&'a str>>,
}

impl<'a> EndedAttempts<'a> {
    fn of(transitions: &'a [Transition]) -> Result<Self, Error> {
        let mut rows = Self::default();
        for transition in transitions {
            let (Some((attempt, worker)), Some(end)) = (transition.ended_attempt(), &transition.end) else { continue };
            rows.ids.push(bytes(attempt.task));
            rows.attempt.push(column(attempt.attempt.0, "an attempt")?);
            rows.worker.push(worker.as_str());
            rows.started_at.push(transition.since);
            rows.outcome.push(end.outcome);
            rows.class.push(end.failure_class);
            rows.message.push(end.message.as_deref());
        }
        Ok(rows)
    }
}

/// The columns of [`Work::write`].
#[derive(Default)]
struct NewStates<'a> {
    ids: Vec<Vec<u8>>,
    was_state: Vec<&'static str>,
    was_attempt: Vec<i32>,
    state: Vec<&'static str>,
    attempt: Vec<i32>,
    worker: Vec<Option<&'a str>>,
    pending_inputs: Vec<i32>,
    not_before: Vec<time::OffsetDateTime>,
    lost: Vec<i32>,
    transient: Vec<i32>,
    crashes: Vec<i32>,
    resource: Vec<i32>,
    evidence: Vec<Option<&'a str>>,
    reason: Vec<Option<&'a str>>,
    pointless: Vec<bool>,
}

impl<'a> NewStates<'a> {
    fn of(transitions: &'a [Transition]) -> Result<Self, Error> {
        let mut rows = Self { ids: task_ids(transitions.iter().map(|t| &t.task)), ..Self::default() };
        for Transition { before, after, .. } in transitions {
            rows.was_state.push(before.state.name());
            rows.was_attempt.push(column(before.attempt.0, "an attempt")?);
            rows.state.push(after.state.name());
            rows.attempt.push(column(after.attempt.0, "an attempt")?);
            rows.worker.push(after.lease.as_ref().map(|lease| lease.worker.as_str()));
            rows.pending_inputs.push(column(after.pending_inputs, "the number of inputs")?);
            rows.not_before.push(moment(after.not_before)?);
            let count = |failures| column(failures, "the number of failures");
            rows.lost.push(count(after.failures.lost)?);
            rows.transient.push(count(after.failures.transient)?);
            rows.crashes.push(count(after.failures.crash)?);
            rows.resource.push(count(after.failures.resource)?);
            rows.evidence.push(after.crash_evidence.as_deref());
            rows.reason.push(after.reason.as_deref());
            rows.pointless.push(after.pointless);
        }
        Ok(rows)
    }
}

fn lost_reason(transition: &Transition) -> String {
    let Transition { task, label, after, .. } = transition;
    let what = match after.state {
        TaskState::Cancelled => "was cancelled",
        TaskState::Skipped => "was skipped",
        _ => "failed",
    };
    // What follows in further lines is evidence, which stands with the input.
    let why = after.reason.as_deref().and_then(|reason| reason.lines().next()).unwrap_or("no reason is known");
    format!("its input {label} ({}) {what}: {why}", task.short())
}

const fn event_name(event: &Event) -> &'static str {
    match event {
        Event::InputSucceeded => "input succeeded",
        Event::InputLost { .. } => "input lost",
        Event::Pointless { .. } => "made pointless",
        Event::Leased { .. } => "leased",
        Event::Succeeded { .. } => "result accepted",
        Event::Failed { .. } => "attempt failed",
        Event::LeaseLost { .. } => "lease lost",
        Event::HandedBack { .. } => "handed back",
        Event::Cancelled { .. } => "cancelled",
        Event::Retry { .. } => "retried",
    }
}

fn attempt_end(event: &Event) -> Option<AttemptEnd> {
    let plain =
        |outcome, message: Option<&String>| AttemptEnd { outcome, failure_class: None, message: message.cloned() };
    match event {
        Event::Succeeded { .. } => Some(plain("succeeded", None)),
        Event::Failed { failure, .. } => Some(AttemptEnd {
            outcome: "failed",
            failure_class: Some(failure.class.name()),
            message: Some(failure.message.clone()),
        }),
        Event::LeaseLost { reason, .. } => Some(plain("lost", Some(reason))),
        Event::HandedBack { .. } => Some(plain("handed-back", None)),
        Event::Cancelled { reason } => Some(plain("cancelled", Some(reason))),
        Event::InputSucceeded
        | Event::InputLost { .. }
        | Event::Pointless { .. }
        | Event::Leased { .. }
        | Event::Retry { .. } => None,
    }
}
