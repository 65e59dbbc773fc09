#!/usr/bin/env python3
"""Golden values for the corruptions in gauntlet-lab, computed with the package imagecorruptions.

    venv-ref/bin/python lab/tests/reference/golden_corruptions.py            # rewrites lab/tests/golden/corruptions.safetensors
    venv-ref/bin/python lab/tests/reference/golden_corruptions.py --check    # recomputes and compares

What the package draws at random is replaced by numbers from a formula, which the lab's tests feed to the lab in the same order: so also the random
corruptions can be compared pixel by pixel. `frost` is left out: the lab computes its ice, the package takes photographs.

The package is older than the libraries around it; the few names that these have dropped are given back to it before it is imported.
"""

import argparse
import pathlib
import sys
import types

import numpy as np
import scipy.ndimage
import skimage.filters
from golden_similarity import pattern
from safetensors.numpy import load_file, save_file

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "corruptions.safetensors"
# Height, width, and of how many pixels along each side one is kept: the whole would be megabytes.
SIZES = [(32, 32, 1), (96, 64, 3), (33, 47, 2)]


def gaussian(image, sigma, multichannel=False, **settings):
    return GAUSSIAN(image, sigma, channel_axis=-1 if multichannel else None, **settings)


GAUSSIAN = skimage.filters.gaussian
skimage.filters.gaussian = gaussian
np.float_ = np.float64
interpolation = types.ModuleType("scipy.ndimage.interpolation")
interpolation.map_coordinates = scipy.ndimage.map_coordinates
sys.modules["scipy.ndimage.interpolation"] = interpolation
resources = types.ModuleType("pkg_resources")
resources.resource_filename = lambda _module, name: name
sys.modules["pkg_resources"] = resources

from imagecorruptions import corrupt, get_corruption_names  # noqa: E402


class Draws:
    """Numbers from the formula in place of random ones."""

    def __init__(self, name):
        self.numbers = (pattern(name, (100_000,)) + 1) / 2
        self.taken = 0

    def random(self, size=()):
        count = int(np.prod(size))
        self.taken += count
        return self.numbers[self.taken - count : self.taken].reshape(size)

    def uniform(self, low, high, size=()):
        return low + (high - low) * self.random(size)

    def randint(self, low, high, size=()):
        return low + np.floor((high - low) * self.random(size)).astype(int)

    def normal(self, loc=0.0, scale=1.0, size=()):
        return loc + scale * (np.sqrt(3.0) * (2 * self.random(size) - 1))

    def poisson(self, means):
        return np.array([quantile(*pair) for pair in zip(means.flat, self.random(means.shape).flat)]).reshape(means.shape)

    def install(self):
        for name in ("uniform", "randint", "normal", "poisson"):
            setattr(np.random, name, getattr(self, name))
        np.random.default_rng = lambda _seed=None: self


def quantile(mean, uniform):
    """Of the Poisson distribution."""
    count, probability = 0, np.exp(-mean)
    below = probability
    while below <= uniform and count < 1000:
        count += 1
        probability *= mean / count
        below += probability
    return float(count)


def image(name, height, width):
    """Large squares under noise: something to blur, and something that blurring loses."""
    squares = byte_pattern(f"{name}.squares", (height // 8 + 1, width // 8 + 1, 3))
    noise = byte_pattern(f"{name}.noise", (height, width, 3))
    rows, columns = np.arange(height) // 8, np.arange(width) // 8
    return ((3 * squares[rows][:, columns] + noise) // 4).astype(np.uint8)


def byte_pattern(name, shape):
    return np.floor((pattern(name, shape) + 1) * 128).astype(int)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed values instead of writing them")
    arguments = parser.parse_args()
    values = {}
    for height, width, step in SIZES:
        case = f"{height}x{width}"
        original = image(f"corruptions.{case}", height, width)
        for corruption in get_corruption_names("all"):
            if corruption == "frost":
                continue
            for severity in range(1, 6):
                Draws("corruptions.draws").install()
                corrupted = corrupt(original.copy(), severity=severity, corruption_name=corruption)
                values[f"{case}.{corruption}.{severity}"] = np.ascontiguousarray(corrupted[::step, ::step])
    if not arguments.check:
        save_file(values, GOLDEN)
        GOLDEN.chmod(0o644)
        print(f"{GOLDEN.name}: {len(values)} tensors, {GOLDEN.stat().st_size} bytes")
        return 0
    committed = load_file(GOLDEN)
    largest = max(np.abs(values[name].astype(int) - committed[name]).max() for name in values)
    same = largest <= 1 and values.keys() == committed.keys()
    print(f"{GOLDEN.name}: {'agrees' if same else 'DIFFERS'} (largest difference: {largest}/255)")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
