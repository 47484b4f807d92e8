"""The same bytes of everything recorded, whatever the processor and its libraries do: each setting is a new process.

What a setting stands for: other kernels and switched-off vector units are older processors; MKL takes another path on
Intel's processors than on AMD's; OpenBLAS has a path for each; threads are the environment's.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from numpy._core import _multiarray_umath as numpy_core

from bench.kernel.library import VARIANT, variants
from bench.paths import ROOT
from bench.records import block as blocks
from bench.records.files import sha256
from bench.records.tables import EPISODES
from tests.recorded import CELLS, DIGESTS, EXACT_RETURNS, SMALL, SOLUTIONS, STAGES

pytestmark = pytest.mark.slow

INTEL = "int mkl_serv_intel_cpu_true(void) { return 1; }\nint mkl_serv_intel_cpu(void) { return 1; }\n"
SETTINGS = {
    **{f"kernel {name}": {VARIANT: name} for name in variants()},
    "torch with AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "NumPy without what it dispatches": {
        "NPY_DISABLE_CPU_FEATURES": " ".join(
            name for name in numpy_core.__cpu_dispatch__ if numpy_core.__cpu_features__.get(name)
        )
    },
    "MKL's compatible path": {"MKL_CBWR": "COMPATIBLE"},
    "MKL's path for Intel's processors": {"LD_PRELOAD": "built below"},
    "OpenBLAS for Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "one thread": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
}


@pytest.fixture(scope="module")
def usual() -> dict[str, Any]:
    return digests({})


def test_this_machine_gives_the_bytes_of_every_other(usual: dict[str, Any]) -> None:
    """The file was written on another one."""
    assert usual["recorded"] == json.loads(DIGESTS.read_text())


@pytest.mark.parametrize("setting", SETTINGS)
def test_another_setting_gives_the_same_bytes(setting: str, usual: dict[str, Any], tmp_path: Path) -> None:
    environment = SETTINGS[setting]
    if "LD_PRELOAD" in environment:
        environment = {"LD_PRELOAD": str(intel_path(tmp_path))}
    found = digests(environment)
    same = "the same" if found["libraries"] == usual["libraries"] else "OTHERS"
    print(f"{setting}: the libraries' own numbers are {same}")
    assert found["recorded"] == usual["recorded"]
    assert len(found["recorded"]) == len(CELLS) + len(EXACT_RETURNS) + len(STAGES) + 2 * len(SOLUTIONS)


def digests(environment: dict[str, str]) -> dict[str, Any]:
    """What `tests.recorded` prints in an environment."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.recorded"],
        env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def intel_path(folder: Path) -> Path:
    """Build a library that tells MKL that this is a processor of Intel's."""
    source, built = folder / "intel.c", folder / "intel.so"
    source.write_text(INTEL)
    cache = {"ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"), "ZIG_LOCAL_CACHE_DIR": str(folder / "zig")}
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", str(source), "-o", str(built)],
        env={**os.environ, **cache}, check=True,
    )  # fmt: skip
    return built


@pytest.mark.parametrize("cell", ["ppo", "sde", "grpo"])
def test_the_command_line_and_python_give_the_same_files(cell: str, tmp_path: Path) -> None:
    """Curves, episodes, diagnostics, policies and checkpoints; a notebook has torch loaded, with several threads."""
    words = [*CELLS[cell], *SMALL, "hydra/launcher=basic"]
    python = "import torch; torch.set_num_threads(2); import bench, sys; bench.run(bench.compose(sys.argv[1:]))"
    for program, folder in ((["-m", "bench"], "command"), (["-c", python], "python")):
        subprocess.run(
            [sys.executable, *program, *words, f"results={tmp_path / folder}"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
    names = (*blocks.NUMBERS, blocks.POLICY, blocks.CHECKPOINT)
    command, in_python = (
        {path.name: sha256(path) for path in (tmp_path / folder).rglob("*") if path.name in names}
        for folder in ("command", "python")
    )
    solved = cell == "grpo"  # whose evaluations are exact: there are no episodes
    assert set(command) == set(names) - ({EPISODES} if solved else set())
    assert command == in_python
