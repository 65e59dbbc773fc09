"""The Postgres server of the bench: databases, questions, pgbench, and the latency of a flush to its disk."""

import os
import pathlib
import re
import shutil
import subprocess
import time

from .processes import Failed

BLOCK = 8192


class Server:
    """A server at a URL, with its programs on the PATH."""

    def __init__(self, url, state_dir):
        self.url = url
        self.base = url.rsplit("/", 1)[0]
        self.state_dir = pathlib.Path(state_dir)

    def create(self, name):
        """A new database; its URL."""
        self.run(self.url, f"create database {name}")
        return f"{self.base}/{name}"

    def drop(self, name):
        self.run(self.url, f"drop database if exists {name} with (force)")

    def run(self, url, *statements):
        """Runs SQL, each statement in a transaction of its own; the rows it gives, each a list of texts."""
        return self.run_script(url, statements)

    def run_script(self, url, statements):
        """The same for any number of them."""
        command = [program("psql"), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--field-separator=\t",
                   "--set=ON_ERROR_STOP=1", url]
        script = "".join(f"{statement};\n" for statement in statements)
        done = subprocess.run(command, input=script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise Failed(f"psql failed: {done.stderr.strip()}")
        return [line.split("\t") for line in done.stdout.splitlines()]

    def number(self, url, query):
        return float(self.run(url, query)[0][0] or "nan")

    def settle(self, url):
        """Leaves nothing to vacuum or to write from what was done before a measurement."""
        self.run(url, "vacuum analyze", "checkpoint")

    def settings(self):
        names = ["server_version", "fsync", "synchronous_commit", "shared_buffers", "max_wal_size"]
        return {name: self.run(self.url, f"show {name}")[0][0] for name in names}


def program(name):
    found = shutil.which(name)
    if found is None:
        raise Failed(f"`{name}` was not found; it comes with the server's own package (`apt-get install postgresql`)")
    return found


def flush_millis(folder, times=400):
    """Latencies of writing 8 kB and flushing it to the disk of this folder, sorted."""
    path = pathlib.Path(folder) / "flush-test"
    taken = []
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # As Postgres does: into a file that has its length already.
        os.write(descriptor, bytes(16 * 1024 * 1024))
        os.fdatasync(descriptor)
        for number in range(times):
            start = time.perf_counter()
            os.pwrite(descriptor, os.urandom(BLOCK), number * BLOCK)
            os.fdatasync(descriptor)
            taken.append((time.perf_counter() - start) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    return sorted(taken)


# What a queue in Postgres cannot do without: a task's place in the order, its fencing token and who has it.
BARE_QUEUE = """
create table bare_tasks (
    task_id bytea primary key,
    state text not null,
    attempt integer not null default 0,
    worker_id integer,
    priority integer not null default 0,
    critical_path_cost double precision not null default 0,
    changed_at timestamptz not null default now()
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
create index bare_tasks_ready on bare_tasks (priority desc, critical_path_cost desc, task_id) where state = 'ready';
create index bare_tasks_leased on bare_tasks (worker_id) where state = 'leased';
"""
BARE_SCRIPT = """
begin;
with front as (
    select task_id from bare_tasks where state = 'ready'
    order by priority desc, critical_path_cost desc, task_id limit :batch
    for no key update skip locked
)
update bare_tasks t set state = 'leased', attempt = attempt + 1, worker_id = :client_id, changed_at = now()
from front where t.task_id = front.task_id returning t.task_id, t.attempt;
commit;
begin;
update bare_tasks set state = 'succeeded', worker_id = null, changed_at = now()
where state = 'leased' and worker_id = :client_id returning task_id;
commit;
"""


def bare_rate(server, folder, batch, clients, seconds, rows):
    """Tasks per second that pgbench claims and completes in batches, each batch in two commits, on a table of its own."""
    name = "bare_queue"
    server.drop(name)
    url = server.create(name)
    fill = f"insert into bare_tasks (task_id, state) select sha256(n::text::bytea), 'ready' from generate_series(1, {rows}) as n"
    server.run(url, BARE_QUEUE, fill)
    server.settle(url)
    script = pathlib.Path(folder) / "bare.sql"
    script.write_text(BARE_SCRIPT)
    command = [program("pgbench"), "--no-vacuum", f"--client={clients}", f"--jobs={min(clients, 2)}", f"--time={seconds}",
               "--protocol=prepared", f"--define=batch={batch}", f"--file={script}", url]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    took = re.search(r"tps = ([\d.]+) \(without", done.stdout)
    count = re.search(r"transactions actually processed: (\d+)", done.stdout)
    if done.returncode != 0 or not took or not count:
        raise Failed(f"pgbench failed: {(done.stderr or done.stdout).strip()}")
    completed = server.number(url, "select count(*) from bare_tasks where state = 'succeeded'")
    left = server.number(url, "select count(*) from bare_tasks where state = 'ready'")
    if left < batch * clients:
        raise Failed(f"pgbench ran out of its {rows} tasks; raise --bare-rows")
    server.drop(name)
    # Seconds under load, without the time to connect.
    return completed / (int(count.group(1)) / float(took.group(1)))
