-- The front of each queue, by what its tasks need, in one direction throughout: a look that knows from where on something is ready then begins there,
-- and walks over none of the rows before it that are dead but cannot be removed yet.
drop index tasks_ready;
create index tasks_ready on tasks (queue_key, demand_key, (-critical_path_cost), task_id) where state = 'ready';
