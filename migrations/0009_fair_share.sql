-- Slots are shared between users, and inside a user between sweeps: each task waits in the queue of one sweep, which is charged for it.

alter table sweeps
    -- Names the sweep in its tasks in few bytes.
    add column queue_key integer generated always as identity unique,
    add column user_name text not null default 'anonymous',
    -- Share beside sweeps of the same user and priority.
    add column weight integer not null default 1 check (weight between 1 and 1000),
    -- Higher goes first, among the sweeps of a user.
    add column priority integer not null default 0,
    -- Tasks that may run at once; no bound where it is null.
    add column max_concurrent integer check (max_concurrent > 0);

-- The sweep that is charged; 0 for tasks that ended before there were queues.
alter table tasks add column queue_key integer not null default 0;
update tasks t set queue_key = owner.queue_key
from (
    select distinct on (st.task_id) st.task_id, s.queue_key
    from sweep_tasks st join sweeps s using (sweep_id)
    order by st.task_id, s.cancelled_at is not null, s.submitted_at
) as owner
where owner.task_id = t.task_id and t.state in ('pending', 'ready', 'leased');

-- The front of each queue. What was once meant for single tasks was never set.
drop index tasks_ready;
alter table tasks drop column priority;
create index tasks_ready on tasks (queue_key, critical_path_cost desc, task_id) where state = 'ready';
