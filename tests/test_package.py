"""The package as users get it: built, installed without a checkout in reach, and used from a folder of their own."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest

from bench.commands.list import catalogue
from bench.errors import EXTRAS, install
from bench.paths import ROOT
from tests import archives

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OPTIONAL: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
PACKED = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
FOLDERS = ("bench", "analysis", "conf", "hydra_plugins")
TINY = ("task=exam_question", "budget=64", "seeds=1", "wandb=disabled", "evaluation.points=1", "evaluation.episodes=1")
PLUGIN = """
from bench import plugin


@plugin.update()
def mine(log_prob, log_prob_old, advantage, *, clip_range, kl_coef, kl):
    return (log_prob - log_prob_old).exp() * advantage
"""
# How the suite is started: by its script, by Python with the current folder on its path, and without.
STARTS = {
    "script": ["policy-gradient-bench"],
    "module": ["python", "-m", "bench"],
    "safe": ["python", "-P", "-m", "bench"],
}


def name_of(requirement: str) -> str:
    """The name of a package in a requirement, as indexes write it."""
    return re.split(r"[<>=!~;\[ ]", requirement)[0].lower().replace("_", "-")


DECLARED = {name_of(requirement) for requirement in PROJECT["project"]["dependencies"]}


def imported() -> set[str]:
    """The packages that the suite imports, by the names indexes know them by."""
    packages = importlib.metadata.packages_distributions()
    statement = re.compile(r"^\s*(?:import|from) ([A-Za-z]\w*)", re.MULTILINE)
    sources = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    modules = {name for path in sources for name in statement.findall(path.read_text(encoding="utf-8"))}
    return {name_of(package) for module in modules for package in packages.get(module, [])}


def test_what_is_imported_is_required_and_nothing_else_is():
    brought = {  # by packages that cannot do without, and choose the version
        name_of(requirement)
        for package in DECLARED
        for requirement in importlib.metadata.requires(package) or []
        if "extra ==" not in requirement
    }
    extras = {name_of(requirement) for name in ("peers", "tensorboard") for requirement in OPTIONAL[name]} | {"flax"}
    assert imported() - DECLARED - brought - extras == {"policy-gradient-bench"}
    named_in_conf = {
        "hydra-joblib-launcher",
        "sb3-contrib",
    }  # by an override of hydra/launcher, and by CLASSES of peers
    assert DECLARED - imported() == named_in_conf | {"tqdm"}  # that of stable_baselines3's progress bar


def test_the_build_requirements_are_pinned_and_the_same_everywhere():
    required = PROJECT["build-system"]["requires"]
    assert [re.sub(r"==[\d.]+$", "==", requirement) for requirement in required] == ["setuptools==", "ziglang=="]
    assert set(required) <= set(OPTIONAL["dev"])
    assert set(required) <= set((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_messages_name_what_an_extra_holds(extra):
    *command, packages = install(extra).split(maxsplit=2)
    assert command == ["pip", "install"]
    for package in packages.split():
        assert package in OPTIONAL[extra] if "==" in package else name_of(package) in map(name_of, OPTIONAL[extra])
    assert len(packages.split()) == len(OPTIONAL[extra])


def test_whatever_else_says_pip_install_names_an_extra_or_a_package_of_one():
    known = {name_of(requirement) for requirements in OPTIONAL.values() for requirement in requirements}
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("conf/**/*.yaml"), *ROOT.glob("bench/**/*.py")]
    said = [
        (path.name, command)
        for path in files
        for command in re.findall(r"pip install ((?:[-.\w\[\]'=]+ ?)+)", path.read_text(encoding="utf-8"))
    ]
    assert {"sweeps.md", "slurm.yaml", "ray.yaml", "cluster.md", "speed.md"} <= {name for name, _ in said}
    for name, command in said:
        words = command.replace("-c constraints.txt", "").replace("-e", "").replace("'", "").split()
        for word in words:
            extra = re.fullmatch(r"\.(?:\[(\w+)\])?", word)
            assert (extra[1] in {None, *OPTIONAL}) if extra else word in known, f"{name}: pip install {command}"


class Installed:
    """An environment with the wheel, read-only, and whatever the tests' own environment has but the checkout."""

    def __init__(self, folder: Path) -> None:
        self.source, self.dist, self.home = folder / "source", folder / "dist", folder / "environment"
        self._copy_sources()
        self._build()
        venv.create(self.home, symlinks=True)
        (self.site,) = self.home.glob("lib/python*/site-packages")
        # A path in a .pth file is searched, but .pth files in it are not followed: so the checkout is not found.
        (self.site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        (wheel,) = self.dist.glob("*.whl")
        pip("--python", str(self.home / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel))
        self.files = self._state()
        for path in self.files:
            path.chmod(path.stat().st_mode & ~0o222)

    def _copy_sources(self) -> None:
        for name in FOLDERS:
            shutil.copytree(ROOT / name, self.source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        for name in (*PACKED, "tests/test_cli.py", "results/README.md"):  # the latter two must not be packed
            (self.source / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, self.source / name)

    def _build(self) -> None:
        self.dist.mkdir()
        code = f"from setuptools import build_meta; build_meta.build_sdist({str(self.dist)!r})"
        subprocess.run([sys.executable, "-c", code], cwd=self.source, check=True, capture_output=True)
        (sdist,) = self.dist.glob("*.tar.gz")
        pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(self.dist), str(sdist))

    def _state(self) -> dict[Path, tuple[int, int]]:
        paths = [self.site, *(path for path in self.site.rglob("*") if "__pycache__" not in path.parts)]  # Python's own
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}

    def run(self, folder: Path, *words: str) -> str:
        """What a command prints that is run in `folder`; it must succeed and leave the package as it was."""
        program, *arguments = words
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [self.home / "bin" / program, *arguments],
            cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert self._state() == self.files, "something was written beside the package"
        return done.stdout


