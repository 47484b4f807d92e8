"""What the analysis reads of a design's blocks: scores that the learner is known to have, and a report."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis import cli, load
from analysis.load import designed
from analysis.load.records import Records
from bench.config.design import seed_of, setting_of
from tests.design.conftest import ARMS, finished, height

ARM = "critic-gae-clip"


@pytest.fixture(scope="module")
def records(trained: Path) -> Records:
    return load.read(["tuned"], trained)


def test_a_row_for_each_run_with_the_score_that_it_had(records: Records) -> None:
    """The learner's final score is a function of the learning rate; evaluations after 90 % of the budget count."""
    tuning = records.settings[records.settings["seed_pool"] == "tuning"]
    assert len(tuning) == ARMS * 4 * 2
    assert set(tuning["setting"]) == {0, 1, 2, 3}
    assert set(tuning["seed"]) == {0, 1}
    for row in records.settings.to_dict("records"):
        assert row["score"] == pytest.approx(height(row["learning_rate"]))
        assert row["final"] == pytest.approx(row["score"])
        assert row["start"] == pytest.approx(0)
        assert (row["status"], row["failed"], row["stratum"], row["weight"]) == ("done", False, "all", 1.0)
        assert pd.isna(row["gae_lambda"]) == (row["arm"] != ARM)


def test_settings_are_in_no_table_of_arms(records: Records) -> None:
    assert len(records.runs) == ARMS * 3
    assert set(records.runs["seed"]) == {0, 1, 2}
    assert set(records.runs["learning_rate"]) == {1e-3}
    assert [design["name"] for design in records.designs] == ["tuned"]
    assert not records.problems


def test_what_the_command_judged_is_what_the_analysis_chooses(trained: Path, records: Records) -> None:
    (found,) = designed.of(records)
    runs = [json.loads(content) for content in finished(trained).values()]
    for arm in found.arms:
        mine = [run for run in runs if run["arm"] == arm and "design" in run]
        (judged,) = [run for run in mine if run["seed_pool"] == "confirmation"]
        chosen = {choice.setting for choice in found.chosen(arm)}
        assert chosen == {setting_of(int(run)) for run in judged["seeds"]}
        assert {seed_of(int(run)) for run in judged["seeds"]} == {0, 1, 2}
        for setting in chosen:
            assert len(found.judged("weekly_exam", arm, setting)) == 3
        assert len(found.at_default("weekly_exam", arm)) == 3
        assert found.at_default("weekly_exam", arm)["learning_rate"].tolist() == [1e-3] * 3


def test_runs_that_are_not_there_are_missing_and_their_arm_waits(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "results")
    (gone,) = (tmp_path / "results" / "tuned" / "runs" / "weekly_exam").glob(f"{ARM}-*/seeds-000-003*")
    shutil.rmtree(gone)
    (found,) = designed.of(load.read(["tuned"], tmp_path / "results"))
    assert found.waiting == [f"{ARM} on weekly_exam"]
    mine = found.tried[found.tried["arm"] == ARM]
    assert mine["status"].tolist() == ["missing"] * 8
    assert mine["score"].isna().all()
    assert len(found.fresh) == ARMS * 2 * 3


@pytest.mark.slow
def test_the_report_of_a_design(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "results")
    assert cli.main(["study=tuned", f"results={tmp_path / 'results'}"]) == 0
    report = tmp_path / "results" / "tuned" / "report"
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "4 settings, the same for 2 arms on 1 task: 16 of 16 runs are done; 12 runs of fresh seeds judge" in text
    assert len(text.split()) < 3_000
    chosen = pd.read_csv(report / "design_chosen_tuned.csv")
    best = chosen[(chosen["arm"] == ARM) & (chosen["reading"] == "best")].iloc[0]
    assert best["fresh"] == pytest.approx(best["tried"])  # the learner's scores do not depend on the seed
    for name in ("claims", "expected_best", "optimism"):
        assert f"![design {name.replace('_', ' ')} tuned](design_{name}_tuned.svg)" in text
        assert (report / f"design_{name}_tuned.svg").is_file()
    assert (report / "design_responses_tuned_weekly_exam.svg").is_file()


def test_of_two_pools_one_judges(records: Records) -> None:
    """Runs of the main pool, as designs had them before, have the same numbers of seeds as those beside them."""
    fresh = records.settings["seed_pool"] == "confirmation"
    earlier = records.settings[fresh].assign(seed_pool="main", score=-1.0)
    both = replace(records, settings=pd.concat([earlier, records.settings], ignore_index=True))
    (found,) = designed.of(both)
    assert len(found.fresh) == fresh.sum() > 0
    assert (found.fresh["score"] >= 0).all()
    (before,) = designed.of(replace(records, settings=pd.concat([earlier, records.settings[~fresh]])))
    assert (before.fresh["score"] == -1).all()
    assert len(before.fresh) == len(earlier)
    assert before.default.empty  # those that there are have another pool's seeds
