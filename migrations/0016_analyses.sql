-- Analyses: what is asked of models beside their accuracy. Each is a task; its numbers are rows.

alter type task_kind add value 'analyze';

-- The analyses of a sweep, as `sweep_cells` are its evaluations.
create table sweep_analyses (
    sweep_id text not null references sweeps on delete cascade,
    position integer not null check (position >= 0),
    dataset text not null,
    backbone text not null,
    init text not null,
    recipe text not null,
    seed bigint not null check (seed >= 0),
    analysis text not null,
    method text not null,
    against text not null,
    examples integer not null check (examples > 0),
    task_id digest not null,
    primary key (sweep_id, position)
);
create index sweep_analyses_by_task on sweep_analyses (task_id);

-- What analyses came to, each number with what it is a number of, in the order in which it is shown.
create table analysis_values (
    task_id digest not null references tasks on delete cascade,
    number integer not null check (number >= 0),
    attempt integer not null,
    measure text not null,
    layer text not null,
    x double precision,
    value double precision not null check (value - value = 0),
    primary key (task_id, number)
);

create view analyses as
select a.sweep_id as sweep, a.dataset, a.backbone, a.init, a.recipe, a.seed, a.analysis, a.method, a.against, a.examples,
    v.measure, v.layer, v.x, v.value
from sweep_analyses a
join sweeps s using (sweep_id)
join analysis_values v using (task_id)
where s.deleted_at is null
order by s.submitted_at, a.sweep_id, a.position, v.number;
