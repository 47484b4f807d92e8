"""CONTRIBUTING.md says how an option of a factor is added: done in a copy of the package, as the page says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.config.identity import cell_hash
from bench.paths import ROOT
from tests import pages

pytestmark = pytest.mark.slow  # a copy of the package, in processes of its own

AT_THE_END = re.compile(r"# at the end of (\S+)\n")
IN_CLASS = re.compile(r"# in class (\w+) of (\S+)\n")


def edit(text: str, folder: Path) -> None:
    """Do what one block of the page says."""
    if found := AT_THE_END.match(text):
        path = folder / found[1]
        path.write_text(f"{path.read_text()}\n\n{text[found.end() :]}")
    elif found := IN_CLASS.match(text):
        path = folder / found[2]
        before, begin, after = path.read_text().partition(f"class {found[1]}(")
        docstring, end, rest = after.partition('"""\n\n')
        assert begin
        assert end
        path.write_text(f"{before}{begin}{docstring}{end}{text[found.end() :]}\n{rest}")
    else:
        found = pages.FILE.match(text)
        assert found
        (folder / found[1]).write_text(text)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The package with the page's two options."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("bench", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, folder / name)
    blocks = [text for language, text in pages.blocks(ROOT / "CONTRIBUTING.md") if language in ("py", "yaml")]
    assert len(blocks) == 2 + 3  # edits of an option, and of one with a number of its own
    for text in blocks:
        edit(text, folder)
    return folder


def run(copy: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the copy's package, in its folder."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    return subprocess.run(
        [sys.executable, *words], cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_the_options_train(copy):
    small = ["task=exam_question", "budget=64", "seeds=1", "wandb=disabled", "evaluation.points=1", "results=made"]
    done = run(copy, "-m", "bench", "advantage=mixed,weighted", *small, "hydra/launcher=basic")
    assert done.returncode == 0, done.stderr
    for option in ("mixed", "weighted"):
        assert list((copy / "made").glob(f"adhoc/runs/exam_question/critic-{option}-clip-*/seeds-000/run.json"))


def test_the_option_is_listed_and_its_number_has_its_range(copy):
    printed = run(copy, "-m", "bench", "list").stdout
    assert "  mixed        mean of r + gamma V(s') and the full return" in printed
    assert "  weighted     " in printed
    out_of_range = ["advantage=weighted", "advantage.share=2"]
    episodes_in_segments = ["advantage=weighted", "collect=segments", "baseline=group"]
    program = "import sys; from bench.commands.main import main; sys.exit(main({!r}) * 10 + main({!r}))"
    refused = run(copy, "-c", program.format(out_of_range, episodes_in_segments))
    assert refused.returncode == 22, refused.stderr
    first, second = refused.stderr.splitlines()
    assert first == "error: advantage.share=2.0: must lie in [0, 1]"
    assert "baseline=group with collect=segments: it compares complete episodes" in second


def test_no_other_cell_moves(copy):
    overrides = [[], ["preset=ppo"], ["preset=grpo", "task=weekly_exam"], ["advantage=nstep"]]
    program = (
        "import bench; from bench.config.identity import cell_hash; "
        f"print(*[cell_hash(bench.compose(given)) for given in {overrides!r}])"
    )
    done = run(copy, "-c", program)
    assert done.stdout.split() == [cell_hash(bench.compose(given)) for given in overrides], done.stderr
