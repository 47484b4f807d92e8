"""What the laboratory measured: read like any other record, tabled, and held against claims."""

from pathlib import Path

import numpy as np
import pytest

from analysis import load
from analysis.claims import verdicts
from analysis.cli import main
from analysis.tables import lab as lab_tables
from analysis.tables.learning import measured_texts
from bench.verdicts import hypotheses
from tests.analysis.conftest import ResultsWriter

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
    looks: 1
"""


def rows(advantage: str, bias: float, variance: float, cosine: float) -> list[dict]:
    """Quantities of one estimator under a learned critic, the true advantages having a mean square of 2."""
    common = {"baseline": "critic", "advantage": advantage, "critic": "learned", "gae_lambda": np.nan}
    common |= {"n_step": np.nan, "group_size": np.nan, "credit": "", "kind": "", "error": 0.1, "weights": ""}
    advantages = {"action_bias": bias, "variance": variance, "signal": 2.0}
    found = [("advantage", "", 8, name, value) for name, value in advantages.items()]
    found += [("gradient", weights, 8, "cosine", cosine) for weights in ("discounted", "undiscounted")]
    found += [("gradient", "undiscounted", 16, "cosine", 0.99)]
    return [
        common | {"level": level, "weights": weights, "episodes": episodes, "quantity": name}
        | {"value": value, "low": value - 0.2, "high": value + 0.2}
        for level, weights, episodes, name, value in found
    ]  # fmt: skip


MEASURED = rows("td0", 0.6, 1.0, 0.5) + rows("monte_carlo", 0.0, 4.0, 0.2)


@pytest.fixture
def root(tmp_path) -> Path:
    """A study that trained nothing and measured two estimators."""
    writer = ResultsWriter(tmp_path / "results")
    writer.stage("s", "weekly_exam", "halfway", "0123abcd", MEASURED)
    return writer.root


def test_numbers_are_in_units_of_the_signal_and_at_the_smallest_batch(root):
    quantities = load.read(["s"], root).laboratory.quantities
    td = {"baseline": "critic", "advantage": "td0"}
    assert measured_texts(quantities, "weekly_exam", ["bias", "variance", "cosine"], td) == ["0.300", "0.500", "0.500"]
    assert measured_texts(quantities, "cartpole", ["bias"], td) == ["–"]
    (section,) = lab_tables.closing_table(load.read(["s"], root).laboratory, "weekly_exam", {}).sections
    row = ("critic-td0", "–", "0.300 [0.200, 0.400]", "0.500 [0.400, 0.600]", "0.500 [0.300, 0.700]")
    assert (section.heading, section.rows[0][:5]) == ("halfway", row)


@pytest.mark.parametrize(("sesoi", "verdict"), [("0.5", "supported"), ("1.5", "undecided"), ("2.0", "refuted")])
def test_a_claim_is_held_against_the_difference_and_its_error(root, tmp_path, sesoi, verdict):
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM.replace("0.5", sesoi))
    records = load.read(["s"], root)
    (judged,) = verdicts.judge(hypotheses.read(path), records, records.runs)
    (finding,) = judged.findings
    # variances 0.5 and 2.0 with errors 0.05 each: 1.5 ± 1.96 · 0.0707
    assert (finding.effect, finding.low) == (pytest.approx(1.5), pytest.approx(1.5 - 0.1386, abs=1e-4))
    assert (judged.verdict, finding.note) == (verdict, "one policy")


def test_a_claim_is_held_against_what_its_own_studies_measured(root, tmp_path):
    """Another study measured the same stage otherwise and is read first; it speaks for its own claims only."""
    otherwise = rows("td0", 0.6, 4.0, 0.5) + rows("monte_carlo", 0.0, 1.0, 0.2)  # the other way round
    ResultsWriter(root).stage("other", "weekly_exam", "halfway", "89abcdef", otherwise)
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM)
    records = load.read(["other", "s"], root)
    (judged,) = verdicts.judge(hypotheses.read(path), records, records.runs)
    assert (judged.verdict, judged.findings[0].effect) == ("supported", pytest.approx(1.5))


@pytest.mark.usefixtures("svg_only")
def test_a_study_that_only_measured_has_a_report(root, capsys):
    assert main(["study=s", f"results={root}"]) == 0
    page = (root / "s" / "report" / "report.md").read_text()
    assert "| critic-monte_carlo | – | 0.000 [−0.100, 0.100] |" in page
    assert "1 stage of training measured on 1 task (weekly_exam)." in page
    assert "- Measuring: 0.00 CPU hours" in page
    assert "index.html" in capsys.readouterr().out


def test_a_damaged_measurement_is_named(root, capsys):
    (path,) = root.glob("s/lab/*/*/*/quantities.parquet")
    path.write_bytes(b"spoilt")
    assert main(["study=s", f"results={root}"]) == 2  # nothing else is there
    assert "quantities.parquet does not match its checksum" in capsys.readouterr().err
