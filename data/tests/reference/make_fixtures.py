"""Makes the files beside it, which PyTorch wrote and Rust must read.

    python make_fixtures.py        # torch 2.13.0, numpy 2.4, safetensors 0.8

Every value follows from `torch.arange`, so that running it again changes nothing but zip headers.
"""

import argparse
import datetime
import enum
import os
import pathlib
from collections import OrderedDict, defaultdict

import numpy
import torch
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).parent


def state_dict():
    """Every way a tensor of a state dict can lie in its file."""
    shared = torch.arange(24, dtype=torch.float32) / 8
    # The extremes of half precision: largest, smallest normal, smallest subnormal, zeros, thirds.
    halves = torch.tensor([65504.0, 2.0**-14, 2.0**-24, -0.0, 1 / 3, -1024.5], dtype=torch.float16)
    return OrderedDict([
        ("contiguous", torch.arange(6, dtype=torch.float32).reshape(2, 3) - 2.5),
        ("half", halves),
        ("bfloat", torch.tensor([1 / 3, 3.0e38, -(2.0**-130), 7.0], dtype=torch.bfloat16)),
        ("double", torch.tensor([1 / 3, 1e-300, -2.5e30], dtype=torch.float64)),
        ("transposed", shared.reshape(4, 6).t()),
        ("slice", shared.reshape(2, 3, 4)[:, 1:, ::2]),
        ("tied", shared),
        ("parameter", nn.Parameter(torch.arange(4, dtype=torch.float32).reshape(2, 2) * -0.5)),
        ("channels_last", (torch.arange(24, dtype=torch.float32).reshape(1, 2, 3, 4) / 4).to(memory_format=torch.channels_last)),
        ("expanded", torch.tensor([4.5]).expand(3)),
        ("scalar", torch.tensor(0.125)),
        ("empty", torch.zeros(0, 3)),
        ("num_batches_tracked", torch.tensor(7)),
        ("mask", torch.tensor([True, False])),
    ])


def module():
    """A small model whose weights are known; its state dict carries `_metadata`."""
    model = nn.Sequential(OrderedDict([("conv", nn.Conv2d(1, 2, 2)), ("bn", nn.BatchNorm2d(2)), ("fc", nn.Linear(2, 3))]))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((torch.arange(parameter.numel()) / 16).reshape(parameter.shape))
    return model


def checkpoint(model):
    """What a training script saves."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return {
        "epoch": 3,
        "arch": "resnet18",
        "best_acc1": torch.tensor(76.5),
        "history": [1.5, 2, None, True, (1, 2), {"nested": {"deep": [2**70, -(2**70)]}}, -5, 300, 70000],
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }


class Settings(dict):
    """A class of a training script's own."""

    def __init__(self, **entries):
        super().__init__(**entries)
        self.frozen = True


class Phase(enum.Enum):
    LAST = 1


def objects(model):
    """What training scripts put beside the state dict."""
    meters = defaultdict(list)
    meters["loss"].append(0.5)
    return {
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("out"), milestones=[75, 90]),
        "settings": Settings(width=2, inner=Settings(depth=3)),
        "meters": meters,
        "time": datetime.datetime(2020, 1, 2, 3, 4, 5),
        "device": torch.device("cpu"),
        "size": torch.Size([2, 3]),
        "array": numpy.arange(3.0),
        "path": pathlib.PosixPath("out"),
        "model": OrderedDict(model.state_dict()),
    }


class Malicious:
    def __reduce__(self):
        return os.system, ("touch /tmp/gauntlet-executed-a-pickle",)


def resampled():
    """Images as PyTorch resamples them in floating point, before rounding."""
    images = (torch.arange(2 * 7 * 9).reshape(2, 1, 7, 9) * 37 % 256).to(torch.uint8)
    tensors = {"images": images}
    for height, width in [(3, 4), (14, 18), (5, 20), (7, 1)]:
        resized = nn.functional.interpolate(images.double(), (height, width), mode="bilinear", antialias=True)
        tensors["%dx%d" % (height, width)] = resized.float()
    return tensors


def main():
    tensors, model = state_dict(), module()
    torch.save(tensors, HERE / "state_dict.pth")
    torch.save(tensors, HERE / "state_dict_protocol_4.pth", pickle_protocol=4)
    floats = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    save_file(floats, HERE / "state_dict.safetensors")
    as_float32 = {name: tensor.float() for name, tensor in floats.items() if tensor.is_floating_point()}
    save_file(as_float32, HERE / "state_dict_float32.safetensors")

    torch.save(model.state_dict(), HERE / "module.pth")
    torch.save(checkpoint(model), HERE / "checkpoint.pth")
    # Protocol 2, the default, builds sets and bytes by calling functions; protocol 4 has instructions for them.
    rich = {**checkpoint(model), "sets": [{1, 2}, frozenset({3})], "bytes": b"bytes", "long": 2**3000}
    torch.save(rich, HERE / "checkpoint_protocol_4.pth", pickle_protocol=4)
    torch.save({"model": model.state_dict(), "epoch": 1}, HERE / "checkpoint_model.pth")

    torch.save({"weight": torch.zeros(2), "extra": Malicious()}, HERE / "malicious.pth")
    torch.save(model, HERE / "whole_model.pth")
    torch.save({"state_dict": model.state_dict(), "best": numpy.float64(1.5)}, HERE / "numpy_scalar.pth")
    torch.save(model.state_dict(), HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(tensors, HERE / "legacy_state_dict.pth", _use_new_zipfile_serialization=False)
    torch.save(objects(model), HERE / "objects.pth")
    torch.save(objects(model), HERE / "objects_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"model": {"state_dict": model.state_dict()}, "epoch": 1}, HERE / "nested_twice.pth")
    torch.save({"state_dict": model.state_dict(), "phase": Phase.LAST}, HERE / "enum.pth")
    torch.jit.script(nn.Linear(2, 2)).save(str(HERE / "torchscript.pth"))
    torch.save([torch.zeros(2)], HERE / "list.pth")
    torch.save(torch.zeros(2), HERE / "tensor.pth")
    torch.save({"network": {"weight": torch.zeros(2)}, "epoch": 1}, HERE / "other_nesting.pth")
    torch.save({"steps": torch.tensor(3)}, HERE / "integers.pth")
    torch.save({3: torch.zeros(2)}, HERE / "number_key.pth")
    torch.save({"weight": torch.zeros(2, dtype=torch.complex64)}, HERE / "complex.pth")

    save_file(resampled(), HERE / "resampled.safetensors")
    for path in HERE.glob("*.safetensors"):
        path.chmod(0o644)


if __name__ == "__main__":
    main()
