//! Workers come, stay and go; what they run stays theirs as long as their lease.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gauntlet_domain::task::Event;
use gauntlet_domain::{AttemptNumber, AttemptRef, TaskId, WorkerId};
use sqlx::postgres::types::PgInterval;

use super::claim::attempt_column;
use super::rows::{LockedTask, attempt, column, corrupt, task_id, task_ids};
use super::work::Work;
use super::{Error, Store, Transition};

/// A worker that opens a session.
#[derive(Debug, Clone)]
pub struct Hello {
    /// Who.
    pub worker: WorkerId,
    /// Where it runs.
    pub hostname: String,
    /// Attempts it can run at once.
    pub slots: u32,
    /// Its devices, for people.
    pub devices: serde_json::Value,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it says it runs or has not reported yet.
    pub attempts: Vec<AttemptRef>,
    /// Wall time that it has left, in seconds, where that is limited.
    pub remaining_secs: Option<f64>,
}

/// What became of a worker's hello.
#[derive(Debug)]
pub struct Welcomed {
    /// Number of the session.
    pub session: i64,
    /// It was asked to leave, and has something to finish.
    pub draining: bool,
    /// It was asked to hand that back.
    pub hands_back: bool,
    /// What it runs, in the database's eyes.
    pub running: Vec<AttemptRef>,
    /// What it believes to run and does not, with the reason.
    pub stale: Vec<(AttemptRef, String)>,
    /// What happened to tasks it came back without.
    pub transitions: Vec<Transition>,
}

/// An attempt leased to a worker.
#[derive(Debug, Clone)]
pub struct Orphan {
    /// Which.
    pub attempt: AttemptRef,
    /// To whom.
    pub worker: WorkerId,
}

/// A worker's session in the database's eyes.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Who.
    pub worker: WorkerId,
    /// Number of its latest session.
    pub session: i64,
    /// Whether it was asked to leave.
    pub draining: bool,
    /// Whether it was asked to hand back what it runs.
    pub hands_back: bool,
}

