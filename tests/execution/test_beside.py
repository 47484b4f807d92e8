"""What a study without grids already has: its arms, among which a control is, and its budgets."""

import pytest

from bench.commands.main import main
from bench.execution import execute
from tests.fake_learner import FakeLearner

SMALL = ["task=weekly_exam", "seeds=2", "wandb=disabled", "hydra/launcher=basic"]


@pytest.fixture
def bench(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(execute, "train", FakeLearner())
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        return main([*SMALL, *words]), *capsys.readouterr()

    return run


def test_a_control_is_an_arm_of_the_command_or_of_what_is_there(bench):
    assert bench("budget=1000", "advantage=td0,gae", "study.control=critic-td0-clip")[0] == 0
    code, out, err = bench("budget=1000", "study.control=critic-td0-clop")
    assert (code, out) == (2, "")
    assert err == (
        "error: unknown study.control 'critic-td0-clop': allowed are critic-gae-clip, critic-td0-clip; "
        "did you mean 'critic-td0-clip'?\n"
    )
    assert bench("budget=1000", "study.control=critic-td0-clip")[0] == 0  # trained before
    assert bench("budget=1000", "study.control=nobody", "study.name=mine")[0] == 2


def test_another_budget_beside_what_is_there_is_warned_of(bench):
    assert "budget" not in bench("budget=1000", "advantage=td0,gae")[2]
    assert "another budget" not in bench("budget=1000", "advantage=td0,nstep")[2]
    line = (
        "warning: results/adhoc: it has cells of another budget on weekly_exam (1,000 steps), and scores of different "
        "budgets are no comparison of arms; study.name=NAME puts these into a study of their own"
    )
    assert line in bench("budget=2000", "dry_run=true")[2].splitlines()
    assert line in bench("budget=2000")[2].splitlines()
    assert "another budget" not in bench("budget=2000", "study.name=mine")[2]
    assert "another budget" not in bench("budget=3000", "task=exam_question")[2]  # of another task


def test_budgets_that_are_compared_on_purpose_are_not(bench):
    assert "another budget" not in bench("budget=1000,2000")[2]
    assert "another budget" not in bench("budget=1000,2000")[2]
