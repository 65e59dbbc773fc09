"""The numbers as a Markdown table, each beside what is asked of it."""


def table(found):
    """One row a number; the last column is what issue and design ask for."""
    rows = []
    for what, rows_of in SECTIONS.items():
        if what in found:
            rows += rows_of(found[what], found)
    settings = found["settings"]
    head = f"{found['cores']} cores, Postgres {settings['server_version']}, " + ", ".join(
        f"{name} {value}" for name, value in settings.items() if name != "server_version")
    lines = [head, "", "| what | measured | wanted |", "|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {value} | {wanted} |" for name, value, wanted in rows])


def flush(found, _):
    return [("8 kB written and flushed to the database's disk, p50 / p99", pair(found), "")]


def throughput(found, _):
    batch = found["batch"]
    rows = [
        (f"a sweep of {found['enqueued']:,} tasks submitted", f"{found['enqueue_secs']:.1f} s", "≤ 5 s for 100,000"),
        ("tasks completed, end to end", f"{found['tasks_per_sec']:,.0f}/s", "≥ 5,000/s"),
        ("tasks per transaction, claimed / completed", f"{batch['claimed']:.0f} / {batch['completed']:.0f}", ""),
        ("CPUs meanwhile, coordinator / workers", f"{found['coordinator_cpus']:.2f} / {found['fleet_cpus']:.2f}", ""),
    ]
    for clients, rate in found["bare_tasks_per_sec"].items():
        size = max(1, round(batch["claimed"]))
        rows.append((f"pgbench: {size} claimed, {size} completed, two commits; {clients} clients", f"{rate:,.0f}/s", ""))
        share = f"{found['ratio'][clients]:.0%} ({', '.join(f'{ratio:.0%}' for ratio in sorted(found['ratios'][clients]))})"
        rows.append((f"ours of pgbench's with {clients} clients, the median of the rounds", share, "≥ 40 %"))
    return rows


def latency(found, everything):
    flush = everything.get("flush")
    wanted = "≤ 5 / 25 ms above a flush"
    rows = []
    for key, what in [("alone", "a hot worker of one slot"), ("beside_fleet", "the same beside a busy fleet")]:
        part = found[key]
        rows.append((f"{what}: a report to the next assignment, p50 / p99", pair(part["refill"]), wanted))
        rows.append((f"{what}: a report to its acknowledgement, p50 / p99", pair(part["acknowledge"]), ""))
    if flush:
        above = [found["alone"]["refill"][f"p{percent}_millis"] - flush["p50_millis"] for percent in (50, 99)]
        rows.append(("a hot worker of one slot: above the median flush, p50 / p99", f"{above[0]:.1f} / {above[1]:.1f} ms", "≤ 5 / 25 ms"))
    return rows


def backlog(found, _):
    rates = found["tasks_per_sec"]
    rows = [(f"tasks/s at a backlog of {size:,}", f"{rate:,.0f}/s", "") for size, rate in rates.items()]
    rows.append(("the slowest of these, of the fastest", f"{min(rates.values()) / max(rates.values()):.0%}", "≥ 80 %"))
    for size, mib in found["coordinator_mib"].items():
        rows.append((f"memory of the coordinator at a backlog of {size:,}", f"{mib:.0f} MiB", "≤ 300 MB at 1,000,000" if size else ""))
    return rows


def finished(found, _):
    rows = []
    for key, when, wanted in [("tasks_per_sec", "", "≥ 80 %"), ("behind_checkpoint_tasks_per_sec", ", right behind a checkpoint", "")]:
        rates = found[key]
        rows += [(f"tasks/s at a backlog of 100,000 after {size:,} finished tasks{when}", f"{rate:,.0f}/s", "") for size, rate in rates.items()]
        first, last = list(rates.values())[0], list(rates.values())[-1]
        rows.append((f"the latter of the former{when}", f"{last / first:.0%}", wanted))
    return rows + [("the database then", f"{found['database_mib']:,.0f} MiB", "")]


def idle(found, _):
    name = f"{found['workers']:,} idle workers"
    beside = found["beside"]
    return [
        (f"{name}: connected", f"{found['connect_secs']:.1f} s", ""),
        (f"{name}: CPUs of the coordinator", f"{found['coordinator_cpus']:.2f}", ""),
        (f"{name}: memory of the coordinator (without workers)", f"{found['coordinator_mib']:.0f} ({found['coordinator_mib_before']:.0f}) MiB", ""),
        (f"{name}: a sweep of one task, submission to result, p50 / max",
         f"{found['sparse']['p50_millis']:.0f} / {found['sparse']['max_millis']:.0f} ms", ""),
        ("as many tasks handed out to them, from the end of the submission", f"{beside['handed_out_secs']:.1f} s", ""),
        ("a hot worker beside them: a report to the next assignment, p50 / p99", pair(beside["refill"]), "≤ 5 / 25 ms above a flush"),
    ]


def soak(found, _):
    rate = found["tasks_per_sec"]
    return [
        ("tasks/s before an analytics transaction", f"{rate['before']:,.0f}/s", ""),
        (f"while it is open, {found['seconds']} s (its last slices)", f"{rate['during']:,.0f}/s ({found['last_slices_tasks_per_sec']:,.0f}/s)", ""),
        ("after it", f"{rate['after']:,.0f}/s", ""),
        ("most dead tuples", f"{found['dead_tuples_max']:,}", ""),
    ]


def peers(found, everything):
    ours = everything.get("throughput", {}).get("tasks_per_sec")
    rows = []
    for name, part in found.items():
        share = f" (ours: {ours / part['jobs_per_sec']:.2f} of it)" if ours else ""
        rows.append((f"{name}, {part['processes']} processes", f"{part['jobs_per_sec']:,.0f}/s{share}", ""))
        rows.append((f"{name}: {part['enqueued']:,} jobs enqueued", f"{part['enqueue_secs']:.1f} s", ""))
    return rows


def pair(found):
    return " / ".join("–" if value is None else f"{value:.1f}" for value in (found["p50_millis"], found["p99_millis"])) + " ms"


SECTIONS = {"flush": flush, "throughput": throughput, "latency": latency, "backlog": backlog, "finished": finished, "idle": idle,
            "soak": soak, "peers": peers}
