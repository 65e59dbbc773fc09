"""A standard and an adversarially trained model, and the images they are attacked with, made once and kept.

Both are the narrow ResNet-18 on Fashion-MNIST at 32x32, so that a CPU trains them in a minute or two.
"""

import gzip
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch.nn import functional as F

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "lab/tests/reference"))
from make_golden import NarrowResNet, Normalized  # noqa: E402

EPOCHS = {"standard": 3, "robust": 4}
TRAIN_EXAMPLES = 12_000
ROBUST_EPS = 0.1
SPEC = {
    "backbone": "resnet18-w16",
    "stem": "standard",
    "channels": 1,
    "classes": 10,
    "normalize": {"mean": [0.5], "std": [0.25]},
}


def idx(path: pathlib.Path, offset: int, shape) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=offset).reshape(shape)


def fashion_mnist(data: pathlib.Path, split: str):
    folder = data / "fashion-mnist"
    images = idx(folder / f"{split}-images-idx3-ubyte.gz", 16, (-1, 28, 28))
    labels = idx(folder / f"{split}-labels-idx1-ubyte.gz", 8, (-1,))
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None], labels.astype(np.int64)


def train(kind: str, data: pathlib.Path) -> Normalized:
    torch.manual_seed(0)
    images, labels = fashion_mnist(data, "train")
    images, labels = torch.from_numpy(images[:TRAIN_EXAMPLES].copy()), torch.from_numpy(labels[:TRAIN_EXAMPLES].copy())
    model = Normalized(NarrowResNet(1, 10))
    steps = EPOCHS[kind] * (len(images) // 128)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        chosen = torch.randint(0, len(images), (128,))
        pixels, targets = images[chosen].float() / 255, labels[chosen]
        if kind == "robust":
            pixels = one_step(model, pixels, targets)
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(pixels), targets).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def one_step(model, pixels, targets):
    """Random-start one-step adversarial examples, as fast adversarial training uses them."""
    model.eval()
    points = (pixels + (2 * torch.rand_like(pixels) - 1) * ROBUST_EPS).clamp(0, 1).requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(points), targets), points)
    points = points.detach() + 1.25 * ROBUST_EPS * gradient.sign()
    return (pixels + (points - pixels).clamp(-ROBUST_EPS, ROBUST_EPS)).clamp(0, 1)


def checkpoint(kind: str, folder: pathlib.Path, data: pathlib.Path) -> pathlib.Path:
    """The state dict of a model, trained if it is not there yet."""
    path = folder / f"{kind}.safetensors"
    if not path.exists():
        print(f"training the {kind} model", file=sys.stderr)
        state = train(kind, data).backbone.state_dict()
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.numpy() for name, tensor in state.items() if tensor.is_floating_point()}, path)
    return path


def load(path: pathlib.Path) -> Normalized:
    model = Normalized(NarrowResNet(1, 10))
    state = {name: torch.from_numpy(values) for name, values in load_file(path).items()}
    model.backbone.load_state_dict(state, strict=False)
    return model.eval()


def examples(folder: pathlib.Path, data: pathlib.Path, count: int) -> pathlib.Path:
    """The first test images."""
    images, labels = fashion_mnist(data, "t10k")
    path = folder / f"examples-{count}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"images": np.ascontiguousarray(images[:count]), "labels": labels[:count].copy()}, path)
    return path


def tensors(path: pathlib.Path):
    content = load_file(path)
    return torch.from_numpy(content["images"]).float() / 255, torch.from_numpy(content["labels"])


def write_job(path: pathlib.Path, **job) -> pathlib.Path:
    path.write_text(json.dumps({"model": SPEC, **job}, default=str))
    return path
