#!/usr/bin/env python3
"""Golden values of the minimum-norm attacks, computed by Foolbox (DeepFool, CW) and torchattacks (CW, FAB).

    venv-ref/bin/python lab/tests/reference/golden_attacks_b.py            # rewrites lab/tests/golden/attacks_b.safetensors
    venv-ref/bin/python lab/tests/reference/golden_attacks_b.py --check    # recomputes and compares
    ... --auto-attack DIR    # takes FAB from a copy of the published AutoAttack instead; with --check that compares the two

Model and images come from the formula in make_golden.py. The model's own predictions are the labels, so all images are attacked.
"""

import argparse
import sys

import foolbox
import numpy as np
import torch
import torchattacks
from make_golden import GOLDEN, narrow, pixels
from safetensors.numpy import load_file, save_file

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
STEPS = {"linf": [2, 3, 5], "l2": [2, 3, 5], "l1": [3, 5, 8]}
DEEPFOOL = {"linf": foolbox.attacks.LinfDeepFoolAttack, "l2": foolbox.attacks.L2DeepFoolAttack}
FAR = 1e6  # Stands for "never fooled".


class Raise(torch.nn.Module):
    def forward(self, logits):
        return logits + 20


def lengths(change: torch.Tensor, norm: str) -> torch.Tensor:
    return torch.linalg.vector_norm(change.flatten(1), {"linf": torch.inf, "l2": 2, "l1": 1}[norm], dim=1)


def predictions(model, points) -> torch.Tensor:
    with torch.no_grad():
        return model(points).argmax(1)


def distances(model, points, originals, labels, norm) -> torch.Tensor:
    fooled = predictions(model, points) != labels
    return torch.where(fooled, lengths(points - originals, norm), torch.tensor(FAR))


def outputs(model, points, originals, labels) -> torch.Tensor:
    """The points where they fool, the originals elsewhere."""
    fooled = predictions(model, points) != labels
    return torch.where(fooled.view(-1, 1, 1, 1), points, originals)


def deepfool(out, model, few, few_labels, many, many_labels):
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1))
    for norm, attack in DEEPFOOL.items():
        for steps in [2, 3, 4]:
            points = attack(steps=steps, candidates=10).run(bounded, few, few_labels)
            out[f"deepfool.{norm}.{steps}"] = outputs(model, points, few, few_labels)
        points = attack(steps=2, candidates=10).run(bounded, many, many_labels)
        out[f"deepfool.{norm}.short.distances"] = distances(model, points, many, many_labels, norm)
        points = attack(steps=20, candidates=4).run(bounded, many, many_labels)
        out[f"deepfool.{norm}.distances"] = distances(model, points, many, many_labels, norm)


def cw(out, model, few, few_labels, many, many_labels):
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1))

    def attack(steps, searches, constant, **settings):
        settings = {"stepsize": 0.02, "abort_early": False, **settings}
        return foolbox.attacks.L2CarliniWagnerAttack(
            steps=steps, binary_search_steps=searches, initial_const=constant, **settings
        )

    for steps in [4, 6, 9]:
        points = attack(steps, 1, 3.0).run(bounded, few, few_labels)
        out[f"cw.{steps}"] = outputs(model, points, few, few_labels)
    torchattack = torchattacks.CW(torch.nn.Sequential(model, Raise()).eval(), c=3.0, kappa=0, steps=5, lr=0.02)
    # torchattacks takes a zero among the logits to compare with, which raising all of them makes harmless; it stops once the batch's cost
    # rises, which so few steps do not see.
    out["cw.torchattacks.distances"] = distances(model, torchattack(many, many_labels), many, many_labels, "l2")
    many, many_labels = many[:32], many_labels[:32]
    out["cw.distances"] = distances(model, attack(25, 3, 0.3).run(bounded, many, many_labels), many, many_labels, "l2")
    confident = attack(25, 2, 1.0, confidence=0.2).run(bounded, many, many_labels)
    out["cw.confident.distances"] = distances(model, confident, many, many_labels, "l2")
    with torch.no_grad():
        runner_up = model(many).topk(2).indices[:, 1]
    criterion = foolbox.criteria.TargetedMisclassification(runner_up)
    points = attack(25, 2, 1.0).run(bounded, many, criterion)
    out["cw.targeted.distances"] = distances(model, points, many, many_labels, "l2")
    # Foolbox asks the whole batch for progress: alone, each image is asked.
    alone = attack(40, 4, 0.1, stepsize=0.1, abort_early=True)
    singly = [alone.run(bounded, many[i : i + 1], many_labels[i : i + 1]) for i in range(16)]
    out["cw.abort.distances"] = distances(model, torch.cat(singly), many[:16], many_labels[:16], "l2")


