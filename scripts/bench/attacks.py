#!/usr/bin/env python3
"""Attacks of gauntlet-lab beside their references: how fast, and how well they agree.

    python scripts/bench/attacks.py speed     --binary PATH   # examples per second, ours and the peers', in turn
    python scripts/bench/attacks.py agreement --binary PATH   # robust accuracies over seeds, ours and the references'

`make bench` builds the binary (the example `attack_speed` of gauntlet-lab), sets up the Python environment and runs the first; `make agreement` the second.
Same weights, images and threads on both sides; each side runs in a process of its own, one after the other, several rounds.
`--auto-attack DIR` adds the published AutoAttack (it is on no registry) to torchattacks' copy of it.
"""

import argparse
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import models

HERE = pathlib.Path(__file__).resolve()
ROOT = HERE.parents[2]

# Radii at which models keep a part of their accuracy: there the answers of attacks can differ.
EPS = {("standard", "linf"): 4 / 255, ("robust", "linf"): 16 / 255, ("standard", "l2"): 0.3, ("robust", "l2"): 1.2}

# Where nothing else is asked for. AutoAttack takes a hundred times as long as PGD-20, so that `make bench` would take hours.
ROUNDS = {"autoattack": 1}
SPEED_EXAMPLES = {"autoattack": 128}
SEEDS = {"autoattack": 1, "apgd-t": 2, "fab-t": 2}
# Of this row three seeds of the references show less than half of what nine show.
ROW_SEEDS = {("robust", "l2", "apgd-ce"): 9}
USUAL_ROUNDS, USUAL_EXAMPLES, USUAL_SEEDS = 3, 256, 3

# The radius at which standard models are usually evaluated, and one of the robust model's threat model.
SPEED_EPS = {"standard": 8 / 255, "robust": 16 / 255}

# As an agent starts its executors.
KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "4294967296"}


def attack(norm: str, eps: float, method: dict) -> dict:
    return {"method": method, "norm": norm, "eps": eps, "target": None, "early_stop": True}


def methods(eps: float) -> dict:
    return {
        "pgd20": {"name": "pgd", "steps": 20, "step_size": eps / 4, "random_start": True, "restarts": 1},
        "apgd-ce": {"name": "apgd", "loss": "ce", "steps": 100, "restarts": 1, "rho": 0.75, "target_classes": 9},
        "apgd-dlr": {"name": "apgd", "loss": "dlr", "steps": 100, "restarts": 1, "rho": 0.75, "target_classes": 9},
        "apgd-t": {"name": "apgd", "loss": "dlr-targeted", "steps": 100, "restarts": 1, "rho": 0.75, "target_classes": 9},
        "fab-t": {
            "name": "fab", "targeted": True, "steps": 100, "restarts": 1, "target_classes": 9,
            "alpha_max": 0.1, "beta": 0.9, "eta": 1.05,
        },
        "square": {"name": "square", "queries": 1000, "p_init": 0.8, "restarts": 1},
        "autoattack": {"name": "autoattack", "version": "standard"},
    }


def reference(source: str, name: str, model, norm: str, eps: float, seed: int, directory):
    """An attack of a reference as a function of images and labels."""
    if source == "torchattacks":
        import torchattacks as ta

        big = {"linf": "Linf", "l2": "L2"}[norm]
        if name == "pgd20":
            kind = ta.PGD if norm == "linf" else ta.PGDL2
            return kind(model, eps=eps, alpha=eps / 4, steps=20, random_start=True)
        build = {
            "apgd-ce": lambda: ta.APGD(model, norm=big, eps=eps, steps=100, n_restarts=1, seed=seed, loss="ce"),
            "apgd-dlr": lambda: ta.APGD(model, norm=big, eps=eps, steps=100, n_restarts=1, seed=seed, loss="dlr"),
            "apgd-t": lambda: ta.APGDT(model, norm=big, eps=eps, steps=100, n_restarts=1, seed=seed, n_classes=10),
            "fab-t": lambda: ta.FAB(model, norm=big, eps=eps, steps=100, n_restarts=1, seed=seed, multi_targeted=True, n_classes=10),
            "square": lambda: ta.Square(model, norm=big, eps=eps, n_queries=1000, n_restarts=1, p_init=0.8, seed=seed, loss="margin", resc_schedule=False),
        }
        if name == "autoattack":
            # torchattacks' own AutoAttack has ten steps where the published one has a hundred.
            square = ta.Square(model, norm=big, eps=eps, n_queries=5000, n_restarts=1, seed=seed, loss="margin", resc_schedule=False)
            return ta.MultiAttack([build[part]() for part in ["apgd-ce", "apgd-t", "fab-t"]] + [square])
        return build[name]()
    if source == "foolbox":
        import eagerpy as ep
        import foolbox as fb

        wrapped = fb.PyTorchModel(model, bounds=(0, 1))
        kind = fb.attacks.LinfPGD if norm == "linf" else fb.attacks.L2PGD
        method = kind(abs_stepsize=eps / 4, steps=20, random_start=True)
        return lambda x, y: method(wrapped, ep.astensor(x).raw, fb.criteria.Misclassification(y), epsilons=eps)[1]
    sys.path.insert(0, str(directory))
    from autoattack import AutoAttack

    parts = {"apgd-ce": ["apgd-ce"], "apgd-dlr": ["apgd-dlr"], "apgd-t": ["apgd-t"], "fab-t": ["fab-t"], "square": ["square"]}
    kind = {"linf": "Linf", "l2": "L2"}[norm]
    if name == "autoattack":
        adversary = AutoAttack(model, norm=kind, eps=eps, version="standard", device="cpu", verbose=False, seed=seed)
    else:
        adversary = AutoAttack(
            model, norm=kind, eps=eps, version="custom", attacks_to_run=parts[name], device="cpu", verbose=False, seed=seed
        )
        adversary.apgd.n_restarts = 1
        adversary.fab.n_restarts = 1
        adversary.square.n_queries = 1000
    return lambda x, y: adversary.run_standard_evaluation(x, y, bs=len(x))


