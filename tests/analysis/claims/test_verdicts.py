"""Verdicts: each rule once, on runs made to fall under it."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis import load
from analysis.claims import verdicts
from analysis.claims.metrics import run_metrics
from analysis.tables.comparisons import claims_table
from bench.records.files import sha256
from bench.verdicts import hypotheses
from tests.analysis.conftest import edit

FILE = """
title: T
defaults: {source: here, studies: [s], tasks: [cartpole], among: {}, metric: final, sesoi: 0.05, seeds: 10, looks: 1}
claims:
  it:
    statement: The arm is better
    arm: {k: 1}
    against: {k: 0}
    direction: higher
"""
SPAN = 500 - 22.2


def judge(results, tmp_path: Path, text: str = FILE) -> verdicts.Judged:
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    records = load.read(["s"], results.root)
    (judged,) = verdicts.judge(hypotheses.read(path), records, run_metrics(records))
    return judged


def pair(
    results, difference: float, spread: float = 0.01, seeds: int = 10, task: str = "cartpole", base: float = 0.3
) -> None:
    """Two arms whose final normalised scores differ by `difference`, give or take `spread`."""
    noise = np.random.default_rng(0).normal(0, spread, seeds)
    for k, shift in ((0, np.zeros(seeds)), (1, difference + noise)):
        results.block(
            "s", task, f"arm{k}", range(seeds), lambda seed, _, shift=shift: 23.2 + SPAN * (base + shift[seed]), k=k
        )


@pytest.mark.parametrize(
    ("difference", "spread", "verdict"),
    [(0.2, 0.01, "supported"), (-0.2, 0.01, "refuted"), (0.01, 0.01, "refuted"), (0.05, 0.05, "undecided")],
)
def test_the_interval_is_held_against_the_smallest_effect_of_interest(results, tmp_path, difference, spread, verdict):
    pair(results, difference, spread)
    judged = judge(results, tmp_path)
    assert judged.verdict == verdict
    assert judged.findings[0].effect == pytest.approx(difference, abs=0.03)


def test_effects_point_in_the_direction_of_the_claim(results, tmp_path):
    pair(results, -0.2)
    judged = judge(results, tmp_path, FILE.replace("higher", "lower"))
    assert judged.verdict == "supported"
    assert judged.findings[0].effect == pytest.approx(0.2, abs=0.02)


def test_fewer_seeds_than_asked_for_decide_nothing_and_say_so(results, tmp_path):
    pair(results, 0.2, seeds=6)
    finding = judge(results, tmp_path).findings[0]
    assert (finding.verdict, finding.pairs, finding.seeds_needed) == ("undecided", 6, 10)
    assert finding.note == "supported so far, 6 of 10 seeds"


def test_the_seeds_needed_come_from_the_spread_and_not_from_the_effect(results, tmp_path):
    pair(results, 0.05, 0.1)
    first = judge(results, tmp_path).findings[0]
    assert first.verdict == "undecided"
    assert first.seeds_needed > 20  # d = 0.05 over about 0.1


@pytest.mark.parametrize(("difference", "verdict"), [(0.0, "supported"), (0.3, "refuted")])
def test_equality_is_an_equivalence_test(results, tmp_path, difference, verdict):
    pair(results, difference)
    assert judge(results, tmp_path, FILE.replace("higher", "equal")).verdict == verdict


def test_two_arms_at_the_same_bound_say_nothing(results, tmp_path):
    pair(results, 0.0, 0.0, base=1.0)
    assert judge(results, tmp_path).verdict == "uninformative"


def test_supported_here_and_refuted_there_is_mixed(results, tmp_path):
    results_text = FILE.replace("tasks: [cartpole]", "tasks: [cartpole, other]")
    pair(results, 0.2)
    for k, value in ((0, 0.5), (1, 0.1)):  # on a task whose bounds are 0 and 1
        results.block("s", "other", f"arm{k}", range(10), lambda seed, _, v=value: v + 1 + 0.001 * seed, k=k)
    judged = judge(results, tmp_path, results_text)
    assert [finding.verdict for finding in judged.findings] == ["supported", "refuted"]
    assert judged.verdict == "mixed"


def test_an_arm_that_was_not_run_is_missing_and_named(results, tmp_path):
    results.block("s", "cartpole", "arm1", range(10), lambda *_: 100.0, k=1)
    judged = judge(results, tmp_path)
    assert judged.verdict == "missing"
    assert judged.findings[0].note == "k=0: not run"


def test_a_selector_that_fits_several_arms_is_missing_not_a_choice(results, tmp_path):
    pair(results, 0.2)
    results.block("s", "cartpole", "third", range(10), lambda *_: 100.0, k=1, gamma=0.9)
    assert "several arms" in judge(results, tmp_path).findings[0].note


def test_arms_that_collect_otherwise_are_not_compared_unless_the_claim_is_about_that(results, tmp_path):
    for k, collect in ((0, "episodes"), (1, "segments")):
        results.block("s", "cartpole", f"arm{k}", range(10), lambda s, _, k=k: 100.0 + 50 * k + s, k=k, collect=collect)
    assert "reference line" in judge(results, tmp_path).findings[0].note
    about = FILE.replace("{k: 1}", "{k: 1, collect: segments}").replace("{k: 0}", "{k: 0, collect: episodes}")
    assert judge(results, tmp_path, about).verdict == "supported"


def test_arms_that_differ_in_more_than_the_claim_names_are_not_compared(results, tmp_path):
    for k in (0, 1):
        results.block(
            "s", "cartpole", f"arm{k}", range(10), lambda s, _, k=k: 100.0 + 90 * k + s, k=k, epochs=1 + 9 * k
        )
    finding = judge(results, tmp_path).findings[0]
    assert finding.verdict == "missing"
    assert finding.note == "the arms also differ in epochs (10, 1)"
    named = FILE.replace("{k: 1}", "{k: 1, epochs: 10}")
    assert judge(results, tmp_path, named).verdict == "supported"


def test_what_only_one_of_the_arms_has_comes_with_what_is_named(results, tmp_path):
    results.block("s", "cartpole", "arm0", range(10), lambda s, _: 100.0 + s, k=0)
    results.block("s", "cartpole", "arm1", range(10), lambda s, _: 200.0 + s, k=1, lr=0.1)  # arm0 has no such setting
    assert judge(results, tmp_path).verdict == "supported"


@pytest.mark.parametrize(("selector", "found"), [("null", "arm0"), ("[0.1, 0.2]", "arm1"), ("[null, 0.3]", "arm0")])
def test_a_selector_may_ask_for_what_is_not_there_or_for_one_of_several(results, selector, found):
    results.block("s", "cartpole", "arm0", range(2), lambda *_: 1.0, k=0)
    results.block("s", "cartpole", "arm1", range(2), lambda *_: 1.0, k=1, lr=0.1)
    runs = load.read(["s"], results.root).runs
    assert verdicts._select(runs, {"lr": yaml.safe_load(selector)}) == [found]


def test_at_least_as_good_is_held_against_minus_the_margin(results, tmp_path):
    pair(results, -0.02)
    assert judge(results, tmp_path, FILE.replace("higher", "not_lower")).verdict == "supported"
    assert judge(results, tmp_path, FILE.replace("higher", "not_lower").replace("0.05", "0.01")).verdict == "refuted"


def test_an_arm_may_be_held_against_a_constant(results, tmp_path):
    for k in (0, 1):
        results.block("s", "cartpole", f"arm{k}", range(10), lambda *_, k=k: 23.2 + 100 * k, k=k)  # 23.2 − 1: random
    fixed = FILE.replace("{k: 0}", "{constant: 0.0}").replace("higher", "equal")
    assert judge(results, tmp_path, fixed).verdict == "refuted"
    finding = judge(results, tmp_path, fixed.replace("{k: 1}", "{k: 0}")).findings[0]
    assert (finding.verdict, finding.effect) == ("supported", pytest.approx(0.0))


def test_claims_planned_for_another_study_are_not_judged(results, tmp_path):
    pair(results, 0.2)
    path = tmp_path / "claims.yaml"
    path.write_text(FILE.replace("[s]", "[t]"))
    records = load.read(["s"], results.root)
    assert verdicts.judge(hypotheses.read(path), records, run_metrics(records)) == []


def test_what_another_study_has_on_the_same_task_is_no_arm_of_a_claim(results, tmp_path):
    """Two arms that fit one selector: that of a study the claim does not name was read beside it, and is not its."""
    pair(results, 0.2)
    results.block("beside", "cartpole", "other", range(10), lambda *_: 400.0, k=1, gamma=0.9)
    path = tmp_path / "claims.yaml"
    path.write_text(FILE)
    alone, beside, behind = (load.read(names, results.root) for names in (["s"], ["s", "beside"], ["beside", "s"]))
    judged = [verdicts.judge(hypotheses.read(path), each, run_metrics(each)) for each in (alone, beside, behind)]
    assert [claim.verdict for found in judged for claim in found] == ["supported"] * 3
    assert judged[0][0].findings == judged[1][0].findings == judged[2][0].findings


def test_a_cell_that_two_studies_have_is_an_arm_of_the_claims_of_both(results, tmp_path):
    """Wherever it was trained: of a cell found in two folders only one run is kept."""
    pair(results, 0.2)
    first = next((results.root / "s" / "runs" / "cartpole").glob("arm1-*"))
    for study in ("s", "other"):
        results.study(study, [{"task": "cartpole", "arm": "arm1", "seeds": range(10), "k": 1}])
    (results.root / "other" / "runs" / "cartpole").mkdir(parents=True)
    first.rename(results.root / "other" / "runs" / "cartpole" / first.name)
    path = tmp_path / "claims.yaml"
    path.write_text(FILE)
    records = load.read(["other", "s"], results.root)
    (judged,) = verdicts.judge(hypotheses.read(path), records, run_metrics(records))
    assert judged.verdict == "supported"


def test_a_laboratory_metric_is_missing_until_it_is_measured(results, tmp_path):
    pair(results, 0.2)
    finding = judge(results, tmp_path, FILE.replace("metric: final", "metric: variance")).findings[0]
    assert (finding.verdict, finding.note) == ("missing", "not measured; python -m bench lab study=s measures it")


def test_the_files_commit_is_shown_and_must_predate_the_runs(results, tmp_path):
    pair(results, 0.2)
    records = load.read(["s"], results.root)  # started in January 2026
    path = tmp_path / "claims.yaml"
    path.write_text(FILE)
    assert hypotheses.read(path).commit == ""
    assert verdicts.predates(hypotheses.read(path), records) is None

    def git(*arguments: str, date: str = "2025-06-01T00:00:00+00:00") -> None:
        identity = {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@b",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b",
        }
        environment = {**identity, "GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date, "PATH": "/usr/bin:/bin"}
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True, env=environment)

    git("init")
    git("add", "claims.yaml")
    git("commit", "-m", "claims")
    assert len(hypotheses.read(path).commit) == 40
    assert verdicts.predates(hypotheses.read(path), records) is True
    path.write_text(FILE + "\n")
    assert hypotheses.read(path).commit == ""  # changed since
    git("commit", "-am", "later", date="2026-02-01T00:00:00+00:00")
    assert verdicts.predates(hypotheses.read(path), records) is False


@pytest.mark.parametrize("against", ["{name: arm1}", "{k: [1, 7]}"])
def test_two_selectors_of_one_arm_are_no_comparison(results, tmp_path, against):
    pair(results, 0.2)
    finding = judge(results, tmp_path, FILE.replace("{k: 0}", against)).findings[0]
    assert finding.verdict == "missing"
    assert finding.note.endswith("are one arm, arm1")


def with_episodes(block: Path, returns: Callable[[int, int], float]) -> None:
    """Give a block other episodes: the return of each by its seed and number."""
    table = pd.read_parquet(block / "episodes.parquet")
    values = [returns(seed, episode) for seed, episode in zip(table["seed"], table["episode"], strict=True)]
    table.assign(**{"return": values}).to_parquet(block / "episodes.parquet", index=False)
    sums = json.loads((block / "run.json").read_text())["checksums"]
    edit(block, checksums=sums | {"episodes.parquet": sha256(block / "episodes.parquet")})


def test_the_share_of_noise_is_that_of_two_halves_of_the_episodes(results, tmp_path):
    """Differences 0, 1, 2, 3 by one half and 1, 0, 3, 2 by the other: 1 - 1 / (4/3)."""
    halves = ((0, 1, 2, 3), (1, 0, 3, 2))
    for k in (0, 1):
        block = results.block("s", "cartpole", f"arm{k}", range(4), lambda seed, _: 100.0 + seed, k=k)
        with_episodes(block, lambda seed, episode, k=k: 100.0 + k * halves[episode][seed])
    for metric in ("final", "area"):
        found = judge(results, tmp_path, FILE.replace("metric: final", f"metric: {metric}")).findings[0]
        assert found.noise == pytest.approx(0.25)
    for metric in ("log_parameters", "spread"):  # the one is not evaluated, the other not known of halves
        found = judge(results, tmp_path, FILE.replace("metric: final", f"metric: {metric}")).findings[0]
        assert math.isnan(found.noise)


def test_without_the_episodes_the_share_of_noise_is_not_known_and_of_exact_scores_it_is_0(results, tmp_path):
    for k in (0, 1):
        block = results.block("s", "cartpole", f"arm{k}", range(3), lambda seed, _: 100.0 + seed, k=k)
        results.block("s", "weekly_exam", f"arm{k}", range(3), lambda seed, _: 60.0 + seed, exact=True, k=k)
        (block / "episodes.parquet").unlink()
        edit(block, checksums=json.loads((block / "run.json").read_text())["checksums"] | {"policy.zip": "0" * 64})
    sampled, exact = judge(results, tmp_path, FILE.replace("[cartpole]", "[cartpole, weekly_exam]")).findings
    assert math.isnan(sampled.noise)
    assert exact.noise == 0
    both = verdicts.Judged("it", hypotheses.read(tmp_path / "claims.yaml").claims["it"], "undecided", (sampled, exact))
    table = claims_table([both], "T")
    assert table.header[-1] == "noise"
    assert [row[-1] for row in table.sections[0].rows] == ["–", "0.00"]
    unknown = verdicts.Judged("it", both.claim, "undecided", (sampled,))
    assert claims_table([unknown], "T").header[-1] == "p (Holm)"


def test_a_block_whose_episodes_are_damaged_keeps_its_scores(results, tmp_path):
    for k in (0, 1):
        block = results.block("s", "cartpole", f"arm{k}", range(3), lambda seed, _: 100.0 + seed, k=k)
        (block / "episodes.parquet").write_bytes(b"PAR1")
    records = load.read(["s"], results.root)
    assert set(records.runs["status"]) == {"done"}
    assert [str(problem) for problem in records.problems] == [
        f"{problem.path}: its curves are used, its episodes are not: episodes.parquet does not match its checksum"
        for problem in records.problems
    ]
    assert len(records.problems) == 2
    assert math.isnan(judge(results, tmp_path).findings[0].noise)
