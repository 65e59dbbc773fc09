-- The queue under load: attempts are written once, when they are over, and sweeps count their tasks while these change.

-- What runs stands in `tasks` alone. A leased task has been so since its attempt began: `changed_at` is that moment.
update tasks t set changed_at = a.started_at
from attempts a
where t.state = 'leased' and a.task_id = t.task_id and a.attempt = t.attempt and a.started_at <> t.changed_at;
delete from attempts where outcome = 'running';
alter table attempts
    drop constraint over_when_it_has_an_outcome,
    alter column outcome drop default,
    alter column started_at drop default,
    alter column ended_at set not null,
    add constraint over_before_it_is_written check (outcome <> 'running');

-- Attempts and outcomes are written only for tasks whose rows the transaction holds. A foreign key would look each of them up once more, which is a
-- sixth of what a task costs; so they only go with their tasks.
alter table attempts drop constraint attempts_task_id_fkey;
alter table attack_results drop constraint attack_results_task_id_fkey;
create function forget_deleted_tasks() returns trigger language plpgsql as $$
begin
    delete from attempts a using deleted d where a.task_id = d.task_id;
    delete from attack_results r using deleted d where r.task_id = d.task_id;
    return null;
end
$$;
create trigger forget_deleted_tasks after delete on tasks referencing old table as deleted
    for each statement execute function forget_deleted_tasks();

-- The same for what a submission writes: its transaction holds the sweep, and all tasks of the cells are the sweep's, whose keys stay.
alter table sweep_tasks drop constraint sweep_tasks_sweep_id_fkey;
alter table sweep_cells
    drop constraint sweep_cells_sweep_id_fkey,
    drop constraint sweep_cells_train_task_id_fkey,
    drop constraint sweep_cells_attack_task_id_fkey;
create function forget_deleted_sweeps() returns trigger language plpgsql as $$
begin
    delete from sweep_cells c using deleted d where c.sweep_id = d.sweep_id;
    delete from sweep_tasks t using deleted d where t.sweep_id = d.sweep_id;
    return null;
end
$$;
create trigger forget_deleted_sweeps after delete on sweeps referencing old table as deleted
    for each statement execute function forget_deleted_sweeps();

-- How many tasks of a sweep stand where, kept by the transactions that move them. Each adds to one of a few rows, so that they do not wait for each
-- other; a sweep's numbers are the sums. `open` is ready or leased: claims, which are the most frequent, change nothing here, and what is leased is
-- counted by its index. Part 0 belongs to submissions.
create table sweep_counts (
    sweep_id text not null,
    part integer not null,
    pending bigint not null default 0,
    open bigint not null default 0,
    succeeded bigint not null default 0,
    failed bigint not null default 0,
    cancelled bigint not null default 0,
    skipped bigint not null default 0,
    total_cost double precision not null default 0,
    done_cost double precision not null default 0,
    cells bigint not null default 0,
    primary key (sweep_id, part),
    constraint counts_of_a_sweep foreign key (sweep_id) references sweeps on delete cascade
) with (fillfactor = 30, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

insert into sweep_counts (sweep_id, part, pending, open, succeeded, failed, cancelled, skipped, total_cost, done_cost, cells)
select s.sweep_id, 0, c.pending, c.open, c.succeeded, c.failed, c.cancelled, c.skipped, c.total_cost, c.done_cost,
    (select count(*) from sweep_cells where sweep_cells.sweep_id = s.sweep_id)
from sweeps s
cross join lateral (
    select
        count(*) filter (where t.state = 'pending') as pending,
        count(*) filter (where t.state in ('ready', 'leased')) as open,
        count(*) filter (where t.state = 'succeeded') as succeeded,
        count(*) filter (where t.state = 'failed') as failed,
        count(*) filter (where t.state = 'cancelled') as cancelled,
        count(*) filter (where t.state = 'skipped') as skipped,
        coalesce(sum(spec.cost), 0) as total_cost,
        coalesce(sum(spec.cost) filter (where t.state = 'succeeded'), 0) as done_cost
    from sweep_tasks st join tasks t using (task_id) join task_specs spec using (task_id)
    where st.sweep_id = s.sweep_id
) as c;

-- Why a sweep is not all it should be, without looking at all of it.
create index tasks_unsuccessful on tasks (state, changed_at desc, task_id) where state in ('failed', 'cancelled', 'skipped');

-- Every task is written three times or four in its life, and what is ready is looked for all the time: dead rows go early and fast.
alter table tasks set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.05);
-- Only ever inserted into and renewed in place.
alter table workers set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
