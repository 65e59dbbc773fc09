"""What is measured of a queue that is old, has many workers, or is watched by somebody who takes his time."""

import contextlib
import statistics
import subprocess
import time

from .cluster import WARM_UP_SECS
from .database import program
from .history import copy_sweep
from .measures import latencies
from .processes import Failed, log

HISTORY = 10_000
SLICE_SECS = 5
# Postgres writes a page whole when it changes for the first time after a checkpoint, of which there is one in a quarter of an hour; a history has more
# pages than a short queue.
BEHIND_CHECKPOINT_SECS = 30
# A submission may take as long as ten seconds of work while everybody is busy.
SOAK_BACKLOG = 250_000
SPARSE = 20


def finished(bench):
    """Throughput before and after a history of finished tasks, at the same backlog in the same database."""
    arguments = bench.arguments
    with bench.cluster("finished") as cluster:
        _, original = cluster.submit(HISTORY)
        fleet = cluster.fleet()
        cluster.wait_until_done(600)
        fleet.stop()
        measured = {warm_up_secs: {} for warm_up_secs in (WARM_UP_SECS, BEHIND_CHECKPOINT_SECS)}
        for copies in (0, arguments.finished // HISTORY):
            if copies:
                start = time.monotonic()
                copy_sweep(cluster.server, cluster.url, original, copies)
                log(f"{copies * HISTORY:,} finished tasks written by SQL in {time.monotonic() - start:.0f} s")
            for warm_up_secs, rates in measured.items():
                cluster.fill_up(100_000, arguments.seconds, warm_up_secs)
                cluster.settle()
                busy = cluster.busy(arguments.seconds, warm_up_secs)
                rates[copies * HISTORY] = busy["tasks_per_sec"]
                log(f"after {copies * HISTORY:,} finished tasks, {warm_up_secs} s behind a checkpoint: {busy['tasks_per_sec']:.0f} tasks/s")
        size = cluster.server.number(cluster.url, "select pg_database_size(current_database())")
    return {"tasks_per_sec": measured[BEHIND_CHECKPOINT_SECS], "behind_checkpoint_tasks_per_sec": measured[WARM_UP_SECS],
            "database_mib": size / 2**20}


def idle(bench):
    """Many connected workers: what they cost while nothing is to be done, and how soon tasks go out beside them."""
    arguments = bench.arguments
    with bench.cluster("idle") as cluster:
        before = cluster.coordinator.resident_mib()
        start = time.monotonic()
        per_process = -(-arguments.idle // 5)
        crowd = cluster.workers("idle", processes=5, workers=per_process)
        connect_secs = time.monotonic() - start
        log(f"{5 * per_process} workers connected in {connect_secs:.1f} s")
        time.sleep(3)
        cpu, start = cluster.coordinator.cpu_secs(), time.monotonic()
        time.sleep(arguments.idle_seconds)
        cpu = (cluster.coordinator.cpu_secs() - cpu) / (time.monotonic() - start)
        resident = cluster.coordinator.resident_mib()
        log(f"idle: {cpu:.2f} CPUs, {resident:.0f} MiB")
        sparse = sparse_millis(cluster)
        hot = beside_crowd(cluster, crowd, 5 * per_process, arguments.seconds)
        # Ten thousand farewells would take longer than all of it; but nobody may have left before.
        crowd.kill()
    return {"workers": 5 * per_process, "connect_secs": connect_secs, "coordinator_cpus": cpu, "coordinator_mib": resident,
            "coordinator_mib_before": before, "sparse": sparse, "beside": hot}


def sparse_millis(cluster):
    """From the submission of a sweep of one task to its stored result, while everybody is free."""
    for _ in range(SPARSE):
        cluster.submit(1)
    cluster.wait_until_done(60)
    taken = cluster.server.run(cluster.url, """
        select extract(epoch from a.ended_at - s.submitted_at) * 1000
        from sweeps s join sweep_tasks using (sweep_id) join attempts a using (task_id) order by 1""")
    taken = [float(millis) for (millis,) in taken]
    return {"p50_millis": statistics.median(taken), "max_millis": taken[-1]}


def beside_crowd(cluster, crowd, number, seconds):
    """A hot worker beside workers that are all at a long task."""
    crowd.hold()
    _, sweep = cluster.submit(number - number % 100 + 20_000)
    start = time.monotonic()
    while cluster.coordinator.sweep(sweep)["running"] < number:
        if time.monotonic() - start > 120:
            raise Failed(f"not all of {number} free workers got a task within two minutes")
        time.sleep(0.2)
    handed_out_secs = time.monotonic() - start
    log(f"{number} tasks handed out to as many workers {handed_out_secs:.1f} s after they were submitted")
    hot = cluster.workers("hot")
    time.sleep(seconds)
    return {"handed_out_secs": handed_out_secs, **latencies(hot.stop())}


class Analyst:
    """A transaction that reads the results and then stays open, as a notebook leaves it."""

    def __init__(self, url):
        command = [program("psql"), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", url]
        self.psql = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.ask("begin isolation level repeatable read")
        self.seen = self.ask("select count(*) from results")

    def ask(self, statement):
        self.psql.stdin.write(f"{statement};\n\\echo answered\n")
        self.psql.stdin.flush()
        answer = []
        while (line := self.psql.stdout.readline().strip()) != "answered":
            if not line and self.psql.poll() is not None:
                raise Failed(f"`{statement}` failed")
            answer.append(line)
        return " ".join(answer)

    def close(self):
        """Fails if the transaction did not live until now, or saw something new."""
        seen = self.ask("select count(*) from results")
        self.psql.stdin.close()
        self.psql.wait()
        if seen != self.seen:
            raise Failed("the snapshot of the analytics transaction changed")


def soak(bench):
    """Throughput with a transaction of an analyst open beside it; new sweeps come as old ones are done."""
    arguments = bench.arguments
    slices = []
    with bench.cluster("soak") as cluster:
        cluster.fill_up(SOAK_BACKLOG, arguments.seconds)
        cluster.settle()
        fleet = cluster.fleet()
        time.sleep(2)
        phases = [("before", SLICE_SECS * 2), ("during", arguments.soak), ("after", SLICE_SECS * 2)]
        for phase, seconds in phases:
            with watched(cluster.url) if phase == "during" else contextlib.nullcontext():
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    begin = time.time()
                    # Not counted by the index of what is ready, which is what becomes slow.
                    if open_tasks(cluster) < SOAK_BACKLOG:
                        cluster.submit(100_000)
                    time.sleep(max(0.0, begin + SLICE_SECS - time.time()))
                    slices.append({"phase": phase, "begin": begin, "end": time.time(), "dead_tuples": dead_tuples(cluster)})
        measured = fleet.stop()
        for part in slices:
            part["tasks_per_sec"] = statistics.median(measured.rates(part.pop("begin"), part.pop("end")))
    rate = {phase: statistics.median(part["tasks_per_sec"] for part in slices if part["phase"] == phase) for phase, _ in phases}
    last = [part["tasks_per_sec"] for part in slices if part["phase"] == "during"][-3:]
    return {"seconds": arguments.soak, "tasks_per_sec": rate, "last_slices_tasks_per_sec": statistics.median(last),
            "dead_tuples_max": max(part["dead_tuples"] for part in slices), "slices": slices}


@contextlib.contextmanager
def watched(url):
    analyst = Analyst(url)
    yield
    analyst.close()


def open_tasks(cluster):
    return int(cluster.server.number(cluster.url, "select coalesce(sum(open), 0) from sweep_counts"))


def dead_tuples(cluster):
    return int(cluster.server.number(cluster.url, "select sum(n_dead_tup) from pg_stat_user_tables"))
