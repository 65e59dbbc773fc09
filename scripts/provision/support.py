"""What every part of the set-up shares: the cache, links, the lock file, checksums and errors."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
ROOT = SCRIPTS.parent
LOCK_FILE = SCRIPTS / "setup.lock.json"


class SetupError(Exception):
    """Something the user can act on; the message says how."""


def say(message):
    print("setup: " + message, file=sys.stderr, flush=True)


def lock(section):
    """One section of the lock file."""
    try:
        return json.loads(LOCK_FILE.read_text())[section]
    except (OSError, ValueError, KeyError) as error:
        raise SetupError("%s is missing or broken (%r); restore it with git" % (LOCK_FILE, error))


def fingerprint(*parts):
    """Eight hex digits that change whenever the pins or the recipe of a cache entry change."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def sha256_of(path, opener=open):
    digest = hashlib.sha256()
    with opener(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def cache_root():
    configured = os.environ.get("GAUNTLET_CACHE")
    if configured:
        return pathlib.Path(configured).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base).absolute() / "gauntlet"


def cached(name, build):
    """The cache entry `name`; `build(folder)` fills it if it is not there yet.

    An entry appears by one rename, so it is either complete or absent. A lock makes a second
    set-up wait for the first instead of downloading the same files again.
    """
    entry = cache_root() / name
    try:
        if entry.is_dir():
            return entry
        entry.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(entry.parent / (name + ".lock")):
            if not entry.is_dir():
                build_and_rename(entry, build)
    except OSError as error:
        raise SetupError(
            "cannot write to the cache %s: %s; free some space there or set GAUNTLET_CACHE to another folder"
            % (entry.parent, error)
        )
    return entry


def build_and_rename(entry, build):
    prefix = ".building-%s-" % entry.name
    for stale in entry.parent.glob(prefix + "*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=entry.parent) as scratch:
        folder = pathlib.Path(scratch) / "entry"
        folder.mkdir()
        build(folder)
        folder.rename(entry)


@contextlib.contextmanager
def exclusive(path):
    with open(path, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up that is making %s" % path.stem)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def link(target, place):
    """Makes `place` in the clone a link to `target`, replacing an older link atomically."""
    place = ROOT / place
    if place.is_symlink() and os.readlink(place) == str(target):
        return
    if place.exists() and not place.is_symlink():
        raise SetupError("%s is in the way: it is not a link made by set-up; move it elsewhere" % place)
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(".%s.%d" % (place.name, os.getpid()))
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(place)


def run(command, advice, **options):
    """Runs a command quietly; if it fails, its last lines and the advice are the error."""
    shown = " ".join(str(part) for part in command[:4])
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", **options,
        )
    except OSError as error:
        raise SetupError("cannot run `%s`: %s; %s" % (shown, error, advice))
    if done.returncode != 0:
        tail = "\n    ".join(done.stdout.strip().splitlines()[-8:])
        raise SetupError("`%s …` failed:\n    %s\n  %s" % (shown, tail, advice))
    return done.stdout
