-- The queue and the results. The CHECK constraints say what gauntlet_domain::task::Task::check says.

create type task_state as enum ('pending', 'ready', 'leased', 'succeeded', 'failed', 'cancelled', 'skipped');
create type task_kind as enum ('pretrain', 'train', 'attack');
create type failure_class as enum ('transient', 'resource', 'permanent');
create type attempt_outcome as enum ('running', 'succeeded', 'failed', 'lost', 'handed-back', 'cancelled');

create domain digest as bytea check (octet_length(value) = 32);

-- What tasks compute. Never changes once written.
create table task_specs (
    task_id digest primary key,
    kind task_kind not null,
    label text not null,
    -- json, not jsonb: the bytes whose SHA-256 is task_id.
    spec json not null,
    cost double precision not null check (cost >= 0),
    -- Length of the longest chain of inputs below it. Transactions lock tasks in the order (depth, task_id): inputs first, so that they never deadlock.
    depth integer not null check (depth >= 0)
);

create table task_inputs (
    task_id digest not null references task_specs on delete cascade,
    input_task_id digest not null references task_specs,
    primary key (task_id, input_task_id),
    check (task_id <> input_task_id)
);
create index task_inputs_by_input on task_inputs (input_task_id);

-- Where tasks stand: the hot table, one narrow row each.
create table tasks (
    task_id digest primary key references task_specs on delete cascade,
    state task_state not null,
    attempt integer not null default 0 check (attempt >= 0),
    worker_id text,
    pending_inputs integer not null check (pending_inputs >= 0),
    not_before timestamptz not null default now(),
    transient_failures integer not null default 0 check (transient_failures >= 0),
    resource_failures integer not null default 0 check (resource_failures >= 0),
    priority integer not null default 0,
    critical_path_cost double precision not null default 0,
    changed_at timestamptz not null default now(),
    reason text,
    constraint leased_by_someone check ((state = 'leased') = (worker_id is not null)),
    constraint pending_for_an_input check (state <> 'pending' or pending_inputs > 0),
    constraint runs_with_all_inputs check (state not in ('ready', 'leased', 'succeeded') or pending_inputs = 0),
    constraint ran_in_an_attempt check (state not in ('leased', 'succeeded') or attempt > 0),
    constraint ended_for_a_reason check (state not in ('failed', 'cancelled', 'skipped') or reason is not null)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
create index tasks_ready on tasks (priority desc, critical_path_cost desc, task_id) where state = 'ready';
create index tasks_leased on tasks (worker_id) where state = 'leased';

create table attempts (
    task_id digest not null references tasks on delete cascade,
    attempt integer not null check (attempt > 0),
    worker_id text not null,
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    outcome attempt_outcome not null default 'running',
    failure_class failure_class,
    message text,
    primary key (task_id, attempt),
    constraint over_when_it_has_an_outcome check ((outcome = 'running') = (ended_at is null)),
    constraint a_failure_has_a_class check ((outcome = 'failed') = (failure_class is not null))
);

-- Workers that ever came. A worker's lease covers all it runs; the coordinator that has its latest session renews it.
create table workers (
    worker_id text primary key,
    hostname text not null,
    slots integer not null check (slots > 0),
    devices jsonb not null,
    labels jsonb not null,
    coordinator_id text not null,
    -- Counts its sessions. Leases are given only to the latest one, so that a coordinator whose session was replaced gives nothing away.
    session bigint not null default 1,
    connected_at timestamptz not null default now(),
    lease_expires_at timestamptz not null,
    draining boolean not null default false
);

create table sweeps (
    sweep_id text primary key,
    name text not null,
    source text not null,
    submitted_at timestamptz not null default now(),
    cancelled_at timestamptz
);
create index sweeps_by_time on sweeps (submitted_at desc);
create index sweeps_by_name on sweeps (name, submitted_at desc);

create table sweep_tasks (
    sweep_id text not null references sweeps on delete cascade,
    task_id digest not null references tasks,
    primary key (sweep_id, task_id)
);
create index sweep_tasks_by_task on sweep_tasks (task_id);

-- The rows of the results, in the order of the sweep file.
create table sweep_cells (
    sweep_id text not null references sweeps on delete cascade,
    position integer not null,
    dataset text not null,
    backbone text not null,
    init text not null,
    recipe text not null,
    seed bigint not null,
    attack text not null,
    norm text not null,
    eps text not null,
    train_task_id digest references tasks,
    attack_task_id digest not null references tasks,
    primary key (sweep_id, position)
);
create index sweep_cells_by_task on sweep_cells (attack_task_id);

-- Where users' files lie, as the submitter of a sweep said last.
create table file_locations (
    digest digest primary key,
    location text not null,
    noted_at timestamptz not null default now()
);

-- The weights a training ended with.
create table checkpoints (
    task_id digest primary key references tasks on delete cascade,
    attempt integer not null,
    digest digest not null,
    size_bytes bigint not null check (size_bytes >= 0)
);

-- The latest state from which an unfinished training can go on.
create table training_checkpoints (
    task_id digest primary key references tasks on delete cascade,
    attempt integer not null,
    epoch integer not null,
    digest digest not null,
    size_bytes bigint not null check (size_bytes >= 0)
);

create table epoch_metrics (
    task_id digest not null references tasks on delete cascade,
    epoch integer not null,
    attempt integer not null,
    iterations integer not null,
    learning_rate double precision not null,
    train_loss double precision not null,
    train_accuracy double precision not null,
    primary key (task_id, epoch)
);

-- Outcomes per example, one array per column: entry i is example i.
create table attack_results (
    task_id digest primary key references tasks on delete cascade,
    attempt integer not null,
    examples integer not null check (examples > 0),
    clean_correct integer not null check (clean_correct between 0 and examples),
    robust_correct integer not null check (robust_correct between 0 and clean_correct),
    model_queries bigint not null check (model_queries >= 0),
    label integer[] not null,
    clean_prediction integer[] not null,
    adversarial_prediction integer[] not null,
    clean_loss real[] not null,
    adversarial_loss real[] not null,
    distance real[] not null,
    constraint a_table check (
        cardinality(label) = examples
        and cardinality(clean_prediction) = examples
        and cardinality(adversarial_prediction) = examples
        and cardinality(clean_loss) = examples
        and cardinality(adversarial_loss) = examples
        and cardinality(distance) = examples
    )
);
