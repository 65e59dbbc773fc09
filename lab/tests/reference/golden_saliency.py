#!/usr/bin/env python3
"""Golden values for the maps of gauntlet-lab's `saliency`: input gradients and integrated gradients, by PyTorch's autograd.

    venv-ref/bin/python lab/tests/reference/golden_saliency.py            # rewrites lab/tests/golden/saliency.safetensors
    venv-ref/bin/python lab/tests/reference/golden_saliency.py --check    # recomputes and compares

Integrated gradients follow the formula of Sundararajan et al. (arXiv 1703.01365) with the black image as the baseline, at the middles of equal steps;
each image goes along its line alone and in double precision, all its steps in one batch.
"""

import argparse
import sys

import torch
from safetensors.numpy import load_file, save_file

from make_golden import GOLDEN, narrow, pixels

FILE = GOLDEN / "saliency.safetensors"
STEPS = 32
TARGETS = [0, 4, 9]


def gradients(model, points, target):
    points = points.clone().requires_grad_(True)
    return torch.autograd.grad(model(points)[:, target].sum(), points)[0]


def integrated(model, image, target):
    shares = (torch.arange(STEPS, dtype=torch.float64) + 0.5) / STEPS
    baseline = torch.zeros_like(image)
    line = baseline + shares.view(-1, 1, 1, 1) * (image - baseline)
    return (image - baseline) * gradients(model, line, target).mean(0, keepdim=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed values instead of writing them")
    arguments = parser.parse_args()
    model = narrow().double().eval()
    images = pixels("saliency", (len(TARGETS), 1, 32, 32)).double().split(1)
    maps = {
        "gradients": [gradients(model, image, target) for image, target in zip(images, TARGETS)],
        "integrated": [integrated(model, image, target) for image, target in zip(images, TARGETS)],
    }
    values = {name: torch.cat(rows).float().contiguous().numpy() for name, rows in maps.items()}
    if not arguments.check:
        save_file(values, FILE)
        FILE.chmod(0o644)
        print(f"{FILE.name}: {len(values)} tensors, {FILE.stat().st_size} bytes")
        return 0
    committed = load_file(FILE)
    largest = max(abs(values[name] - committed[name]).max() / abs(committed[name]).max() for name in values)
    same = largest < 1e-5 and values.keys() == committed.keys()
    print(f"{FILE.name}: {'agrees' if same else 'DIFFERS'} (largest difference: {largest:.1e})")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
