-- Minimum-norm attacks: one evaluation, whose distances answer every radius. And the signs of masked gradients.

-- The radius as a number; null where the cell has none.
alter table sweep_cells add column eps_value double precision null check (eps_value > 0);

alter table attack_results
    -- Whether `distance` tells at which radius an example falls. `robust_correct` then counts those that were never fooled.
    add column minimum_norm boolean not null default false,
    -- Attacked examples whose first gradient was zero everywhere; null in results from before it was counted.
    add column zero_gradient_examples bigint null check (zero_gradient_examples >= 0);

-- Radii are written as a number or as a fraction of two.
update sweep_cells set eps_value = case
    when eps like '%/%' then split_part(eps, '/', 1)::double precision / split_part(eps, '/', 2)::double precision
    else eps::double precision
end
where eps <> '';

-- The output of an attack within a radius: the original where the found point lies beyond it. Without a radius, what was found.
-- The comparison is between double precision values, as in gauntlet_domain::experiment::Outcomes::within.
create function robust_within(label integer[], clean integer[], adversarial integer[], distance real[], eps double precision) returns integer
language sql immutable parallel safe as $$
    select count(*)::integer
    from unnest(label, clean, adversarial, distance) as o (label, clean, adversarial, distance)
    where o.clean = o.label and (o.adversarial = o.label or o.distance::double precision > eps)
$$;

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
    case when r.minimum_norm then c.eps_value end as read_at
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

create or replace view outcomes as
select c.sweep_id as sweep, c.dataset, c.backbone, c.init, c.recipe, c.seed, c.attack, c.norm, c.eps,
    (o.row - 1)::integer as index,
    o.label,
    o.clean_prediction,
    case when o.distance::double precision > c.read_at then o.clean_prediction else o.adversarial_prediction end as adversarial_prediction,
    o.clean_loss,
    case when o.distance::double precision > c.read_at then o.clean_loss else o.adversarial_loss end as adversarial_loss,
    o.distance
from cell_results c
join attack_results r on r.task_id = c.attack_task_id
cross join lateral unnest(r.label, r.clean_prediction, r.adversarial_prediction, r.clean_loss, r.adversarial_loss, r.distance)
    with ordinality as o (label, clean_prediction, adversarial_prediction, clean_loss, adversarial_loss, distance, row)
order by c.submitted_at, c.sweep_id, c.position, o.row;

-- Per example: whether it is right before and after, in two evaluations of the same examples; `read_at` as in `cell_results`.
create function robust_in_one(
    a_label integer[], a_clean integer[], a_adversarial integer[], a_distance real[], a_read_at double precision,
    b_clean integer[], b_adversarial integer[], b_distance real[], b_read_at double precision,
    out only_a bigint, out only_b bigint
)
language sql immutable parallel safe as $$
    select count(*) filter (where a and not b), count(*) filter (where b and not a)
    from (
        select
            a_clean = label and (a_adversarial = label or coalesce(a_distance::double precision > a_read_at, false)) as a,
            b_clean = label and (b_adversarial = label or coalesce(b_distance::double precision > b_read_at, false)) as b
        from unnest(a_label, a_clean, a_adversarial, a_distance, b_clean, b_adversarial, b_distance)
            as o (label, a_clean, a_adversarial, a_distance, b_clean, b_adversarial, b_distance)
    ) as example
$$;

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
    t.init as standard_init, t.recipe as standard_recipe, f.examples,
    (f.clean_correct - t.clean_correct)::double precision / f.examples as delta_aoi,
    (f.robust_correct - t.robust_correct)::double precision / f.examples as delta_aai,
    (f.clean_correct - f.robust_correct)::double precision / nullif(f.clean_correct, 0)
        - (t.clean_correct - t.robust_correct)::double precision / nullif(t.clean_correct, 0) as delta_decline_ratio,
    pairs.only_a as only_fine_tuned, pairs.only_b as only_standard,
    mcnemar_exact(pairs.only_a, pairs.only_b) as p_value
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
cross join lateral robust_in_one(
    f.label, f.clean_prediction, f.adversarial_prediction, f.distance, f.read_at,
    t.clean_prediction, t.adversarial_prediction, t.distance, t.read_at
) as pairs
where not f.from_scratch
order by f.submitted_at, f.sweep_id, f.position;