def pip(*words: str) -> None:
    """Run the pip of the tests' own environment."""
    done = subprocess.run([sys.executable, "-m", "pip", "-q", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installed:
    return Installed(tmp_path_factory.mktemp("package"))


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("run.json"))]


@pytest.mark.slow
def test_the_archives_hold_code_conf_and_templates_and_nothing_else(installed):
    assert archives.problems(installed.dist, installed.source) == []


@pytest.mark.slow
def test_a_file_too_many_or_too_few_is_told(installed, tmp_path):
    shutil.copytree(installed.source, tmp_path / "source")
    (tmp_path / "source/conf/study/quick.yaml").unlink()
    (tmp_path / "source/bench/forgotten.py").touch()
    assert archives.problems(installed.dist, tmp_path / "source") == [
        "wheel: bench/conf/study/quick.yaml is too many", "wheel: bench/forgotten.py is missing",
        "sdist: conf/study/quick.yaml is too many", "sdist: bench/forgotten.py is missing",
    ]  # fmt: skip


@pytest.mark.slow
def test_it_lists_trains_and_reports_from_a_folder_of_ones_own(installed, tmp_path):
    where = installed.run(tmp_path, "python", "-c", "import analysis, bench; print(bench.__file__, analysis.__file__)")
    assert all(Path(file).is_relative_to(installed.site) for file in where.split())
    assert installed.run(tmp_path, "policy-gradient-bench", "list").rstrip() == catalogue()
    assert installed.run(tmp_path, "policy-gradient-bench", *TINY).endswith("\n1 cell, 0 failures: results/adhoc\n")
    (record,) = records(tmp_path / "results")
    assert record["command"] == " ".join(["python -m bench", *TINY])
    assert record["git"] == {"commit": None, "dirty": None}
    installed.run(tmp_path, "policy-gradient-analysis", "study=adhoc")
    page = (tmp_path / "results/adhoc/report/index.html").read_text(encoding="utf-8")
    assert (ROOT / "analysis/report/templates/page.css").read_text(encoding="utf-8").strip() in page
    assert {path.name for path in tmp_path.iterdir()} == {"results"}


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_a_plugin_in_the_current_folder_is_found(start, installed, tmp_path):
    """By the command, and by its workers, which train the two cells."""
    (tmp_path / "my_updates.py").write_text(PLUGIN)
    named = [*STARTS[start], *TINY, "update=plugin", "update.plugin=my_updates:mine", "advantage=td0,gae"]
    assert installed.run(tmp_path, *named).endswith("\n2 cells, 0 failures: results/adhoc\n")
    assert [record["status"] for record in records(tmp_path / "results")] == ["done", "done"]
    if start == "script":
        verify = [*STARTS[start], "verify", "results/adhoc", "rerun=0", "plugins=my_updates"]
        assert installed.run(tmp_path, *verify).startswith("2 finished blocks, 0 unfinished, 0 problems")


@pytest.mark.slow
def test_it_works_without_assertions(installed, tmp_path):
    said = installed.run(tmp_path, "python", "-O", "-m", "bench", *TINY)
    assert said.endswith("\n1 cell, 0 failures: results/adhoc\n")
    (record,) = records(tmp_path / "results")
    assert record["status"] == "done"
    installed.run(tmp_path, "python", "-O", "-m", "analysis", "study=adhoc")
    assert (tmp_path / "results/adhoc/report/index.html").exists()
