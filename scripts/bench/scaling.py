"""How a sweep scales over workers with its attack in shards, and what the order of tasks is worth.

    make build
    python scripts/bench/scaling.py shards|order [--gauntlet target/release/gauntlet]

`shards`: one large evaluation of a model that is trained beforehand, on 1, 2 and 4 worker processes of one thread each. Beside each makespan stands
the ideal: that of one worker over the workers that have a core of their own. The first line is the same evaluation in one piece.
`order`: a sweep whose longest chain stands last in its file, on two workers, in the order of the file and by critical path. Beside each makespan
stands the least possible one: the work over the workers, or the longest chain, as the attempts took them.
Both use real processes, a private database with fsync, and one after the other fresh evaluations that differ in ε alone, with early stopping off so
that they cost the same.
"""

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HEAD = """
name = "{name}"
seeds = [{seed}]
[[dataset]]
name = "glyphs"
train_examples = 1040
test_examples = {examples}
[[model]]
backbone = "resnet18-w16"
[[init]]
name = "scratch"
"""

RECIPE = """
[[recipe]]
name = "{name}"
method = "{method}"
epochs = {epochs}
batch_size = 26
optimizer = {{ kind = "sgd", learning_rate = 0.05, nesterov = true }}
{more}
"""

ATTACK = """
[[attack]]
name = "pgd"
method = "pgd"
eps = "{eps}/2550"
steps = {steps}
step_size = "1/255"
early_stop = false
"""