-- What speaks for masked gradients (Athalye et al. 2018, arXiv 1802.00420; Carlini et al. 2019, arXiv 1902.06705). One row says that `attack`, which
-- should be at least as strong as `other_attack` on the same run and examples, is the weaker one beyond chance: the two-sided exact McNemar test
-- of the examples that fall to one of the two alone gives p < 0.01. Or that more than 5 % of the attacked examples (those right before any attack)
-- had a first gradient of zero.
create view masking_warnings as
with evaluated as not materialized (
    select c.*, cell.eps_value, r.zero_gradient_examples, r.label, r.clean_prediction, r.adversarial_prediction, r.distance,
        config.method ->> 'name' as method,
        config.target,
        case
            when config.method ->> 'name' = 'noise' then 'nothing'
            when config.method ->> 'name' = 'square' then 'outputs'
            -- Crafted on the attacked model itself, a transferred attack shows nothing.
            when config.method ->> 'name' = 'transfer'
                then case when (config.method -> 'source' -> 'weights')::text <> (spec.spec -> 'weights')::text then 'outputs' end
            -- Neither one perturbation for all images nor the features aim at what becomes of a single image.
            when config.method ->> 'name' not in ('uap', 'feature') then 'gradients'
        end as uses
    from cell_results c
    join sweep_cells cell using (sweep_id, position)
    join attack_results r on r.task_id = c.attack_task_id
    join task_specs spec on spec.task_id = c.attack_task_id
    cross join lateral (select spec.spec -> 'attack' -> 'method' as method, spec.spec -> 'attack' ->> 'target' as target) as config
),
suspected as not materialized (
    select weak.sweep_id, weak.position, other.position as other_position, rule.kind
    from evaluated weak
    join evaluated other using (sweep_id, dataset, backbone, init, recipe, seed, norm, examples)
    cross join lateral (values
        ('stronger-at-smaller-eps', weak.attack = other.attack and weak.eps_value > other.eps_value),
        ('noise-beats-gradients', weak.eps_value = other.eps_value and weak.target is null and other.uses = 'nothing'),
        -- One gradient step may well lose to thousands of queries.
        ('black-box-beats-white-box',
            weak.eps_value = other.eps_value and weak.target is null and weak.method <> 'fgsm' and other.uses = 'outputs'),
        ('target-beats-no-target',
            weak.eps_value = other.eps_value and weak.target is null and other.target is not null and weak.method = other.method)
    ) as rule (kind, holds)
    where weak.uses = 'gradients' and other.robust_correct < weak.robust_correct and rule.holds
        -- A black box has to beat every attack that sees the gradients.
        and (rule.kind <> 'black-box-beats-white-box' or not exists (
            select from evaluated best
            where (best.sweep_id, best.dataset, best.backbone, best.init, best.recipe, best.seed, best.norm, best.eps_value, best.examples)
                = (weak.sweep_id, weak.dataset, weak.backbone, weak.init, weak.recipe, weak.seed, weak.norm, weak.eps_value, weak.examples)
                and best.uses = 'gradients' and best.target is null and best.robust_correct <= other.robust_correct
        ))
),
tested as not materialized (
    select w.submitted_at, w.position, o.position as other_position, w.sweep_id, w.dataset, w.backbone, w.init, w.recipe, w.seed, s.kind,
        w.attack, w.norm, w.eps, o.attack as other_attack, o.eps as other_eps, w.examples, w.clean_correct as attacked,
        pairs.only_a as fooled_by_other_alone, pairs.only_b as fooled_by_attack_alone,
        mcnemar_exact(pairs.only_a, pairs.only_b) as p_value
    from suspected s
    join evaluated w on w.sweep_id = s.sweep_id and w.position = s.position
    join evaluated o on o.sweep_id = s.sweep_id and o.position = s.other_position
    cross join lateral robust_in_one(
        w.label, w.clean_prediction, w.adversarial_prediction, w.distance, w.read_at,
        o.clean_prediction, o.adversarial_prediction, o.distance, o.read_at
    ) as pairs
),
zero as not materialized (
    select submitted_at, position, null::integer as other_position, sweep_id, dataset, backbone, init, recipe, seed,
        'zero-gradients' as kind, attack, norm, eps, null::text as other_attack, null::text as other_eps, examples, clean_correct as attacked,
        null::bigint as fooled_by_other_alone, null::bigint as fooled_by_attack_alone, null::double precision as p_value,
        zero_gradient_examples
    from evaluated
    where zero_gradient_examples > 0.05 * clean_correct
)
select sweep_id as sweep, dataset, backbone, init, recipe, seed, kind, attack, norm, eps, other_attack, other_eps, examples, attacked,
    fooled_by_other_alone, fooled_by_attack_alone, p_value, zero_gradient_examples
from (
    select *, null::bigint as zero_gradient_examples from tested where p_value < 0.01
    union all
    select * from zero
) as warning
order by submitted_at, sweep_id, position, kind, other_position;
