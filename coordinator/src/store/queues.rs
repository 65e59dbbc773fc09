//! Who waits for slots, with what.

use std::collections::BTreeMap;

use gauntlet_domain::TaskId;
use gauntlet_domain::schedule::{QueueKey, QueueView, ReadyTask, UserView};
use gauntlet_domain::share::UserName;

use super::rows::{corrupt, task_id, task_ids, unsigned};
use super::work::Work;
use super::{Error, Store, quotas, users};

/// All who want slots, with what they have; the fronts of their queues are not looked at yet.
#[derive(Debug, Default)]
pub struct Contenders {
    /// Users of whom something runs or is ready.
    pub users: Vec<UserView>,
    /// Queues in which something is ready.
    pub queues: Vec<QueueView>,
}

impl Store {
    /// The queues in which something is ready and whose sweep is not paused. It costs a look at the index for each of them, and one at each lease: neither backlog nor history
    /// make it slower.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn contenders(&self) -> Result<Contenders, Error> {
        let rows = sqlx::query!(
            r#"with recursive waiting (queue_key) as (
                select min(queue_key) from tasks where state = 'ready'
                union all
                select (
                    select t.queue_key from tasks t
                    where t.state = 'ready' and t.queue_key > waiting.queue_key
                    order by t.queue_key
                    limit 1
                )
                from waiting
                where waiting.queue_key is not null
            ), running as (
                select queue_key, count(*) as tasks from tasks where state = 'leased' group by queue_key
            )
            select queue_key as "queue_key!", waiting.queue_key is not null and s.paused_at is null as "waits!", coalesce(running.tasks, 0) as "running!",
                coalesce(s.user_name, 'anonymous') as "user_name!", coalesce(s.weight, 1) as "weight!", coalesce(s.priority, 0) as "priority!",
                s.max_concurrent as "max_concurrent?", coalesce(u.weight, 1) as "user_weight!", u.max_concurrent as "user_max_concurrent?"
            from (select queue_key from waiting where queue_key is not null) as waiting
            full join running using (queue_key)
            left join sweeps s using (queue_key)
            left join users u on u.user_name = coalesce(s.user_name, 'anonymous')
            order by queue_key"#
        );
        let mut contenders = Contenders::default();
        let mut users: BTreeMap<UserName, UserView> = BTreeMap::new();
        for row in rows.fetch_all(&self.pool).await? {
            let user: UserName = row.user_name.parse().map_err(corrupt)?;
            let tasks: u32 = unsigned(row.running)?;
            match users.get_mut(&user) {
                Some(user) => user.running += tasks,
                None => {
                    let (weight, quota) = (users::weight(row.user_weight)?, quotas::quota(row.user_max_concurrent)?);
                    users.insert(user.clone(), UserView { name: user.clone(), weight, quota, running: tasks });
                }
            }
            if row.waits {
                contenders.queues.push(QueueView {
                    key: QueueKey(row.queue_key),
                    user,
                    priority: row.priority,
                    weight: users::weight(row.weight)?,
                    quota: quotas::quota(row.max_concurrent)?,
                    running: tasks,
                    preempts: false,
                    ready: Vec::new(),
                    more: true,
                });
            }
        }
        contenders.users = users.into_values().collect();
        Ok(contenders)
    }

    /// The fronts of these queues: at most so many tasks of each that may be leased now, the longest chains first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn fronts(&self, wanted: &[(QueueKey, usize)]) -> Result<BTreeMap<QueueKey, Vec<ReadyTask>>, Error> {
        let keys: Vec<i32> = wanted.iter().map(|(key, _)| key.0).collect();
        let counts: Vec<i64> = wanted.iter().map(|(_, count)| i64::try_from(*count).unwrap_or(i64::MAX)).collect();
        let rows = sqlx::query!(
            r#"select n.queue_key as "queue_key!", f.task_id as "task_id!: Vec<u8>", f.critical_path_cost as "cost!",
                array(select i.input_task_id::bytea from task_inputs i where i.task_id = f.task_id) as "inputs!: Vec<Vec<u8>>"
            from unnest($1::integer[], $2::bigint[]) as n (queue_key, count)
            cross join lateral (
                select t.task_id, t.critical_path_cost from tasks t
                where t.state = 'ready' and t.queue_key = n.queue_key and t.not_before <= now()
                order by t.critical_path_cost desc, t.task_id
                limit n.count
            ) as f"#,
            &keys,
            &counts
        );
        let mut fronts: BTreeMap<QueueKey, Vec<ReadyTask>> = BTreeMap::new();
        for row in rows.fetch_all(&self.pool).await? {
            let inputs: Vec<TaskId> = row.inputs.into_iter().map(task_id).collect::<Result<_, _>>()?;
            let ready = ReadyTask { id: task_id(row.task_id)?, critical_path_cost: row.cost, inputs };
            fronts.entry(QueueKey(row.queue_key)).or_default().push(ready);
        }
        Ok(fronts)
    }
}

/// The sweep of this queue is charged for what is tried again for it, and for what waits or runs for a sweep that is cancelled or paused. The tasks are
/// locked.
pub(super) async fn take_charge<'a>(
    queue_key: i32,
    tasks: impl IntoIterator<Item = &'a TaskId>,
    retried: &[TaskId],
    work: &mut Work,
) -> Result<(), Error> {
    let query = sqlx::query!(
        "update tasks t set queue_key = $3
            where t.task_id = any($1::bytea[]) and t.state in ('pending', 'ready', 'leased') and t.queue_key <> $3
                and (t.task_id = any($2::bytea[]) or t.queue_key = 0
                    or exists (
                        select from sweeps s
                        where s.queue_key = t.queue_key and (s.cancelled_at is not null or s.paused_at is not null)
                    ))",
        &task_ids(tasks),
        &task_ids(retried),
        queue_key
    );
    query.execute(&mut *work.tx).await?;
    Ok(())
}

/// Of these tasks, what waits or runs for the sweep of this queue, which is cancelled or paused, goes to the queue of the first other sweep that wants
/// it and is neither; from a cancelled one, for want of such, to a paused one. The tasks are locked.
pub(super) async fn leave_charge(queue_key: i32, tasks: &[TaskId], work: &mut Work) -> Result<(), Error> {
    let query = sqlx::query!(
        "update tasks t set queue_key = heir.queue_key
        from (
            select distinct on (st.task_id) st.task_id, s.queue_key
            from sweep_tasks st join sweeps s using (sweep_id)
            where st.task_id = any($1::bytea[]) and s.cancelled_at is null and s.queue_key <> $2
                and (s.paused_at is null or exists (select from sweeps l where l.queue_key = $2 and l.cancelled_at is not null))
            order by st.task_id, s.paused_at is not null, s.submitted_at, s.sweep_id
        ) as heir
        where t.task_id = heir.task_id and t.queue_key = $2 and t.state in ('pending', 'ready', 'leased')",
        &task_ids(tasks),
        queue_key
    );
    query.execute(&mut *work.tx).await?;
    Ok(())
}

/// What a paused sweep took into its queue goes on in that of another sweep that wants it and is not paused. The tasks are locked.
pub(super) async fn leave_to_others_if_paused(queue_key: i32, tasks: &[TaskId], work: &mut Work) -> Result<(), Error> {
    let paused =
        sqlx::query_scalar!(r#"select paused_at is not null as "paused!" from sweeps where queue_key = $1"#, queue_key);
    if paused.fetch_one(&mut *work.tx).await? { leave_charge(queue_key, tasks, work).await } else { Ok(()) }
}
