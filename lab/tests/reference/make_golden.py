#!/usr/bin/env python3
"""Golden values for gauntlet-lab, computed by PyTorch, torchvision and torchattacks.

    python3 -m venv venv-ref
    venv-ref/bin/pip install torch==2.13.0 torchvision==0.28.0 torchattacks==3.5.1 numpy safetensors
    venv-ref/bin/python lab/tests/reference/make_golden.py            # rewrites lab/tests/golden/
    venv-ref/bin/python lab/tests/reference/make_golden.py --check    # recomputes and compares

Weights and images are not stored: both sides fill them from the same integer hash of (name, index), see `pattern` here and
`pattern` in lab/tests/support/mod.rs. What is stored is what the references make of them.
"""

import argparse
import math
import pathlib
import sys

import numpy as np
import torch
import torchattacks
import torchvision
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, ResNet

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
CLASSES = 10


def pattern(name: str, shape) -> np.ndarray:
    """Values in [-1, 1), exact in f32, that depend on the name and the index alone."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x01000193) & 0xFFFFFFFF
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        h = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed)
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
        h *= np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
    unit = (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return (np.float32(2) * unit - np.float32(1)).reshape(shape)


def fill(model: nn.Module) -> nn.Module:
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        values = pattern(name, tuple(tensor.shape))
        if tensor.dim() == 4:
            fan_out = tensor.shape[0] * tensor.shape[2] * tensor.shape[3]
            values = values * np.float32(math.sqrt(6.0 / fan_out))
        elif name.startswith("fc."):
            values = values * np.float32(1.0 / math.sqrt(model.fc.in_features))
        elif name.endswith("running_var"):
            values = np.float32(1) + np.float32(0.5) * values
        elif name.endswith("weight"):
            values = np.float32(1) + np.float32(0.25) * values
        else:
            values = np.float32(0.1) * values
        state[name] = torch.from_numpy(values.copy())
    model.load_state_dict(state)
    return model


class Normalized(nn.Module):
    """Preprocessing belongs to the model: it takes pixels in [0,1]."""

    def __init__(self, backbone: nn.Module, mean: float = 0.5, std: float = 0.25):
        super().__init__()
        self.backbone, self.mean, self.std = backbone, mean, std
        self.features = None
        backbone.avgpool.register_forward_hook(lambda _m, _i, output: setattr(self, "features", output.flatten(1)))

    def forward(self, pixels):
        return self.backbone((pixels - self.mean) / self.std)


class NarrowResNet(ResNet):
    """torchvision's ResNet-18 blocks from 16 channels on, with a 3x3 stem of stride 2 and no pooling."""

    def __init__(self, channels: int, classes: int):
        nn.Module.__init__(self)
        self._norm_layer = nn.BatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = 16, 1, 1, 64
        self.conv1 = nn.Conv2d(channels, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity()
        self.layer1 = self._make_layer(BasicBlock, 16, 2)
        self.layer2 = self._make_layer(BasicBlock, 32, 2, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 64, 2, stride=2)
        self.layer4 = self._make_layer(BasicBlock, 128, 2, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(128, classes)


def resnet18() -> Normalized:
    return Normalized(fill(torchvision.models.resnet18(num_classes=CLASSES)))


def narrow() -> Normalized:
    return Normalized(fill(NarrowResNet(1, CLASSES)))


def pixels(name: str, shape) -> torch.Tensor:
    """Bytes as floats in [0,1], as a data set holds them."""
    levels = np.floor((pattern(name, shape) + np.float32(1)) * np.float32(128)).astype(np.float32)
    return torch.from_numpy(levels) / 255


def labels(count: int) -> torch.Tensor:
    return torch.arange(count) % CLASSES


def forward_and_gradients(out, case: str, build, shape):
    x = pixels(f"{case}.pixels", shape)
    y = labels(shape[0])
    for mode in ["eval", "train"]:
        model = build().train(mode == "train")
        points = x.clone().requires_grad_(True)
        logits = model(points)
        F.cross_entropy(logits, y).backward()
        parameters = dict(model.backbone.named_parameters())
        out[f"{case}.{mode}.logits"] = logits
        out[f"{case}.{mode}.features"] = model.features
        out[f"{case}.{mode}.input_gradient"] = points.grad
        out[f"{case}.{mode}.conv1_gradient"] = parameters["conv1.weight"].grad
        out[f"{case}.{mode}.bn1_gradient"] = parameters["bn1.weight"].grad
        out[f"{case}.{mode}.fc_gradient"] = parameters["fc.weight"].grad
        out[f"{case}.{mode}.running_var"] = model.backbone.layer4[1].bn2.running_var


def models():
    out = {}
    forward_and_gradients(out, "resnet18.32", resnet18, (8, 3, 32, 32))
    forward_and_gradients(out, "resnet18.64", resnet18, (2, 3, 64, 64))
    forward_and_gradients(out, "resnet18-w16.32", narrow, (8, 1, 32, 32))
    return out


def attacks():
    """Adversarial images after one, two, three steps; predictions after ten. The model's own predictions are the labels, so all are attacked."""
    out = {}
    model = narrow().eval()
    few = pixels("attack.pixels", (8, 1, 32, 32))
    many = pixels("attack.many", (256, 1, 32, 32))
    eps, step, eps_l2, step_l2 = 4 / 255, 1 / 255, 0.3, 0.06
    with torch.no_grad():
        few_labels, many_labels = model(few).argmax(1), model(many).argmax(1)
    out["few.labels"], out["many.labels"] = few_labels, many_labels

    def linf(steps):
        return torchattacks.PGD(model, eps=eps, alpha=step, steps=steps, random_start=False)

    def l2(steps):
        return torchattacks.PGDL2(model, eps=eps_l2, alpha=step_l2, steps=steps, random_start=False)

    out["fgsm"] = torchattacks.FGSM(model, eps=eps)(few, few_labels)
    for steps in [1, 2, 3]:
        out[f"pgd.linf.{steps}"] = linf(steps)(few, few_labels)
    for steps in [1, 2, 4]:
        out[f"pgd.l2.{steps}"] = l2(steps)(few, few_labels)
    for name, attack in [("fgsm", torchattacks.FGSM(model, eps=eps)), ("pgd.linf", linf(10)), ("pgd.l2", l2(10))]:
        adversarial = attack(many, many_labels)
        with torch.no_grad():
            logits = model(adversarial)
        out[f"many.{name}.predictions"] = logits.argmax(1)
        out[f"many.{name}.losses"] = F.cross_entropy(logits, many_labels, reduction="none")
    return out


def ascend(model, x, loss_of, eps, step, steps):
    """Signed ascent from the image itself, in eval mode."""
    model.eval()
    points = x.clone()
    for _ in range(steps):
        points = points.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss_of(points), points)
        points = points.detach() + step * gradient.sign()
        points = (x + (points - x).clamp(-eps, eps)).clamp(0, 1)
    return points


def objectives():
    """DM and PGD-AT steps on fixed tensors: crafted points, losses, gradients."""
    out = {}
    x, other = pixels("objective.pixels", (16, 1, 32, 32)), pixels("objective.other", (16, 1, 32, 32))
    y = labels(16)
    eps, step, beta = 4 / 255, 5 / 255, 10.0
    model = narrow()

    def distance(points):
        model(points)
        return F.mse_loss(model.features, away)

    with torch.no_grad():
        model.eval()(other)
        away = model.features.clone()
    out["craft.features"] = ascend(model, x, distance, eps, step, 1)[:4]
    crafted = ascend(model, x, lambda points: F.cross_entropy(model(points), y), eps, step, 2)
    out["craft.cross_entropy"] = crafted[:4]

    model = narrow().train()
    noisy = (x + 0.05 * (other - 0.5)).clamp(0, 1)
    logits = model(torch.cat([x, noisy]))
    clean, perturbed = model.features.chunk(2)
    loss = F.cross_entropy(logits[:16], y) + beta * F.mse_loss(perturbed, clean)
    loss.backward()
    out["dm.loss"] = loss
    out["dm.conv1_gradient"] = model.backbone.conv1.weight.grad
    out["dm.layer4_gradient"] = model.backbone.layer4[1].bn2.weight.grad
    out["dm.fc_gradient"] = model.backbone.fc.weight.grad
    return out


def optimizers():
    """Five steps with given gradients and a learning rate that changes."""
    out = {}
    rules = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=5e-4),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4),
        "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
        "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=1e-3),
    }
    shapes = {"first": (5, 3), "second": (7,)}
    for rule, build in rules.items():
        parameters = {name: nn.Parameter(torch.from_numpy(pattern(name, shape))) for name, shape in shapes.items()}
        optimizer = build(list(parameters.values()))
        for step in range(5):
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
            for name, parameter in parameters.items():
                parameter.grad = torch.from_numpy(pattern(f"{name}.{step}", shapes[name]))
            optimizer.step()
        for name, parameter in parameters.items():
            out[f"{rule}.{name}"] = parameter
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed values instead of writing them")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    failed = False
    for make in [models, attacks, objectives, optimizers]:
        values = {k: v.detach().to(torch.float32).contiguous().numpy().copy() for k, v in make().items()}
        values = {k: v.reshape(1) if v.ndim == 0 else v for k, v in values.items()}
        path = GOLDEN / f"{make.__name__}.safetensors"
        if not arguments.check:
            GOLDEN.mkdir(exist_ok=True)
            save_file(values, path)
            print(f"{path.name}: {len(values)} tensors, {path.stat().st_size} bytes")
            continue
        committed = load_file(path)
        worst = max(float(np.mean(np.abs(values[k] - committed[k]) > 1e-3 * (1 + np.abs(committed[k])))) for k in committed)
        same = values.keys() == committed.keys() and worst <= 0.005
        failed |= not same
        print(f"{path.name}: {'agrees' if same else 'DIFFERS'} (largest share of differing values in a tensor: {worst:.4f})")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
