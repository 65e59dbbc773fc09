//! Who waits for slots.

use std::collections::BTreeMap;

use gauntlet_domain::TaskId;
use gauntlet_domain::schedule::{DemandKey, QueueKey, QueueView, UserView};
use gauntlet_domain::share::UserName;

use super::queues::requirements;
use super::rows::{corrupt, task_id, task_ids, unsigned};
use super::{Error, Store, quotas, users};

/// All who want slots, with what they have; the fronts of their queues are not looked at yet.
#[derive(Debug, Default)]
pub struct Contenders {
    /// Users of whom something runs or is ready, by name.
    pub users: Vec<UserView>,
    /// Queues in which something is ready.
    pub queues: Vec<QueueView>,
    /// What a later look can build on.
    pub known: Known,
}

impl Contenders {
    fn add(&mut self, row: ContenderRow) -> Result<(), Error> {
        let user: UserName = row.user_name.parse().map_err(corrupt)?;
        let (key, running): (QueueKey, u32) = (QueueKey(row.queue_key), unsigned(row.running)?);
        self.known.running.insert(key, running);
        match self.users.binary_search_by(|other| other.name.cmp(&user)) {
            Ok(index) => self.users[index].running += running,
            Err(index) => {
                let (weight, quota) = (users::weight(row.user_weight)?, quotas::quota(row.user_max_concurrent)?);
                self.users.insert(index, UserView { name: user.clone(), weight, quota, running });
            }
        }
        let Some(demands) = row.demands else { return Ok(()) };
        let firsts = row.ranks.unwrap_or_default().into_iter().zip(row.firsts.unwrap_or_default());
        for (demand, (rank, first)) in demands.iter().zip(firsts) {
            let mark = Mark { critical_path_cost: rank, task: task_id(first)? };
            self.known.marks.insert((key, DemandKey(*demand)), mark);
        }
        if !row.paused {
            self.queues.push(QueueView {
                key,
                user,
                priority: row.priority,
                weight: users::weight(row.weight)?,
                quota: quotas::quota(row.max_concurrent)?,
                running,
                preempts: row.preempts,
                requires: requirements(row.required_labels, row.memory_mib)?,
                demands: demands.into_iter().map(DemandKey).collect(),
                ready: Vec::new(),
                more: true,
            });
        }
        Ok(())
    }
}

/// A queue in which something is ready or of which something runs.
struct ContenderRow {
    queue_key: i32,
    demands: Option<Vec<i32>>,
    ranks: Option<Vec<f64>>,
    firsts: Option<Vec<Vec<u8>>>,
    paused: bool,
    running: i64,
    user_name: String,
    weight: i32,
    priority: i32,
    max_concurrent: Option<i32>,
    required_labels: Option<serde_json::Value>,
    memory_mib: Option<i32>,
    preempts: bool,
    user_weight: i32,
    user_max_concurrent: Option<i32>,
}

/// What was found of the queues, also of those that are paused.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Where something is ready, and from where on.
    pub marks: Marks,
    /// Tasks that run of each queue.
    pub running: BTreeMap<QueueKey, u32>,
    /// The last queue that there was, if somebody has asked.
    pub youngest: Option<QueueKey>,
}

impl Known {
    /// After all that is known.
    fn end(&self) -> (i32, i32) {
        let last = self.marks.last_key_value().map(|((queue, demand), _)| (queue.0, demand.0));
        last.max(self.youngest.map(|queue| (queue.0, i32::MAX))).unwrap_or((i32::MIN, i32::MIN))
    }
}

/// For tasks of one queue that need the same: the first that is ready.
pub type Marks = BTreeMap<(QueueKey, DemandKey), Mark>;

/// A place among the ready tasks of one queue that need the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mark {
    /// The longest chains come first,
    pub critical_path_cost: f64,
    /// of equal ones the smallest ids.
    pub task: TaskId,
}

impl Mark {
    /// Whether it comes first.
    pub fn is_before(&self, other: &Self) -> bool {
        let cost = other.critical_path_cost.total_cmp(&self.critical_path_cost);
        cost.then(self.task.cmp(&other.task)).is_lt()
    }
}

