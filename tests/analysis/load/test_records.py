"""Records on disk → tidy tables: what is there is read right, what is not is shown as such."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.load import DamagedRecord, load, read
from bench.errors import UserError
from bench.records.files import sha256
from tests.analysis.conftest import edit

QUIET = pytest.mark.filterwarnings("error")


def level(seed: int, share: float) -> float:
    """A curve whose final score is 100 + seed: only the last evaluation lies in the last tenth."""
    return 100.0 + seed if share > 0.9 else 20.0


def checksums(block: Path) -> dict[str, str]:
    return dict(json.loads((block / "run.json").read_text())["checksums"])


def statuses(runs: pd.DataFrame) -> dict[int, str]:
    return dict(zip(runs["seed"], runs["status"], strict=True))


@QUIET
def test_final_score_is_the_mean_of_the_last_tenth_and_normalised_by_the_record(results):
    results.block("s", "cartpole", "ppo", [0, 1, 2], level, baseline="critic")
    runs, _, _ = load("s", results.root)
    np.testing.assert_allclose(runs["final_deterministic"], [100, 101, 102])
    np.testing.assert_allclose(runs["final_stochastic"], [99, 100, 101])
    np.testing.assert_allclose(runs["normalised_deterministic"], (np.array([100, 101, 102]) - 22.2) / (500 - 22.2))


@QUIET
def test_tables_have_a_column_per_factor(results):
    results.block("s", "cartpole", "ppo", [0], level, baseline="critic", hidden=[64, 64])
    results.block("s", "cartpole", "plain", [0], level, baseline="none")
    for table in load("s", results.root):
        one = table[table["arm"] == "ppo"]
        assert set(one["baseline"]) == {"critic"}
        assert set(one["hidden"]) == {"[64, 64]"}
        assert table[table["arm"] == "plain"]["hidden"].isna().all()  # a key that arm never reads


@QUIET
def test_every_evaluation_is_there_once_with_the_mean_and_the_noise_of_its_episodes(results):
    """The returns of two episodes lie 1 below and 1 above the curve."""
    block = results.block("s", "cartpole", "ppo", [0, 1], level)
    (block / "episodes.parquet").unlink()
    edit(block, checksums=checksums(block) | {"policy.zip": "0" * 64})
    _, evaluations, training = load("s", results.root)
    assert len(evaluations) == 2 * 6 * 2  # seeds, evaluations, modes
    assert not evaluations.duplicated(["task", "hash", "seed", "step", "mode"]).any()
    assert evaluations[
        ["episodes", "return_variance", "length", "length_variance"]
    ].drop_duplicates().to_numpy().tolist() == [[2, 2.0, 10.0, 0.0]]
    last = evaluations[evaluations["step"] == 1000]
    assert last[["seed", "mode", "return"]].to_numpy().tolist() == [
        [0, "deterministic", 100.0],
        [0, "stochastic", 99.0],
        [1, "deterministic", 101.0],
        [1, "stochastic", 100.0],
    ]
    assert len(training) == 2 * 5


@QUIET
def test_a_final_score_counts_every_episode_alike(results):
    """Three episodes at 950 and one at 1000, of the last tenth: (3 · 10 + 50) / 4."""
    block = results.block("s", "cartpole", "ppo", [0], level)
    point = {"seed": 0, "mode": "stochastic", "return_variance": 0.0, "length": 1.0, "length_variance": 0.0}
    rows = [(900, 5, 999.0), (950, 3, 10.0), (1000, 1, 50.0)]
    curve = [point | {"step": step, "episodes": count, "return": mean} for step, count, mean in rows]
    pd.DataFrame(curve).to_parquet(block / "curves.parquet")
    edit(block, checksums=checksums(block) | {"curves.parquet": sha256(block / "curves.parquet")})
    runs, _, _ = load("s", results.root)
    assert runs["final_stochastic"].tolist() == [20.0]
    assert runs["final_deterministic"].isna().all()


@QUIET
def test_a_failed_seed_keeps_its_cause_and_has_no_score(results):
    results.block("s", "cartpole", "ppo", [0, 1], level, failed={1: "loss is NaN"})
    runs, _, _ = load("s", results.root)
    assert statuses(runs) == {0: "done", 1: "failed"}
    assert runs["cause"].tolist()[1] == "loss is NaN"
    assert np.isnan(runs["final_deterministic"].tolist()[1])


@QUIET
def test_planned_but_never_run_is_missing_and_running_is_unfinished(results):
    cells = [
        {"task": "cartpole", "arm": "a", "seeds": [0, 1, 2]},
        {"task": "cartpole", "arm": "b", "seeds": [0], "k": 1},
    ]
    results.study("s", cells)
    results.block("s", "cartpole", "a", [0, 1], level)
    results.block("s", "cartpole", "b", [0], level, status="running", k=1)
    runs, _, _ = load("s", results.root)
    assert runs[["arm", "seed", "status"]].to_numpy().tolist() == [
        ["a", 0, "done"],
        ["a", 1, "done"],
        ["a", 2, "missing"],
        ["b", 0, "unfinished"],
    ]


def spoil_checksum(block: Path) -> None:
    (block / "curves.parquet").write_bytes(b"")


def spoil_json(block: Path) -> None:
    (block / "run.json").write_text("{")


def spoil_bounds(block: Path) -> None:
    edit(block, score={"random": 1.0, "reference": 1.0})


def spoil_field(block: Path) -> None:
    edit(block, seeds=None)


def remove_file(block: Path) -> None:
    (block / "training.parquet").unlink()


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (spoil_checksum, "curves.parquet does not match its checksum"),
        (spoil_json, "not readable as JSON"),
        (spoil_bounds, "two different finite numbers"),
        (spoil_field, "'seeds' is None"),
        (remove_file, "training.parquet is not there"),
    ],
)
def test_a_damaged_block_is_named_and_its_neighbours_are_read(results, spoil, cause):
    results.study("s", [{"task": "cartpole", "arm": "a", "seeds": [0, 2]}])
    spoil(results.block("s", "cartpole", "a", [0, 2], level))
    results.block("s", "cartpole", "b", [0], level, k=1)
    with pytest.warns(DamagedRecord, match=cause):
        runs, evaluations, _ = load("s", results.root)
    assert statuses(runs[runs["arm"] == "a"]) == {0: "damaged", 2: "damaged"}
    assert statuses(runs[runs["arm"] == "b"]) == {0: "done"}
    assert set(evaluations["arm"]) == {"b"}


@pytest.mark.parametrize(
    ("seeds", "name"),
    [
        ([3], "seeds-003"),
        ([0, 1, 7], "seeds-000-001+007"),
        ([0, 1], "seeds-000-001-retry-1"),
        ([5], "seeds-005-retry-2"),
    ],
)
def test_the_seeds_of_a_damaged_block_are_those_of_its_folder(results, seeds, name):
    block = results.block("s", "cartpole", "a", seeds, level)
    block = block.rename(block.with_name(name))
    spoil_json(block)
    results.study("s", [{"task": "cartpole", "arm": "a", "seeds": range(8)}])
    records = read(["s"], results.root)
    assert [problem.path for problem in records.problems] == [str(block.relative_to(results.root))]
    expected = {seed: "damaged" if seed in seeds else "missing" for seed in range(8)}
    assert statuses(records.runs) == expected


def test_a_foreign_file_is_named(results):
    block = results.block("s", "cartpole", "a", [0], level)
    (block.parent / "notes.txt").write_text("mine")
    with pytest.warns(DamagedRecord, match=r"notes\.txt: foreign file"):
        load("s", results.root)


def test_a_done_seed_without_final_evaluations_is_named_and_has_no_score(results):
    block = results.block("s", "cartpole", "a", [0, 1], level)
    edit(block, budget=2000)
    problems = read(["s"], results.root).problems
    assert [str(problem) for problem in problems] == [
        "cartpole/a: no evaluation in the last tenth of the budget (seeds 0, 1)"
    ]


@QUIET
def test_the_same_cell_and_seed_in_two_studies_is_one_run(results):
    results.block("s", "cartpole", "a", [0, 1], level)
    results.block("t", "cartpole", "a", [1, 2], level)
    runs, evaluations, _ = load(["s", "t"], results.root)
    assert statuses(runs) == {0: "done", 1: "done", 2: "done"}
    assert not evaluations.duplicated(["task", "hash", "seed", "step", "mode"]).any()


@QUIET
def test_a_run_that_failed_in_one_study_and_is_done_in_another_counts_as_done(results):
    results.block("s", "cartpole", "a", [0], level, failed={0: "killed"})
    results.block("t", "cartpole", "a", [0], level)
    runs, evaluations, _ = load(["s", "t"], results.root)
    assert statuses(runs) == {0: "done"}
    assert set(evaluations["study"]) == {"t"}


@QUIET
def test_arms_of_one_name_are_told_apart_by_what_differs(results):
    for gamma in (0.9, 0.99):
        results.block("s", "cartpole", "ppo", [0], level, gamma=gamma, baseline="critic")
    results.block("s", "weekly_exam", "ppo", [0], level, gamma=0.99, baseline="critic")
    results.block("s", "cartpole", "grpo", [0], level, gamma=0.99, baseline="grpo")
    runs, _, _ = load("s", results.root)
    assert set(zip(runs["task"], runs["arm"], strict=True)) == {
        ("cartpole", "ppo (gamma=0.9)"),
        ("cartpole", "ppo (gamma=0.99)"),
        ("weekly_exam", "ppo (gamma=0.99)"),  # the same label as on the other task
        ("cartpole", "grpo"),
    }


@QUIET
def test_a_missing_cell_whose_factors_nobody_knows_is_told_apart_by_its_hash(results):
    cells = [{"task": "cartpole", "arm": "ppo", "seeds": [0], "gamma": gamma} for gamma in (0.9, 0.99)]
    folder = results.study("s", cells)
    hashes = [cell["hash"] for cell in json.loads((folder / "study.json").read_text())["cells"]]
    results.block("s", "cartpole", "ppo", [0], level, gamma=0.9)
    runs, _, _ = load("s", results.root)
    assert len(set(runs["arm"])) == 2
    assert f"ppo #{hashes[1]}" in set(runs["arm"])


def test_an_unknown_study_names_the_nearest(results):
    results.block("quick", "cartpole", "a", [0], level)
    (results.root / "speed").mkdir()  # records of `bench speed` lie beside the studies, and are none
    with pytest.raises(UserError, match="allowed are quick; did you mean 'quick'"):
        load("quik", results.root)


@QUIET
def test_a_cell_with_two_names_is_one_arm_and_may_be_the_control_by_either(results):
    cell = {"task": "cartpole", "seeds": [0], "k": 1}
    results.study("s", [cell | {"arm": "ppo"}, cell | {"arm": "critic-gae-clip"}], control="critic-gae-clip")
    results.block("s", "cartpole", "ppo", [0], level, k=1)
    records = read(["s"], results.root)
    assert records.runs[["arm", "status"]].to_numpy().tolist() == [["ppo", "done"]]
    assert records.control == "ppo"


@QUIET
def test_costs_of_a_block_are_shared_by_its_seeds(results):
    results.block("s", "cartpole", "a", [0, 1, 2], level)
    runs, _, _ = load("s", results.root)
    assert runs["wall_seconds"].sum() == pytest.approx(30.0)


@QUIET
def test_factor_columns_of_long_tables_are_categories(results):
    results.block("s", "cartpole", "a", [0], level, baseline="critic")
    _, evaluations, _ = load("s", results.root)
    assert isinstance(evaluations["baseline"].dtype, pd.CategoricalDtype)


def test_a_label_does_not_say_the_same_difference_twice(results):
    for gamma, settings in ((0.9, "short"), (0.99, "a longer one")):
        results.block("s", "cartpole", "ppo", [0], lambda _, share: share, gamma=gamma, learning_rate_schedule=settings)
    assert set(read(["s"], results.root).runs["arm"]) == {"ppo (gamma=0.9)", "ppo (gamma=0.99)"}


@QUIET
def test_scores_and_curves_are_exact_where_every_evaluation_of_a_task_is(results):
    """Exact returns lie a tenth above the episodes' means, whose own columns stay what they are."""
    results.block("s", "weekly_exam", "a", [0, 1], level, exact=True, k=0)
    results.block("s", "weekly_exam", "b", [0], level, true=lambda *_: 5.0, exact=True, k=1)
    results.block("s", "cartpole", "a", [0], level)
    records = read(["s"], results.root)
    assert (records.exact, records.partly_exact) == ({"weekly_exam"}, set())
    exam = records.runs[records.runs["task"] == "weekly_exam"]
    np.testing.assert_allclose(exam["final_deterministic"], [100.1, 101.1, 100.1])
    np.testing.assert_allclose(exam["normalised_stochastic"], (exam["final_stochastic"] - 54.1) / (71.36 - 54.1))
    np.testing.assert_allclose(exam["true_final_stochastic"], [np.nan, np.nan, 4.1])
    np.testing.assert_allclose(records.runs.loc[records.runs["task"] == "cartpole", "final_deterministic"], [100.0])
    last = records.curves[(records.curves["step"] == 1000) & (records.curves["mode"] == "deterministic")]
    np.testing.assert_allclose(last["return"], [100.0, 100.1, 101.1, 100.1])
    sampled = records.evaluations[records.evaluations["task"] == "weekly_exam"]
    np.testing.assert_allclose(sampled["exact_return"] - sampled["return"], 0.1)


@QUIET
@pytest.mark.parametrize("lacks", ["everything", "a value", "the true score"])
def test_a_task_with_any_evaluation_that_is_not_exact_is_judged_by_episodes(results, lacks):
    results.block("s", "weekly_exam", "a", [0], level, exact=True, k=0)
    other = results.block("s", "weekly_exam", "b", [0], level, true=level, exact=lacks != "everything", k=1)
    table = pd.read_parquet(other / "curves.parquet")
    if lacks == "a value":
        table.loc[0, "exact_return"] = np.nan
    if lacks == "the true score":
        table = table.drop(columns="exact_true_return")
    table.to_parquet(other / "curves.parquet", index=False)
    edit(other, checksums=checksums(other) | {"curves.parquet": sha256(other / "curves.parquet")})
    records = read(["s"], results.root)
    assert (records.exact, records.partly_exact) == (set(), {"weekly_exam"})
    np.testing.assert_allclose(records.runs["final_deterministic"], [100.0, 100.0])
    assert set(records.curves.loc[records.curves["step"] == 1000, "return"]) == {100.0, 99.0}
