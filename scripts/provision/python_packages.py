"""Python packages that only tests use: gRPC's client and its code generator."""

import sys

from . import wheels
from .support import SetupError, cached, fingerprint, link, lock, run, say

RECIPE = 1
PLACE = ".deps/python"


def provide():
    wheels.require_linux_x86_64("the Python packages of the tests",
                                "install grpcio, grpcio-tools and grpcio-reflection yourself")
    pins = lock("python")
    version = "%d.%d" % sys.version_info[:2]
    if sys.implementation.name != "cpython" or not (3, 9) <= sys.version_info[:2] <= (3, 13):
        raise SetupError("the Python packages of the tests are pinned for CPython 3.9 to 3.13, this is %s %s; "
                         "run it with another one: `make PYTHON=python3.13 …`" % (sys.implementation.name, version))
    name = "python%s-%s" % (version, fingerprint(pins, RECIPE))
    link(cached(name, lambda folder: build(folder, pins)), PLACE)


def build(folder, pins):
    say("installing " + ", ".join("%s %s" % (pin["name"], pin["version"]) for pin in pins))
    listed = wheels.requirements(pins, folder.parent / "requirements.txt")
    run(wheels.pip() + ["install", "--quiet", "--no-cache-dir", "--no-deps", "--only-binary=:all:", "--require-hashes",
                        "--target", folder, "-r", listed], wheels.ADVICE)
