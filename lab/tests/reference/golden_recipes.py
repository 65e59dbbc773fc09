#!/usr/bin/env python3
"""Golden values for the training recipes of gauntlet-lab, computed with PyTorch from the published formulas.

    venv-ref/bin/python lab/tests/reference/golden_recipes.py            # rewrites lab/tests/golden/recipes.safetensors
    venv-ref/bin/python lab/tests/reference/golden_recipes.py --check    # recomputes and compares

TRADES (arXiv 1901.08573) and MART (Wang et al. 2020) have the constants and the order of passes of their published codes; TWINS (arXiv 2303.11135) is
computed on two whole networks whose convolutions are then tied by adding up their gradients.
"""

import argparse
import sys

import numpy as np
import torch
from make_golden import GOLDEN, labels, narrow, pattern, pixels
from safetensors.numpy import load_file, save_file
from torch.nn import functional as F

SHAPE = (16, 1, 32, 32)
EPS, STEP = 4 / 255, 5 / 255


def fixed(name, shape, scale=1.0):
    return (scale * torch.from_numpy(pattern(name, shape).copy())).requires_grad_(True)


def divergence(of, target):
    """Sum of KL(target || of) over the images; both are probabilities."""
    return (target * (target.log() - of.log())).sum()


def trades(clean, adversarial, again, y, beta):
    robust = divergence(adversarial.softmax(1), again.softmax(1)) / len(y)
    return F.nll_loss(clean.log_softmax(1), y) + beta * robust


def mart(clean, adversarial, y, weight):
    p, q = clean.softmax(1), adversarial.softmax(1)
    rows = torch.arange(len(y))
    wrong = q.detach().clone()
    wrong[rows, y] = -1.0
    rival = q[rows, wrong.argmax(1)]
    boosted = -(q[rows, y].log()).mean() - (1.0001 - rival + 1e-12).log().mean()
    per_image = (p * (p.log() - (q + 1e-12).log())).sum(1)
    return boosted + weight * (per_image * (1.0000001 - p[rows, y])).mean()


def smoothed(logits, y, share):
    classes = logits.shape[1]
    target = torch.full_like(logits, share / classes)
    target[torch.arange(len(y)), y] += 1.0 - share
    return -(target * logits.log_softmax(1)).sum(1).mean()


def losses(out):
    y = labels(16)
    logits = [fixed(f"logits.{part}", (16, 10), 4.0) for part in ["clean", "adversarial", "again"]]
    features = [fixed(f"features.{part}", (16, 8)) for part in ["clean", "perturbed"]]
    cases = {
        "trades": (trades(*logits, y, 6.0), logits),
        "mart": (mart(*logits[:2], y, 5.0), logits[:2]),
        "dm": (F.nll_loss(logits[0].log_softmax(1), y) + 10 * ((features[1] - features[0]) ** 2).mean(), [logits[0], *features]),
        "smoothed": (smoothed(logits[0], y, 0.1), logits[:1]),
    }
    for name, (loss, inputs) in cases.items():
        out[f"{name}.loss"] = loss
        for number, gradient in enumerate(torch.autograd.grad(loss, inputs)):
            out[f"{name}.gradient.{number}"] = gradient


def network_gradients(out, case, model, loss):
    parameters = dict(model.backbone.named_parameters())
    named = {"conv1": "conv1.weight", "layer4": "layer4.1.bn2.weight", "fc": "fc.weight"}
    gradients = torch.autograd.grad(loss, [parameters[name] for name in named.values()])
    out[f"{case}.step.loss"] = loss
    for name, gradient in zip(named, gradients):
        out[f"{case}.step.{name}_gradient"] = gradient
    out[f"{case}.step.running_var"] = model.backbone.layer4[1].bn2.running_var


def noisy_pair():
    x, other = pixels("objective.pixels", SHAPE), pixels("objective.other", SHAPE)
    return x, (x + 0.05 * (other - 0.5)).clamp(0, 1)


def steps(out):
    """Passes in train mode in the order of the published codes: the clean images twice in TRADES."""
    x, noisy = noisy_pair()
    y = labels(16)
    model = narrow().train()
    clean, adversarial, again = model(x), model(noisy), model(x)
    network_gradients(out, "trades", model, trades(clean, adversarial, again, y, 6.0))
    model = narrow().train()
    clean, adversarial = model(x), model(noisy)
    network_gradients(out, "mart", model, mart(clean, adversarial, y, 5.0))


