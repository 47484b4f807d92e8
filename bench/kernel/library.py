"""Loading the kernel: the library for this processor, made of the sources that lie beside it."""

import ctypes
import functools
import hashlib
import os
import platform
from pathlib import Path

from bench.errors import UserError, unknown

FOLDER = Path(__file__).resolve().parent
SOURCES = ("kernel.h", "elementary.h", "networks.h", "arrays.h", "steps.h", "actions.h", "kernel.c", "processor.c")
NEEDS = "it needs Linux on x86-64 with AVX2, or on arm64"
VARIANT = "BENCH_KERNEL"  # names another library than the processor's best, for tests
REMEDY = "'make setup' builds it, and so does installing the package anew"
TYPES = {"n": ctypes.c_int64, "p": ctypes.c_void_p, "d": ctypes.c_double}
SIGNATURES = {  # of source/kernel.h: n for a count, p for memory, d for a number
    **dict.fromkeys(("exp", "log", "expm1", "tanh", "sqrt", "sin", "cos"), "npp"),
    **dict.fromkeys(("log_softmax", "sum"), "nnnpp"),
    "inner": "nnnppp",
    "traced": "nnppp",
    "adam": "nnppppppddd",
    "step": "p",
    "step_work": "p",
    "choose_actions": "p",
    "choose_actions_work": "p",
    "hidden_size": "nnp",
    "workspace": "nnpn",
    "packed_size": "nnpn",
    "pack": "nnnnpnpp",
    "choose": "nnnpppp",
    "forward": "nnnnnpnppppppp",
    "backward": "nnnnnpnpppppppp",
}


def digest() -> str:
    """Return the SHA-256 of the kernel's sources."""
    content = b"".join((FOLDER / "source" / name).read_bytes() for name in SOURCES)
    return hashlib.sha256(content).hexdigest()


@functools.cache
def variants() -> list[str]:
    """Return the names of the libraries that this processor can run, the best one first."""
    machine = platform.machine().lower() if platform.system() == "Linux" else ""
    if machine in ("aarch64", "arm64"):
        return ["aarch64"]
    if machine not in ("x86_64", "amd64"):
        return []
    level: int = _load("processor").processor_level()
    return [f"x86_64_v{each}" for each in (4, 3) if each <= level]


def variant() -> str:
    """Return the name of the library that is loaded. Raises `UserError` where this machine can run none."""
    found = variants()
    if not found:
        here = f"{platform.system()} on {platform.machine()}"
        raise UserError(f"the kernel has no library for {here}: {NEEDS}; engine=torch does without")
    chosen = os.environ.get(VARIANT) or found[0]
    if chosen not in found:
        raise unknown(VARIANT, chosen, found)
    return chosen


@functools.cache
def library() -> ctypes.CDLL:
    """Return the kernel for this processor.

    Raises:
        UserError: where there is none, or the one there is was made of other sources.
    """
    chosen = variant()
    loaded = _load(chosen)
    loaded.kernel_sources.restype = ctypes.c_char_p
    made_of = loaded.kernel_sources().decode()
    if made_of != digest():
        raise UserError(
            f"the kernel's library {_path(chosen).name} was made of other sources; 'make setup' makes it again"
        )
    for name, signature in SIGNATURES.items():
        for suffix in ("f32", "f64"):
            function = getattr(loaded, f"{name}_{suffix}")
            function.argtypes, function.restype = [TYPES[kind] for kind in signature], ctypes.c_int64
    return loaded


def _path(name: str) -> Path:
    return FOLDER / f"{name}.so"


def _load(name: str) -> ctypes.CDLL:
    if not _path(name).exists():
        raise UserError(f"the kernel's library {_path(name).name} is not built; {REMEDY}")
    return ctypes.CDLL(str(_path(name)))
