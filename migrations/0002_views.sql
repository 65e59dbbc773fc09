-- What people query: documented in docs/results.md and kept stable.

-- Bounds of the 95 % Wilson score interval (Wilson 1927); `side` is -1 for the lower, +1 for the upper one.
create function wilson_bound(successes bigint, trials bigint, side integer) returns double precision
language sql immutable strict parallel safe as $$
    select case when trials = 0 then null else
        greatest(0, least(1, (p + z * z / (2 * n) + side * z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)))
    end
    from (select successes::double precision / nullif(trials, 0) as p, trials::double precision as n, 1.959963984540054::double precision as z) as t
$$;

-- Two-sided exact McNemar test: the chance that `a` and `b`, the discordant pairs either way, differ at least so much if both ways are equally likely.
create function mcnemar_exact(a bigint, b bigint) returns double precision
language plpgsql immutable strict parallel safe as $$
declare
    n bigint := a + b;
    log_term double precision := -n * ln(2::double precision);
    total double precision := 0;
begin
    for k in 0 .. least(a, b) loop
        total := total + case when log_term < -700 then 0 else exp(log_term) end;
        exit when k = least(a, b);
        log_term := log_term + ln((n - k)::double precision / (k + 1));
    end loop;
    return least(1, 2 * total);
end
$$;

-- Cells that have a result, with what orders them: what `results` and the coordinator read.
create view cell_results as
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
    r.robust_correct,
    r.clean_correct::double precision / r.examples as aoi,
    r.robust_correct::double precision / r.examples as aai,
    (r.clean_correct - r.robust_correct)::double precision / nullif(r.clean_correct, 0) as decline_ratio,
    wilson_bound(r.robust_correct, r.examples, -1) as aai_low,
    wilson_bound(r.robust_correct, r.examples, 1) as aai_high
from sweep_cells c
join sweeps s using (sweep_id)
join attack_results r on r.task_id = c.attack_task_id;

create view results as
select sweep_id as sweep, dataset, backbone, init, recipe, seed, attack, norm, eps, examples, clean_correct, robust_correct,
    aoi, aai, decline_ratio, aai_low, aai_high
from cell_results
order by submitted_at, sweep_id, position;

create view outcomes as
select c.sweep_id as sweep, c.dataset, c.backbone, c.init, c.recipe, c.seed, c.attack, c.norm, c.eps,
    (o.row - 1)::integer as index,
    o.label,
    o.clean_prediction,
    o.adversarial_prediction,
    o.clean_loss,
    o.adversarial_loss,
    o.distance
from cell_results c
join attack_results r on r.task_id = c.attack_task_id
cross join lateral unnest(r.label, r.clean_prediction, r.adversarial_prediction, r.clean_loss, r.adversarial_loss, r.distance)
    with ordinality as o (label, clean_prediction, adversarial_prediction, clean_loss, adversarial_loss, distance, row)
order by c.submitted_at, c.sweep_id, c.position, o.row;

create view run_metrics as
select run.sweep_id as sweep, run.dataset, run.backbone, run.init, run.recipe, run.seed,
    m.epoch, m.iterations, m.learning_rate, m.train_loss, m.train_accuracy
from (
    select sweep_id, dataset, backbone, init, recipe, seed, train_task_id, min(position) as position
    from sweep_cells
    where train_task_id is not null
    group by sweep_id, dataset, backbone, init, recipe, seed, train_task_id
) as run
join sweeps s using (sweep_id)
join epoch_metrics m on m.task_id = run.train_task_id
order by s.submitted_at, run.sweep_id, run.position, m.epoch;

-- Each run that did not start from scratch beside its standard twin: same sweep, data set, backbone, seed, attack and ε, from scratch,
-- by the same recipe or, where there is none, by a recipe of the method `standard`.
create view transfer_gap as
with evaluated as (
    select c.*, s.submitted_at, r.examples, r.clean_correct, r.robust_correct, r.label, r.clean_prediction, r.adversarial_prediction,
        coalesce(train.spec, attack.spec) -> 'weights' ->> 'from' = 'scratch' as from_scratch,
        train.spec -> 'recipe' -> 'objective' ->> 'method' = 'standard' as standard_method
    from sweep_cells c
    join sweeps s using (sweep_id)
    join attack_results r on r.task_id = c.attack_task_id
    join task_specs attack on attack.task_id = c.attack_task_id
    left join task_specs train on train.task_id = c.train_task_id
)
select
    f.sweep_id as sweep, f.dataset, f.backbone, f.init, f.recipe, f.seed, f.attack, f.norm, f.eps,
    t.init as standard_init, t.recipe as standard_recipe, f.examples,
    (f.clean_correct - t.clean_correct)::double precision / f.examples as delta_aoi,
    (f.robust_correct - t.robust_correct)::double precision / f.examples as delta_aai,
    (f.clean_correct - f.robust_correct)::double precision / nullif(f.clean_correct, 0)
        - (t.clean_correct - t.robust_correct)::double precision / nullif(t.clean_correct, 0) as delta_decline_ratio,
    pairs.only_fine_tuned, pairs.only_standard,
    mcnemar_exact(pairs.only_fine_tuned, pairs.only_standard) as p_value
from evaluated f
cross join lateral (
    select * from evaluated t
    where t.from_scratch and t.train_task_id is not null and (t.recipe = f.recipe or t.standard_method)
        and (t.sweep_id, t.dataset, t.backbone, t.seed, t.attack, t.norm, t.eps)
            = (f.sweep_id, f.dataset, f.backbone, f.seed, f.attack, f.norm, f.eps)
        and t.examples = f.examples
    order by t.recipe = f.recipe desc, t.position
    limit 1
) as t
cross join lateral (
    select
        count(*) filter (where fine_tuned and not standard) as only_fine_tuned,
        count(*) filter (where standard and not fine_tuned) as only_standard
    from (
        select f_clean = label and f_adversarial = label as fine_tuned, t_clean = label and t_adversarial = label as standard
        from unnest(f.label, f.clean_prediction, f.adversarial_prediction, t.clean_prediction, t.adversarial_prediction)
            as o (label, f_clean, f_adversarial, t_clean, t_adversarial)
    ) as example
) as pairs
where not f.from_scratch
order by f.submitted_at, f.sweep_id, f.position;
