-- What a training measures on the examples that its recipe keeps from it; null where it keeps none.

alter table epoch_metrics
    add column validation_loss double precision,
    add column validation_accuracy double precision,
    -- Measured where it chooses the epoch.
    add column validation_robust_accuracy double precision,
    add constraint measured_together check ((validation_loss is null) = (validation_accuracy is null)),
    add constraint robust_beside_clean check (validation_robust_accuracy is null or validation_accuracy is not null);

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
join sweeps s using (sweep_id)
join epoch_metrics m on m.task_id = run.train_task_id
order by s.submitted_at, run.sweep_id, run.position, m.epoch;