def ascend(model, x, loss_of, count):
    points = x.clone()
    for _ in range(count):
        points = points.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss_of(points), points)
        points = torch.minimum(torch.maximum(points.detach() + STEP * gradient.sign(), x - EPS), x + EPS).clamp(0, 1)
    return points


def crafted(out):
    """First steps: TRADES' on the divergence from the predictions for other images (at the image itself it has no gradient), fast-at's in train mode."""
    x, other, y = pixels("objective.pixels", SHAPE), pixels("objective.other", SHAPE), labels(16)
    model = narrow().eval()
    with torch.no_grad():
        away = model(other).softmax(1)
    for count in [1, 2]:
        points = ascend(model, x, lambda points: divergence(model(points).softmax(1), away), count)
        out[f"craft.divergence.{count}"] = points[:4]
    model = narrow().train()
    out["craft.train_mode"] = ascend(model, x, lambda points: F.cross_entropy(model(points), y), 1)[:4]
    out["craft.train_mode.running_var"] = model.backbone.layer4[1].bn2.running_var


def free(out):
    """Two replays without a step of the optimiser between them: the perturbation after each, and the second's loss."""
    x, y = pixels("objective.pixels", SHAPE), labels(16)
    model = narrow().train()
    perturbation = torch.zeros(SHAPE)
    for replay in [1, 2]:
        perturbation = perturbation.detach().requires_grad_(True)
        loss = F.cross_entropy(model((x + perturbation).clamp(0, 1)), y)
        (gradient,) = torch.autograd.grad(loss, perturbation)
        perturbation = (perturbation.detach() + EPS * gradient.sign()).clamp(-EPS, EPS)
        out[f"free.loss.{replay}"] = loss
        out[f"free.perturbation.{replay}"] = perturbation[:4]


def twins(out):
    x, _ = noisy_pair()
    y, weight = labels(16), 0.5
    adaptive, frozen = narrow().train(), narrow().eval()
    loss_frozen = F.cross_entropy(frozen(x[:8]), y[:8])
    loss = F.cross_entropy(adaptive(x[8:]), y[8:])
    out["twins.loss"] = weight * loss_frozen + loss
    (weight * loss_frozen).backward()
    loss.backward()
    theirs, own = dict(frozen.backbone.named_parameters()), dict(adaptive.backbone.named_parameters())
    for name, key in {"conv1": "conv1.weight", "fc": "fc.weight"}.items():
        out[f"twins.{name}_gradient"] = theirs[key].grad + own[key].grad
    out["twins.bn1_gradient"] = own["bn1.weight"].grad
    out["twins.frozen_bn1_gradient"] = theirs["bn1.weight"].grad
    out["twins.running_var"] = adaptive.backbone.layer4[1].bn2.running_var


def schedules(out):
    """Share of epsilon at each of 20 steps: 0 before T1, (t - T1) / (T2 - T1) before T2, then 1 (arXiv 2509.23325)."""
    for name, (t1, t2) in {"paper": (5, 15), "warmup": (0, 10), "late": (15, 20)}.items():
        shares = [0.0 if t < t1 else (t - t1) / (t2 - t1) if t < t2 else 1.0 for t in range(20)]
        out[f"schedule.{name}"] = torch.tensor(shares)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed values instead of writing them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = {}
    for make in [losses, steps, crafted, free, twins, schedules]:
        make(out)
    values = {name: np.atleast_1d(tensor.detach().numpy().astype(np.float32)) for name, tensor in out.items()}
    path = GOLDEN / "recipes.safetensors"
    if not arguments.check:
        save_file({name: np.ascontiguousarray(value) for name, value in values.items()}, path)
        print(f"{path.name}: {len(values)} tensors, {path.stat().st_size} bytes")
        return 0
    committed = load_file(path)
    shares = [np.mean(np.abs(values[k] - committed[k]) > 1e-3 * (1 + np.abs(committed[k]))) for k in committed if k in values]
    same = values.keys() == committed.keys() and max(shares) <= 0.005
    print(f"{path.name}: {'agrees' if same else 'DIFFERS'} (largest share of differing values in a tensor: {max(shares):.4f})")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
