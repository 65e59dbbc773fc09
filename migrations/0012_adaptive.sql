-- Evaluations that stop once the interval of AAI is narrow enough, and attacks that an earlier one of a cascade has made pointless.

alter table attack_results
    -- The width at which the evaluation was to stop, and how many examples it had before it; null where it was to evaluate all.
    add column stop_at_interval double precision null check (stop_at_interval > 0 and stop_at_interval < 1),
    add column examples_asked integer null check (examples_asked >= examples),
    add constraint stops_before_all_examples check ((stop_at_interval is null) = (examples_asked is null));

-- The input is the earlier attack of a cascade: if its AAI is at most so much, the task is pointless.
alter table task_inputs add column until_aai double precision null check (until_aai >= 0 and until_aai < 1);

alter table tasks
    -- An earlier attack of its cascade left nothing to find. No failure, and nothing to try again.
    add column pointless boolean not null default false,
    add constraint skipped_where_pointless check (not pointless or state = 'skipped');

-- Not among those that `skipped` counts.
alter table sweep_counts add column pointless bigint not null default 0;

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
join sweeps s using (sweep_id)
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

-- The rows of the results whose examples are not all that were asked for.
create view early_stops as
select sweep_id as sweep, dataset, backbone, init, recipe, seed, attack, norm, eps, examples, examples_asked, stop_at_interval
from cell_results
where stop_at_interval is not null
order by submitted_at, sweep_id, position;

-- The cells that have no result because their attack was pointless.
create view skipped_evaluations as
select c.sweep_id as sweep, c.dataset, c.backbone, c.init, c.recipe, c.seed, c.attack, c.norm, c.eps, t.reason
from sweep_cells c
join sweeps s using (sweep_id)
join tasks t on t.task_id = c.attack_task_id
where t.pointless
order by s.submitted_at, c.sweep_id, c.position;

-- What the first so many examples of an evaluation come to; `read_at` as in `cell_results`.
create function correct_of_first(
    examples integer, label integer[], clean integer[], adversarial integer[], distance real[], read_at double precision,
    out clean_correct bigint, out robust_correct bigint
)
language sql immutable parallel safe as $$
    select count(*) filter (where o.clean = o.label),
        count(*) filter (where o.clean = o.label
            and (o.adversarial = o.label or coalesce(o.distance::double precision > read_at, false)))
    from unnest(label[:examples], clean[:examples], adversarial[:examples], distance[:examples])
        as o (label, clean, adversarial, distance)
$$;

-- Of two evaluations that stopped at different examples, those are compared that both evaluated.
create or replace view transfer_gap as
with evaluated as not materialized (
    select c.*, r.label, r.clean_prediction, r.adversarial_prediction, r.distance, cell.train_task_id,
        coalesce(train.spec, attack.spec) -> 'weights' ->> 'from' = 'scratch' as from_scratch,
        train.spec -> 'recipe' -> 'objective' ->> 'method' = 'standard' as standard_method
    from cell_results c
    join sweep_cells cell using (sweep_id, position)
    join attack_results r on r.task_id = c.attack_task_id
    join task_specs attack on attack.task_id = c.attack_task_id
    left join task_specs train on train.task_id = cell.train_task_id
)
select
    f.sweep_id as sweep, f.dataset, f.backbone, f.init, f.recipe, f.seed, f.attack, f.norm, f.eps,
    t.init as standard_init, t.recipe as standard_recipe, common.examples,
    (a.clean_correct - b.clean_correct)::double precision / common.examples as delta_aoi,
    (a.robust_correct - b.robust_correct)::double precision / common.examples as delta_aai,
    (a.clean_correct - a.robust_correct)::double precision / nullif(a.clean_correct, 0)
        - (b.clean_correct - b.robust_correct)::double precision / nullif(b.clean_correct, 0) as delta_decline_ratio,
    pairs.only_a as only_fine_tuned, pairs.only_b as only_standard,
    mcnemar_exact(pairs.only_a, pairs.only_b) as p_value
from evaluated f
cross join lateral (
    select * from evaluated t
    where t.from_scratch and t.train_task_id is not null and (t.recipe = f.recipe or t.standard_method)
        and (t.sweep_id, t.dataset, t.backbone, t.seed, t.attack, t.norm, t.eps)
            = (f.sweep_id, f.dataset, f.backbone, f.seed, f.attack, f.norm, f.eps)
    order by t.recipe = f.recipe desc, t.position
    limit 1
) as t
cross join lateral (select least(f.examples, t.examples) as examples) as common
-- Mostly both evaluated all, and what is stored need not be counted again.
cross join lateral (
    select f.clean_correct::bigint as clean_correct, f.robust_correct::bigint as robust_correct where f.examples = common.examples
    union all
    select first.* from correct_of_first(
        common.examples, f.label, f.clean_prediction, f.adversarial_prediction, f.distance, f.read_at
    ) as first where f.examples > common.examples
) as a
cross join lateral (
    select t.clean_correct::bigint as clean_correct, t.robust_correct::bigint as robust_correct where t.examples = common.examples
    union all
    select first.* from correct_of_first(
        common.examples, t.label, t.clean_prediction, t.adversarial_prediction, t.distance, t.read_at
    ) as first where t.examples > common.examples
) as b
cross join lateral robust_in_one(
    f.label[:common.examples], f.clean_prediction[:common.examples], f.adversarial_prediction[:common.examples],
    f.distance[:common.examples], f.read_at,
    t.clean_prediction[:common.examples], t.adversarial_prediction[:common.examples], t.distance[:common.examples], t.read_at
) as pairs
where not f.from_scratch
order by f.submitted_at, f.sweep_id, f.position;