def run_reference(job: dict) -> dict:
    """In a process of its own: one attack of a reference, timed."""
    import resource

    import torch

    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    model = models.load(pathlib.Path(job["checkpoint"]))
    images, labels = models.tensors(pathlib.Path(job["examples"]))
    method = reference(job["source"], job["attack"], model, job["norm"], job["eps"], job["seed"], job["auto_attack"])
    start, cpu = time.perf_counter(), time.process_time()
    robust = 0
    for first in range(0, len(images), job["batch_size"]):
        x, y = images[first : first + job["batch_size"]], labels[first : first + job["batch_size"]]
        adversarial = method(x, y)
        with torch.no_grad():
            right = (model(adversarial).argmax(1) == y) & (model(x).argmax(1) == y)
        longest = (adversarial - x).flatten(1)
        length = longest.abs().amax(1) if job["norm"] == "linf" else longest.norm(dim=1)
        inside = length <= job["eps"] * 1.0001 + 1e-6
        robust += int(right.sum() if bool(inside.all()) else (right | ~inside & (model(x).argmax(1) == y)).sum())
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "examples": len(images),
        "robust_correct": robust,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.work = arguments.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.checkpoints = {kind: models.checkpoint(kind, self.work, arguments.data) for kind in ["standard", "robust"]}
        self.use_examples(arguments.examples or USUAL_EXAMPLES)

    def use_examples(self, count: int):
        self.count = count
        self.examples = models.examples(self.work, self.arguments.data, count)

    def seeds(self, kind: str, norm: str, name: str) -> range:
        usual = ROW_SEEDS.get((kind, norm, name), SEEDS.get(name, USUAL_SEEDS))
        return range(self.arguments.seeds or usual)

    def ours(self, kind: str, norm: str, eps: float, name: str, seed: int) -> dict:
        job = models.write_job(
            self.work / f"job-{os.getpid()}.json",
            checkpoint=self.checkpoints[kind],
            examples=self.examples,
            threads=self.arguments.threads,
            batch_size=self.arguments.batch_size,
            seed=seed,
            attacks=[{"name": name, "config": attack(norm, eps, methods(eps)[name])}],
        )
        environment = dict(os.environ, **KEEP_FREED_MEMORY, LD_LIBRARY_PATH=str(self.arguments.libtorch / "lib"))
        done = subprocess.run([self.arguments.binary, job], env=environment, check=True, capture_output=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    def job_of(self, source: str, kind: str, norm: str, eps: float, name: str, seed: int) -> dict:
        return {
            "source": source,
            "attack": name,
            "norm": norm,
            "eps": eps,
            "seed": seed,
            "threads": self.arguments.threads,
            "batch_size": self.arguments.batch_size,
            "checkpoint": str(self.checkpoints[kind]),
            "examples": str(self.examples),
            "auto_attack": str(self.arguments.auto_attack),
        }

    def theirs(self, *what) -> dict:
        job = json.dumps(self.job_of(*what))
        done = subprocess.run([sys.executable, HERE, "reference", job], check=True, capture_output=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    def theirs_kept(self, *what) -> dict:
        """As `theirs`, computed once: a reference's answer for a seed does not change, and takes minutes."""
        job = self.job_of(*what)
        named = {key: value for key, value in job.items() if key not in ["checkpoint", "examples", "auto_attack"]}
        weights = pathlib.Path(job["checkpoint"]).read_bytes() + pathlib.Path(job["examples"]).read_bytes()
        name = hashlib.sha256(json.dumps(named).encode() + weights).hexdigest()[:24]
        path = self.work / "references" / f"{name}.json"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({**named, **self.theirs(*what)}))
        return json.loads(path.read_text())

    def sources(self, name: str) -> list:
        published = ["published AutoAttack"] if self.arguments.auto_attack and name != "pgd20" else []
        return ["torchattacks", *(["foolbox"] if name == "pgd20" else []), *published]

    def speed(self):
        print("| model | attack | who | examples/s | ratio ours/theirs | AAI | peak memory MiB |\n|---|---|---|---|---|---|---|")
        for name in self.arguments.attacks or ["pgd20", "autoattack"]:
            self.use_examples(self.arguments.examples or SPEED_EXAMPLES.get(name, USUAL_EXAMPLES))
            for kind in ["robust", "standard"]:
                sources, eps = self.sources(name), SPEED_EPS[kind]
                rounds = [
                    (self.ours(kind, "linf", eps, name, 0), {s: self.theirs(s, kind, "linf", eps, name, 0) for s in sources})
                    for _ in range(self.arguments.rounds or ROUNDS.get(name, USUAL_ROUNDS))
                ]
                self.row(kind, name, "Gauntlet", [ours for ours, _ in rounds], None)
                for source in sources:
                    runs = [theirs[source] for _, theirs in rounds]
                    ratios = [theirs["seconds"] / ours["seconds"] for (ours, _), theirs in zip(rounds, runs)]
                    self.row(kind, name, source, runs, statistics.median(ratios))

    def row(self, kind, name, who, runs, ratio):
        speed = statistics.median(run["examples"] / run["seconds"] for run in runs)
        memory = max(run["peak_memory_mib"] for run in runs)
        aai = runs[0]["robust_correct"] / runs[0]["examples"]
        told = "" if ratio is None else f"{ratio:.2f}"
        print(f"| {kind} | {name} linf {SPEED_EPS[kind]:.4f} | {who} | {speed:.1f} | {told} | {aai:.3f} | {memory} |", flush=True)

    def references(self):
        """The references' part of `agreement` alone."""
        for kind, norm, name in self.cases():
            for source in self.sources(name):
                for seed in self.seeds(kind, norm, name):
                    told = self.theirs_kept(source, kind, norm, EPS[kind, norm], name, seed)
                    print(kind, norm, name, source, seed, told["robust_correct"], f"{told['cpu_seconds']:.0f} s", flush=True)

    def cases(self):
        names = self.arguments.attacks or ["pgd20", "apgd-ce", "apgd-t", "fab-t", "square", "autoattack"]
        return [(kind, norm, name) for kind in self.arguments.models for norm in self.arguments.norms for name in names]

    def agreement(self):
        """The number of robust examples of each seed; ours has to lie within what the references show, give or take one example."""
        print("| model | attack | ours, by seed | references, by seed | mean difference (of examples) | within |\n|---|---|---|---|---|---|")
        failed = False
        for kind, norm, name in self.cases():
            seeds, eps = self.seeds(kind, norm, name), EPS[kind, norm]
            ours = [self.ours(kind, norm, eps, name, seed)["robust_correct"] for seed in seeds]
            theirs = {s: [self.theirs_kept(s, kind, norm, eps, name, seed)["robust_correct"] for seed in seeds] for s in self.sources(name)}
            everything = [count for counts in theirs.values() for count in counts]
            difference = statistics.mean(ours) - statistics.mean(everything)
            within = min(everything) - 1 <= statistics.mean(ours) <= max(everything) + 1
            failed |= not within
            told = "; ".join(f"{source} {counts}" for source, counts in theirs.items())
            print(f"| {kind} | {name} {norm} {eps:.4f} | {ours} | {told} | {difference:+.1f} of {self.count} | {'yes' if within else 'NO'} |", flush=True)
        return int(failed)


def main() -> int:
    if sys.argv[1:2] == ["reference"]:
        print(json.dumps(run_reference(json.loads(sys.argv[2]))))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "references", "agreement"])
    parser.add_argument("--binary", help="the example attack_speed of gauntlet-lab, built")
    parser.add_argument("--libtorch", type=pathlib.Path, default=ROOT / ".deps/libtorch")
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / ".gauntlet/data")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / ".gauntlet/bench")
    parser.add_argument("--auto-attack", type=pathlib.Path, help="a checkout of the published AutoAttack")
    parser.add_argument("--examples", type=int, help=f"images [default: {USUAL_EXAMPLES}; for the speed of AutoAttack {SPEED_EXAMPLES['autoattack']}]")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, help=f"times each side is run [default: {USUAL_ROUNDS}; AutoAttack {ROUNDS['autoattack']}]")
    parser.add_argument("--seeds", type=int, help=f"[default: {USUAL_SEEDS}; {', '.join(f'{name} {count}' for name, count in SEEDS.items())}]")
    parser.add_argument("--attacks", nargs="*")
    parser.add_argument("--models", nargs="*", default=["standard", "robust"], help="whose agreement to look at [default: both]")
    parser.add_argument("--norms", nargs="*", default=["linf", "l2"], help="in which norms [default: both]")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    return {"speed": bench.speed, "references": bench.references, "agreement": bench.agreement}[arguments.what]() or 0


if __name__ == "__main__":
    sys.exit(main())
