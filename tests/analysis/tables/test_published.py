"""Published scores beside a study: the last evaluation counts, and a target is reached or it is not."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis import load
from analysis.cli import main
from analysis.tables import published
from analysis.tables.formats import Best
from bench.errors import UserError
from bench.paths import CONF

TASKS = {
    "cartpole": 490.0,
    "acrobot": -90.0,
    "mountain_car": -125.0,
    "mountain_car_continuous": 88.0,
    "pendulum": -190.0,
}


def test_the_file_holds_the_targets_and_every_task_of_the_study() -> None:
    held = published.read()
    assert {name: task.target for name, task in held.tasks.items() if task.target is not None} == TASKS
    assert (held.share, held.most_failing) == (0.95, 1)
    study = yaml.safe_load((CONF / "study" / "scores.yaml").read_text(encoding="utf-8"))["study"]
    assert set(held.tasks) == set(study["grids"][0]["task"])
    assert set(held.tasks) == {path.stem for path in (CONF / "settings" / "published").glob("*.yaml")}


def test_only_the_last_evaluation_counts(results) -> None:
    """Five evaluations of a run that stands at 480 until the last, which is 100 + seed."""
    results.study("scores", [{"task": "cartpole", "arm": "ppo", "seeds": range(3)}])
    results.block("scores", "cartpole", "ppo", range(3), lambda seed, share: 480.0 if share < 1 else 100.0 + seed)
    found = published.last_evaluations(load.read(["scores"], results.root))
    assert found[["seed", "score"]].to_numpy().tolist() == [[0, 100.0], [1, 101.0], [2, 102.0]]


@pytest.mark.parametrize(
    ("finals", "reached", "failing"),
    [
        ([490.0] * 10, True, 0),
        ([489.0] * 10, False, 0),
        ([500.0] * 9 + [400.0], True, 0),  # its mean is the target
        ([500.0] * 9 + [399.0], False, 0),
        ([520.0] * 9 + [256.1 - 0.2], True, 1),  # (22.2 + 490) / 2 is the midpoint
        ([600.0] * 8 + [255.9] * 2, False, 2),
    ],
)
def test_a_target_is_reached_by_the_mean_and_by_all_seeds_but_one(results, finals, reached, failing) -> None:
    seeds = range(len(finals))
    results.study("scores", [{"task": "cartpole", "arm": "ppo", "seeds": seeds}])
    results.block("scores", "cartpole", "ppo", seeds, lambda seed, _: finals[seed])
    held = published.read()
    found = published.comparison(load.read(["scores"], results.root), held, reps=200)
    (row,) = found[found["arm"] == "ppo"].to_dict("records")
    assert (row["n"], row["reached"], row["failing"]) == (len(finals), reached, failing)
    assert row["mean"] == pytest.approx(np.mean(finals))
    assert row["worst"] == pytest.approx(min(finals))
    assert (row["published"], row["source"]) == (500.0, "zoo")
    text = published.table(found, held).sections[0]
    assert text.heading == "cartpole, target 490.0"
    assert isinstance(text.rows[0][2], Best) == reached
    assert [row[0] for row in text.rows] == ["ppo", "cleanrl"]
    assert text.rows[1][1:] == ("–", "–", "–", "–", "490.0 (cleanrl)")


def both(task: str, first: str, second: str, seeds: int) -> list[dict[str, object]]:
    """Two arms of a study."""
    return [{"task": task, "arm": arm, "seeds": range(seeds), "algorithm": arm} for arm in (first, second)]


def test_a_task_without_a_target_of_its_own_is_held_to_a_share_of_its_optimum(results) -> None:
    """54.1 + 0.95 (71.36 − 54.1) = 70.497."""
    results.study("scores", both("weekly_exam", "ppo", "sb3_ppo", 2))
    results.block("scores", "weekly_exam", "ppo", range(2), lambda *_: 70.5, algorithm="ppo")
    results.block("scores", "weekly_exam", "sb3_ppo", range(2), lambda *_: 70.49, algorithm="sb3_ppo")
    found = published.comparison(load.read(["scores"], results.root), published.read(), reps=200)
    assert found["target"].tolist() == pytest.approx([70.497, 70.497])
    assert dict(zip(found["arm"], found["reached"], strict=True)) == {"ppo": True, "sb3_ppo": False}


def test_missing_seeds_are_counted_and_make_no_score(results) -> None:
    results.study("scores", both("cartpole", "ppo", "contrib_trpo", 4))
    failed = {1: "not finite"}
    results.block("scores", "cartpole", "ppo", range(3), lambda *_: 495.0, failed=failed, algorithm="ppo")
    found = published.comparison(load.read(["scores"], results.root), published.read(), reps=200)
    rows = published.table(found, published.read()).sections[0].rows
    assert rows[0][:2] == ("ppo", "2 (1 failed, 1 missing)")
    assert rows[1] == ("contrib_trpo", "0 (4 missing)", "–", "–", "–", "500.0 (zoo)")


def test_the_command_prints_and_writes_the_table(results, capsys: pytest.CaptureFixture[str]) -> None:
    results.study("scores", [{"task": "cartpole", "arm": "ppo", "seeds": range(2)}])
    results.block("scores", "cartpole", "ppo", range(2), lambda *_: 495.0)
    assert main(["scores", f"results={results.root}"]) == 0
    printed = capsys.readouterr().out
    written = (results.root / "scores" / "report" / "scores.md").read_text(encoding="utf-8")
    assert "| ppo | 2 | **495.0 [495.0, 495.0]** | 495.0 | 0 | 500.0 (zoo) |" in written
    assert written in printed
    assert f"wrote {results.root}/scores/report/scores.md" in printed
    frame = pd.read_csv(results.root / "scores" / "report" / "scores.csv")
    assert frame.loc[0, ["arm", "mean", "target"]].tolist() == ["ppo", 495.0, 490.0]
    assert main(["scores", "study=nothing", f"results={results.root}"]) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": "much"}, "share=much: must be a number"),
        ({"sources": {"other": "a page"}}, "tasks.acrobot: unknown source 'zoo': there are other"),
        ({"tasks": {"cartpole": {"target": 1.0}}}, "missing key 'tasks.cartpole.published'"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, change, message: str) -> None:
    data = yaml.safe_load(published.FILE.read_text(encoding="utf-8")) | change
    (tmp_path / "scores.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(UserError) as refused:
        published.read(tmp_path / "scores.yaml")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_only_tasks_with_published_scores_are_in_the_table(results) -> None:
    results.study("scores", [{"task": task, "arm": "ppo", "seeds": range(2)} for task in ("cartpole", "elsewhere")])
    for task in ("cartpole", "elsewhere"):
        results.block("scores", task, "ppo", range(2), lambda *_: 0.5)
    held = dataclasses.replace(published.read(), most_failing=2)
    found = published.comparison(load.read(["scores"], results.root), held, reps=200)
    assert set(found["task"]) == {"cartpole"}
