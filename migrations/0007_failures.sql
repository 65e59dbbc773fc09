-- Failures by class: lost workers and crashes are counted apart, evidence of crashes is kept, and what attempts need of memory is learnt.

-- Postgres lets a value be added in a transaction and used only after it. Nothing here uses it.
alter type failure_class add value 'crash' before 'resource';

alter table tasks
    -- Until now lost leases counted as transient failures.
    add column lost_leases integer not null default 0 check (lost_leases >= 0),
    add column crashes integer not null default 0 check (crashes >= 0),
    add column crash_evidence text,
    -- Memory it needs at least: more than an attempt had that spared all it could and ran out.
    add column min_memory_mib integer check (min_memory_mib > 0),
    add constraint evidence_of_crashes check ((crashes > 0) = (crash_evidence is not null));

-- The most memory that the executor of the attempt took, where that is known.
alter table attempts add column peak_memory_mib integer check (peak_memory_mib >= 0);

alter table workers
    -- When its wall time is over, by the database's clock.
    add column leaves_at timestamptz,
    -- Whether it was asked to hand back what it runs; it then drains too.
    add column hands_back boolean not null default false,
    add constraint hands_back_when_it_drains check (not hands_back or draining);