impl Store {
    /// The queues in which something is ready and whose sweep is not paused. It costs a look at the index for each of them, and one at each lease:
    /// neither backlog nor history make it slower, but rows do that are dead and cannot be removed.
    ///
    /// With what an earlier look found, only queues that are younger than all of those are looked for, and what is known is taken to be so; the terms
    /// of sweeps and users are always those of now. That costs next to nothing whatever is dead.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn contenders(&self, known: Option<&Known>) -> Result<Contenders, Error> {
        let (afresh, nothing) = (known.is_none(), Known::default());
        let known = known.unwrap_or(&nothing);
        let (last_queue, last_demand) = known.end();
        let (queues, demands): (Vec<i32>, Vec<i32>) =
            known.marks.keys().map(|(queue, demand)| (queue.0, demand.0)).unzip();
        let ranks: Vec<f64> = known.marks.values().map(|mark| mark.critical_path_cost).collect();
        let (running, tasks): (Vec<i32>, Vec<i64>) = known
            .running
            .iter()
            .filter(|(_, tasks)| **tasks > 0)
            .map(|(queue, tasks)| (queue.0, i64::from(*tasks)))
            .unzip();
        let rows = sqlx::query_as!(
            ContenderRow,
            r#"with recursive younger as (
                (select queue_key, demand_key, critical_path_cost, task_id from tasks
                where state = 'ready' and (queue_key, demand_key) > ($1, $2)
                order by queue_key, demand_key, -critical_path_cost, task_id
                limit 1)
                union all
                select next.queue_key, next.demand_key, next.critical_path_cost, next.task_id
                from younger cross join lateral (
                    select t.queue_key, t.demand_key, t.critical_path_cost, t.task_id from tasks t
                    where t.state = 'ready' and (t.queue_key, t.demand_key) > (younger.queue_key, younger.demand_key)
                    order by t.queue_key, t.demand_key, -t.critical_path_cost, t.task_id
                    limit 1
                ) as next
            ), waiting as (
                select queue_key, demand_key, critical_path_cost, task_id::bytea from younger
                union all
                select queue_key, demand_key, critical_path_cost, task_id
                from unnest($3::integer[], $4::integer[], $5::double precision[], $6::bytea[])
                    as n (queue_key, demand_key, critical_path_cost, task_id)
            ), queues as (
                select queue_key, array_agg(demand_key) as demands, array_agg(critical_path_cost) as ranks, array_agg(task_id) as firsts
                from waiting group by queue_key
            ), running as (
                select queue_key, count(*) as tasks from tasks where $7 and state = 'leased' group by queue_key
                union all
                select queue_key, tasks from unnest($8::integer[], $9::bigint[]) as n (queue_key, tasks)
            )
            select queue_key as "queue_key!", queues.demands as "demands?: Vec<i32>", queues.ranks as "ranks?: Vec<f64>",
                queues.firsts as "firsts?: Vec<Vec<u8>>", s.paused_at is not null as "paused!",
                coalesce(running.tasks, 0) as "running!",
                coalesce(s.user_name, 'anonymous') as "user_name!", coalesce(s.weight, 1) as "weight!", coalesce(s.priority, 0) as "priority!",
                s.max_concurrent as "max_concurrent?", s.required_labels as "required_labels?", s.memory_mib as "memory_mib?",
                coalesce(s.preempts, false) as "preempts!", coalesce(u.weight, 1) as "user_weight!",
                u.max_concurrent as "user_max_concurrent?"
            from queues
            full join running using (queue_key)
            left join sweeps s using (queue_key)
            left join users u on u.user_name = coalesce(s.user_name, 'anonymous')
            order by queue_key"#,
            last_queue,
            last_demand,
            &queues,
            &demands,
            &ranks,
            &task_ids(known.marks.values().map(|mark| &mark.task)),
            afresh,
            &running,
            &tasks
        );
        let mut contenders = Contenders::default();
        for row in rows.fetch_all(&self.pool).await? {
            contenders.add(row)?;
        }
        Ok(contenders)
    }

    /// The queue of the latest sweep.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn youngest_queue(&self) -> Result<Option<QueueKey>, Error> {
        let youngest = sqlx::query_scalar!("select max(queue_key) from sweeps").fetch_one(&self.pool).await?;
        Ok(youngest.map(QueueKey))
    }

    /// The first of these tasks in each of their queues, of those that are ready.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn marks_of(&self, tasks: &[TaskId]) -> Result<Marks, Error> {
        if tasks.is_empty() {
            return Ok(Marks::new());
        }
        let rows = sqlx::query!(
            r#"select distinct on (queue_key, demand_key) queue_key, demand_key, critical_path_cost, task_id as "task_id!: Vec<u8>"
            from tasks
            where task_id = any($1::bytea[]) and state = 'ready'
            order by queue_key, demand_key, -critical_path_cost, task_id"#,
            &task_ids(tasks)
        );
        let mut marks = Marks::new();
        for row in rows.fetch_all(&self.pool).await? {
            let mark = Mark { critical_path_cost: row.critical_path_cost, task: task_id(row.task_id)? };
            marks.insert((QueueKey(row.queue_key), DemandKey(row.demand_key)), mark);
        }
        Ok(marks)
    }
}
