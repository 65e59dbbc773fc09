//! Ready tasks go to workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gauntlet_domain::experiment::{ArtifactRef, TaskSpec};
use gauntlet_domain::schedule::QueueKey;
use gauntlet_domain::share::UserName;
use gauntlet_domain::task::{MemoryPlan, memory_plan};
use gauntlet_domain::{AttemptNumber, AttemptRef, Digest, TaskId, WorkerId};

use super::rows::{attempt, corrupt, digest, task_id, task_ids, unsigned};
use super::work::Work;
use super::{Error, Store};

/// A task that shall go to a worker's session.
#[derive(Debug, Clone)]
pub struct ClaimFor {
    /// Which.
    pub task: TaskId,
    /// Who.
    pub worker: WorkerId,
    /// The number of the session it was decided for.
    pub session: i64,
    /// The queue it was decided for; a task that has moved since is not leased. None where that does not matter.
    pub queue: Option<QueueKey>,
    /// The user of that queue, if there is a quota of him or of the queue.
    pub bounded: Option<UserName>,
}

/// A task that was leased, with all its worker needs to know.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The attempt.
    pub attempt: AttemptRef,
    /// Who.
    pub worker: WorkerId,
    /// What people call it.
    pub label: String,
    /// What it computes, as stored.
    pub spec_json: String,
    /// The same, read; none if this version cannot read it: then its worker cannot either, and fails the task.
    pub spec: Option<Arc<TaskSpec>>,
    /// The checkpoints of its inputs.
    pub inputs: Vec<(TaskId, ArtifactRef)>,
    /// Where the user's files lie.
    pub files: Vec<(Digest, String)>,
    /// From where a training can go on.
    pub resume_from: Option<TrainingCheckpoint>,
    /// How the attempt spares memory.
    pub memory: MemoryPlan,
}

/// A state of a training or an evaluation from which a later attempt can go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingCheckpoint {
    /// The file.
    pub artifact: ArtifactRef,
    /// Epochs done, or blocks of an evaluation.
    pub epoch: u32,
}

impl Store {
    /// Leases those of these tasks that are still ready, and not of a paused sweep, to those of these sessions that are still their workers' latest.
    ///
    /// No quota is exceeded, however many coordinators claim at once.
    ///
    /// Claims are synchronous commits: one that was lost in a crash would give its attempt number, the fencing token, a second time.
    ///
    /// # Errors
    /// The database is unavailable; what was leased all the same is found by [`Store::orphans`].
    pub async fn claim(&self, claims: &[ClaimFor]) -> Result<Vec<Claimed>, Error> {
        let mut work = self.begin().await?;
        let live = live_sessions(claims, &mut work).await?;
        let claims: Vec<&ClaimFor> = claims.iter().filter(|claim| live.contains(claim.worker.as_str())).collect();
        let claims = work.within_quotas(claims).await?;
        let (tasks, workers): (Vec<TaskId>, Vec<&str>) =
            claims.iter().map(|claim| (claim.task, claim.worker.as_str())).unzip();
        let queues: Vec<Option<i32>> = claims.iter().map(|claim| claim.queue.map(|queue| queue.0)).collect();
        // Written so that the index of what is ready cannot serve: whoever counted while nothing was ready takes it for empty, and would read all of it.
        let rows = sqlx::query!(
            r#"with free as (
                select t.ctid, n.worker_id
                from unnest($1::bytea[], $2::text[], $3::integer[]) as n (task_id, worker_id, queue_key) join tasks t using (task_id)
                where t.state::text = 'ready' and t.not_before <= now() and t.queue_key = coalesce(n.queue_key, t.queue_key)
                    and not exists (select from sweeps s where s.queue_key = t.queue_key and s.paused_at is not null)
                for no key update of t skip locked
            ), leased as (
                update tasks t set state = 'leased', attempt = t.attempt + 1, worker_id = free.worker_id, changed_at = now()
                from free where t.ctid = free.ctid and t.state = 'ready'
                returning t.task_id, t.attempt, t.worker_id, t.resource_failures
            )
            select l.task_id as "task_id!: Vec<u8>", l.attempt as "attempt!", l.worker_id as "worker_id!",
                l.resource_failures as "resource_failures!", s.label as "label!", s.spec::text as "spec!",
                c.epoch as "epoch?", c.digest::bytea as "digest?: Vec<u8>", c.size_bytes as "size_bytes?"
            from leased l join task_specs s using (task_id) left join training_checkpoints c using (task_id)"#,
            &task_ids(&tasks),
            &workers as _,
            &queues as _
        );
        let mut claimed = Vec::new();
        for row in rows.fetch_all(&mut *work.tx).await? {
            let resume_from = match (row.epoch, row.digest, row.size_bytes) {
                (Some(epoch), Some(bytes), Some(size)) => {
                    Some(TrainingCheckpoint { artifact: artifact(bytes, size)?, epoch: unsigned(epoch)? })
                }
                _ => None,
            };
            claimed.push(Claimed {
                attempt: AttemptRef { task: task_id(row.task_id)?, attempt: attempt(row.attempt)? },
                worker: row.worker_id.parse().map_err(corrupt)?,
                label: row.label,
                spec: serde_json::from_str(&row.spec).ok().map(Arc::new),
                spec_json: row.spec,
                inputs: Vec::new(),
                files: Vec::new(),
                resume_from,
                memory: memory_plan(unsigned(row.resource_failures)?),
            });
        }
        add_inputs(&mut claimed, &mut work).await?;
        add_files(&mut claimed, &mut work).await?;
        work.commit().await?;
        Ok(claimed)
    }
}