impl Store {
    /// Opens a worker's session: its lease starts anew, and what it came back without is lost.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn open_session(&self, hello: &Hello, coordinator: &str, lease_ttl: Duration) -> Result<Welcomed, Error> {
        let mut work = self.begin().await?;
        let (session, draining, hands_back) = upsert_worker(hello, coordinator, lease_ttl, &mut work).await?;
        let claimed: BTreeSet<AttemptRef> = hello.attempts.iter().copied().collect();
        let (running, gone): (Vec<LockedTask>, Vec<LockedTask>) = lock_leased(&hello.worker, &mut work)
            .await?
            .into_iter()
            .partition(|task| claimed.contains(&attempt_of(task)));
        let reason = format!("worker {} came back without it", hello.worker);
        let lose = |task: LockedTask| {
            let event = Event::LeaseLost { attempt: task.task.attempt, reason: reason.clone() };
            (task, event)
        };
        work.advance(gone.into_iter().map(lose).collect()).await?;
        let running: Vec<AttemptRef> = running.iter().map(attempt_of).collect();
        let others: Vec<AttemptRef> =
            hello.attempts.iter().filter(|attempt| !running.contains(attempt)).copied().collect();
        let stale = stale_attempts(&hello.worker, &others, &mut work).await?;
        Ok(Welcomed { session, draining, hands_back, running, stale, transitions: work.commit().await? })
    }

    /// Renews the leases of workers whose latest sessions these are.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn renew_leases(&self, sessions: &[(WorkerId, i64)], lease_ttl: Duration) -> Result<(), Error> {
        let workers: Vec<&str> = sessions.iter().map(|(worker, _)| worker.as_str()).collect();
        let numbers: Vec<i64> = sessions.iter().map(|(_, session)| *session).collect();
        let query = sqlx::query!(
            "update workers w set lease_expires_at = now() + $3 from (
                select w.worker_id from workers w join unnest($1::text[], $2::bigint[]) as n (worker_id, session)
                    on w.worker_id = n.worker_id and w.session = n.session
                order by w.worker_id
                for no key update of w
            ) as mine
            where w.worker_id = mine.worker_id",
            &workers as _,
            &numbers,
            interval(lease_ttl)?
        );
        query.execute(&self.pool).await?;
        Ok(())
    }

    /// Gives every worker with a lease one more term, after a time in which nobody could renew it.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn grant_grace(&self, lease_ttl: Duration) -> Result<(), Error> {
        let query = sqlx::query!(
            "update workers w set lease_expires_at = greatest(w.lease_expires_at, now() + $1) from (
                select worker_id from workers
                where exists (select from tasks t where t.state = 'leased' and t.worker_id = workers.worker_id)
                order by worker_id
                for no key update
            ) as busy
            where w.worker_id = busy.worker_id",
            interval(lease_ttl)?
        );
        query.execute(&self.pool).await?;
        Ok(())
    }

    /// Workers that hold tasks and whose lease is over.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn expired_workers(&self) -> Result<Vec<WorkerId>, Error> {
        let rows = sqlx::query_scalar!(
            r#"select distinct t.worker_id as "worker_id!" from tasks t join workers w using (worker_id)
            where t.state = 'leased' and w.lease_expires_at < now()
            limit 1000"#
        );
        rows.fetch_all(&self.pool).await?.into_iter().map(|worker| worker.parse().map_err(corrupt)).collect()
    }

    /// Takes away all that a worker runs, unless its lease was renewed meanwhile.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn expire_worker(&self, worker: &WorkerId) -> Result<Vec<Transition>, Error> {
        let mut work = self.begin().await?;
        let expired = sqlx::query_scalar!(
            "select worker_id from workers where worker_id = $1 and lease_expires_at < now() for share",
            worker.as_str()
        );
        if expired.fetch_optional(&mut *work.tx).await?.is_none() {
            return Ok(Vec::new());
        }
        let lose = |task: LockedTask| {
            let reason = format!("worker {worker} was not heard of until its lease expired");
            let event = Event::LeaseLost { attempt: task.task.attempt, reason };
            (task, event)
        };
        let leased = lock_leased(worker, &mut work).await?;
        work.advance(leased.into_iter().map(lose).collect()).await?;
        work.commit().await
    }

    /// What the database says the workers run whose latest sessions are with this coordinator, with the numbers of these sessions.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn leased_to(&self, coordinator: &str) -> Result<Vec<(Orphan, i64)>, Error> {
        let rows = sqlx::query!(
            r#"select t.task_id as "task_id!: Vec<u8>", t.attempt, t.worker_id as "worker_id!", w.session
            from tasks t join workers w using (worker_id)
            where t.state = 'leased' and w.coordinator_id = $1"#,
            coordinator
        );
        let row = |id, number, worker: String, session| {
            let attempt = AttemptRef { task: task_id(id)?, attempt: attempt(number)? };
            Ok((Orphan { attempt, worker: worker.parse().map_err(corrupt)? }, session))
        };
        let rows = rows.fetch_all(&self.pool).await?;
        rows.into_iter().map(|r| row(r.task_id, r.attempt, r.worker_id, r.session)).collect()
    }

    /// Those of these attempts that are over, with the way they ended and why.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn ended_attempts(&self, attempts: &[AttemptRef]) -> Result<Vec<(AttemptRef, String, String)>, Error> {
        let numbers = attempts.iter().map(|attempt| attempt_column(attempt.attempt)).collect::<Result<Vec<_>, _>>()?;
        let rows = sqlx::query!(
            r#"select a.task_id as "task_id!: Vec<u8>", a.attempt, a.outcome::text as "outcome!", coalesce(a.message, '') as "message!"
            from attempts a join unnest($1::bytea[], $2::integer[]) as n (task_id, attempt) using (task_id, attempt)"#,
            &task_ids(attempts.iter().map(|attempt| &attempt.task)),
            &numbers
        );
        let mut ended = Vec::new();
        for row in rows.fetch_all(&self.pool).await? {
            let attempt = AttemptRef { task: task_id(row.task_id)?, attempt: attempt(row.attempt)? };
            ended.push((attempt, row.outcome, row.message));
        }
        Ok(ended)
    }

    /// Takes back attempts that never reached their worker: no failure of the task.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn take_back(&self, orphans: &[Orphan]) -> Result<Vec<Transition>, Error> {
        let mut work = self.begin().await?;
        let owners: BTreeMap<AttemptRef, &WorkerId> =
            orphans.iter().map(|orphan| (orphan.attempt, &orphan.worker)).collect();
        let ids: Vec<TaskId> = orphans.iter().map(|orphan| orphan.attempt.task).collect();
        let locked = work.lock(&ids).await?;
        let still_theirs = |task: &LockedTask| {
            owners
                .get(&attempt_of(task))
                .is_some_and(|owner| task.task.lease.as_ref().is_some_and(|lease| lease.worker == **owner))
        };
        let hand_back = |task: LockedTask| {
            let event = Event::HandedBack { attempt: task.task.attempt };
            (task, event)
        };
        work.advance(locked.into_iter().filter(still_theirs).map(hand_back).collect()).await?;
        work.commit().await
    }

    /// Those of these sessions that are no longer their workers' latest, or whose workers shall leave: the workers' latest sessions.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn changed_sessions(&self, sessions: &[(WorkerId, i64)]) -> Result<Vec<SessionRow>, Error> {
        let workers: Vec<&str> = sessions.iter().map(|(worker, _)| worker.as_str()).collect();
        let numbers: Vec<i64> = sessions.iter().map(|(_, session)| *session).collect();
        let rows = sqlx::query!(
            "select w.worker_id, w.session, w.draining, w.hands_back
            from workers w join unnest($1::text[], $2::bigint[]) as n (worker_id, session) using (worker_id)
            where w.session > n.session or w.draining",
            &workers as _,
            &numbers
        );
        let row = |worker: String, session, draining, hands_back| {
            Ok(SessionRow { worker: worker.parse().map_err(corrupt)?, session, draining, hands_back })
        };
        let rows = rows.fetch_all(&self.pool).await?;
        rows.into_iter().map(|r| row(r.worker_id, r.session, r.draining, r.hands_back)).collect()
    }
}