class House:
    """A coordinator on a private database, and workers that come and go."""

    def __init__(self, gauntlet, folder, data):
        self.gauntlet, self.folder, self.data = pathlib.Path(gauntlet).resolve(), pathlib.Path(folder), data
        self.endpoint, self.numbers = None, itertools.count()

    def command(self, state, *words):
        command = [self.gauntlet, "--state-dir", self.folder / state, "--data-dir", self.data]
        if self.endpoint:
            command += ["--endpoint", self.endpoint]
        return [str(word) for word in [*command, *words]]

    @contextlib.contextmanager
    def coordinator(self, *words):
        self.endpoint = None
        process = subprocess.Popen(
            self.command("main", "coordinator", "--listen", "127.0.0.1:0", *words), stderr=subprocess.PIPE, text=True
        )
        try:
            for line in process.stderr:
                if line.startswith("coordinator: "):
                    self.endpoint = line.split()[1]
                    break
            else:
                sys.exit("the coordinator did not start")
            yield
        finally:
            process.terminate()
            process.wait()
            self.endpoint = None

    @contextlib.contextmanager
    def workers(self, count):
        artifacts = self.folder / "artifacts"
        names = {f"worker-{next(self.numbers)}" for _ in range(count)}
        processes = [
            subprocess.Popen(
                self.command(name, "worker", "--slots", 1, "--worker-id", name, "--artifacts", artifacts),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for name in names
        ]
        try:
            while True:
                listed = json.loads(subprocess.check_output(self.command("main", "workers", "--format", "json")))
                if names <= {worker["worker"] for worker in listed if worker["state"] == "ready"}:
                    break
                time.sleep(0.1)
            yield
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()

    def run(self, toml):
        """Seconds from the submission to the end, the id of the sweep, and how many shards it has."""
        path = self.folder / "sweep.toml"
        path.write_text(toml)
        start = time.perf_counter()
        said = subprocess.check_output(self.command("main", "submit", path), text=True)
        sweep, shards = re.search(r"sweep (\S+):", said)[1], re.search(r"in (\d+) shards", said)
        subprocess.run(
            self.command("main", "watch", sweep), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return time.perf_counter() - start, sweep, int(shards[1]) if shards else 0


def shards(house, options):
    def sweep(eps):
        recipe = RECIPE.format(name="standard", method="standard", epochs=20, more="")
        head = HEAD.format(name="scaling", seed=0, examples=options.examples)
        return head + recipe + ATTACK.format(eps=eps, steps=options.steps)

    cores = os.cpu_count()
    with house.coordinator("--shard-secs", 0):
        with house.workers(1):
            house.run(sweep(1).replace("steps = %d" % options.steps, "steps = 1"))
            whole, _, _ = house.run(sweep(20))
    print(f"one evaluation of {options.examples} examples, PGD-{options.steps}; {cores} cores")
    print(f"{'workers':>8} {'shards':>7} {'makespan':>9} {'ideal':>7} {'efficiency':>10}")
    print(f"{1:>8} {'none':>7} {whole:>8.1f}s {'':>7} {'':>10}")
    alone = None
    with house.coordinator("--shard-secs", options.shard_secs):
        for number, count in enumerate([1, 2, 4]):
            with house.workers(count):
                secs, _, parts = house.run(sweep(21 + number))
            alone = alone or secs
            ideal = alone / min(count, cores)
            print(f"{count:>8} {parts:>7} {secs:>8.1f}s {ideal:>6.1f}s {ideal / secs:>9.0%}", flush=True)


def order(house, options):
    def sweep(seed):
        short = "".join(
            RECIPE.format(name=f"short-{number}", method="standard", epochs=options.epochs + number, more="")
            for number in range(6)
        )
        inner = 'coefficient = 10\ninner = { eps = "4/255", steps = 3, step_size = "2/255" }'
        long = RECIPE.format(name="long", method="dm", epochs=2 * options.epochs, more=inner)
        head = HEAD.format(name="ordered", seed=seed, examples=256)
        return head + short + long + ATTACK.format(eps=20, steps=5)

    print("six short runs before a long one, two workers")
    print(f"{'order':>14} {'makespan':>9} {'least':>7} {'over it':>8}")
    # A first sweep teaches what the work takes.
    seeds = iter(range(100))
    with house.coordinator("--shard-secs", 0):
        with house.workers(2):
            house.run(sweep(next(seeds)))
            time.sleep(8)
    for _ in range(options.rounds):
        for how in ["fifo", "critical-path"]:
            with house.coordinator("--shard-secs", 0, "--order", how):
                with house.workers(2):
                    secs, sweep_id, _ = house.run(sweep(next(seeds)))
                least = least_possible(house, sweep_id, 2)
            print(f"{how:>14} {secs:>8.1f}s {least:>6.1f}s {secs / least - 1:>8.0%}", flush=True)


def least_possible(house, sweep_id, workers):
    """The work over the workers, or the longest chain, as the attempts took them."""
    plan = json.loads(
        subprocess.check_output(house.command("main", "plan", "--format", "json", house.folder / "sweep.toml"))
    )
    took, chains = {}, {}
    for task in plan["tasks"]:
        explained = json.loads(subprocess.check_output(house.command("main", "explain", "--format", "json", task["task"])))
        attempt = explained["attempts"][-1]
        took[task["task"]] = (attempt["ended_at_micros"] - attempt["started_at_micros"]) / 1e6
        # Inputs stand before those that need them.
        chains[task["task"]] = took[task["task"]] + max((chains[input] for input in task["inputs"]), default=0.0)
    return max(sum(took.values()) / workers, max(chains.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["shards", "order"])
    parser.add_argument("--gauntlet", default="target/release/gauntlet")
    parser.add_argument("--data-dir", default=".gauntlet/data")
    parser.add_argument("--examples", type=int, default=5120, help="examples of the large evaluation")
    parser.add_argument("--steps", type=int, default=20, help="steps of its attack")
    parser.add_argument("--shard-secs", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=20, help="epochs of a short run")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    data = pathlib.Path(options.data_dir).resolve()
    with tempfile.TemporaryDirectory(prefix="gauntlet-scaling-") as folder:
        # The private database runs under an account of its own.
        os.chmod(folder, 0o755)
        house = House(options.gauntlet, folder, data)
        {"shards": shards, "order": order}[options.what](house, options)


if __name__ == "__main__":
    main()
