"""The queues that `make bench-dispatch` runs beside Gauntlet's, with the Node.js they ask for, out of npm packages."""

import pathlib
import shutil

from . import wheels
from .support import SetupError, cached, fingerprint, link, run, say, sha256_of

RECIPE = 1
PLACE = ".deps/bench"
# The lock file holds the SHA-512 of every package.
PINS = pathlib.Path(__file__).resolve().parents[1] / "bench/dispatching/peers"
WITHOUT = "leave the peers out: `python3 scripts/bench/dispatch.py --without peers`"
ADVICE = "check the network and npm's settings (`npm ping` must work), then run it again"


def provide():
    wheels.require_linux_x86_64("Node.js for the peers of the bench", WITHOUT)
    if shutil.which("npm") is None:
        raise SetupError("`npm` was not found, and the peers of the bench are npm packages; install it (`apt-get install npm`), "
                         "or " + WITHOUT)
    name = "bench-peers-%s" % fingerprint(sha256_of(PINS / "package-lock.json"), RECIPE)
    link(cached(name, build), PLACE)


def build(folder):
    say("installing graphile-worker, pg-boss and Node.js from npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(PINS / name, folder / name)
    # Nothing that the packages bring is run while they are installed.
    run(["npm", "ci", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], ADVICE)