async fn upsert_worker(
    hello: &Hello,
    coordinator: &str,
    lease_ttl: Duration,
    work: &mut Work,
) -> Result<(i64, bool, bool), Error> {
    // A worker that was told to leave and comes back with nothing to finish has left and was started again.
    let row = sqlx::query!(
        "insert into workers (worker_id, hostname, slots, devices, labels, coordinator_id, lease_expires_at, leaves_at)
        values ($1, $2, $3, $4, $5, $6, now() + $7, now() + make_interval(secs => $9))
        on conflict (worker_id) do update set
            hostname = excluded.hostname, slots = excluded.slots, devices = excluded.devices, labels = excluded.labels,
            coordinator_id = excluded.coordinator_id, session = workers.session + 1, connected_at = now(),
            lease_expires_at = excluded.lease_expires_at, leaves_at = excluded.leaves_at,
            draining = workers.draining and $8, hands_back = workers.hands_back and $8
        returning session, draining, hands_back",
        hello.worker.as_str(),
        hello.hostname,
        column::<i32, _>(hello.slots, "the number of slots")?,
        hello.devices,
        serde_json::to_value(&hello.labels).map_err(corrupt)?,
        coordinator,
        interval(lease_ttl)?,
        !hello.attempts.is_empty(),
        hello.remaining_secs
    );
    let row = row.fetch_one(&mut *work.tx).await?;
    Ok((row.session, row.draining, row.hands_back))
}

async fn lock_leased(worker: &WorkerId, work: &mut Work) -> Result<Vec<LockedTask>, Error> {
    let rows = sqlx::query_scalar!(
        r#"select task_id as "task_id!: Vec<u8>" from tasks where state = 'leased' and worker_id = $1"#,
        worker.as_str()
    );
    let ids = rows.fetch_all(&mut *work.tx).await?.into_iter().map(task_id).collect::<Result<Vec<_>, _>>()?;
    let locked = work.lock(&ids).await?;
    Ok(locked
        .into_iter()
        .filter(|task| task.task.lease.as_ref().is_some_and(|lease| lease.worker == *worker))
        .collect())
}

/// Attempts that are no longer this worker's. One that ended by its own report is not told so: its replayed report is answered instead.
async fn stale_attempts(
    worker: &WorkerId,
    attempts: &[AttemptRef],
    work: &mut Work,
) -> Result<Vec<(AttemptRef, String)>, Error> {
    let known = attempts.iter().filter(|attempt| attempt_column(attempt.attempt).is_ok()).copied().collect::<Vec<_>>();
    let numbers = known.iter().map(|attempt| attempt_column(attempt.attempt)).collect::<Result<Vec<_>, _>>()?;
    let rows = sqlx::query!(
        r#"select a.task_id as "task_id!: Vec<u8>", a.attempt, a.outcome::text as "outcome!", a.message
        from attempts a join unnest($1::bytea[], $2::integer[]) as n (task_id, attempt) using (task_id, attempt)
        where a.worker_id = $3"#,
        &task_ids(known.iter().map(|attempt| &attempt.task)),
        &numbers,
        worker.as_str()
    );
    let mut ended: BTreeMap<(TaskId, AttemptNumber), (String, Option<String>)> = BTreeMap::new();
    for row in rows.fetch_all(&mut *work.tx).await? {
        ended.insert((task_id(row.task_id)?, attempt(row.attempt)?), (row.outcome, row.message));
    }
    let mut reason = |attempt: &AttemptRef| match ended.remove(&(attempt.task, attempt.attempt)) {
        None => Some("this worker was never given it".to_owned()),
        Some((outcome, _)) if ["succeeded", "failed", "handed-back"].contains(&outcome.as_str()) => None,
        Some((outcome, message)) => Some(message.unwrap_or(outcome)),
    };
    Ok(attempts.iter().filter_map(|attempt| Some((*attempt, reason(attempt)?))).collect())
}

pub(super) fn attempt_of(task: &LockedTask) -> AttemptRef {
    AttemptRef { task: task.id, attempt: task.task.attempt }
}

pub(super) fn interval(duration: Duration) -> Result<PgInterval, Error> {
    Ok(PgInterval { months: 0, days: 0, microseconds: column(duration.as_micros(), "a length of time")? })
}
