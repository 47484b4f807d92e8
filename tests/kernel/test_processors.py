"""One hash of all that the kernel computes, on every processor that it is compiled for, however it is optimised."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.kernel.library import FOLDER, variants

BITS = Path(__file__).with_name("bits.c")
EMULATOR = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
X86 = ("-target", "x86_64-linux-gnu.2.17", "-mcpu=x86_64_v3")
PROGRAMS = {
    "v3": (X86, "-O3"),
    "v3, hardly optimised": (X86, "-O1"),
    "v4": (("-target", "x86_64-linux-gnu.2.17", "-mcpu=x86_64_v4"), "-O3"),
    "arm64": (("-target", "aarch64-linux-musl", "-static"), "-O3"),
}


@pytest.mark.slow
@pytest.mark.skipif(not any(name.startswith("x86") for name in variants()), reason="programs for x86-64 run elsewhere")
def test_the_same_bits_on_every_processor(tmp_path: Path) -> None:
    found = {}
    for name, (target, optimisation) in PROGRAMS.items():
        if name == "v4" and "x86_64_v4" not in variants():
            continue
        if name == "arm64" and EMULATOR is None:
            continue
        program = compiled(tmp_path, name, *target, optimisation)
        command = [str(EMULATOR), str(program)] if name == "arm64" else [str(program)]
        found[name] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    print(f"compared: {', '.join(found)}")
    assert len(found["v3"]) == 6
    for name, hashes in found.items():
        assert hashes == found["v3"], name


def compiled(folder: Path, name: str, *flags: str) -> Path:
    """Compile the kernel and the program that hashes its results into one."""
    program = folder / name.replace(" ", "-")
    source = FOLDER / "source"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-std=gnu11", "-ffp-contract=off", "-Wno-psabi", *flags]
    subprocess.run(
        [*compiler, "-I", str(source), str(source / "kernel.c"), str(BITS), "-o", str(program)],
        env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"), "ZIG_LOCAL_CACHE_DIR": str(folder / "zig")},
        check=True,
    )
    return program
