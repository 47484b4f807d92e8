"""Studies that were tuned before there were designs: read as a design, their two pools of seeds kept apart."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import cli, load
from analysis.load import earlier_tuning
from analysis.report.files import write_report
from analysis.tables.designs import BEST, Readings
from tests.analysis.conftest import ResultsWriter, cell_hash

RATES = (0.001, 0.01, 0.003)
SPACE = {"learning_rate": {"log_uniform": [1e-4, 1e-1]}}
TOPS = {"a": (50.0, 90.0, 70.0), "b": (60.0, 20.0, 40.0)}  # by arm, of every setting


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
    (folder / "tuning.json").write_text(
        json.dumps({"schema": 1, "design": {"design": 1, "space": SPACE}, "candidates": candidates})
    )


def test_what_tunes_and_what_judges_are_kept_apart(study: Path) -> None:
    records, found = earlier_tuning.split(load.read(["tuned"], study.parent), study)
    assert found is not None
    assert records.runs["arm"].unique().tolist() == ["a"]
    assert len(records.runs) == 4
    assert "learning_rate" not in records.factors  # no factor of the study: each arm has its own
    assert len(found.tried) == 18
    low, span = 22.2, 500.0 - 22.2
    # stochastic returns of the fixture lie 1 below the curve
    assert found.scores["cartpole", "a"].loc[0].tolist() == pytest.approx(
        [(each - low) / span for each in (50, 52, 54)]
    )
    assert found.scores["cartpole", "a"].loc[1].tolist() == pytest.approx([(90 - low) / span, (92 - low) / span, 0.0])
    assert found.judged("cartpole", "a", 2)["score"].tolist() == pytest.approx(
        [(60 + k - low) / span for k in range(4)]
    )
    assert found.values("a", 1) == {"learning_rate": 0.01}


def test_its_best_setting_is_the_one_that_was_judged(study: Path) -> None:
    """With the failed seed as a random policy's, (67.8 + 69.8 + 0)/3 points above random is less than 49.8."""
    _, found = earlier_tuning.split(load.read(["tuned"], study.parent), study)
    assert found is not None
    table = Readings(found).chosen
    best = table[(table["arm"] == "a") & (table["reading"] == BEST)].iloc[0]
    assert (best["setting"], best["n"]) == (2, 4)
    assert best["optimism"] == pytest.approx((72 - 61.5) / (500 - 22.2))
    assert table.loc[(table["arm"] == "b") & (table["reading"] == BEST), "n"].tolist() == [0]


@pytest.mark.usefixtures("svg_only")
def test_the_report_has_it(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study=tuned", f"results={study.parent}"]) == 0
    assert "4 of 4 runs are done: 1 arm on 1 task" in capsys.readouterr().out
    text = (study / "report" / "report.md").read_text()
    assert "3 settings, the same for 2 arms on 1 task: 17 of 18 runs are done, 1 failed" in text
    assert "design_optimism_tuning.svg" in text
    assert "a-tuning-00" not in (study / "report" / "index.html").read_text().replace(str(study), "")


@pytest.mark.usefixtures("svg_only")
def test_a_report_of_one_that_never_judged(study: Path) -> None:
    write_plan(study, {"a": (None, None), "b": (None, None)})
    for path in sorted((study / "runs" / "cartpole").glob(f"a-{hash_of('a', 0.003, 'main')}/*/*")):
        path.unlink()
    records, found = earlier_tuning.split(load.read(["tuned"], study.parent), study)
    without = replace(records, runs=records.runs[:0])
    written = [path.name for path in write_report(without, study / "report", [], found)]
    assert "report.md" in written
    assert "design_responses_tuning_cartpole.svg" in written
    assert "design_optimism_tuning.svg" not in written


def test_a_study_without_tuning_is_left_as_it_is(results: ResultsWriter) -> None:
    results.study("plain", [{"task": "cartpole", "arm": "a", "seeds": [0, 1]}])
    results.block("plain", "cartpole", "a", [0, 1], lambda seed, _: 61.0 + seed)
    records = load.read(["plain"], results.root)
    same, found = earlier_tuning.split(records, results.root / "plain")
    assert same is records
    assert found is None


def test_of_a_study_that_has_a_design_since_what_was_tuned_before_is_left_out(study: Path) -> None:
    records = load.read(["tuned"], study.parent)
    left, found = earlier_tuning.split(replace(records, designs=({"name": "tuned"},)), study)
    assert found is None
    assert left.runs[left.runs["status"] != "missing"].empty
