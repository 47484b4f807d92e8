"""Where a block came from: code, versions, machine, command. Never who ran it."""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.config.parse import to_mapping
from bench.config.schema import Config
from bench.errors import UserError
from bench.paths import ROOT, private, secrets

__all__ = ["alive", "command", "git", "host", "private", "process", "refuse_secrets", "settings", "versions"]

PACKAGES = ("gymnasium", "numpy", "policy-gradient-bench", "pyarrow", "sb3-contrib", "stable-baselines3", "torch")
THREADS = 1  # of each process; cells run side by side instead
COMMAND = "BENCH_COMMAND"  # the command line, handed to worker processes through the environment


def settings(config: Config) -> dict[str, Any]:
    """The configuration as a record keeps it: paths without the home folder, and without who ran it.

    Raises:
        UserError: where another setting holds what the environment keeps secret.
    """
    reference, here = config.reference, Path.cwd()
    path = reference.path
    if path is not None:
        path = private(os.path.relpath(path) if Path(path).is_absolute() and Path(path).is_relative_to(here) else path)
    kept = replace(config, results=private(config.results), reference=replace(reference, path=path))
    mapping = to_mapping(kept)
    refuse_secrets(json.dumps(mapping, ensure_ascii=False))
    return mapping


def refuse_secrets(text: str) -> None:
    """Refuse what is to be recorded where it holds a value of the environment's named TOKEN, KEY or so.

    Raises:
        UserError: records are handed on.
    """
    for name, value in secrets().items():
        if value in text:
            raise UserError(f"a setting or a name holds the environment's {name}, and records are handed on: change it")


def command() -> str | None:
    """The command line that led here; None when called from Python."""
    line = os.environ.get(COMMAND)
    return None if line is None else private(line)


@functools.cache
def git() -> dict[str, Any]:
    """The commit of this code and whether it was changed since; Nones where it is no checkout.

    Results are no changes.
    Cached: a process goes on running the code it has loaded.
    """
    executable = shutil.which("git")
    if executable is None or not (ROOT / ".git").exists():
        return {"commit": None, "dirty": None}

    def call(*arguments: str) -> str | None:
        # Without locks: a `git status` that is killed while it refreshes the index would leave the checkout locked.
        command = [executable, "--no-optional-locks", "-C", str(ROOT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    changes = call("status", "--porcelain", "--", ".", ":(exclude)results")
    return {"commit": call("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


@functools.cache
def versions() -> dict[str, str]:
    """Python and the packages that make the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # an optional one, or run from a folder of sources
            continue
    return found


@functools.cache
def host() -> dict[str, Any]:
    """The machine's kind, and a digest that tells two machines apart without naming either."""
    return {
        "id": _host_id(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
    }


def process() -> str:
    """This process, told apart from a later one that was given the same number."""
    return f"{os.getpid()}-{_birth(os.getpid())}"


def alive(host_id: str, process: str) -> bool | None:
    """Whether `process` still runs; None where nobody here can say.

    It ran on another machine, be it one of the same name, or before this one was started again; or the system tells
    nothing of the processes of others.
    """
    number, _, birth = process.partition("-")
    booted = re.fullmatch(r"([0-9a-f]{8})-[0-9]+", birth)
    if host_id != _host_id() or (booted and _boot() not in ("", booted[1])):
        return None
    if not _exists(int(number)):
        return False
    born = _birth(int(number))
    if birth and not born:
        return None if _exists(int(number)) else False
    return born == birth


def _exists(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _birth(number: int) -> str:
    """When a process began, in ticks since this boot; "dead" for one nobody has noticed; "" where unknown."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # from the third on; the second, the name in brackets, may hold spaces
    state, ticks = fields[0], fields[19]
    return "dead" if state in "ZX" else f"{_boot()}-{ticks}"


@functools.cache
def _boot() -> str:
    """What tells this machine's uptime from any other, and from that of any other machine; "" where unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return ""


def _host_id() -> str:
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # two containers may share a name, not their process numbers
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:12]


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
