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

from bench.errors import UserError, install
from bench.paths import PACKAGE
from bench.speed.workload import Measurement, Workload


@dataclass(frozen=True)
class Program:
    """Something that trains, or a bound for it.

    measure     module and function of this folder that measure a workload, imported by `bench.speed.__main__` alone
    together    whether all seeds are trained at once. Otherwise one of them, a different one in each repeat, stands for
                all, which would be trained one after another
    needs       a package of the extra `peers`
    copies      processes that run at the same time, each on a core of its own
    """

    title: str
    measure: str
    together: bool = False
    needs: str | None = None
    copies: int = 1


# A peer is one more entry, and a name in `bench.speed.plan.PARTS`.
PROGRAMS: dict[str, Program] = {
    "lockstep": Program("this suite, seeds in lockstep", "lockstep.lockstep", together=True),
    "sb3_ppo": Program("SB3 PPO, seed after seed", "sb3_programs.sb3_ppo"),
    "sb3_ppo_64": Program("SB3 PPO, its default minibatch", "sb3_programs.sb3_ppo"),
    "sbx_ppo": Program("SBX PPO (JAX), seed after seed", "jax_programs.sbx_ppo", needs="sbx"),
    "rejax_ppo": Program("rejax PPO (JAX), seeds in one program", "jax_programs.rejax_ppo", True, needs="rejax"),
    "matrix_products": Program("matrix products of the updates alone", "lockstep.matrix_products", together=True),
    "two_blocks": Program("this suite, two blocks on two cores", "lockstep.lockstep", together=True, copies=2),
    "update": Program("an update with a critic and without", "critic.update", together=True),
    "recorded": Program("this suite's command, with all records", "recorded.recorded", together=True),
}


class MeasurementFailed(Exception):
    """A program crashed; the message holds what it said."""


def missing(peers_python: str) -> dict[str, str]:
    """Return the programs that cannot run here or in `peers_python`, with what they lack. Raises `UserError`."""
    needs = {name: program.needs for name, program in PROGRAMS.items() if program.needs}
    code = "import importlib.util as u, sys; print(*[p for p in sys.argv[1:] if u.find_spec(p) is None])"
    try:
        done = subprocess.run([peers_python, "-c", code, *needs.values()], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"peers_python={peers_python}: cannot be run as Python ({error})") from error
    lacking = {name: package for name, package in needs.items() if package in done.stdout.split()}
    absent = {name: f"{package} is not installed ({install('peers')})" for name, package in lacking.items()}
    cores = len(_cores())
    return absent | {name: "there is one core" for name, each in PROGRAMS.items() if each.copies > cores}


def _cores() -> list[int | None]:
    """The cores this process may use, the last one first; where the system does not tell, as many unnamed ones."""
    if hasattr(os, "sched_getaffinity"):
        return [*sorted(os.sched_getaffinity(0), reverse=True)]
    return [None] * (os.cpu_count() or 1)


def spawn(name: str, workloads: Sequence[Workload], peers_python: str = sys.executable) -> list[Measurement]:
    """Measure workloads one after another in a fresh process with one thread on one core, always the same.

    Programs of the extra `peers` run in `peers_python`, which may be an environment of their own. Of a program with
    several copies, what they do together is one measurement.

    Raises:
        MeasurementFailed: with what the process said.
    """
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
    request = {"program": name, "workloads": [dataclasses.asdict(workload) for workload in workloads]}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / PACKAGE.name).symlink_to(PACKAGE)  # this suite, without what is installed beside it
        path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        started = [
            subprocess.Popen(
                [
                    *(peers_python if PROGRAMS[name].needs else sys.executable, "-m", "bench.speed"),
                    json.dumps(request | {"core": core}),
                ],
                env={**os.environ, **threads, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for core in _cores()[: PROGRAMS[name].copies]
        ]
        said = [process.communicate() for process in started]
    for process, (_, errors) in zip(started, said, strict=True):
        if process.returncode:
            raise MeasurementFailed(f"{name} failed:\n{errors.strip()}")
    measured = [[Measurement(**data) for data in json.loads(printed.splitlines()[-1])] for printed, _ in said]
    return [_together(copies) for copies in zip(*measured, strict=True)]


def _together(copies: Sequence[Measurement]) -> Measurement:
    """What several processes measured at the same time; the first one's phases stand for all."""
    first = copies[0]
    if len(copies) == 1:
        return first
    return dataclasses.replace(
        first,
        env_steps=sum(copy.env_steps for copy in copies),
        seconds=max(copy.seconds for copy in copies),
        peak_memory=max(copy.peak_memory for copy in copies),
        cpu_share=min(copy.cpu_share for copy in copies),
    )
