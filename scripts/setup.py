#!/usr/bin/env python3
"""Brings what Gauntlet needs to build and run, pinned and checksummed, without root.

Everything lands in a cache shared between clones (GAUNTLET_CACHE, default
~/.cache/gauntlet) and is linked into this clone. Running it again costs nothing.
"""

import argparse
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

if sys.version_info < (3, 9):
    sys.exit("setup: this needs Python 3.9 or newer, found %d.%d" % sys.version_info[:2])

from provision import datasets, fonts, libtorch, peers, postgres, python_packages, tools  # noqa: E402
from provision.support import SetupError, say  # noqa: E402

PARTS = {
    "libtorch": (libtorch.provide, "libtorch for the executor, to .deps/libtorch"),
    "postgres": (postgres.provide, "Postgres for the private database, unless the system has one"),
    "data": (datasets.provide, "Fashion-MNIST, fonts, MNIST digits and trained weights, to .gauntlet/data"),
    "python": (python_packages.provide, "Python packages of the tests, to .deps/python"),
    "tools": (tools.provide, "cargo-deny for `make lint`, to .deps/tools"),
}
BENCHES = {
    "peers": (peers.provide, "graphile-worker and pg-boss for `make bench-dispatch`, to .deps/bench"),
}
MAINTENANCE = {
    "fonts-lock": (fonts.write_lock, "rewrite data/fonts.lock from the font packages (maintainers only)"),
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for name, (_, summary) in {**PARTS, **BENCHES, **MAINTENANCE}.items():
        commands.add_parser(name, help=summary)
    commands.add_parser("all", help="everything above but what benches and maintenance need")
    return parser.parse_args()


def main():
    part = parse_arguments().part
    chosen = PARTS.values() if part == "all" else [{**PARTS, **BENCHES, **MAINTENANCE}[part]]
    started = time.monotonic()
    try:
        for provide, _ in chosen:
            provide()
    except SetupError as error:
        sys.exit("setup: error: %s" % error)
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; run it again to go on")
    say("%s ready (%.1f s)" % (part, time.monotonic() - started))


if __name__ == "__main__":
    main()
