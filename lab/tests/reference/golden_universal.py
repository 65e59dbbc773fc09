#!/usr/bin/env python3
"""Golden values for the universal perturbations of gauntlet-lab, transcribed from their papers with PyTorch's autograd.

    venv-ref/bin/python lab/tests/reference/golden_universal.py            # rewrites lab/tests/golden/universal.safetensors
    venv-ref/bin/python lab/tests/reference/golden_universal.py --check    # recomputes and compares

By DeepFool (Moosavi-Dezfooli et al., arXiv 1610.08401) images come one after the other, in the order that the lab draws for seed 0; by gradient (Shafahi et
al., arXiv 1811.11304) all of them make one batch, so that their order does not matter. Everything is in double precision.
"""

import argparse
import sys

import torch
from safetensors.numpy import load_file, save_file
from torch.nn import functional as F

from make_golden import GOLDEN, narrow, pixels

FILE = GOLDEN / "universal.safetensors"
ORDERS = [[1, 3, 0, 2], [1, 3, 0, 2]]
RADII = {"linf": 0.05, "l2": 1.0}
STEPS, OVERSHOOT, FLOOR, TINY = 10, 0.02, 1e-4, 1e-12


def project(change, norm):
    eps = RADII[norm]
    return change.clamp(-eps, eps) if norm == "linf" else change * min(1.0, eps / change.norm().item())


def deepfool(model, start, own, norm):
    """The first point beyond the boundary that steps to the nearest linearised one lead to."""
    others = [c for c in model(start)[0].argsort(descending=True).tolist() if c != own]
    change, point = torch.zeros_like(start), start
    for _ in range(STEPS):
        point = point.detach().requires_grad_(True)
        logits = model(point)[0]
        if logits.argmax().item() != own:
            break
        found = []
        for other in others:
            gap = logits[other] - logits[own]
            slope = torch.autograd.grad(gap, point, retain_graph=True)[0]
            length = slope.abs().sum() if norm == "linf" else slope.norm()
            found.append((gap.abs().item() / (length.item() + TINY), slope))
        distance, slope = min(found, key=lambda pair: pair[0])
        direction = slope.sign() if norm == "linf" else slope / (slope.norm() + TINY)
        change = change + (distance + FLOOR) * direction
        point = (start + (1 + OVERSHOOT) * change).clamp(0, 1)
    return point.detach()


def predictions(model, images):
    return model(images).argmax(1)


def fooled(model, images, change):
    return (predictions(model, (images + change).clamp(0, 1)) != predictions(model, images)).all().item()


def by_deepfool(model, images, norm):
    change = torch.zeros_like(images[:1])
    for order in ORDERS:
        for number in order:
            image = images[number : number + 1]
            own, point = predictions(model, image).item(), (image + change).clamp(0, 1)
            if predictions(model, point).item() == own:
                change = project(change + deepfool(model, point, own, norm) - point, norm)
        if fooled(model, images, change):
            break
    return change


def by_gradient(model, images, norm):
    own, change = predictions(model, images), torch.zeros_like(images[:1])
    for _ in ORDERS:
        points = (images + change).clamp(0, 1).requires_grad_(True)
        slope = torch.autograd.grad(F.cross_entropy(model(points), own, reduction="sum"), points)[0].sum(0, keepdim=True)
        direction = slope.sign() if norm == "linf" else slope / slope.norm()
        change = project(change + RADII[norm] / 2 * direction, norm)
        if fooled(model, images, change):
            break
    return change


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed values instead of writing them")
    arguments = parser.parse_args()
    model = narrow().double().eval().requires_grad_(False)
    images = pixels("universal", (5, 1, 32, 32))[:4].double()
    ways = {"deepfool": by_deepfool, "gradient": by_gradient}
    values = {
        f"{way}.{norm}": craft(model, images, norm).float().contiguous().numpy() for way, craft in ways.items() for norm in RADII
    }
    if not arguments.check:
        save_file(values, FILE)
        FILE.chmod(0o644)
        print(f"{FILE.name}: {len(values)} tensors, {FILE.stat().st_size} bytes")
        return 0
    committed = load_file(FILE)
    largest = max(abs(values[name] - committed[name]).max() for name in values)
    same = largest < 1e-5 and values.keys() == committed.keys()
    print(f"{FILE.name}: {'agrees' if same else 'DIFFERS'} (largest difference: {largest:.1e})")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
