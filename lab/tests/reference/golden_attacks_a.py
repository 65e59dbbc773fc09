#!/usr/bin/env python3
"""Golden values of gradient attacks with momentum or an adaptive pace, computed by torchattacks, Foolbox and the published AutoAttack.

    venv-ref/bin/python lab/tests/reference/golden_attacks_a.py                       # rewrites lab/tests/golden/attacks_a.safetensors
    venv-ref/bin/python lab/tests/reference/golden_attacks_a.py --check               # recomputes and compares

The published AutoAttack is not on PyPI: `--auto-attack DIR` names a checkout of github.com/fra31/auto-attack. Without it APGD is torchattacks' (the
same algorithm, L∞ and L2 only), and the values of L1 are not recomputed. The file's metadata says which computed it.

APGD starts at random. Here its draws are replaced by the pattern that the tests use, so that everything after them is determined.
"""

import argparse
import pathlib
import subprocess
import sys
from unittest import mock

import foolbox
import numpy as np
import torch
import torchattacks
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch.nn import functional as F

from make_golden import GOLDEN, narrow, pattern, pixels

FILE = GOLDEN / "attacks_a.safetensors"
FEW, MANY = (4, 1, 32, 32), (200, 1, 32, 32)
EPS, STEP = 4 / 255, 1 / 255
STEPS = 20
RADII = {"Linf": 4 / 255, "L2": 0.35, "L1": 6.0}


def momentum(out, model, few, few_labels, many, many_labels):
    for steps in [1, 2, 3]:
        out[f"mi.{steps}"] = torchattacks.MIFGSM(model, eps=EPS, alpha=STEP, steps=steps, decay=0.8)(few, few_labels)
        # Only one size and place is left to draw: 31 pixels in the upper left corner.
        diverse = torchattacks.DIFGSM(
            model, eps=EPS, alpha=STEP, steps=steps, decay=0.8, resize_rate=31 / 32, diversity_prob=1.1
        )
        out[f"di.{steps}"] = diverse(few, few_labels)
        targeted = torchattacks.MIFGSM(model, eps=EPS, alpha=STEP, steps=steps, decay=0.8)
        targeted.set_mode_targeted_least_likely(quiet=True)
        out[f"mi.least-likely.{steps}"] = targeted(few, few_labels)
        targeted = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=steps, random_start=False)
        targeted.set_mode_targeted_least_likely(quiet=True)
        out[f"pgd.least-likely.{steps}"] = targeted(few, few_labels)
    adversarial = torchattacks.MIFGSM(model, eps=EPS, alpha=STEP, steps=10, decay=1.0)(many, many_labels)
    out["many.mi.predictions"] = model(adversarial).argmax(1)


def l1(out, model, few, few_labels):
    """Foolbox scales what leaves the ball; the ball here is wide, so that its steps and not its projection are compared."""
    attacked = foolbox.PyTorchModel(model, bounds=(0, 1))
    for steps in [1, 2, 3]:
        attack = foolbox.attacks.L1ProjectedGradientDescentAttack(abs_stepsize=2.0, steps=steps, random_start=False)
        out[f"pgd.l1.{steps}"] = attack.run(attacked, few, foolbox.criteria.Misclassification(few_labels), epsilon=100.0)


class Trace:
    """What APGD does, seen from its own check of the pace."""

    def __init__(self, attack):
        self.best_losses, self.step_sizes = None, []
        original = attack.check_oscillation

        def check(losses, step, window, best, k3):
            values = sys._getframe(1).f_locals
            self.best_losses = values["loss_best_steps"]
            self.step_sizes.append(values["step_size"].flatten().clone())
            return original(losses, step, window, best, k3=k3)

        attack.check_oscillation = check


def started_by(draws):
    """Both uniform draws, which are brought to [-1,1) afterwards, and normal ones are those of the pattern."""
    uniform = mock.patch("torch.rand", lambda *_: (draws + 1) / 2)
    return uniform, mock.patch("torch.randn", lambda *_: draws.clone()), mock.patch("torch.randn_like", lambda *_: draws.clone())


def climb(attack, x, y, draws, single_run):
    trace = Trace(attack)
    first, second, third = started_by(draws)
    with first, second, third:
        result = single_run(attack, x, y)
    return trace, result


