"""The report of a tuned study: optimism against closed forms, every setting shown, the two pools kept apart."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from analysis import cli, load
from analysis.figures import tuned as tuned_figures
from analysis.figures.style import Look
from analysis.report.files import write_report
from analysis.tables import formats, tuned
from bench.design.selection import Result, winner
from tests.analysis.conftest import ResultsWriter, cell_hash

RATES = (0.001, 0.01, 0.003)
TOPS = {"a": (50.0, 90.0, 70.0), "b": (60.0, 20.0, 40.0)}  # by arm, of every setting


def test_the_expected_maximum_of_normal_variables():
    # 1/√π for two, 3/(2√π) for three (exact), and the table of normal order statistics
    known = {1: 0.0, 2: 1 / math.sqrt(math.pi), 3: 1.5 / math.sqrt(math.pi), 5: 1.16296, 10: 1.53875, 50: 2.24907}
    for k, expected in known.items():
        assert tuned.expected_maximum(k) == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize("k", [5, 10])
def test_the_optimism_of_the_best_of_equally_good_settings(k):
    """Simulated tuning, chosen by the rule that chooses: the mean optimism is c_k σ/√n."""
    rng, n, deviation, reps = np.random.default_rng(k), 5, 2.0, 2000
    measured, expected = [], []
    for _ in range(reps):
        scores = rng.normal(10.0, deviation, (k, n))
        results = [Result(i, {}, tuple(range(n)), dict(enumerate(row))) for i, row in enumerate(scores)]
        best = winner(results)
        assert best is not None
        fresh = rng.normal(10.0, deviation, 20)
        measured.append(tuned.optimism(list(best.scores.values()), fresh.tolist())[0])
        expected.append(tuned.expected_optimism(scores.tolist()))
    truth = {5: 1.16296, 10: 1.53875}[k] * deviation / math.sqrt(n)
    error = np.std(measured) / math.sqrt(reps)
    assert abs(np.mean(measured) - truth) < 4 * error
    assert np.mean(expected) == pytest.approx(truth, rel=0.02)  # σ is estimated, 1/(4 k (n − 1)) too small


def test_the_expected_optimism_of_a_table_made_by_hand():
    # variances 2 and 2, so σ/√n = √2/√2, times c_2
    assert tuned.expected_optimism([[1, 3], [2, 4]]) == pytest.approx(1 / math.sqrt(math.pi))
    assert math.isnan(tuned.expected_optimism([[1.0], [2.0]]))
    assert math.isnan(tuned.expected_optimism([]))


def test_the_interval_of_optimism_is_welchs():
    difference, low, high = tuned.optimism([1, 2, 3], [0, 1, 2, 3, 5])
    error = math.sqrt(1 / 3 + 3.7 / 5)  # sample variances 1 and 3.7
    freedom = error**4 / ((1 / 3) ** 2 / 2 + (3.7 / 5) ** 2 / 4)
    half = scipy.stats.t.ppf(0.975, freedom) * error
    assert (difference, low, high) == pytest.approx((-0.2, -0.2 - half, -0.2 + half))
    assert tuned.optimism([500.0] * 5, [500.0] * 20) == (0, 0, 0)
    assert tuned.optimism([3.0], [1.0, 2.0])[0] == 1.5
    assert np.isnan(tuned.optimism([3.0], [1.0, 2.0])[1:]).all()
    assert np.isnan(tuned.optimism([], [1.0, 2.0])).all()


def factors(arm: str, rate: float, pool: str) -> dict[str, object]:
    return {"baseline": arm, "learning_rate": rate, "seed_pool": pool}


def hash_of(arm: str, rate: float, pool: str) -> str:
    """The hash that `ResultsWriter.block` gives a cell."""
    cell = {"task": "cartpole", "baseline": arm, "learning_rate": rate}
    return cell_hash(cell if pool == "main" else cell | {"pool": pool})


@pytest.fixture
def study(results: ResultsWriter) -> Path:
    """Two arms, three settings of three seeds; a's best setting loses a seed, b is not judged."""
    folder = results.study("tuned", [], control="a")
    for arm, tops in TOPS.items():
        for number, (rate, top) in enumerate(zip(RATES, tops, strict=True)):
            failed = {2: "loss is nan"} if (arm, number) == ("a", 1) else {}
            results.block(
                "tuned", "cartpole", f"{arm}-tuning-{number:02d}", range(3),
                lambda seed, _, top=top: top + 2 * seed + 1, failed=failed, **factors(arm, rate, "tuning"),
            )  # fmt: skip
    results.block("tuned", "cartpole", "a", range(4), lambda seed, _: 61.0 + seed, **factors("a", 0.003, "main"))
    write_plan(folder, {"a": (2, hash_of("a", 0.003, "main")), "b": (None, None)})
    return folder