/// Workers whose latest session is the one decided for. None of them gets another one before this transaction ends.
async fn live_sessions(claims: &[ClaimFor], work: &mut Work) -> Result<BTreeSet<String>, Error> {
    let sessions: BTreeMap<&str, i64> = claims.iter().map(|claim| (claim.worker.as_str(), claim.session)).collect();
    let rows = sqlx::query_scalar!(
        "select w.worker_id from workers w join unnest($1::text[], $2::bigint[]) as n (worker_id, session)
            on w.worker_id = n.worker_id and w.session = n.session
        order by w.worker_id
        for share of w",
        &sessions.keys().copied().collect::<Vec<_>>() as _,
        &sessions.values().copied().collect::<Vec<_>>()
    );
    Ok(rows.fetch_all(&mut *work.tx).await?.into_iter().collect())
}

async fn add_inputs(claimed: &mut [Claimed], work: &mut Work) -> Result<(), Error> {
    let with_inputs: Vec<&TaskId> = claimed
        .iter()
        .filter(|claim| claim.spec.as_ref().is_some_and(|spec| !spec.artifacts().is_empty()))
        .map(|claim| &claim.attempt.task)
        .collect();
    if with_inputs.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"select i.task_id as "task_id!: Vec<u8>", c.task_id as "input!: Vec<u8>", c.digest as "digest!: Vec<u8>", c.size_bytes
        from task_inputs i join checkpoints c on c.task_id = i.input_task_id
        where i.task_id = any($1::bytea[])
        order by c.task_id"#,
        &task_ids(with_inputs)
    );
    let mut inputs: BTreeMap<TaskId, Vec<(TaskId, ArtifactRef)>> = BTreeMap::new();
    for row in rows.fetch_all(&mut *work.tx).await? {
        inputs
            .entry(task_id(row.task_id)?)
            .or_default()
            .push((task_id(row.input)?, artifact(row.digest, row.size_bytes)?));
    }
    for claim in claimed {
        claim.inputs = inputs.remove(&claim.attempt.task).unwrap_or_default();
    }
    Ok(())
}

async fn add_files(claimed: &mut [Claimed], work: &mut Work) -> Result<(), Error> {
    let files = |claim: &Claimed| claim.spec.as_ref().map(|spec| spec.files()).unwrap_or_default();
    let wanted: Vec<Vec<Digest>> = claimed.iter().map(files).collect();
    let digests: BTreeSet<&Digest> = wanted.iter().flatten().collect();
    if digests.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"select digest as "digest!: Vec<u8>", location from file_locations where digest = any($1::bytea[])"#,
        &digests.into_iter().map(|digest| digest.as_bytes().to_vec()).collect::<Vec<_>>()
    );
    let mut locations: BTreeMap<Digest, String> = BTreeMap::new();
    for row in rows.fetch_all(&mut *work.tx).await? {
        locations.insert(digest(row.digest)?, row.location);
    }
    for (claim, files) in claimed.iter_mut().zip(wanted) {
        claim.files = files.into_iter().filter_map(|file| Some((file, locations.get(&file)?.clone()))).collect();
    }
    Ok(())
}

pub(super) fn artifact(bytes: Vec<u8>, size: i64) -> Result<ArtifactRef, Error> {
    Ok(ArtifactRef { digest: digest(bytes)?, size_bytes: unsigned(size)? })
}

/// Numbers of attempts as columns hold them.
pub(super) fn attempt_column(attempt: AttemptNumber) -> Result<i32, Error> {
    super::rows::column(attempt.0, "an attempt")
}