def single_runs(model, auto_attack):
    """FAB from the image itself: (norm, steps, target rank or none) to the nearest points found."""
    if auto_attack is None:

        def run(points, labels, norm, steps, rank):
            attack = torchattacks.FAB(model, norm=NORMS[norm], steps=steps, n_classes=10, multi_targeted=True)
            if rank is None:
                return attack.attack_single_run(points, labels)
            attack.target_class = rank
            return attack.attack_single_run_targeted(points, labels)

        return run
    sys.path.insert(0, auto_attack)
    from autoattack.fab_pt import FABAttack_PT

    def run(points, labels, norm, steps, rank):
        attack = FABAttack_PT(model, norm=NORMS[norm], n_iter=steps, device=points.device)
        attack.target_class = rank
        return attack.attack_single_run(points, labels, is_targeted=rank is not None)

    return run


def secant_search(model, points, originals, labels):
    """The final search of the FAB paper (section 2.5): three secant steps on the segment to the original."""
    rows = torch.arange(len(points))
    far, near = points.clone(), originals.clone()

    def gap(at):
        with torch.no_grad():
            logits = model(at)
        wrong = logits.clone()
        wrong[rows, labels] = -torch.inf
        return logits, wrong.argmax(1)

    fooled = predictions(model, points) != labels
    for _ in range(3):
        far_logits, other = gap(far)
        near_logits, _ = gap(near)
        above = far_logits[rows, other] - far_logits[rows, labels]
        below = near_logits[rows, other] - near_logits[rows, labels]
        share = (above / (above - below)).view(-1, 1, 1, 1)
        between = far + share * (near - far)
        crossed = (predictions(model, between) != labels).view(-1, 1, 1, 1)
        far, near = torch.where(crossed, between, far), torch.where(crossed, near, between)
    return torch.where(fooled.view(-1, 1, 1, 1), far, points)


def fab(out, model, few, few_labels, many, many_labels, auto_attack):
    run = single_runs(model, auto_attack)
    some, some_labels = many[:64], many_labels[:64]
    for norm in NORMS:
        for steps in STEPS[norm]:
            points = run(few, few_labels, norm, steps, None)
            out[f"fab.{norm}.{steps}"] = secant_search(model, points, few, few_labels)
        # The published code has no final search: compared are its own points, and what the paper's search makes of them.
        untargeted = run(many, many_labels, norm, 5, None)
        out[f"fab.{norm}.distances"] = distances(model, untargeted, many, many_labels, norm)
        searched = secant_search(model, untargeted[:64], some, some_labels)
        out[f"fab.{norm}.searched.distances"] = distances(model, searched, some, some_labels, norm)
        towards = [run(some, some_labels, norm, 5, rank) for rank in [2, 3, 4]]
        out[f"fab.{norm}.runner-up.distances"] = distances(model, towards[0], some, some_labels, norm)
        towards = [secant_search(model, points, some, some_labels) for points in towards]
        towards = [distances(model, points, some, some_labels, norm) for points in towards]
        out[f"fab.{norm}.targeted.distances"] = torch.stack(towards).amin(0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed values instead of writing them")
    parser.add_argument("--auto-attack", metavar="DIR", help="a copy of the published AutoAttack")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = narrow().eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    few, many = pixels("attack.pixels", (4, 1, 32, 32)), pixels("attack.many", (128, 1, 32, 32))
    few_labels, many_labels = predictions(model, few), predictions(model, many)
    out = {"few.labels": few_labels, "many.labels": many_labels}
    deepfool(out, model, few, few_labels, many, many_labels)
    cw(out, model, few, few_labels, many[:64], many_labels[:64])
    fab(out, model, few, few_labels, many, many_labels, arguments.auto_attack)
    values = {k: v.detach().to(torch.float32).contiguous().numpy().copy() for k, v in out.items()}
    path = GOLDEN / "attacks_b.safetensors"
    if not arguments.check:
        save_file(values, path)
        print(f"{path.name}: {len(values)} tensors, {path.stat().st_size} bytes")
        return 0
    committed = load_file(path)
    shares = {k: float(np.mean(np.abs(values[k] - committed[k]) > 1e-3 * (1 + np.abs(committed[k])))) for k in committed}
    same = values.keys() == committed.keys() and max(shares.values()) <= 0.01
    worst = max(shares, key=shares.get)
    print(f"{path.name}: {'agrees' if same else 'DIFFERS'} (largest share of differing values: {shares[worst]:.4f}, in {worst})")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