def write_plan(folder: Path, winners: Mapping[str, tuple[int | None, str | None]]) -> None:
    candidates = [
        {
            "task": "cartpole",
            "arm": arm,
            "seeds": [0, 1, 2],
            "settings": 3,
            "trials": [
                {"number": number, "values": {"learning_rate": rate}, "hash": hash_of(arm, rate, "tuning")}
                for number, rate in enumerate(RATES)
            ],
            "winner": winner,
            "judged": judged,
        }
        for arm, (winner, judged) in winners.items()
    ]
    (folder / "tuning.json").write_text(json.dumps({"schema": 1, "design": {}, "candidates": candidates}))


def test_what_tunes_and_what_judges_are_kept_apart(study):
    records, found = tuned.split(load.read(["tuned"], study.parent), study)
    assert found is not None
    assert records.runs["arm"].unique().tolist() == ["a"]
    assert len(records.runs) == 4
    assert len(found.runs) == 18
    assert "learning_rate" not in records.factors  # no factor of the study: each arm has its own
    a, b = found.arms
    # stochastic returns of the fixture lie 1 below the curve
    assert a.settings[0].scores == {0: 50.0, 1: 52.0, 2: 54.0}
    assert a.settings[0].mean == 52.0
    assert a.settings[1].scores == {0: 90.0, 1: 92.0}
    assert math.isnan(a.settings[1].mean)
    assert a.settings[1].trouble == "1 of 3 seeds failed: loss is nan"
    assert a.winner is a.settings[2]
    assert a.fresh == {0: 60.0, 1: 61.0, 2: 62.0, 3: 63.0}
    assert (b.winner, b.fresh) == (None, {})


def test_tables_show_every_setting_and_the_winners_on_both_pools(study):
    _, found = tuned.split(load.read(["tuned"], study.parent), study)
    assert found is not None
    (section,) = tuned.winner_table(found).sections
    a, b = section.rows
    # tuning pool 70, 72, 74 and fresh 60 … 63: 72 − 61.5; σ = 2 in both settings that could win, c_2 · 2/√3
    assert a[:5] == ("a", "0.003", "2", "72.00 (n=3)", "61.50 (n=4)")
    assert a[5].startswith("10.50 [")
    assert a[6] == f"{2 / math.sqrt(3) / math.sqrt(math.pi):.2f}"
    assert b[:5] == ("b", "–", "3", "no winner yet", "–")
    first, second = tuned.setting_table(found).sections
    assert [row[0] for row in first.rows] == ["2", "0", "1"]  # best first, the failed one last
    assert first.rows[0][2] == formats.Best("72.00")
    assert isinstance(first.rows[0][2], formats.Best)
    assert first.rows[2] == ("1", "0.01", "–", "1.41", "2", "1 of 3 seeds failed: loss is nan")
    assert [row[0] for row in second.rows] == ["0", "2", "1"]


@pytest.mark.usefixtures("svg_only")
def test_the_report_has_them_and_says_so(study, capsys):
    assert cli.main(["study=tuned", f"results={study.parent}"]) == 0
    assert "4 of 4 runs are done: 1 arm on 1 task" in capsys.readouterr().out
    text = (study / "report" / "report.md").read_text()
    assert (
        "5 of 6 settings are done, 1 failed; of 2 arms (on a task each), 1 have a winner and 1 of those are judged"
        in text
    )
    assert "![tuning settings](tuning_settings.svg)" in text
    assert "![tuning optimism](tuning_optimism.svg)" in text
    assert (study / "report" / "tuning_optimism.svg").stat().st_size > 0
    page = (study / "report" / "index.html").read_text()
    assert "a-tuning-00" not in page.replace(str(study), "")


@pytest.mark.usefixtures("svg_only")
def test_a_report_while_the_tuning_goes_on(study):
    write_plan(study, {"a": (None, None), "b": (None, None)})
    for path in sorted((study / "runs" / "cartpole").glob(f"a-{hash_of('a', 0.003, 'main')}/*/*")):
        path.unlink()
    records, found = tuned.split(load.read(["tuned"], study.parent), study)
    written = [
        path.name
        for path in write_report(dataclasses.replace(records, runs=records.runs[:0]), study / "report", [], found)
    ]
    assert "report.md" in written
    assert "tuning_settings.svg" in written
    assert "tuning_optimism.svg" not in written


def test_a_study_without_tuning_is_left_as_it_is(results):
    results.study("plain", [{"task": "cartpole", "arm": "a", "seeds": [0, 1]}])
    results.block("plain", "cartpole", "a", [0, 1], lambda seed, _: 61.0 + seed)
    records = load.read(["plain"], results.root)
    assert len(records.runs) == 2
    same, found = tuned.split(records, results.root / "plain")
    assert same is records
    assert found is None


def test_the_figures_have_an_artist_for_every_arm(study):
    _, found = tuned.split(load.read(["tuned"], study.parent), study)
    assert found is not None
    figure = tuned_figures.drawings(found, {}, Look())["tuning_settings"]
    (ax,) = figure.axes
    assert ax.get_xscale() == "linear"  # 0.001 to 0.01 is not more than a decade
    dots = [line for line in ax.lines if line.get_gid() == "arm-0"]
    assert sorted(len(line.get_xdata()) for line in dots) == [1, 1, 2]  # failed, winner, done
