-- On what terms users share the workers. Who is not here has weight 1 and no bound.

create table users (
    user_name text primary key,
    -- Share beside other users.
    weight integer not null default 1 check (weight between 1 and 1000),
    -- Tasks of all sweeps of the user that may run at once; no bound where it is null.
    max_concurrent integer check (max_concurrent > 0)
);
