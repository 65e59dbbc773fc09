"""A long history in short time: copies of a sweep that was really run, written by SQL.

Every row that belongs to the sweep or one of its tasks is copied, in whatever tables there are: a table takes part if it has a column `sweep_id`, or one of
the domain `digest` whose name ends in `task_id`. The copies are valid: their specs differ in the seed, and their ids are the SHA-256 of their specs.
"""

from .processes import Failed

# Seeds of copies lie beyond those of any sweep that is submitted, and within what a spec's seed may be.
STRIDE = 1_000_000

COLUMNS = """
select c.relname, a.attname,
    a.attname = 'sweep_id' as is_sweep,
    (t.typname = 'digest' and a.attname like '%task\\_id') as is_task
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition
    -- What numbers itself gets new numbers.
    and a.attidentity = '' and a.attgenerated = ''
    and coalesce(pg_get_serial_sequence(format('%I', c.relname), a.attname), '') = ''
order by c.relname, a.attnum
"""

# json keeps the text, so the spec's own `seed`, a field of the outermost level, stands once with this value.
COPIES = """
create temp table copies as
select task_id as old_id, sha256(convert_to(spec, 'UTF8')) as new_id, spec
from (
    select s.task_id, regexp_replace(s.spec::text, '"seed":(\\d+),"numerics"',
        '"seed":' || ((s.spec ->> 'seed')::bigint + {shift}) || ',"numerics"') as spec
    from original_task_specs s
) as shifted
"""


def copy_sweep(server, url, sweep_id, copies):
    """Adds copies of a sweep that is over."""
    tables = {}
    for table, column, is_sweep, is_task in server.run(url, COLUMNS):
        tables.setdefault(table, []).append((column, is_sweep == "t", is_task == "t"))
    concerned = {table: columns for table, columns in tables.items() if any(sweep or task for _, sweep, task in columns)}
    if not {"sweeps", "sweep_tasks", "sweep_cells", "task_specs", "tasks"} <= concerned.keys():
        raise Failed("the tables of the queue are not those that this bench knows how to copy")
    # Ids are copied as they stand, so neither foreign keys nor triggers have anything to add. Checks are checked all the same.
    statements = ["set session_replication_role = replica", "set synchronous_commit = off"]
    statements += [keep_original(table, columns, sweep_id) for table, columns in concerned.items()]
    for number in range(1, copies + 1):
        statements += [COPIES.format(shift=number * STRIDE), "create unique index on copies (old_id)", "analyze copies"]
        statements += [copy_table(table, columns, f"{sweep_id}-{number}") for table, columns in concerned.items()]
        statements.append("drop table copies")
    server.run_script(url, statements)
    expected = server.number(url, f"select count(*) from sweep_tasks where sweep_id = '{sweep_id}'") * copies
    done = server.number(url, "select count(*) from tasks join sweep_tasks using (task_id) "
                              f"where state = 'succeeded' and sweep_id like '{sweep_id}-%'")
    if done != expected:
        raise Failed(f"{done:.0f} finished tasks were copied, not {expected:.0f}")


def keep_original(table, columns, sweep_id):
    """The statement that sets aside what a table has of the sweep."""
    if any(is_sweep for _, is_sweep, _ in columns):
        belongs = f"sweep_id = '{sweep_id}'"
    else:
        column = next(column for column, _, is_task in columns if is_task)
        belongs = f"{column} in (select task_id from sweep_tasks where sweep_id = '{sweep_id}')"
    return f"create temp table original_{table} as select * from {table} where {belongs}"


def copy_table(table, columns, new_sweep):
    """The statement that adds a copy of it."""
    joins, chosen = [], []
    for column, is_sweep, is_task in columns:
        if is_task:
            # One that is null stays so.
            joins.append(f"left join copies new_{column} on new_{column}.old_id = t.{column}")
            chosen.append(f"new_{column}.new_id")
        elif is_sweep:
            chosen.append(f"'{new_sweep}'")
        elif (table, column) == ("task_specs", "spec"):
            chosen.append("new_task_id.spec::json")
        else:
            chosen.append(f"t.{column}")
    names = ", ".join(column for column, _, _ in columns)
    return f"insert into {table} ({names}) select {', '.join(chosen)} from original_{table} t {' '.join(joins)}"
