#!/usr/bin/env python3
"""Checkpoints of one small model as different training code saves it: lab/tests/golden/wrapped/*.pth.gz.

    venv-ref/bin/python lab/tests/reference/make_wrapped.py

Every tensor is filled with one number, its place in the state dict over 64, so that the files compress to next to nothing.
"""

import argparse
import copy
import gzip
import io

import torch
from make_golden import CLASSES, GOLDEN, NarrowResNet
from torch import nn

FOLDER = GOLDEN / "wrapped"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)


def model() -> nn.Module:
    net = NarrowResNet(3, CLASSES)
    with torch.no_grad():
        floats = [tensor for tensor in net.state_dict().values() if tensor.is_floating_point()]
        for place, tensor in enumerate(floats):
            tensor.fill_(place / 64)
    return net


class Normalization(nn.Module):
    def __init__(self, names):
        super().__init__()
        for name, values in zip(names, [MEAN, STD]):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1))


class Wrapped(nn.Module):
    """A model beside other modules and buffers."""

    def __init__(self, inner, buffers=(), **others):
        super().__init__()
        for name, module in others.items():
            self.add_module(name, module)
        for name, values in zip(buffers, [MEAN, STD]):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        self.model = inner


def robustness(inner):
    """As the MadryLab's library nests them: the attacker holds the same model and a normalisation."""
    moments = ["new_mean", "new_std"]
    attacker = Wrapped(inner, normalize=Normalization(moments))
    return nn.DataParallel(Wrapped(inner, normalizer=Normalization(moments), attacker=attacker))


def optimizer(net):
    rule = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(rule, 30)
    return {"optimizer": rule.state_dict(), "scheduler": scheduler.state_dict()}


def differing():
    """Two models under two wrappers that are not copies of each other."""
    other = copy.deepcopy(model())
    with torch.no_grad():
        other.fc.bias.fill_(9.0)
    net = nn.Module()
    net.model, net.attacker = model(), Wrapped(other)
    return net


def checkpoints():
    parallel = nn.DataParallel(model())
    flat = model()
    flat.register_buffer("mu", torch.tensor(MEAN).view(3, 1, 1))
    flat.register_buffer("sigma", torch.tensor(STD).view(3, 1, 1))
    arguments = argparse.Namespace(arch="narrow", lr=0.1, milestones=[30, 60])
    sequential = nn.Sequential(Normalization(["mean", "std"]), model())
    return {
        "plain": model().state_dict(),
        "data_parallel": parallel.state_dict(),
        "container": {"epoch": 90, "args": arguments, "best": 0.5, "state_dict": parallel.state_dict(), **optimizer(parallel)},
        "robustness": {"model": robustness(model()).state_dict(), "epoch": 3, "schedule": None, "amp": None},
        "robustbench": {"model_state_dict": flat.state_dict(), "epoch": 7},
        "robustbench_wrapped": Wrapped(model(), buffers=["mu", "sigma"]).state_dict(),
        "sequential": sequential.state_dict(),
        "differing_copies": differing().state_dict(),
    }


def main():
    FOLDER.mkdir(exist_ok=True)
    for name, content in checkpoints().items():
        buffer = io.BytesIO()
        torch.save(content, buffer)
        path = FOLDER / f"{name}.pth.gz"
        path.write_bytes(gzip.compress(buffer.getvalue(), 9, mtime=0))
        path.chmod(0o644)
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
