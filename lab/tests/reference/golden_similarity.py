#!/usr/bin/env python3
"""Golden values for the similarity of layers in gauntlet-lab, computed with NumPy from whole matrices of activations.

    venv-ref/bin/python lab/tests/reference/golden_similarity.py --published DIR   # rewrites lab/tests/golden/similarity.safetensors
    venv-ref/bin/python lab/tests/reference/golden_similarity.py --check           # recomputes and compares

The lab goes from streamed second moments to eigenvectors; here canonical correlations are the cosines between the left singular vectors of the two
centred matrices, and CKA (arXiv 1905.00414) comes from the centred Gram matrices of the points.

DIR holds published code, which is executed and not kept: `cca_core.py` and `pwcca.py` of google/svcca (commit 1f9f7ea) and `Demo.ipynb` of
google-research/google-research, representation_similarity (commit 10bf941). Its values are stored beside those of this script, and have to agree:

* its canonical correlations (epsilon 1e-10), their mean, and the mean after the singular value step of its tutorial;
* its CKA, from examples and from features;
* PWCCA as arXiv 1806.05759 defines it, with the canonical variables that `get_cca_similarity` returns. `compute_pwcca` itself projects on other
  directions: it leaves out the whitening and adds the neurons' means back. `weighted_as_published` shows that this is all of the difference.

Its `mean` leaves out the last correlations, whose sum is 2 % of the whole; that value is stored as `trimmed` and is not the lab's.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "similarity.safetensors"
EPSILON, THRESHOLD, AGREEMENT = 1e-10, 0.98, 1e-4


def pattern(name, shape):
    """Values in [-1, 1), exact in f32, that depend on the name and the index alone: see lab/tests/support/mod.rs."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x01000193) & 0xFFFFFFFF
    h = np.arange(int(np.prod(shape)), dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    unit = (h >> np.uint32(8)).astype(np.float64) * 2.0**-24
    return (2 * unit - 1).reshape(shape)


def low_rank(factors, name, points, channels, noise):
    """Channels that are combinations of few factors, and noise."""
    loadings = pattern(f"{name}.loadings", (factors.shape[1], channels))
    return factors @ loadings + noise * pattern(f"{name}.noise", (points, channels)) + pattern(f"{name}.mean", (channels,))


def reflected(x, name):
    """The same in an orthogonal basis: a Householder reflection."""
    v = pattern(name, (x.shape[1],))
    return x - 2 * np.outer(x @ v, v) / (v @ v)


def cases():
    """Activations of two layers, in their own shapes."""
    shared = pattern("shared", (400, 6))
    first = low_rank(shared, "low-rank.0", 400, 24, 0.2)
    yield "low-rank", first, low_rank(shared, "low-rank.1", 400, 16, 0.2)
    yield "low-rank.reversed", low_rank(shared, "low-rank.1", 400, 16, 0.2), first
    yield "rotated", first, 3 * reflected(first, "mirror") + 0.3 * pattern("rotated.noise", (400, 24)) - 1
    yield "independent", pattern("independent.0", (400, 12)), pattern("independent.1", (400, 20))
    few = pattern("few", (20, 3))
    yield "wide", low_rank(few, "wide.0", 20, 30, 0.1), low_rank(few, "wide.1", 20, 40, 0.1)
    dead = first.copy()
    dead[:, 3], dead[:, 7], dead[:, 11] = 0.7, 2 * dead[:, 5], 1e-7 * dead[:, 11]
    yield "dead", dead, low_rank(shared, "low-rank.1", 400, 16, 0.2)
    maps = pattern("maps", (20, 8, 5, 4))
    mixed = np.einsum("nchw,cd->ndhw", maps, pattern("maps.mixing", (8, 8)))
    yield "convolution", maps, np.maximum(mixed, 0) + 0.1 * pattern("maps.noise", (20, 8, 5, 4))
    tokens = pattern("tokens", (30, 7, 10))
    yield "tokens", tokens, np.maximum(tokens, 0) @ pattern("tokens.mixing", (10, 10))


def matrix(activations):
    """One row for each point, one column for each channel."""
    if activations.ndim == 4:
        activations = activations.transpose(0, 2, 3, 1)
    return activations.reshape(-1, activations.shape[-1])


class Side:
    """The principal directions of one layer."""

    def __init__(self, x):
        x = x - x.mean(0)
        x[:, (x**2).sum(0) < EPSILON * (x**2).sum(0).max()] = 0
        self.x = x
        left, singular, _ = np.linalg.svd(x, full_matrices=False)
        self.left = left[:, singular**2 > EPSILON * (x**2).sum(0).max()]
        self.rank = self.left.shape[1]
        explained = np.cumsum(singular**2) / np.sum(singular**2)
        self.kept = min(int(np.argmax(explained >= THRESHOLD)) + 1, self.rank)


def canonical(a, b):
    """Canonical correlations of two orthonormal bases, and the canonical variables of the first and the second."""
    u, correlations, v = np.linalg.svd(a.T @ b, full_matrices=False)
    return correlations, a @ u, b @ v.T


def projection_weighted(correlations, variables, x):
    """PWCCA: each correlation counts as much as its variable takes part in the neurons."""
    weights = np.abs(variables.T @ x).sum(1)
    return weights @ correlations / weights.sum()


def gram_cka(x, y):
    """CKA from the centred Gram matrices of the points."""
    def centred(z):
        gram = z @ z.T
        return gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()
    k, l = centred(x), centred(y)
    return (k * l).sum() / np.sqrt((k * k).sum() * (l * l).sum())


def own_values(x, y):
    a, b = Side(x), Side(y)
    correlations, of_a, of_b = canonical(a.left, b.left)
    weighing = (of_a, a.x) if a.rank <= b.rank else (of_b, b.x)
    return {
        "cka": gram_cka(x, y),
        "cca": correlations.mean(),
        "svcca": canonical(a.left[:, : a.kept], b.left[:, : b.kept])[0].mean(),
        "pwcca": projection_weighted(correlations, *weighing),
        "directions": [a.kept, b.kept],
        "ranks": [a.rank, b.rank],
    }


def weighted_as_published(x, correlations, rotation):
    """What `compute_pwcca` computes where the first layer has no more neurons than the second."""
    directions = (x - x.mean(0)) @ rotation + x.mean(0)
    basis, _ = np.linalg.qr(directions)
    return projection_weighted(correlations, basis, x)


class Published:
    """The published code."""

    def __init__(self, folder):
        sys.path.insert(0, str(folder))
        import cca_core
        import pwcca

        notebook = json.loads((folder / "Demo.ipynb").read_text())
        self.cka = {}
        exec("".join(next(cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code")), self.cka)
        self.cca, self.pwcca = cca_core.get_cca_similarity, pwcca.compute_pwcca

    def canonical(self, x, y, **options):
        return self.cca(x.T.copy(), y.T.copy(), epsilon=EPSILON, verbose=False, **options)

    def singular_step(self, x):
        """As the tutorial of google/svcca has it, with as many directions as explain the threshold."""
        _, singular, right = np.linalg.svd((x - x.mean(0)).T, full_matrices=False)
        kept = int(np.argmax(np.cumsum(singular**2) / np.sum(singular**2) >= THRESHOLD)) + 1
        return (singular[:kept, None] * right[:kept]).T

    def values(self, x, y):
        found = self.canonical(x, y)
        size = min(x.shape[1], y.shape[1])
        values = {
            "cka": self.cka["feature_space_linear_cka"](x, y),
            "cka.examples": self.cka["cka"](self.cka["gram_linear"](x), self.cka["gram_linear"](y)),
            "cca": found["cca_coef1"].mean(),
            "trimmed": found["mean"][0],
            "svcca": self.canonical(self.singular_step(x), self.singular_step(y))["cca_coef1"].mean(),
        }
        first = x.shape[1] <= y.shape[1]
        side, name = (x, "1") if first else (y, "2")
        directions = self.canonical(x, y, compute_dirns=True)[f"cca_dirns{name}"]
        variables = (directions - side.mean(0)[: len(directions), None])[:size].T
        values["pwcca"] = projection_weighted(found["cca_coef1"], variables / np.linalg.norm(variables, axis=0), side)
        if first:
            values["compute_pwcca"] = self.pwcca(x.T.copy(), y.T.copy(), epsilon=EPSILON)[0]
            explained = weighted_as_published(x, found["cca_coef1"], found["coef_x"].T)
            assert abs(values["compute_pwcca"] - explained) < AGREEMENT, "compute_pwcca is not what is said above"
        return values


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed values instead of writing them")
    parser.add_argument("--published", type=pathlib.Path, metavar="DIR", help="the published code")
    arguments = parser.parse_args()
    if not (arguments.check or arguments.published):
        parser.error("the committed values hold those of the published code: --published DIR is needed to rewrite them")
    published = Published(arguments.published) if arguments.published else None
    values, worst = {}, 0.0
    for name, x, y in cases():
        x, y = matrix(x), matrix(y)
        own = own_values(x, y)
        values.update({f"{name}.{key}": value for key, value in own.items()})
        # The published code takes no more neurons than points, and counts directions without variance as uncorrelated.
        if published and name not in ("wide", "dead"):
            theirs = published.values(x, y)
            values.update({f"{name}.published.{key}": value for key, value in theirs.items()})
            gap = max(abs(own[key] - theirs[key]) for key in ("cka", "cca", "svcca", "pwcca"))
            gap = max(gap, abs(own["cka"] - theirs["cka.examples"]))
            print(f"{name}: differs from the published code by {gap:.1e}")
            worst = max(worst, gap)
    values = {name: np.atleast_1d(np.asarray(value, dtype=np.float32)) for name, value in values.items()}
    if worst > AGREEMENT:
        print(f"{GOLDEN.name}: differs from the published code by {worst:.1e}")
        return 1
    if not arguments.check:
        save_file(values, GOLDEN)
        print(f"{GOLDEN.name}: {len(values)} tensors, {GOLDEN.stat().st_size} bytes")
        return 0
    committed = load_file(GOLDEN)
    largest = max(np.abs(values[name] - committed[name]).max() for name in values)
    same = largest < 1e-5 and (values.keys() == committed.keys() or not published)
    print(f"{GOLDEN.name}: {'agrees' if same else 'DIFFERS'} (largest difference: {largest:.1e})")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
