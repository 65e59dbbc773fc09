"""What is measured of the queue. Each measurement has a database of its own and returns numbers."""

import statistics
import time

from .database import bare_rate, flush_millis
from .processes import log

PERCENTS = (50, 99)


def flush(bench):
    """One flush to the disk of the database."""
    taken = flush_millis(bench.folder)
    return {"p50_millis": statistics.median(taken), "p99_millis": taken[int(len(taken) * 0.99)]}


def latencies(measured):
    """Percentiles, in milliseconds."""
    refill = {f"p{percent}_millis": measured.percentile_millis("refill_micros", percent) for percent in PERCENTS}
    acknowledge = {f"p{percent}_millis": measured.percentile_millis("acknowledge_micros", percent) for percent in PERCENTS}
    return {"refill": refill, "acknowledge": acknowledge, "tasks": measured.accepted}


def throughput(bench):
    """A large sweep through client and coordinator into the database, then out again through the workers; the latter beside a bare queue, turn by turn."""
    arguments = bench.arguments
    ours, ratios = [], {1: [], 8: []}
    bare = {clients: [] for clients in ratios}
    with bench.cluster("throughput") as cluster:
        enqueue, _ = cluster.submit(arguments.enqueue)
        log(f"{arguments.enqueue} tasks submitted in {enqueue:.1f} s")
        for _ in range(arguments.rounds):
            cluster.fill_up(100_000, arguments.seconds)
            cluster.settle()
            ours.append(cluster.busy(arguments.seconds))
            batch = batches(cluster)
            rate = ours[-1]["tasks_per_sec"]
            log(f"{rate:.0f} tasks/s; {batch['claimed']:.0f} tasks per claim, {batch['completed']:.0f} per completion")
            size = max(1, round(batch["claimed"]))
            for clients, ratio in ratios.items():
                bare[clients].append(bare_rate(bench.server, bench.folder, size, clients, arguments.seconds, arguments.bare_rows))
                ratio.append(rate / bare[clients][-1])
                log(f"pgbench, {clients} clients, batches of {size}: {bare[clients][-1]:.0f} tasks/s")
    middle = sorted(ours, key=lambda busy: busy["tasks_per_sec"])[len(ours) // 2]
    return {
        "enqueued": arguments.enqueue,
        "enqueue_secs": enqueue,
        "rounds": [round(busy["tasks_per_sec"]) for busy in ours],
        "tasks_per_sec": middle["tasks_per_sec"],
        "windows": middle["windows"],
        "coordinator_cpus": middle["coordinator_cpus"],
        "fleet_cpus": middle["fleet_cpus"],
        "batch": batch,
        "latency": latencies(middle["measured"]),
        "bare_tasks_per_sec": {clients: statistics.median(rates) for clients, rates in bare.items()},
        "ratio": {clients: statistics.median(found) for clients, found in ratios.items()},
        "ratios": ratios,
    }


def batches(cluster):
    """Tasks per transaction: all that is claimed, and all that is completed, in one transaction bears its time."""
    mean = "select coalesce(avg(n), 0) from (select count(*) as n from attempts where outcome = 'succeeded' group by {}) as batch"
    return {name: cluster.server.number(cluster.url, mean.format(column))
            for name, column in [("claimed", "started_at"), ("completed", "ended_at")]}


def latency(bench):
    """A hot worker of one slot: alone, and beside a fleet that keeps the coordinator busy."""
    arguments = bench.arguments
    with bench.cluster("latency") as cluster:
        cluster.fill_up(100_000, arguments.seconds)
        cluster.settle()
        hot = cluster.workers("hot")
        time.sleep(arguments.seconds)
        alone = latencies(hot.stop())
        hot = cluster.workers("hot")
        cluster.busy(arguments.seconds)
        beside = latencies(hot.stop())
    return {"alone": alone, "beside_fleet": beside}


def small_backlog(cluster, bursts):
    """Results per second while tasks of a sweep wait, 1,000 on average, and every slot has one; the median of some sweeps.

    The larger backlogs too are measured after a warm-up and while tasks wait: so neither the first round of the slots counts nor the last.
    """
    arguments = cluster.arguments
    slots = arguments.processes * arguments.workers * arguments.slots
    # Sweeps have a multiple of 100 tasks.
    tasks = 2000 + -(-slots // 100) * 100
    fleet = cluster.fleet()
    spans = []
    for _ in range(bursts):
        begin = time.time()
        cluster.submit(tasks)
        cluster.wait_until_done(120)
        spans.append((begin, time.time()))
    measured = fleet.stop()
    return statistics.median(measured.burst_rate(begin, end, slots // 2, tasks - slots) for begin, end in spans)


def backlog(bench):
    """Throughput and the coordinator's memory at backlogs of three sizes, in one database that fills up."""
    arguments = bench.arguments
    rates = {}
    with bench.cluster("backlog") as cluster:
        rates[1000] = small_backlog(cluster, 15)
        log(f"backlog 1,000: {rates[1000]:.0f} tasks/s")
        resident = {0: cluster.coordinator.resident_mib()}
        for size in sorted(arguments.backlogs):
            cluster.fill_up(size, arguments.seconds)
            cluster.settle()
            rates[size] = cluster.busy(arguments.seconds)["tasks_per_sec"]
            resident[size] = cluster.coordinator.resident_mib()
            log(f"backlog {size:,}: {rates[size]:.0f} tasks/s, {resident[size]:.0f} MiB")
    return {"tasks_per_sec": rates, "coordinator_mib": resident}
