#!/usr/bin/env python3
"""Golden values for the machinery of training: optimisers, schedules, clipping, averages, bf16. PyTorch computes them.

    venv-ref/bin/python lab/tests/reference/golden_mechanics.py            # rewrites lab/tests/golden/mechanics.safetensors
    venv-ref/bin/python lab/tests/reference/golden_mechanics.py --check    # recomputes and compares
"""

import argparse
import sys

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from make_golden import GOLDEN, labels, narrow, pattern, pixels, resnet18

SHAPES = {"first.weight": (5, 3), "second.bias": (7,)}


def parameters():
    return {name: nn.Parameter(torch.from_numpy(pattern(name, shape))) for name, shape in SHAPES.items()}


def optimizers(out):
    """Five steps with given gradients and a learning rate that changes."""
    adamw, adam = torch.optim.AdamW, torch.optim.Adam
    rules = {
        "adamw": lambda p: adamw(p, lr=0.1),
        "adamw.other": lambda p: adamw(p, lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.2),
        "adam.other": lambda p: adam(p, lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.2),
    }

    def spared(p):
        groups = [
            {"params": [q for q in p if q.dim() > 1], "weight_decay": 0.2},
            {"params": [q for q in p if q.dim() <= 1], "weight_decay": 0.0},
        ]
        return adamw(groups, lr=0.1)

    rules["adamw.spared"] = spared
    for rule, build in rules.items():
        own = parameters()
        optimizer = build(list(own.values()))
        for step in range(5):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (step + 1)
            for name, parameter in own.items():
                parameter.grad = torch.from_numpy(pattern(f"{name}.{step}", SHAPES[name]))
            optimizer.step()
        for name, parameter in own.items():
            out[f"{rule}.{name}"] = parameter


def schedules(out):
    """The learning rate of every step of ten epochs of seven steps, for a peak of 0.3."""

    def rates(build, per_epoch):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
        scheduler = build(optimizer)
        found = []
        for step in range(70):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if step < 69 and (not per_epoch or (step + 1) % 7 == 0):
                scheduler.step()
        return torch.tensor(found, dtype=torch.float64)

    out["schedule.every"] = rates(lambda o: lr_scheduler.StepLR(o, step_size=3, gamma=0.2), True)
    out["schedule.milestones"] = rates(lambda o: lr_scheduler.MultiStepLR(o, milestones=[2, 5, 6], gamma=0.5), True)
    out["schedule.cosine"] = rates(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=70, eta_min=0.01), False)
    out["schedule.one-cycle"] = rates(lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.3, total_steps=70), False)
    other = lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=0.3, total_steps=70, pct_start=0.45, div_factor=10.0, final_div_factor=100.0
    )
    out["schedule.one-cycle.other"] = rates(other, False)


def clipping(out):
    for name, largest in [("short", 100.0), ("long", 0.5)]:
        own = parameters()
        for key, parameter in own.items():
            parameter.grad = torch.from_numpy(pattern(f"{key}.0", SHAPES[key]))
        nn.utils.clip_grad_norm_(own.values(), largest)
        for key, parameter in own.items():
            out[f"clip.{name}.{key}"] = parameter.grad


def averages(out):
    """Three steps of a narrow net and the averages of a parameter and of a running statistic after them."""
    model = narrow().train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(3):
        x, y = pixels(f"average.{step}", (8, 1, 32, 32)), labels(8)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        average.update_parameters(model)
    state = average.module.backbone.state_dict()
    for name in ["conv1.weight", "layer2.0.bn1.weight", "layer2.0.bn1.running_mean", "fc.bias"]:
        out[f"average.{name}"] = state[name]


def bf16(out):
    """Logits and gradients of a training pass under autocast."""
    model = resnet18().train()
    x, y = pixels("bf16", (8, 3, 32, 32)), labels(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(x).float()
    F.cross_entropy(logits, y).backward()
    out["bf16.logits"] = logits
    out["bf16.conv1_gradient"] = model.backbone.conv1.weight.grad
    out["bf16.fc_gradient"] = model.backbone.fc.weight.grad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed values instead of writing them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = {}
    for make in [optimizers, schedules, clipping, averages, bf16]:
        make(out)
    values = {k: v.detach().to(torch.float32).contiguous().numpy().copy() for k, v in out.items()}
    path = GOLDEN / "mechanics.safetensors"
    if not arguments.check:
        save_file(values, path)
        print(f"{path.name}: {len(values)} tensors, {path.stat().st_size} bytes")
        return 0
    committed = load_file(path)
    # 16-bit kernels round differently from machine to machine.
    def close(k):
        scale = np.abs(committed[k]).max()
        return np.abs(values[k] - committed[k]).max() <= (0.2 * scale if k.startswith("bf16") else 1e-5 * scale + 1e-6)

    differing = [k for k in committed if k not in values or not close(k)]
    same = values.keys() == committed.keys() and not differing
    print(f"{path.name}: {'agrees' if same else f'DIFFERS in {differing}'}")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
