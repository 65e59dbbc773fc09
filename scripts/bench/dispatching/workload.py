"""Sweeps of tasks that compute nothing: many seeds and radii over one tiny image and an imported model.

Only the workers are no-op. To client, coordinator and database these are sweeps like any other: files are read, the grid is planned twice, and every
task has a spec, a row of the results, an attempt and outcomes.
"""

import json
import pathlib
import struct

WIDTH, CLASSES, SIDE = 16, 10, 16
RADII = 100


def write_files(folder):
    """The data set and the checkpoint that all sweeps name."""
    folder = pathlib.Path(folder)
    images = {"images": ("U8", [1, 1, SIDE, SIDE], 1), "labels": ("I64", [1], 8)}
    write_safetensors(folder / "images.safetensors", images)
    write_safetensors(folder / "model.safetensors", {name: ("F32", shape, 4) for name, shape in resnet18_w16()})


def resnet18_w16():
    """Names and shapes of the backbone `resnet18-w16` for grey images."""
    yield "conv1.weight", [WIDTH, 1, 3, 3]
    yield from normalisation("bn1", WIDTH)
    before = WIDTH
    for stage in range(4):
        width = WIDTH << stage
        for block in range(2):
            name = f"layer{stage + 1}.{block}"
            yield f"{name}.conv1.weight", [width, before, 3, 3]
            yield from normalisation(f"{name}.bn1", width)
            yield f"{name}.conv2.weight", [width, width, 3, 3]
            yield from normalisation(f"{name}.bn2", width)
            if before != width:
                yield f"{name}.downsample.0.weight", [width, before, 1, 1]
                yield from normalisation(f"{name}.downsample.1", width)
            before = width
    yield "fc.weight", [CLASSES, before]
    yield "fc.bias", [CLASSES]


def normalisation(name, width):
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", [width]


def write_safetensors(path, tensors):
    """Zeros of these types, shapes and sizes of an element."""
    header, offset = {}, 0
    for name, (kind, shape, size) in tensors.items():
        length = size
        for side in shape:
            length *= side
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + length]}
        offset += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


class Sweeps:
    """Writes sweep files, none of which shares a task with another."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.next_seed = 0
        write_files(self.folder)

    def write(self, name, tasks):
        """A sweep file of so many tasks."""
        radii = min(RADII, tasks)
        if tasks % radii:
            raise ValueError(f"{tasks} tasks are not a multiple of {radii}")
        seeds = list(range(self.next_seed, self.next_seed + tasks // radii))
        self.next_seed += len(seeds)
        path = self.folder / f"{name}.toml"
        path.write_text(f"""name = "{name}"
seeds = {seeds}

[[dataset]]
name = "nothing"
format = "safetensors"
test = "images.safetensors"
classes = {CLASSES}

[[model]]
backbone = "resnet18-w16"

[[init]]
name = "imported"
checkpoint = "model.safetensors"

[[recipe]]
name = "as-is"
method = "none"

[[attack]]
name = "noise"
method = "noise"
eps = {[round((number + 1) / 1000, 3) for number in range(radii)]}
""")
        return path
