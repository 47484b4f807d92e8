"""Returns that are not finite have a cause and no score; a task has one pair of bounds."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.cli import main
from bench.errors import UserError
from bench.records import files
from bench.records.tables import CURVES, TRAINING, write_rows
from tests.analysis.conftest import ResultsWriter, edit

NAN, INF = math.nan, math.inf


def spoilt(results: ResultsWriter, where: str, value: float) -> None:
    """Two arms with three seeds; returns of seed 1 of one are replaced."""
    for k, arm in enumerate(("spoilt", "sound")):
        block = results.block(
            "s", "cartpole", arm, range(3), lambda seed, _, k=k: 100.0 + seed - k, points=10, episodes=20, k=k
        )
        if arm == "sound":
            continue
        curves, training = (pd.read_parquet(block / file) for file in (CURVES, TRAINING))
        rows = curves["seed"] == 1
        if where == "one point":
            rows &= (curves["step"] == 1000) & (curves["mode"] == "stochastic")
        elif where == "the last tenth":
            rows &= curves["step"] > 900
        elif where == "the beginning":
            rows &= curves["step"] == 0
        elif where == "training":
            rows &= False
            training["rollout/ep_rew_mean"] = np.where((training["seed"] == 1) & (training["update"] == 2), value, 1.0)
        curves.loc[rows, "return"] = value
        for file, table in ((CURVES, curves), (TRAINING, training)):
            write_rows(file, table.to_dict("records"), block / file)  # type: ignore[arg-type]  # their keys are text
        edit(block, checksums={file: files.sha256(block / file) for file in (CURVES, TRAINING)})


@pytest.mark.usefixtures("svg_only")
@pytest.mark.parametrize(
    ("where", "value"),
    [("one point", NAN), ("one point", INF), ("everywhere", NAN), ("the last tenth", -INF), ("the beginning", INF),
     ("training", INF), ("everywhere", 1.7e308)],
)  # fmt: skip
def test_a_seed_with_a_return_that_is_not_finite_is_named_and_has_no_score(
    results: ResultsWriter, where: str, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt(results, where, value)
    assert main(["study=s", f"results={results.root}"]) == 0
    report = results.root / "s" / "report"
    said = (report / "report.md").read_text()
    what = "its training" if where == "training" else "an evaluation"
    how = "beyond 1e+100" if value == 1.7e308 else "not finite"
    assert f"cartpole, spoilt, seed 1: the return of {what} was {how} at step" in said
    assert "5 of 6 runs are done (1 failed)" in said
    assert "no evaluation in the last tenth" not in said
    assert (report / "learning_curves_stochastic.svg").stat().st_size > 1000
    runs = load.read(["s"], results.root).runs.set_index(["arm", "seed"])
    assert runs.loc[("spoilt", 1), "status"] == "failed"
    assert math.isnan(runs.loc[("spoilt", 1), "final_stochastic"])
    assert runs.loc[("spoilt", 2), "final_stochastic"] == 101.0
    assert "Traceback" not in capsys.readouterr().err


def test_a_task_with_two_pairs_of_bounds_is_one_line(results: ResultsWriter) -> None:
    for arm, bounds in (("a", (0.0, 500.0)), ("b", (22.2, 500.0)), ("c", (0.0, 500.0 + 1e-7))):
        block = results.block("s", "cartpole", arm, [0, 1], lambda *_: 100.0, arm_=arm)
        edit(block, score={"random": bounds[0], "reference": bounds[1]})
    with pytest.raises(UserError) as error:
        load.read(["s"], results.root)
    assert str(error.value) == (
        "cartpole: its score has several pairs of bounds, so its cells cannot be compared: "
        "0 to 500 (a of s, c of s); 22.2 to 500 (b of s); read those of one pair at a time"
    )


def test_two_studies_with_other_bounds_are_read_apart(results: ResultsWriter) -> None:
    results.block("s", "cartpole", "a", [0, 1], lambda *_: 100.0)
    edit(results.block("t", "cartpole", "a", [2, 3], lambda *_: 100.0), score={"random": 0, "reference": 100})
    for study in ("s", "t"):
        assert len(load.read([study], results.root).runs) == 2
    with pytest.raises(UserError, match=r"22\.2 to 500 \(a of s\); 0 to 100 \(a of t\)"):
        load.read(["s", "t"], results.root)


def test_environments_of_one_name_are_tasks_and_no_arms(results: ResultsWriter) -> None:
    """As earlier versions recorded them: `gym`, with the id among the factors."""
    for level, name in enumerate(("CartPole-v1", "Acrobot-v1")):
        results.block("s", "gym", "ppo", [0, 1], lambda *_, level=level: 100.0 * level, **{"task.id": name})
    found = load.read(["s"], results.root).runs
    assert set(found["task"]) == {"gym-CartPole-v1", "gym-Acrobot-v1"}
    assert set(found["arm"]) == {"ppo"}
