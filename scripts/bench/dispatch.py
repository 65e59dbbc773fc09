"""The queue under load: how many tasks per second, how soon, and whether it stays so as it fills.

    make bench-dispatch
    python3 scripts/bench/dispatch.py --only throughput,latency --seconds 5

Everything runs on this machine and ends with the program: a private Postgres with the settings of production (fsync on), `gauntlet coordinator`, and no-op
workers as processes that speak gRPC (`coordinator/examples/noop_worker`). Whatever is compared is measured in one run on one server.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from dispatching import endurance, measures, peers, report  # noqa: E402
from dispatching.cluster import Bench  # noqa: E402
from dispatching.database import Server  # noqa: E402
from dispatching.processes import Failed, end_with_parent  # noqa: E402

MEASURES = {
    "flush": measures.flush,
    "throughput": measures.throughput,
    "latency": measures.latency,
    "backlog": measures.backlog,
    "finished": endurance.finished,
    "idle": endurance.idle,
    "soak": endurance.soak,
    "peers": peers.peers,
}
ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    arguments = parse_arguments()
    # Everything that was started is ended, whatever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: told to end"))
    try:
        if arguments.inside:
            end_with_parent()
            measure(arguments)
        else:
            sys.exit(with_server(arguments))
    except Failed as problem:
        sys.exit(f"bench: error: {problem}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release"
    parser.add_argument("--only", default=",".join(MEASURES), metavar="WHAT[,WHAT]",
                        help="what to measure, of: %(default)s")
    parser.add_argument("--without", default="", metavar="WHAT[,WHAT]", help="what to leave out")
    parser.add_argument("--seconds", type=int, default=3, help="length of each measurement under load [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, metavar="N",
                        help="times that ours and pgbench are measured in turn, for the medians [%(default)s]")
    parser.add_argument("--enqueue", type=int, default=200_000, metavar="TASKS", help="size of the sweep that is submitted [%(default)s]")
    parser.add_argument("--backlogs", type=numbers, default=[100_000, 1_000_000], metavar="TASKS[,TASKS]",
                        help="backlogs to measure at, beside 1000 [100000,1000000]")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="processes of the fleet [%(default)s]")
    parser.add_argument("--workers", type=int, default=8, metavar="N", help="workers of each process [%(default)s]")
    parser.add_argument("--slots", type=int, default=64, metavar="N", help="slots of each worker [%(default)s]")
    parser.add_argument("--bare-rows", type=int, default=600_000, metavar="TASKS", help="tasks in pgbench's table [%(default)s]")
    parser.add_argument("--finished", type=int, default=500_000, metavar="TASKS",
                        help="finished tasks to measure after, written by SQL; 5000000 takes half an hour and 15 GB [%(default)s]")
    parser.add_argument("--idle", type=int, default=10_000, metavar="N", help="idle workers [%(default)s]")
    parser.add_argument("--idle-seconds", type=int, default=30, metavar="SECONDS", help="time to watch them [%(default)s]")
    parser.add_argument("--soak", type=int, default=60, metavar="SECONDS", help="time that the analytics transaction is open [%(default)s]")
    parser.add_argument("--jobs", type=int, default=400_000, metavar="N", help="jobs of each peer [%(default)s]")
    parser.add_argument("--peer-seconds", type=int, default=4, metavar="SECONDS", help="time to measure a peer [%(default)s]")
    parser.add_argument("--peers", default=ROOT / ".deps/bench", metavar="DIR", help="where the peers are installed")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--gauntlet", default=target / "gauntlet", metavar="FILE", help="the built command")
    parser.add_argument("--worker", default=target / "examples/noop_worker", metavar="FILE", help="the built example `noop_worker`")
    parser.add_argument("--with-database", default=target / "examples/with-database", metavar="FILE",
                        help="the built example `with-database`")
    parser.add_argument("--directory", default="/var/tmp", metavar="DIR",
                        help="where the database lies while this runs: on a disk, not in memory [%(default)s]")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    only, without = arguments.only.split(","), arguments.without.split(",") if arguments.without else []
    unknown = [what for what in only + without if what not in MEASURES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(MEASURES)}")
    arguments.only = [what for what in MEASURES if what in only and what not in without]
    return arguments


def numbers(text):
    return [int(part) for part in text.split(",")]


def with_server(arguments):
    """Runs this program again beside a server of its own."""
    for binary in (arguments.gauntlet, arguments.worker, arguments.with_database):
        if not os.access(binary, os.X_OK):
            raise Failed(f"{binary} is not there; `make bench-dispatch` builds it")
    if "peers" in arguments.only:
        peers.node(arguments.peers)
    folder = tempfile.mkdtemp(prefix="gauntlet-bench-", dir=arguments.directory)
    os.chmod(folder, 0o755)  # noqa: S103 The server's user must get in.
    command = [arguments.with_database, "--durable", folder, sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--inside", folder]
    server = subprocess.Popen([str(part) for part in command], preexec_fn=end_with_parent)
    try:
        return server.wait()
    finally:
        server.terminate()
        server.wait()
        remove(folder)


def remove(folder):
    """A server that was cut short may still be at it."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            return
        time.sleep(0.1)
    print(f"bench: {folder} could not be removed", file=sys.stderr)


def measure(arguments):
    server = Server(os.environ["DATABASE_URL"], arguments.inside)
    found = {"settings": server.settings(), "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="files-", dir=arguments.inside) as folder:
        bench = Bench(arguments, server, folder)
        for what in arguments.only:
            measures.log(f"measuring {what}")
            found[what] = MEASURES[what](bench)
    print(json.dumps(found, indent=1) if arguments.json else report.table(found))


if __name__ == "__main__":
    main()