def published(module, model, norm, loss):
    def build():
        arguments = dict(n_iter=STEPS, norm=norm, eps=RADII[norm], device="cpu", use_largereps=norm == "L1")
        if loss == "dlr-targeted":
            return module.APGDAttack_targeted(model, **arguments)
        return module.APGDAttack(model, loss=loss, **arguments)

    def single_run(attack, x, y):
        attack.init_hyperparam(x)
        if loss == "dlr-targeted":
            attack.y_target = model(x).sort(dim=1)[1][:, -2]
        if norm == "L1":
            parts = [-(-3 * STEPS // 10)] * 2
            radii = [3 * RADII[norm], 2 * RADII[norm], RADII[norm]]
            return attack.decr_eps_pgd(x, y, radii, parts + [STEPS - sum(parts)])
        return attack.attack_single_run(x, y)

    return build, single_run


def torchattacks_apgd(model, norm, loss):
    def build():
        if loss == "dlr-targeted":
            attack = torchattacks.APGDT(model, norm=norm, eps=RADII[norm], steps=STEPS)
            attack.target_class = 2
            return attack
        return torchattacks.APGD(model, norm=norm, eps=RADII[norm], steps=STEPS, loss=loss)

    return build, lambda attack, x, y: attack.attack_single_run(x, y)


def apgd(out, model, x, y, module):
    draws = torch.from_numpy(pattern("attack.start", MANY))
    for norm in ["Linf", "L2"] if module is None else ["Linf", "L2", "L1"]:
        for loss in ["ce", "dlr", "dlr-targeted"]:
            if norm == "L1" and loss == "dlr":
                continue
            name = f"apgd.{norm.lower()}.{loss}"
            if module is not None:
                build, single_run = published(module, model, norm, loss)
            else:
                build, single_run = torchattacks_apgd(model, norm, loss)
            # In torchattacks' targeted L2 attack the first example's step size is everybody's.
            together = 1 if module is None and (norm, loss) == ("L2", "dlr-targeted") else len(x)
            parts = [slice(first, first + together) for first in range(0, len(x), together)]
            runs = [climb(build(), x[part], y[part], draws[part], single_run) for part in parts]
            out[f"{name}.right"] = torch.cat([right for _, (_, right, _, _) in runs])
            out[f"{name}.best_loss"] = torch.cat([best_loss for _, (_, _, best_loss, _) in runs])
            if norm != "L1":
                out[f"{name}.best_losses"] = torch.cat([trace.best_losses[1:] for trace, _ in runs], 1)
                step_sizes = [torch.stack(trace.step_sizes) for trace, _ in runs]
                out[f"{name}.step_sizes"] = torch.cat(step_sizes, 1)


def attacks_a(module):
    out = {}
    model = narrow().eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    few, many = pixels("attack.pixels", FEW), pixels("attack.many", (256, *MANY[1:]))[: MANY[0]]
    few_labels, many_labels = model(few).argmax(1), model(many).argmax(1)
    out["few.labels"], out["many.labels"] = few_labels, many_labels
    momentum(out, model, few, few_labels, many, many_labels)
    l1(out, model, few, few_labels)
    apgd(out, model, many, many_labels, module)
    return out


def load_published(folder):
    sys.path.insert(0, str(folder))
    from autoattack import autopgd_base

    commit = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return autopgd_base, f"auto-attack {commit.stdout.strip()}"


def differing(found, committed):
    """Share of values that differ. Pixels go with the sign of a gradient, so a few that are as good as zero may go the other way."""
    return float(np.mean(np.abs(found - committed) > 1e-3 * (1 + np.abs(committed))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed values instead of writing them")
    parser.add_argument("--auto-attack", type=pathlib.Path, metavar="DIR", help="a checkout of the published AutoAttack")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    module, origin = load_published(arguments.auto_attack) if arguments.auto_attack else (None, "torchattacks 3.5.1")
    values = {k: v.detach().to(torch.float32).contiguous().numpy().copy() for k, v in attacks_a(module).items()}
    if not arguments.check:
        if module is None:
            parser.error("only the published AutoAttack computes all values: --auto-attack DIR")
        save_file(values, FILE, metadata={"apgd": origin})
        print(f"{FILE.name}: {len(values)} tensors, {FILE.stat().st_size} bytes, APGD by {origin}")
        return 0
    committed = load_file(FILE)
    with safe_open(FILE, "np") as file:
        print(f"{FILE.name} was computed by {file.metadata()['apgd']}; compared with {origin}")
    expected = [name for name in committed if module is not None or not name.startswith("apgd.l1.")]
    shares = {name: differing(values[name], committed[name]) for name in expected if name in values}
    for name, share in sorted(shares.items(), key=lambda item: -item[1])[:5]:
        print(f"  {name}: {share:.4f} of the values differ")
    # Late in a climb rounding has grown: a few examples may have gone elsewhere.
    same = values.keys() == set(expected) and max(shares.values()) <= 0.04
    print(f"{FILE.name}: {'agrees' if same else 'DIFFERS'}")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
