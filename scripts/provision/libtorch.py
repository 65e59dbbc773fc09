"""libtorch, put together from the PyTorch wheel: the CPU part of it, or all of it for CUDA."""

import os
import pathlib

from . import wheels
from .support import ROOT, SetupError, cached, fingerprint, link, lock, say

RECIPE = 1
PLACE = ".deps/libtorch"
CPU_LIBRARIES = {"libtorch_cpu.so", "libtorch.so", "libc10.so", "libgomp.so.1"}
# libtorch_cpu.so of the CUDA wheel is linked against these two even where no GPU is used.
CPU_CARRIERS = ["nvidia-cuda-runtime", "nvidia-cuda-cupti"]
CPU_CARRIED = {"libcudart.so.13", "libcupti.so.13"}


def provide():
    if use_own():
        return
    wheels.require_linux_x86_64("libtorch", "set LIBTORCH to a libtorch %s of your own" % lock("libtorch")["version"])
    flavour = os.environ.get("GAUNTLET_LIBTORCH", "cpu") or "cpu"
    if flavour not in ("cpu", "cuda"):
        raise SetupError("GAUNTLET_LIBTORCH is %r, expected `cpu` or `cuda`" % flavour)
    pins = lock("libtorch")
    build = build_cpu if flavour == "cpu" else build_cuda
    name = "libtorch-%s-%s-%s" % (pins["version"], flavour, fingerprint(pins, RECIPE))
    link(cached(name, lambda folder: build(folder, pins)), PLACE)


def use_own():
    """Honours LIBTORCH, unless it is merely our own link, which cargo passes on to what it runs."""
    own = os.environ.get("LIBTORCH")
    if not own or pathlib.Path(own).absolute() == ROOT / PLACE:
        return False
    folder = pathlib.Path(own).absolute()
    if not (folder / "lib").is_dir() or not (folder / "include").is_dir():
        raise SetupError("LIBTORCH is %s, which has no lib/ and include/; correct it or unset it" % own)
    say("using the libtorch of LIBTORCH: %s" % folder)
    link(folder, PLACE)
    return True


def build_cpu(folder, pins):
    carriers = [pins["wheels"]["torch"]] + [pins["wheels"][name] for name in CPU_CARRIERS]
    torch, *others = wheels.download(carriers, folder.parent / "wheels")
    wheels.extract(torch, lambda name: torch_member(name, folder, CPU_LIBRARIES))
    for wheel in others:
        wheels.extract(wheel, lambda name: library(name, folder, CPU_CARRIED))
    finish(folder, pins, CPU_LIBRARIES | CPU_CARRIED)


def build_cuda(folder, pins):
    # Written from the wheels' metadata, which pip resolved and hashed, but not run: no machine of
    # the project that could tell had a GPU when this was written.
    names = ["torch"] + CPU_CARRIERS + pins["cuda"]
    torch, *others = wheels.download([pins["wheels"][name] for name in names], folder.parent / "wheels")
    wheels.extract(torch, lambda name: torch_member(name, folder, None))
    for wheel in others:
        # One flat folder: every one of these libraries looks for its neighbours beside itself.
        wheels.extract(wheel, lambda name: library(name, folder, None))
    finish(folder, pins, CPU_LIBRARIES | CPU_CARRIED | {"libtorch_cuda.so", "libc10_cuda.so"})


def torch_member(name, folder, wanted):
    if name.startswith("torch/include/"):
        return folder / name[len("torch/"):]
    if ".dist-info/" in name and name.endswith("/LICENSE") and "third_party" not in name:
        return folder / "LICENSE"
    if name.startswith("torch/lib/") and "libtorch_python" not in name:
        return library(name, folder, wanted)
    return None


def library(name, folder, wanted):
    base = name.rsplit("/", 1)[-1]
    if ".so" not in base or not base.startswith("lib"):
        return None
    return folder / "lib" / base if wanted is None or base in wanted else None


def finish(folder, pins, expected):
    missing = sorted(name for name in expected if not (folder / "lib" / name).is_file())
    if missing or not (folder / "include").is_dir():
        raise SetupError("the PyTorch wheel lacks %s: its layout changed; set LIBTORCH to a libtorch of your own"
                         % (", ".join(missing) or "include/"))
    # The linker asks for -lgomp; the wheel has only the versioned name.
    (folder / "lib" / "libgomp.so").symlink_to("libgomp.so.1")
    (folder / "build-version").write_text(pins["version"] + "\n")
