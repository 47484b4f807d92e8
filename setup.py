"""What setuptools cannot be told in pyproject.toml: where conf/ lies in a wheel, and how the kernel is compiled.

The compiler is zig's, a build requirement from PyPI that is gone after the build: nobody needs one of their own.
One source makes a library for each kind of processor; bench/kernel/library.py chooses when it is loaded.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

KERNEL = "bench/kernel/source"
SOURCES = (
    "kernel.h",
    "elementary.h",
    "networks.h",
    "arrays.h",
    "steps.h",
    "actions.h",
    "kernel.c",
    "processor.c",
)  # as in library.py
FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=off", "-Wno-psabi", "-shared", "-fPIC", "-g0", "-s")
LINUX = "linux-gnu.2.17"
LIBRARIES = {  # name -> source, target
    "x86_64_v3": ("kernel.c", ("-target", f"x86_64-{LINUX}", "-mcpu=x86_64_v3")),
    "x86_64_v4": ("kernel.c", ("-target", f"x86_64-{LINUX}", "-mcpu=x86_64_v4")),
    "aarch64": ("kernel.c", ("-target", f"aarch64-{LINUX}")),
    "processor": ("processor.c", ("-target", f"x86_64-{LINUX}")),
}


class BuildKernel(build_ext):
    """Compiles every library of the kernel, whatever this machine's processor is."""

    def get_ext_filename(self, fullname: str) -> str:
        """Name a library without the tag of an interpreter, since none of Python is in it."""
        return f"{fullname.replace('.', os.sep)}.so"

    def build_extension(self, ext: Extension) -> None:
        """Compile one library, with the digest of all sources inside."""
        source, target = LIBRARIES[ext.name.rpartition(".")[2]]
        content = b"".join(Path(KERNEL, name).read_bytes() for name in SOURCES)
        made = Path(self.get_ext_fullpath(ext.name))
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as cache:
            subprocess.run(
                [
                    *(sys.executable, "-m", "ziglang", "cc", *FLAGS, *target),
                    f'-DSOURCES="{hashlib.sha256(content).hexdigest()}"',
                    *(f"{KERNEL}/{source}", "-o", str(made)),
                ],
                env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache},
                check=True,
            )


class Wheel(bdist_wheel):
    """A wheel for any Python 3 on Linux, x86-64 or arm64: it holds the libraries of both."""

    def finalize_options(self) -> None:
        """Say that the wheel belongs to a platform."""
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tag: on other systems, where the libraries cannot be loaded, that of the machine."""
        if sys.platform != "linux":
            return super().get_tag()
        return "py3", "none", "manylinux_2_17_x86_64.manylinux_2_17_aarch64"


setup(
    packages=[*find_packages(include=["bench*", "analysis*"]), "bench.conf", "hydra_plugins"],
    package_dir={"bench.conf": "conf"},
    ext_modules=[
        Extension(f"bench.kernel.{name}", [f"{KERNEL}/{source}"], depends=[f"{KERNEL}/{each}" for each in SOURCES])
        for name, (source, _) in LIBRARIES.items()
    ],
    cmdclass={"build_ext": BuildKernel, "bdist_wheel": Wheel},
)
