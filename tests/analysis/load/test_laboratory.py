"""What the laboratory measured: read like any other record, tabled, and held against claims."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis import load
from analysis.claims import verdicts
from analysis.cli import main
from analysis.load import laboratory
from analysis.tables import lab as lab_tables
from analysis.tables.learning import measured_texts
from bench.verdicts import hypotheses
from tests.analysis.conftest import ResultsWriter, edit

CLAIM = """
title: T
claims:
  it:
    statement: TD varies less
    source: here
    studies: [s]
    arm: {baseline: critic, advantage: td0}
    against: {baseline: critic, advantage: monte_carlo}
    among: {}
    tasks: [weekly_exam]
    metric: variance
    direction: lower
    sesoi: 0.5
    seeds: 20
"""


def rows(seed: int, advantage: str, bias: float, variance: float, cosine: float) -> list[dict]:
    """Quantities of one estimator of one policy under a learned critic."""
    common = {"seed": seed, "baseline": "critic", "advantage": advantage, "critic": "learned", "gae_lambda": np.nan}
    common |= {"n_step": np.nan, "group_size": np.nan, "credit": "", "step": np.nan, "kind": "", "error": 0.1}
    common |= {"freedom": 4, "against": "", "difference": np.nan, "difference_error": np.nan}
    advantages = {"relative_bias": bias, "relative_variance": variance, "signal": 2.0}
    found = [("advantage", "", 8, name, value) for name, value in advantages.items()]
    found += [("gradient", weights, 8, "cosine", cosine) for weights in ("discounted", "undiscounted")]
    found += [("gradient", "undiscounted", 16, "cosine", 0.99)]
    return [
        common | {"level": level, "weights": weights, "episodes": episodes, "quantity": name, "value": value}
        for level, weights, episodes, name, value in found
    ]


COSINES = (0.1, 0.2, 0.6)
# Of the j-th of twenty policies, TD's variance is 0.5 + 0.01 j and Monte Carlo's 2 + 0.02 j.
MEASURED = [
    row
    for seed in range(20)
    for row in rows(seed, "td0", 0.3, 0.5 + 0.01 * seed, COSINES[seed % 3])
    + rows(seed, "monte_carlo", 0.0, 2.0 + 0.02 * seed, 0.2)
]


@pytest.fixture
def root(tmp_path) -> Path:
    """A study that trained nothing and measured two estimators of twenty policies."""
    writer = ResultsWriter(tmp_path / "results")
    writer.stage("s", "weekly_exam", "halfway", "0123abcd", MEASURED)
    return writer.root


def test_numbers_are_means_over_policies_with_students_interval(tmp_path):
    """Of 0.1, 0.2 and 0.6: mean 0.3, standard deviation √0.07, and t = 4.3027 with two degrees of freedom."""
    writer = ResultsWriter(tmp_path / "results")
    three = [row for seed, cosine in enumerate(COSINES) for row in rows(seed, "td0", 0.3, 0.5, cosine)]
    writer.stage("s", "weekly_exam", "halfway", "0123abcd", three)
    found = load.read(["s"], writer.root).laboratory
    (row,) = laboratory.measured(found.means, "cosine").to_dict("records")
    reach = 4.302653 * np.sqrt(0.07 / 3)
    assert (row["value"], row["policies"]) == (pytest.approx(0.3), 3)
    assert (row["low"], row["high"]) == (pytest.approx(0.3 - reach, abs=1e-6), pytest.approx(0.3 + reach, abs=1e-6))
    assert list(laboratory.of_policies(found.quantities, "cosine", "weekly_exam", {"advantage": "td0"})) == [
        0.1,
        0.2,
        0.6,
    ]


def test_a_single_policy_has_its_own_interval(tmp_path):
    """± t · error, t = 2.7764 with the four degrees of freedom that its rows say."""
    writer = ResultsWriter(tmp_path / "results")
    writer.stage("s", "weekly_exam", "halfway", "0123abcd", rows(5, "td0", 0.3, 0.5, 0.4))
    (row,) = laboratory.measured(load.read(["s"], writer.root).laboratory.means, "cosine").to_dict("records")
    assert (row["low"], row["high"]) == (pytest.approx(0.4 - 0.27764, abs=1e-5), pytest.approx(0.4 + 0.27764, abs=1e-5))


def test_policies_of_several_blocks_are_one_stage(tmp_path):
    writer = ResultsWriter(tmp_path / "results")
    writer.stage("s", "weekly_exam", "halfway", "0123abcd", [row for row in MEASURED if row["seed"] < 5])
    writer.stage("s", "weekly_exam", "halfway", "0123abcd", [row for row in MEASURED if row["seed"] >= 5])
    found = load.read(["s"], writer.root).laboratory
    assert (found.labels("weekly_exam"), found.notes["policies"].tolist()) == (["halfway"], [20])
    assert set(laboratory.measured(found.means, "bias")["policies"]) == {20}


def test_numbers_in_tables_are_those_of_a_training_batch(root):
    found = load.read(["s"], root).laboratory
    td = {"baseline": "critic", "advantage": "td0"}
    assert measured_texts(found.means, "weekly_exam", ["bias", "variance"], td) == ["0.300", "0.595"]
    assert measured_texts(found.means, "cartpole", ["bias"], td) == ["–"]
    table = lab_tables.targets_table(found, {})
    assert table is not None
    (section,) = table.sections
    assert section.heading == "weekly_exam, halfway, 20 policies"
    assert section.rows[0][:2] == ("td0", "0.300 [0.300, 0.300]")
    assert section.rows[1][4] == "0.200 [0.200, 0.200]"


def test_a_claim_is_held_against_paired_differences_over_policies(root, tmp_path):
    """1.5 + 0.01 j for j = 0 … 19: 1.595 on average, and t · sd/√20 = 2.0930 · 0.059161/√20 = 0.02769 around it."""
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM)
    (judged,) = verdicts.judge(hypotheses.read(path), load.read(["s"], root))
    (row,) = judged.rows
    assert (row.effect, row.pairs) == (pytest.approx(1.595), 20)
    assert (row.low, row.high) == pytest.approx((1.595 - 0.02769, 1.595 + 0.02769), abs=1e-5)
    assert (judged.verdict, row.arm, row.against, row.noise) == (
        "supported", "critic td0", "critic monte_carlo", None,
    )  # fmt: skip
    path.write_text(CLAIM.replace("seeds: 20", "seeds: 21"))
    (judged,) = verdicts.judge(hypotheses.read(path), load.read(["s"], root))
    assert judged.rows[0].text == "open: 20 of the 21 policies asked for (supported so far)"


def test_a_claim_may_ask_for_another_number_of_policies_on_a_task(root, tmp_path):
    """Of the first five differences, 1.5 to 1.54, the mean is 1.52; of none of them more is asked."""
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM.replace("seeds: 20", "seeds: 20\n    seeds_by_task: {weekly_exam: 5}"))
    (row,) = verdicts.judge(hypotheses.read(path), load.read(["s"], root))[0].rows
    assert (row.effect, row.pairs, row.asked, row.text) == (pytest.approx(1.52), 5, 5, "supported")


def test_policies_of_another_pool_of_seeds_give_no_verdict(root, tmp_path):
    """They were seen before the claim was written; those of its own pool judge it, whatever else is there."""
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM.replace("seeds: 20", "seeds: 20\n    seed_pool: confirmation"))
    (row,) = verdicts.judge(hypotheses.read(path), load.read(["s"], root))[0].rows
    assert (row.word, row.effect) == (None, pytest.approx(1.595))
    assert row.text == "not run yet: first results say supported"
    higher = [row | {"value": 0.0} if row["quantity"] == "relative_variance" else row for row in MEASURED]
    ResultsWriter(root).stage("s", "weekly_exam", "halfway", "89abcdef", higher, seed_pool="confirmation")
    (row,) = verdicts.judge(hypotheses.read(path), load.read(["s"], root))[0].rows
    assert (row.text, row.effect) == ("no difference of interest", 0.0)
    path.write_text(
        CLAIM.replace("weekly_exam", "cartpole").replace("seeds: 20", "seeds: 20\n    seed_pool: confirmation")
    )
    (row,) = verdicts.judge(hypotheses.read(path), load.read(["s"], root))[0].rows
    assert row.text == "not run yet: python -m bench lab study=s seed_pool=confirmation measures it"


def test_policies_whose_numbers_are_not_told_from_zero_are_not_dropped_in_silence(tmp_path):
    known = [row | {"value": np.nan if row["seed"] > 3 else row["value"]} for row in MEASURED]
    writer = ResultsWriter(tmp_path / "results")
    writer.stage("s", "weekly_exam", "halfway", "0123abcd", known)
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM)
    (judged,) = verdicts.judge(hypotheses.read(path), load.read(["s"], writer.root))
    assert judged.rows[0].text == "open: 4 of the 20 policies asked for (supported so far)"


def test_a_claim_is_held_against_what_its_own_studies_measured(root, tmp_path):
    """Another study measured the same stage otherwise and is read first; it speaks for its own claims only."""
    otherwise = [row | {"value": 9.0} if row["quantity"] == "relative_variance" else row for row in MEASURED]
    ResultsWriter(root).stage("other", "weekly_exam", "halfway", "89abcdef", otherwise)
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM)
    (judged,) = verdicts.judge(hypotheses.read(path), load.read(["other", "s"], root))
    assert (judged.verdict, judged.rows[0].effect) == ("supported", pytest.approx(1.595))


@pytest.mark.usefixtures("svg_only")
def test_an_earlier_format_is_a_line(tmp_path, capsys):
    """Rows without the seed of a policy: one line names what was measured so, and what measures it anew."""
    writer = ResultsWriter(tmp_path / "results")
    for task in ("weekly_exam", "cartpole"):
        old = [{name: value for name, value in row.items() if name != "seed"} for row in MEASURED[:6]]
        writer.stage("s", task, "halfway", "0123abcd", old)
    assert main(["study=s", f"results={writer.root}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cartpole halfway, weekly_exam halfway" in line
    assert "python -m bench lab study=s measures them anew" in line
    writer.stage("s", "weekly_exam", "end", "0123abcd", MEASURED)
    assert main(["study=s", f"results={writer.root}"]) == 0
    page = (writer.root / "s" / "report" / "report.md").read_text()
    assert page.count("earlier format") == 1


@pytest.mark.usefixtures("svg_only")
def test_a_study_that_only_measured_has_a_report(root, capsys):
    assert main(["study=s", f"results={root}"]) == 0
    page = (root / "s" / "report" / "report.md").read_text()
    assert "| monte_carlo | 0 | 2.190 [2.135, 2.245] |" in page
    assert "1 stage of training measured on 1 task (weekly_exam)." in page
    assert len((root / "s" / "report" / "policies.csv").read_text().splitlines()) == 1 + 20 * 2 * 3
    assert "- Measuring: 0.00 CPU hours" in page
    assert "index.html" in capsys.readouterr().out


def test_a_damaged_measurement_is_named(root, capsys):
    (path,) = root.glob("s/lab/*/*/*/quantities.parquet")
    path.write_bytes(b"spoilt")
    assert main(["study=s", f"results={root}"]) == 2  # nothing else is there
    assert "quantities.parquet does not match its checksum" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("committed", "started", "planned"),
    [
        ("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00", "planned"),
        ("2026-01-02T00:00:00+00:00", "2026-01-01T00:00:00+00:00", "not planned: committed after the first run"),
        ("", "2026-01-01T00:00:00+00:00", ""),
    ],
)
def test_a_claim_is_planned_where_it_was_committed_before_its_policies_were_measured(
    root, tmp_path, committed: str, started: str, planned: str
):
    (block,) = (root / "s" / "lab").rglob("seeds-*")
    edit(block, started=started)
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM)
    file = replace(hypotheses.read(path), committed=committed)
    (row,) = verdicts.judge(file, load.read(["s"], root))[0].rows
    assert (row.planned, row.text) == (planned, "supported")
