#!/usr/bin/env python3
"""Golden values of backbones, computed by torchvision and by the networks of RobustBench's model zoo.

    lab/tests/reference/golden_backbones_a.py            # rewrites lab/tests/golden/backbones_a.safetensors
    lab/tests/reference/golden_backbones_a.py --check    # recomputes and compares

Weights come from `tiled`, images from `pixels`; lab/tests/backbones_a.rs fills the same. Dropout is off, in train mode too. All is computed in
f64: in f32 a few ReLUs close to zero turn over by rounding, which moves gradients of deep nets by a percent.
"""

import argparse
import importlib.util
import math
import pathlib
import sys

import numpy as np
import torch
import torchvision
from make_golden import CLASSES, GOLDEN, labels, pattern, pixels
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.nn import functional as F

PATH = GOLDEN / "backbones_a.safetensors"
PERIOD = 65537
SAMPLED = 600


def tiled(name: str, shape) -> np.ndarray:
    """The first values of `pattern`, over and over: a prime number of them, so that no two rows of a matrix are equal."""
    count = int(np.prod(shape))
    return np.resize(pattern(name, (min(count, PERIOD),)), count).reshape(shape)


def fill(model: nn.Module, gain: float) -> nn.Module:
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        values = tiled(name, tuple(tensor.shape))
        if tensor.dim() >= 2:
            values = values * np.float32(math.sqrt(gain / tensor[0].numel()))
        elif name.endswith("running_var"):
            values = np.float32(1) + np.float32(0.5) * values
        elif name.endswith("bn3.weight"):
            # Branches of half the weight in deep nets would add rounding up to a thousandth.
            values = np.float32(0.125) + np.float32(0.03125) * values
        elif name.endswith("weight"):
            values = np.float32(0.5) + np.float32(0.125) * values
        else:
            values = np.float32(0.1) * values
        state[name] = torch.from_numpy(values.copy())
    model.load_state_dict(state)
    return model


def robustbench(module: str):
    """A file of the model zoo by itself: the package would load all that its attacks and data sets need."""
    folder = pathlib.Path(importlib.util.find_spec("robustbench").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location(module, folder / "model_zoo" / "architectures" / f"{module}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def wide(depth: int) -> nn.Module:
    return robustbench("wide_resnet").WideResNet(depth=depth, num_classes=CLASSES, widen_factor=10)


def preact() -> nn.Module:
    zoo = robustbench("resnet")
    return zoo.PreActResNet(zoo.PreActBlock, [2, 2, 2, 2], num_classes=CLASSES, bn_before_fc=True, out_shortcut=True)


def with_cifar_stem(model: nn.Module) -> nn.Module:
    model.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


# Name, network, gain of the weights (less where shortcuts add up), images, pixels of a side.
CASES = [
    ("alexnet", lambda: torchvision.models.alexnet(num_classes=CLASSES), 6.0, 2, 96),
    ("vgg16_bn", lambda: torchvision.models.vgg16_bn(num_classes=CLASSES), 24.0, 2, 64),
    ("resnet34", lambda: torchvision.models.resnet34(num_classes=CLASSES), 12.0, 2, 48),
    ("resnet50", lambda: torchvision.models.resnet50(num_classes=CLASSES), 12.0, 2, 48),
    ("resnet101", lambda: torchvision.models.resnet101(num_classes=CLASSES), 12.0, 2, 48),
    ("wide_resnet50_2", lambda: torchvision.models.wide_resnet50_2(num_classes=CLASSES), 12.0, 2, 48),
    ("densenet121", lambda: torchvision.models.densenet121(num_classes=CLASSES), 24.0, 2, 64),
    ("resnet18.cifar", lambda: with_cifar_stem(torchvision.models.resnet18(num_classes=CLASSES)), 12.0, 2, 32),
    ("resnet50.cifar", lambda: with_cifar_stem(torchvision.models.resnet50(num_classes=CLASSES)), 12.0, 2, 32),
    ("wrn-28-10", lambda: wide(28), 12.0, 2, 32),
    ("wrn-34-10", lambda: wide(34), 12.0, 1, 32),
    ("preact-resnet18", preact, 12.0, 2, 32),
]


def sample(tensor: torch.Tensor) -> torch.Tensor:
    """At most `SAMPLED` values, evenly spaced."""
    flat = tensor.detach().flatten()
    return flat[:: -(-len(flat) // SAMPLED)]


def case(out, name: str, build, gain: float, count: int, side: int):
    model = fill(build(), gain).double()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    kept = {}
    head.register_forward_pre_hook(lambda _module, inputs: kept.update(features=inputs[0]))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for mode in ["eval", "train"]:
        model.train(mode == "train")
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
        points = pixels(f"{name}.pixels", (count, 3, side, side)).double().requires_grad_(True)
        logits = model((points - 0.5) / 0.25)
        F.cross_entropy(logits, labels(count)).backward()
        out[f"{name}.{mode}.logits"] = logits
        out[f"{name}.{mode}.features"] = sample(kept["features"])
        out[f"{name}.{mode}.input_gradient"] = sample(points.grad)
        if norms:
            out[f"{name}.{mode}.running_var"] = sample(torch.cat([norm.running_var for norm in norms]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed values instead of writing them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = {}
    for arguments_of_case in CASES:
        case(out, *arguments_of_case)
    values = {key: value.detach().float().contiguous().numpy().copy() for key, value in out.items()}
    if not arguments.check:
        save_file(values, PATH)
        print(f"{PATH.name}: {len(values)} tensors, {PATH.stat().st_size} bytes")
        return 0
    committed = load_file(PATH)
    worst = max(float(np.abs(values[key] - old).max() / np.abs(old).max()) for key, old in committed.items())
    same = values.keys() == committed.keys() and worst <= 1e-3
    print(f"{PATH.name}: {'agrees' if same else 'DIFFERS'} (largest difference, relative to a tensor's largest value: {worst:.1e})")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
