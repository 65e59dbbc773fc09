"""The typefaces of the glyph data: which ones, and which of them are for training and which for testing.

`data/fonts.lock` names every face by the checksum of its content, so it does not matter which
release of which package brings it.
"""

import hashlib
import pathlib
import shutil
import tempfile

from . import debian
from .sfnt import Face
from .support import ROOT, SetupError, cache_root, cached, fingerprint, lock, say, sha256_of

RECIPE = 1
FONTS_LOCK = ROOT / "data" / "fonts.lock"
SUFFIXES = {".ttf", ".otf"}
TEST_SHARE = 0.3
# Below this share of the locked faces the glyph data would be another, easier task.
ENOUGH = 0.5

# They map the letters to pictures, keys, ornaments or Greek.
NOT_LETTERS = {"D050000L", "Standard Symbols PS", "Linux Biolinum Keyboard O", "Linux Libertine Initials O",
               "DejaVu Math TeX Gyre"}
# Families drawn from one another: were they divided, the test faces would not be new ones.
RELATED = [
    {"DejaVu Sans", "DejaVu Sans Mono", "Hack"},
    {"FreeSans", "Nimbus Sans", "Nimbus Sans Narrow"},
    {"FreeSerif", "Nimbus Roman"},
    {"FreeMono", "Nimbus Mono PS"},
    {"Gentium Basic", "Gentium Book Basic"},
    {"Liberation Sans", "Liberation Sans Narrow"},
    {"Linux Libertine O", "Linux Libertine Display O", "Linux Libertine Mono O"},
    {"Open Sans", "Open Sans Condensed"},
    {"Quicksand", "Quicksand Light", "Quicksand Medium"},
    {"Roboto", "Roboto Condensed"},
]


def provide():
    """The cache entry with the locked faces."""
    faces = read_lock()
    name = "fonts-%s" % fingerprint(sorted(faces.items()), RECIPE)
    return cached(name, lambda folder: build(folder, faces))


def read_lock():
    """Locked faces: checksum to file name."""
    try:
        lines = FONTS_LOCK.read_text().splitlines()
        return {fields[0]: fields[1] for fields in (line.split("  ") for line in lines if line)}
    except (OSError, IndexError) as error:
        raise SetupError("%s is missing or broken (%s); restore it with git" % (FONTS_LOCK, error))


def build(folder, faces):
    tree = debian.unpack(lock("fonts"), folder.parent)
    found = {}
    for path in font_files(tree):
        name = faces.get(sha256_of(path))
        if name:
            shutil.copyfile(path, folder / name)
            found[name] = path
    require_enough(len(found), sorted(set(faces.values()) - set(found)))


def require_enough(found, missing):
    """Another release draws some faces otherwise. Those are left out, never replaced: what is there is what is locked."""
    if not missing:
        return
    shown = "%d of %d locked faces (%s, …)" % (len(missing), found + len(missing), ", ".join(missing[:3]))
    remedy = "copy the folder %s/fonts-* from a machine with Debian 12, whose packages the lock was made from" % cache_root()
    if found < ENOUGH * (found + len(missing)):
        raise SetupError("this system's font packages do not carry %s; %s" % (shown, remedy))
    say("warning: this system's font packages do not carry %s: glyph data will differ from the published one. "
        "To have the same, %s" % (shown, remedy))


def font_files(tree):
    return sorted(path for path in tree.rglob("*") if path.suffix.lower() in SUFFIXES and not path.is_symlink())


def write_lock():
    """Maintenance: chooses and divides the faces of the packages anew."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = debian.unpack(lock("fonts"), pathlib.Path(scratch))
        faces = [(path, Face(path.read_bytes())) for path in font_files(tree)]
        chosen = {path.name: (sha256_of(path), face.family()) for path, face in faces
                  if face.draws_latin_capitals() and face.family() not in NOT_LETTERS}
    tests = test_families([family for _, family in chosen.values()])
    lines = ["%s  %s  %s  %s\n" % (digest, name, family, "test" if family in tests else "train")
             for name, (digest, family) in sorted(chosen.items())]
    FONTS_LOCK.write_text("".join(lines))
    say("%s: %d faces, %d of them for testing" % (FONTS_LOCK, len(lines), sum(line.endswith("test\n") for line in lines)))


def test_families(families):
    """Whole groups of related families, in the order of the hashes of their names, until the share is reached."""
    groups = {}
    for family in families:
        group = min(next((related for related in RELATED if family in related), {family}))
        groups.setdefault(group, []).append(family)
    tests = []
    for group in sorted(groups, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if len(tests) + len(groups[group]) <= round(TEST_SHARE * len(families)):
            tests += groups[group]
    return set(tests)
