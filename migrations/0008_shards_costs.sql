-- Evaluations in shards that are merged, and what work was seen to take.

-- The value cannot be used in the transaction that adds it, and nothing here does.
alter type task_kind add value 'shard';

-- Method, backbone and size of images, as gauntlet_domain::forecast::Work writes them: what rates are learnt for. Null in specs from before.
alter table task_specs add column work text;

-- A task that merges has shards as inputs. Nobody runs it: it succeeds with the last of them, in whose transaction their results become its own.
alter table tasks
    add column merges boolean not null default false,
    drop constraint ran_in_an_attempt,
    add constraint ran_in_an_attempt check (state not in ('leased', 'succeeded') or attempt > 0 or merges),
    add constraint a_merge_is_run_by_nobody check (not merges or state not in ('ready', 'leased'));

-- From now on the seconds that were forecast at the submission. What waits was ordered by cost; a core takes about so long for a unit of it.
update tasks set critical_path_cost = critical_path_cost * 0.05 where state in ('pending', 'ready', 'leased');

-- Appends arrays: the columns of shards to those of the whole.
create aggregate concatenated (anycompatiblearray) (sfunc = array_cat, stype = anycompatiblearray);

-- What attempts took, by kind of device and work: seconds and cost, older attempts with less weight.
create table cost_rates (
    device text not null,
    work text not null,
    attempts bigint not null check (attempts > 0),
    secs double precision not null check (secs >= 0),
    cost double precision not null check (cost > 0),
    learnt_at timestamptz not null default now(),
    primary key (device, work)
);

-- Attempts that ended before are learnt from already. One row.
create table cost_learning (
    only_row boolean primary key default true check (only_row),
    learnt_until timestamptz not null
);
insert into cost_learning (learnt_until) values (now());

-- Attempts end in the order in which they lie on disk, more or less.
create index attempts_by_end on attempts using brin (ended_at) with (autosummarize = on);
