#!/usr/bin/env python3
"""Golden values for the frequencies in gauntlet-lab, computed with numpy.fft.

    venv-ref/bin/python lab/tests/reference/golden_frequency.py            # rewrites lab/tests/golden/frequency.safetensors
    venv-ref/bin/python lab/tests/reference/golden_frequency.py --check    # recomputes and compares

Images are split in the shifted spectrum, by the distance of its places from its centre; the lab never shifts. Waves are inverse transforms of a
spectrum that is zero but at a frequency and its opposite.
"""

import argparse
import pathlib
import sys

import numpy as np
from golden_similarity import pattern
from safetensors.numpy import load_file, save_file

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "frequency.safetensors"
SHAPES = {"even": (2, 1, 32, 32), "odd": (2, 3, 9, 12)}
RADII = {"even": [0.0, 4.0, 16.0], "odd": [1.0, 2.5, 5.0]}
WAVES = {"even": [(0, 0), (3, -5), (-16, 7), (-16, -16)], "odd": [(4, -6), (-2, 5), (0, -6)]}


def pixels(name, shape):
    """Bytes as f32 in [0,1]."""
    return np.floor((pattern(name, shape) + 1) * 128).astype(np.float32) / np.float32(255)


def distances(height, width):
    """Distance from the centre of the shifted spectrum."""
    rows, columns = np.arange(height) - height // 2, np.arange(width) - width // 2
    return np.sqrt(rows[:, None] ** 2 + columns[None, :] ** 2)


def low_part(images, radius):
    spectrum = np.fft.fftshift(np.fft.fft2(images), axes=(-2, -1))
    spectrum[..., distances(*images.shape[-2:]) > radius] = 0
    return np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(-2, -1))).real


def wave(shape, frequency):
    height, width = shape
    spectrum = np.zeros(shape)
    spectrum[frequency[0] % height, frequency[1] % width] = 1
    spectrum[-frequency[0] % height, -frequency[1] % width] = 1
    image = np.fft.ifft2(spectrum).real
    return image / np.linalg.norm(image)


def rings(perturbations):
    """Number of frequencies and mean power at each rounded distance."""
    power = (np.abs(np.fft.fftshift(np.fft.fft2(perturbations, norm="ortho"), axes=(-2, -1))) ** 2).mean((0, 1))
    radius = np.floor(distances(*power.shape) + 0.5).astype(int)
    return [(int(r), (radius == r).sum(), power[radius == r].mean()) for r in np.unique(radius)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed values instead of writing them")
    arguments = parser.parse_args()
    values = {}
    for case, shape in SHAPES.items():
        images = pixels(f"frequency.{case}", shape)
        for radius in RADII[case]:
            low = low_part(images, radius)
            values[f"{case}.low.{radius}"] = low.clip(0, 1)
            values[f"{case}.high.{radius}"] = (images - low + 0.5).clip(0, 1)
        for vertical, horizontal in WAVES[case]:
            values[f"{case}.wave.{vertical}.{horizontal}"] = wave(shape[-2:], (vertical, horizontal))
        values[f"{case}.spectrum"] = rings(images - np.float32(0.5))
    values = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in values.items()}
    if not arguments.check:
        save_file(values, GOLDEN)
        GOLDEN.chmod(0o644)
        print(f"{GOLDEN.name}: {len(values)} tensors, {GOLDEN.stat().st_size} bytes")
        return 0
    committed = load_file(GOLDEN)
    largest = max(np.abs(values[name] - committed[name]).max() for name in values)
    same = largest < 1e-5 and values.keys() == committed.keys()
    print(f"{GOLDEN.name}: {'agrees' if same else 'DIFFERS'} (largest difference: {largest:.1e})")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
