"""A database with a coordinator, and workers that come and go."""

import contextlib
import pathlib
import statistics
import time

from .processes import Coordinator, Failed, Workers
from .workload import Sweeps

WARM_UP_SECS = 2


class Bench:
    """Where the programs and the server are, and how much load there shall be."""

    def __init__(self, arguments, server, folder):
        self.arguments = arguments
        self.server = server
        self.folder = pathlib.Path(folder)
        self.clusters = 0

    @contextlib.contextmanager
    def cluster(self, what):
        """A fresh database and a coordinator, gone at the end."""
        self.clusters += 1
        name = f"bench_{self.clusters}_{what}"
        folder = self.folder / name
        folder.mkdir()
        cluster = None
        try:
            cluster = Cluster(self, name, folder)
            yield cluster
            cluster.coordinator.end()
        finally:
            if cluster:
                cluster.kill()
            self.server.drop(name)


# Tasks that a fleet takes from the backlog in a second, roughly.
DRAINED_PER_SEC = 28_000


class Cluster:
    """A database and its coordinator."""

    def __init__(self, bench, name, folder):
        self.bench = bench
        self.arguments = bench.arguments
        self.folder = folder
        self.server = bench.server
        self.url = bench.server.create(name)
        self.coordinator = Coordinator(self.arguments.gauntlet, self.url, folder)
        self.sweeps = Sweeps(folder)
        self.submitted = 0
        self.started = []

    def submit(self, tasks):
        """A sweep of so many tasks that nobody has seen before: seconds, and its id."""
        self.submitted += 1
        return self.coordinator.submit(self.sweeps.write(f"bench-{self.submitted}", tasks))

    def workers(self, name, processes=1, workers=1, slots=1, more=()):
        """Connected no-op workers."""
        label = f"{name}-{len(self.started)}"
        started = Workers(self.arguments.worker, self.coordinator.endpoint, self.folder, label, processes, workers, slots, more)
        self.started.append(started)
        return started.wait()

    def fleet(self, name="fleet"):
        """As many as keep the coordinator busy."""
        arguments = self.arguments
        return self.workers(name, arguments.processes, arguments.workers, arguments.slots)

    def ready(self):
        """Tasks that wait for a worker."""
        return int(self.server.number(self.url, "select count(*) from tasks where state = 'ready'"))

    def fill_up(self, tasks, seconds, warm_up_secs=WARM_UP_SECS):
        """Submits sweeps until so many tasks wait on average while the fleet is measured for so many seconds."""
        tasks += round(DRAINED_PER_SEC * (warm_up_secs + seconds / 2))
        while (missing := tasks - self.ready()) > 0:
            self.submit(min(100_000, -(-missing // 100) * 100))

    def wait_until_done(self, patience_secs):
        waiting = "exists(select from tasks where state = 'ready') or exists(select from tasks where state = 'leased')"
        deadline = time.monotonic() + patience_secs
        while self.server.run(self.url, f"select {waiting}") != [["f"]]:
            if time.monotonic() > deadline:
                raise Failed(f"tasks are left after {patience_secs} s")
            time.sleep(0.1)

    def settle(self):
        self.server.settle(self.url)

    def busy(self, seconds, warm_up_secs=WARM_UP_SECS):
        """Results per second of the fleet in windows of a second; at the end there must be work left."""
        fleet = self.fleet()
        time.sleep(warm_up_secs)
        begin, coordinator_cpu, fleet_cpu = time.time(), self.coordinator.cpu_secs(), fleet.cpu_secs()
        time.sleep(seconds)
        end = time.time()
        cpus = [(after - before) / (end - begin) for before, after in
                [(coordinator_cpu, self.coordinator.cpu_secs()), (fleet_cpu, fleet.cpu_secs())]]
        measured = fleet.stop()
        if not self.ready():
            raise Failed("the workers ran out of tasks; what was measured is no throughput")
        rates = measured.rates(begin, end)
        return {
            "tasks_per_sec": statistics.median(rates),
            "windows": [round(rate) for rate in rates],
            "coordinator_cpus": cpus[0],
            "fleet_cpus": cpus[1],
            "measured": measured,
        }

    def kill(self):
        """Ends what still runs, after whatever went wrong."""
        for workers in self.started:
            for part in workers.parts:
                part.kill()
        self.coordinator.kill()
