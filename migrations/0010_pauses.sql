-- Sweeps of which nothing new starts until they are resumed.

alter table sweeps
    add column paused_at timestamptz,
    -- Whether what runs for it alone is to be handed back.
    add column hands_back boolean not null default false,
    add constraint hands_back_while_it_is_paused check (not hands_back or paused_at is not null);

-- A claim asks for each task whether its queue is paused, and few are.
create index sweeps_paused on sweeps (queue_key) where paused_at is not null;
