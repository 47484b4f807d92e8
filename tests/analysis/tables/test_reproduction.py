"""Two result folders, cell by cell."""

import numpy as np
import pytest

from analysis import load
from analysis.cli import main
from analysis.tables import reproduction


def level(seed: int, _share: float) -> float:
    return 100.0 + 10 * seed


def compared(results):
    records = [load.read([study], results.root) for study in ("first", "second")]
    return reproduction.compare(*records).set_index("arm")


def test_the_same_runs_elsewhere_are_identical(results):
    for study in ("first", "second"):
        results.block(study, "cartpole", "a", range(4), level)
    row = compared(results).loc["a"]
    assert (row["cell"], row["pairs"], row["identical"]) == ("same settings", 4, 4)
    assert (row["difference"], row["p"], row["time"]) == (0.0, 1.0, 1.0)


def test_a_difference_is_paired_by_seed_and_has_its_exact_p(results):
    results.block("first", "cartpole", "a", range(6), level)
    results.block("second", "cartpole", "a", range(6), lambda seed, share: level(seed, share) + 3)
    row = compared(results).loc["a"]
    assert (row["pairs"], row["identical"]) == (6, 0)
    assert row["difference"] == row["difference_low"] == row["difference_high"] == pytest.approx(3.0)
    assert row["p"] == row["p_holm"] == 2 / 2**6


def test_cells_of_changed_settings_are_compared_by_name_and_the_rest_is_said_to_be_alone(results):
    for study, gamma in (("first", 0.9), ("second", 0.99)):
        results.block(study, "cartpole", "a", range(3), level, gamma=gamma)
        results.block(study, "cartpole", study, range(3), level, k=study)
    found = compared(results)
    assert found.loc["a", "cell"] == "same name, other settings"
    assert found.loc["first", "cell"] == "only in the first"
    assert found.loc["second", "cell"] == "only in the second"
    assert np.isnan(found.loc["second", "difference"])


def test_other_seeds_are_compared_as_independent_runs_and_failures_are_counted(results):
    results.block("first", "cartpole", "a", range(5), level, failed={4: "loss is NaN"})
    results.block("second", "cartpole", "a", range(10, 14), lambda seed, share: level(seed - 10, share) + 50)
    row = compared(results).loc["a"]
    assert (row["pairs"], row["n_first"], row["n_second"]) == (0, "4 (1 failed)", "4")
    assert row["difference"] == pytest.approx(50.0)
    assert row["difference_low"] < 50 < row["difference_high"]
    assert np.isnan(row["p"])


def test_the_command_prints_the_table_and_writes_it_where_asked(results, tmp_path, capsys):
    for study in ("first", "second"):
        results.block(study, "cartpole", "a", range(3), level)
    folders = [str(results.root / study) for study in ("first", "second")]
    assert main(["compare", *folders, f"to={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr().out
    assert "| a | same settings | 3 | 3 | 3 of 3 |" in said
    assert "1 cell in both, 0 in one only; 3 of 3 common runs identical; 0 cells differ" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"compare.md", "compare.csv", "compare.tex"}


def test_a_damaged_side_is_named_and_makes_the_exit_code_1(results, capsys):
    for study in ("first", "second"):
        results.block(study, "cartpole", "a", range(3), level)
    (results.block("second", "cartpole", "b", [0], level, k=1) / "training.parquet").write_bytes(b"spoilt")
    assert main(["compare", str(results.root / "first"), str(results.root / "second")]) == 1
    assert "does not match its checksum" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "results/a"], "compare: give the folder of a second study"),
        (["compare", "{root}/first", "{root}/secnd"], "did you mean 'second'"),
        (["compare", "{root}/first", "{root}/second", "too=x"], "did you mean 'to=…'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(results, capsys, arguments, message):
    for study in ("first", "second"):
        results.block(study, "cartpole", "a", range(3), level)
    assert main([argument.format(root=results.root) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
