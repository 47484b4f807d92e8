"""The metrics that claims are judged by, from runs made by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.claims import metrics
from bench.records.files import sha256
from tests.analysis.conftest import edit


def test_the_metrics_of_a_run_by_hand(results):
    top = [54.1 + 17.26 * share + 1 for share in (0.2, 0.5, 1.0)]  # the stochastic scores lie 1 lower
    results.block(
        "s", "weekly_exam", "a", range(3), lambda seed, _: top[seed], true=lambda seed, _: top[seed] - 1.726, k=0
    )
    found = metrics.run_metrics(load.read(["s"], results.root))
    assert found["final"].tolist() == pytest.approx([0.2, 0.5, 1.0])
    assert found["overstated"].tolist() == pytest.approx([0.1, 0.1, 0.1])
    assert found["steps"].tolist() == [1.0, 1.0, 0.0]  # two never get to 0.8, one begins above it
    assert found["log_parameters"].tolist() == pytest.approx([np.log(4610 + 4545)] * 3)


def test_the_largest_update_is_the_records_be_there_diagnostics_or_not(results):
    block = results.block("s", "weekly_exam", "a", range(2), lambda _, share: share)
    record = json.loads((block / "run.json").read_text())
    record["seeds"]["0"]["largest_kl"], record["seeds"]["1"]["largest_kl"] = 0.25, None
    edit(block, seeds=record["seeds"], checksums=record["checksums"] | {"policy.zip": "0" * 64})
    (block / "training.parquet").unlink()
    found = metrics.run_metrics(load.read(["s"], results.root))
    np.testing.assert_array_equal(found["largest_kl"].to_numpy(float), [0.25, np.nan])


def test_the_metrics_of_a_solved_world_are_those_of_its_exact_curves(results):
    """The episodes swing; the exact returns rise in a line, from 0 to 1 of the normalised score, and lose nothing."""
    block = results.block("s", "weekly_exam", "a", [0], lambda _, share: 60 + 9 * (share * 10 % 4), exact=True, k=0)
    sampled = metrics.run_metrics(load.read(["s"], results.root))
    table = pd.read_parquet(block / "curves.parquet")
    exact = 54.1 + (71.36 - 54.1) * table["step"] / 1000
    table.assign(exact_return=exact).to_parquet(block / "curves.parquet", index=False)
    sums = json.loads((block / "run.json").read_text())["checksums"]
    edit(block, checksums=sums | {"curves.parquet": sha256(block / "curves.parquet")})
    found = metrics.run_metrics(load.read(["s"], results.root))
    assert np.isnan(sampled["drawdown"].item()) or sampled["drawdown"].item() > 0
    assert found["drawdown"].item() == 0
    assert found["area"].item() == pytest.approx(0.5)
    assert found["final"].item() == pytest.approx(1.0)
    assert found["final_deterministic"].item() == pytest.approx(1.0)
    assert found["steps"].item() == pytest.approx(0.8)
