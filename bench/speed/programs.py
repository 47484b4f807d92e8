"""The programs that are measured, and the process that each measurement gets to itself."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError
from bench.paths import PACKAGE
from bench.speed.workload import Measurement, Workload


@dataclass(frozen=True)
class Program:
    """Something that trains, or a bound for it.

    measure     module and function of this folder that measure a workload, imported by `bench.speed.__main__` alone
    together    whether all seeds are trained at once. Otherwise one of them, a different one in each repeat, stands for
                all, which would be trained one after another
    needs       a package of the extra `peers`
    """

    title: str
    measure: str
    together: bool = False
    needs: str | None = None


# A peer is one more entry, and a name in `bench.speed.plan.PARTS`.
PROGRAMS: dict[str, Program] = {
    "lockstep": Program("this suite, seeds in lockstep", "lockstep.lockstep", together=True),
    "sb3_ppo": Program("SB3 PPO, seed after seed", "sb3_programs.sb3_ppo"),
    "sb3_ppo_64": Program("SB3 PPO, its default minibatch", "sb3_programs.sb3_ppo"),
    "sbx_ppo": Program("SBX PPO (JAX), seed after seed", "jax_programs.sbx_ppo", needs="sbx"),
    "rejax_ppo": Program("rejax PPO (JAX), seeds in one program", "jax_programs.rejax_ppo", True, needs="rejax"),
    "matrix_products": Program("matrix products of the updates alone", "lockstep.matrix_products", together=True),
    "recorded": Program("this suite's command, with all records", "recorded.recorded", together=True),
}


class MeasurementFailed(Exception):
    """A program crashed; the message holds what it said."""


def missing(peers_python: str) -> dict[str, str]:
    """Return the programs that `peers_python` cannot run, with the package it lacks. Raises `UserError`."""
    needs = {name: program.needs for name, program in PROGRAMS.items() if program.needs}
    code = "import importlib.util as u, sys; print(*[p for p in sys.argv[1:] if u.find_spec(p) is None])"
    try:
        done = subprocess.run([peers_python, "-c", code, *needs.values()], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"peers_python={peers_python}: cannot be run as Python ({error})") from error
    return {name: package for name, package in needs.items() if package in done.stdout.split()}


def spawn(name: str, workloads: Sequence[Workload], peers_python: str = sys.executable) -> list[Measurement]:
    """Measure workloads one after another in a fresh process with one thread on one core.

    Programs of the extra `peers` run in `peers_python`, which may be an environment of their own.

    Raises:
        MeasurementFailed: with what the process said.
    """
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
    request = json.dumps({"program": name, "workloads": [dataclasses.asdict(workload) for workload in workloads]})
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / PACKAGE.name).symlink_to(PACKAGE)  # this suite, without what is installed beside it
        path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        done = subprocess.run(
            [peers_python if PROGRAMS[name].needs else sys.executable, "-m", "bench.speed", request],
            env={**os.environ, **threads, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise MeasurementFailed(f"{name} failed:\n{done.stderr.strip()}")
    return [Measurement(**data) for data in json.loads(done.stdout.splitlines()[-1])]
