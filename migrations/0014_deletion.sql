-- Sweeps can be deleted, and artifacts that nothing refers to any more.

alter table sweeps
    -- From then on nobody sees it; its rows go bit by bit.
    add column deleted_at timestamptz,
    add constraint a_deleted_sweep_wants_nothing check (deleted_at is null or cancelled_at is not null);
create index sweeps_deleted on sweeps (deleted_at) where deleted_at is not null;

create or replace view cell_results as
select
    c.sweep_id,
    s.submitted_at,
    c.position,
    c.attack_task_id,
    c.dataset,
    c.backbone,
    c.init,
    c.recipe,
    c.seed,
    c.attack,
    c.norm,
    c.eps,
    r.examples,
    r.clean_correct,
    counted.robust_correct,
    r.clean_correct::double precision / r.examples as aoi,
    counted.robust_correct::double precision / r.examples as aai,
    (r.clean_correct - counted.robust_correct)::double precision / nullif(r.clean_correct, 0) as decline_ratio,
    wilson_bound(counted.robust_correct, r.examples, -1) as aai_low,
    wilson_bound(counted.robust_correct, r.examples, 1) as aai_high,
    -- The radius to read a minimum-norm evaluation off at; null where its outcomes stand as they are.
    case when r.minimum_norm then c.eps_value end as read_at,
    r.stop_at_interval,
    coalesce(r.examples_asked, r.examples) as examples_asked
from sweep_cells c
join sweeps s on s.sweep_id = c.sweep_id and s.deleted_at is null
join attack_results r on r.task_id = c.attack_task_id
cross join lateral (
    select case
        when r.minimum_norm and c.eps_value is not null
            then robust_within(r.label, r.clean_prediction, r.adversarial_prediction, r.distance, c.eps_value)
        else r.robust_correct
    end as robust_correct
    -- Keeps the planner from counting once for every column above.
    offset 0
) as counted;

create or replace view run_metrics as
select run.sweep_id as sweep, run.dataset, run.backbone, run.init, run.recipe, run.seed,
    m.epoch, m.iterations, m.learning_rate, m.train_loss, m.train_accuracy,
    m.validation_loss, m.validation_accuracy, m.validation_robust_accuracy
from (
    select sweep_id, dataset, backbone, init, recipe, seed, train_task_id, min(position) as position
    from sweep_cells
    where train_task_id is not null
    group by sweep_id, dataset, backbone, init, recipe, seed, train_task_id
) as run
join sweeps s on s.sweep_id = run.sweep_id and s.deleted_at is null
join epoch_metrics m on m.task_id = run.train_task_id
order by s.submitted_at, run.sweep_id, run.position, m.epoch;

create or replace view skipped_evaluations as
select c.sweep_id as sweep, c.dataset, c.backbone, c.init, c.recipe, c.seed, c.attack, c.norm, c.eps, t.reason
from sweep_cells c
join sweeps s on s.sweep_id = c.sweep_id and s.deleted_at is null
join tasks t on t.task_id = c.attack_task_id
where t.pointless
order by s.submitted_at, c.sweep_id, c.position;

-- Tasks that deleted sweeps wanted. Those that nobody else wants are removed, consumers before their inputs.
create table unwanted_tasks (
    task_id digest primary key,
    depth integer not null
);
create index unwanted_tasks_by_depth on unwanted_tasks (depth desc, task_id);

-- Artifacts that nothing may refer to any more, some of them several times: whoever takes a reference away adds a row and waits for nobody.
create table unreferenced_artifacts (
    number bigint generated always as identity primary key,
    digest digest not null
);

-- A row says that an artifact is on its way out of the store, or is gone. Of all others nothing is said.
create type artifact_state as enum ('condemned', 'deleting', 'deleted');
create table artifacts (
    digest digest primary key,
    state artifact_state not null,
    -- The session of a worker that was told to delete it.
    worker_id text,
    session bigint,
    changed_at timestamptz not null default now(),
    constraint deleted_by_someone check ((state = 'deleting') = (worker_id is not null and session is not null))
);
create index artifacts_by_state on artifacts (state, changed_at);

create index checkpoints_by_digest on checkpoints (digest);
create index training_checkpoints_by_digest on training_checkpoints (digest);

create function note_unreferenced_artifacts() returns trigger language plpgsql as $$
begin
    insert into unreferenced_artifacts (digest) select digest from gone;
    return null;
end
$$;
create trigger checkpoints_deleted after delete on checkpoints referencing old table as gone
    for each statement execute function note_unreferenced_artifacts();
create trigger training_checkpoints_deleted after delete on training_checkpoints referencing old table as gone
    for each statement execute function note_unreferenced_artifacts();
create trigger training_checkpoints_replaced after update on training_checkpoints referencing old table as gone
    for each statement execute function note_unreferenced_artifacts();
