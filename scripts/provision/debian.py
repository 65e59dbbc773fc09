"""Debian packages as carriers of data: fetched and taken apart without root and without installing anything."""

import os
import shutil
import subprocess

from .support import SetupError, run, say

# What `apt-get update` would fetch besides the package lists; none of it is needed.
NEEDLESS_TARGETS = ["deb::Translations", "deb::Contents-deb", "deb::DEP-11", "deb::DEP-11-icons",
                    "deb::DEP-11-icons-small", "deb::DEP-11-icons-hidpi", "deb-src::Sources"]
ADVICE = "check the network and the system's apt sources (`apt-get update` must work), then run it again"


def unpack(packages, folder):
    """Downloads the packages into `folder` and unpacks them; returns the root of the unpacked trees.

    Packages that this system's release does not carry are left out: the caller checks for the
    content it needs, by checksum.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise SetupError("`%s` was not found, and the data comes from Debian packages; use Debian or Ubuntu, "
                             "or put the files below .gauntlet/data yourself (docs name them)" % tool)
    downloads, tree = folder / "deb", folder / "tree"
    downloads.mkdir(parents=True, exist_ok=True)
    tree.mkdir(exist_ok=True)
    say("downloading " + ", ".join(packages))
    download(packages, downloads, folder / "apt")
    for package in sorted(downloads.glob("*.deb")):
        run(["dpkg-deb", "--extract", package, tree], ADVICE)
    return tree


def download(packages, downloads, state):
    """Tries the system's package lists first; where they are absent or stale, fetches private ones."""
    if apt(["download"] + packages, downloads, cache_only(state)) is None:
        return
    update = apt(["update"], downloads, private(state))
    problem = apt(["download"] + packages, downloads, private(state))
    if problem is not None:
        # One unknown name makes apt fetch nothing at all, so they are asked for one by one.
        for package in packages:
            apt(["download", package], downloads, private(state))
    if problem is not None and not any(downloads.glob("*.deb")):
        raise SetupError("apt delivered none of %s:\n    %s\n  %s" % (
            ", ".join(packages), "\n    ".join((update or problem).splitlines()[-6:]), ADVICE))


def cache_only(state):
    (state / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    options = ["Dir::Cache=%s" % (state / "cache"), "Debug::NoLocking=1"]
    if os.geteuid() == 0:
        # apt would drop to a user that cannot enter this folder.
        options.append("APT::Sandbox::User=root")
    return options


def private(state):
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    options = cache_only(state) + ["Dir::State=%s" % state, "Dir::State::lists=%s" % (state / "lists"),
                                   "Acquire::Languages=none"]
    for target in NEEDLESS_TARGETS:
        options.append("Acquire::IndexTargets::%s::DefaultEnabled=false" % target)
    return options


def apt(arguments, folder, options):
    """Runs apt-get; returns what it said if it failed, else None."""
    command = ["apt-get", "--quiet", "--yes"]
    for option in options:
        command += ["-o", option]
    done = subprocess.run(command + arguments, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", env={**os.environ, "LC_ALL": "C"})
    return None if done.returncode == 0 else done.stdout.strip() or "apt-get said nothing"
