-- What tasks need of a worker, and what sweeps ask of it.

-- Tasks that need the same. 0 stands for those of which nothing is known.
create table demands (
    demand_key integer generated always as identity primary key,
    -- The kind of work, as in task_specs: what it takes in time and memory is learnt by it.
    work text,
    -- Names the data set: workers that hold it are preferred.
    data text,
    -- With less memory a task ran out that spared all it could.
    min_memory_mib integer not null default 0 check (min_memory_mib >= 0),
    unique nulls not distinct (work, data, min_memory_mib)
);

alter table tasks add column demand_key integer not null default 0;
with needs as (
    select t.task_id, s.work, coalesce((t.min_memory_mib + 511) / 512 * 512, 0) as min_memory_mib
    from tasks t join task_specs s using (task_id)
    where t.state <> 'succeeded' and s.work is not null
), made as (
    insert into demands (work, min_memory_mib) select distinct work, min_memory_mib from needs
    returning demand_key, work, min_memory_mib
)
update tasks t set demand_key = made.demand_key
from needs join made using (work, min_memory_mib)
where t.task_id = needs.task_id;

-- The front of each queue, by what its tasks need.
drop index tasks_ready;
create index tasks_ready on tasks (queue_key, demand_key, critical_path_cost desc, task_id) where state = 'ready';

alter table sweeps
    -- Labels that a worker carries which runs its tasks.
    add column required_labels jsonb not null default '{}' check (jsonb_typeof(required_labels) = 'object'),
    -- Memory that each of its tasks gets, in place of what such tasks were seen to take.
    add column memory_mib integer check (memory_mib > 0),
    -- Whether it may take slots from sweeps of lower priority.
    add column preempts boolean not null default false;

-- The most memory that an attempt at this work was seen to take on such a device.
alter table cost_rates add column peak_memory_mib integer check (peak_memory_mib >= 0);
