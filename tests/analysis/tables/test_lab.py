"""The laboratory's section of a report, from a small study that really was measured."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import load
from analysis.cli import main as analyse
from analysis.figures import lab as lab_figures
from analysis.figures.style import Look, arm_styles
from analysis.load.laboratory import COLUMNS, Laboratory, together
from analysis.report import files as report_files
from analysis.report import lab as lab_report
from analysis.tables import lab as lab_tables
from analysis.tables.learning import measured_texts
from bench.commands.main import main
from bench.records.files import sha256
from bench.records.index import LAB
from tests.analysis.conftest import ResultsWriter, edit


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One stage of the exam question: two policies."""
    place = tmp_path_factory.mktemp("results")
    arguments = [
        "task=exam_question", "stages=start", "jobs=1", "baselines=none,critic,rloo,grpo", "critics=exact,learned",
        "advantages=td0,gae,monte_carlo", "anchors=4", "times=1", "futures=4", "batches=16", "batch_multiples=1,2",
        "group_sizes=2", "seeds=2", f"results={place}",
    ]  # fmt: skip
    assert main(["lab", *arguments]) == 0
    return place


@pytest.fixture(scope="module")
def found(results: Path) -> Laboratory:
    return load.read(["lab"], results).laboratory


def test_the_report_of_a_measured_study(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_files, "FORMATS", ("svg", "png"))  # PDF takes most of the time
    assert analyse(["study=lab", f"results={results}"]) == 0
    folder = results / "lab" / "report"
    for name in lab_figures.FIGURES:
        assert (folder / f"{name}_exam_question.png").stat().st_size > 5000, name
    policies = pd.read_csv(folder / "policies.csv")
    assert set(policies["seed"]) == {0, 1}
    text = (folder / "report.md").read_text()
    for fragment in ("| gae |", "| rloo |", "Where a baseline hurts", "(time_limited truth)", ", exact."):
        assert fragment in text
    assert "<h2>The estimators, measured</h2>" in (folder / "index.html").read_text()


@pytest.mark.parametrize("unknown", [{0}, {0, 1}])
def test_figures_of_policies_whose_shares_are_unknown(found: Laboratory, unknown: set[int]) -> None:
    """Almost deterministic policies have no advantages to be shares of: where all are so, it is said."""
    rows = found.quantities
    gone = rows["seed"].isin(unknown) & rows["quantity"].str.startswith("relative_")
    laboratory = replace(found, quantities=rows.assign(value=rows["value"].mask(gone)))
    figure = lab_figures.draw("policies", laboratory, "exam_question", Look())
    assert figure is not None
    said = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert said == ["true advantages not\ntold from zero"] * (2 if len(unknown) == 2 else 0)
    for name in lab_figures.FIGURES:
        assert lab_figures.draw(name, laboratory, "exam_question", Look()) is not None, name


@pytest.mark.parametrize("same", [{0}, {0, 1}])
def test_the_plane_of_policies_whose_returns_hardly_vary(found: Laboratory, same: set[int]) -> None:
    """Nothing is a share of what is a millionth of the other policies' variance, or 0: where all are so, it is said."""
    rows, least = found.quantities, 0.0 if len(same) == 2 else 1e-9
    alike = rows["seed"].isin(same) & rows["quantity"].eq("variance")
    laboratory = replace(found, quantities=rows.assign(value=rows["value"].mask(alike, least)))
    assert set(lab_tables.plane_table(laboratory, "exam_question")["seed"]) == {0, 1} - same
    figure = lab_figures.draw("bias_variance_plane", laboratory, "exam_question", Look())
    assert figure is not None
    said = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert ("returns of a state\nand action hardly vary" in said) == (len(same) == 2)


def test_the_plane_has_the_full_returns_as_its_unit(found: Laboratory) -> None:
    """Monte Carlo lies at a bias of 0 and a variance of 1 for every policy, under any critic; GRPO is left out."""
    table = lab_tables.plane_table(found, "exam_question")
    full = table[table["arm"].isin(["none-monte_carlo", "critic-monte_carlo"])]
    assert (len(full), set(full["critic"])) == (6, {"none", "exact", "learned"})
    np.testing.assert_allclose(full["variance"], 1.0, rtol=1e-12)
    np.testing.assert_allclose(full["bias"], 0.0, atol=1e-12)
    signal = found.quantities.query("quantity == 'signal'").groupby("seed")["value"].first()
    variance = found.quantities.query("arm == 'none-monte_carlo' and quantity == 'variance'").set_index("seed")["value"]
    for seed, rows in table.groupby("seed"):
        known = rows.loc[~rows["arm"].str.startswith("grpo"), "signal"]  # of GRPO nothing is a share of it
        np.testing.assert_allclose(known, signal[seed] / variance[seed], rtol=1e-12)
    figure = lab_figures.draw("bias_variance_plane", found, "exam_question", Look())
    assert figure is not None
    points = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert points["none-monte_carlo"] == [[pytest.approx(0, abs=1e-9), pytest.approx(1)]]
    assert "grpo-monte_carlo" not in points
    assert [text.get_text() for text in figure.axes[0].texts] == ["every λ"]  # of one step
    assert points["√E A²"] == [[pytest.approx(np.sqrt((signal / variance).mean())), 0]]


def test_an_arm_that_was_trained_looks_as_in_the_figures_of_training(found: Laboratory) -> None:
    """Of rloo and GRPO only the first was trained; a second objective of the same estimator changes nothing."""
    runs = pd.DataFrame({
        "arm": ["rloo-clip", "critic-clip", "rloo-vanilla"],
        "baseline": ["rloo", "critic", "rloo"],
        "advantage": ["monte_carlo", "gae", "monte_carlo"],
    })  # fmt: skip
    styles = arm_styles(runs)
    trained = lab_figures.as_trained(runs, styles)
    assert trained == {"rloo-monte_carlo": styles["rloo-clip"], "critic-gae": styles["critic-clip"]}
    figure = lab_figures.draw("gradient_cosine", found, "exam_question", Look(), trained)
    assert figure is not None
    colors = {line.get_label(): line.get_color() for line in figure.axes[0].lines}
    assert colors["rloo-monte_carlo"] == styles["rloo-clip"].color
    assert len(set(colors["grpo-monte_carlo"])) == 1  # grey
    assert lab_figures.as_trained(runs.drop(columns="baseline"), styles) == {}


@pytest.mark.usefixtures("svg_only")
def test_a_damaged_stage_is_named_and_told_by_the_exit_code(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(results, tmp_path / "results")
    (file,) = (tmp_path / "results").rglob("quantities.parquet")
    second = file.parents[1].with_name("halfway-0") / file.parent.name
    shutil.copytree(file.parent, second)
    (second / "quantities.parquet").write_bytes(b"damaged")
    assert analyse(["study=lab", f"results={tmp_path / 'results'}"]) == 1
    assert "halfway-0" in capsys.readouterr().err


def test_the_closing_table_has_the_means_over_policies(found: Laboratory) -> None:
    table = lab_tables.targets_table(found, {"exam_question": {"critic-gae": (0.6, 0.5, 0.7)}})
    assert table is not None
    (section,) = table.sections
    rows = {row[0]: row[1:] for row in section.rows}
    assert list(rows) == ["td0", "gae", "monte_carlo"]
    each = found.each("exam_question", "advantage").query("arm == 'critic-gae' and critic == 'learned' and not swept")
    values = each[each["quantity"] == "relative_variance"]["value"]
    assert len(values) == 2
    assert rows["gae"][1].startswith(f"{values.mean():.3f}"[:4])
    assert rows["gae"][-1] == "0.60 [0.50, 0.70]"
    assert {rows[name][-1] for name in ("td0", "monte_carlo")} == {"–"}


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.25, 0.2, 0.3), "0.250 [0.200, 0.300]"),
        ((-1e-16, -3e-16, 1e-16), "0"),  # by algebra, to rounding
        ((2e20, 1e20, 3e20), "2.0e20 [1.0e20, 3.0e20]"),
        ((-2e-5, -3e-5, -1e-5), "−2.0e−05 [−3.0e−05, −1.0e−05]"),
        ((123.4, 100.0, 150.0), "123.4 [100.0, 150.0]"),
        ((0.5, np.nan, np.nan), "0.500"),
        ((np.nan, np.nan, np.nan), "–"),
    ],
)
def test_numbers_have_as_many_digits_as_they_need(numbers: tuple[float, ...], text: str) -> None:
    assert lab_tables.cell_text(numbers) == text


def of_seeds(values: dict[str, list[float]], quantity: str, episodes: int) -> pd.DataFrame:
    """Rows of a gradient's quantity, per baseline and policy."""
    rows = [
        {"task": "t", "stage": "halfway", "label": "halfway", "first": True, "level": "gradient",
         "arm": f"{name}-monte_carlo", "weights": "undiscounted", "episodes": episodes, "quantity": quantity,
         "baseline": name, "step": np.nan,
         "advantage": "monte_carlo", "critic": "none", "credit": "", "swept": False, "seed": seed, "value": value}
        for name, numbers in values.items()
        for seed, value in enumerate(numbers)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_ratios_of_variances_are_paired_by_policy() -> None:
    """Ratios 4, 1 and 2: their logarithms to base 2 are 2, 0 and 1, with mean 1, sd 1, t = 4.3027: 2^(1 ± 2.4842)."""
    rows = of_seeds({"none": [1.0, 10.0, 100.0], "group": [4.0, 10.0, 200.0]}, "trace_absolute", 8)
    notes = pd.DataFrame({"task": ["t"], "stage": ["halfway"], "label": ["halfway"], "first": [True]})
    (row,) = lab_tables.against_none(Laboratory(rows, pd.DataFrame(), notes), "t").to_dict("records")
    assert (row["baseline"], row["value"], row["policies"]) == ("group", pytest.approx(2.0), 3)
    assert row["low"] == pytest.approx(2 ** (1 - 4.302653 / np.sqrt(3)), rel=1e-6)
    assert row["high"] == pytest.approx(2 ** (1 + 4.302653 / np.sqrt(3)), rel=1e-6)


def test_the_smallest_error_is_named_with_what_is_not_told_apart() -> None:
    """Against `rloo`, `group` is worse by 0.1 for every policy, `none` by 0.2 or better by 0.1: not told apart."""
    errors = {"rloo": [0.5, 0.6, 0.7], "group": [0.6, 0.7, 0.8], "none": [0.7, 0.5, 0.9]}
    rows = pd.concat(
        [of_seeds(errors, "least_error", 8), of_seeds({"none": [0.2] * 3, "rloo": [0.3] * 3}, "least_error", 16)]
    )
    notes = pd.DataFrame({"task": ["t"], "stage": ["halfway"], "label": ["halfway"], "first": [True]})
    small, large = lab_tables.best_table(Laboratory(rows, pd.DataFrame(), notes), "t").to_dict("records")
    assert (small["arm"], small["tied"], small["episodes"]) == ("rloo-monte_carlo", 1, 8)
    assert (large["arm"], large["tied"], large["value"]) == ("none-monte_carlo", 0, pytest.approx(0.2))


def test_estimators_that_are_unknown_for_most_policies_have_no_part_in_the_map() -> None:
    """`vine` is known for one policy of three, `rloo` for two: the map is of these two, and nothing of the third."""
    errors = {"vine": [0.1, np.nan, np.nan], "rloo": [0.5, 0.6, np.nan], "none": [0.7, 0.9, 0.8]}
    notes = pd.DataFrame({"task": ["t"], "stage": ["halfway"], "label": ["halfway"], "first": [True]})
    rows = of_seeds(errors, "least_error", 8)
    (cell,) = lab_tables.best_table(Laboratory(rows, pd.DataFrame(), notes), "t").to_dict("records")
    assert (cell["arm"], cell["policies"], cell["value"]) == ("rloo-monte_carlo", 2, pytest.approx(0.55))


def test_a_mean_over_some_policies_only_says_of_how_many() -> None:
    rows = pd.DataFrame({
        "quantity": ["relative_bias", "cosine"], "value": [0.5, 0.25], "low": [0.4, 0.2], "high": [0.6, 0.3],
        "policies": [1, 5],
    }).set_index("quantity")  # fmt: skip
    assert lab_tables._cell(rows, "relative_bias") == "0.500 [0.400, 0.600] (1 of 5)"
    assert lab_tables._cell(rows, "cosine") == "0.250 [0.200, 0.300]"


def test_in_a_single_step_all_targets_are_one(found: Laboratory) -> None:
    """A negative control: TD, GAE and Monte Carlo cannot differ where an episode has one step."""
    rows = found.quantities[(found.quantities["baseline"] == "critic") & (found.quantities["critic"] == "learned")]
    rows = rows[~rows["swept"]]
    keys = ["seed", "level", "weights", "episodes", "step", "kind", "quantity"]
    wide = rows[rows["level"] != "kind"].pivot_table(index=keys, columns="advantage", values="value", dropna=False)
    wide = wide.dropna(how="all")
    pd.testing.assert_series_equal(wide["td0"], wide["monte_carlo"], check_names=False)
    pd.testing.assert_series_equal(wide["gae"], wide["monte_carlo"], check_names=False)


def test_what_is_missing_is_named(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "results")
    planned = {"task": "weekly_exam", "stage": "end", "hash": "0" * 8, "path": "lab/weekly_exam/end-00000000/seeds-000"}
    LAB.update(tmp_path / "results" / "lab", lambda index: {**index, "cells": [planned, *index["cells"]]})
    laboratory = load.read(["lab"], tmp_path / "results").laboratory
    assert laboratory.missing == ("weekly_exam end",)
    assert (
        "Not measured: weekly_exam end." in lab_report.parts(laboratory, pd.DataFrame(), pd.DataFrame(), [])[-1].items
    )


def test_a_damaged_index_is_named_and_what_was_measured_is_shown(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "results" / "lab" / LAB.file).write_text("{")
    records = load.read(["lab"], tmp_path / "results")
    assert [problem.path for problem in records.problems] == ["lab/lab.json"]
    assert records.laboratory.labels("exam_question") == ["start"]


def doubled(results: Path, place: Path) -> Path:
    """The same stage once more in the same study, as if under other settings: every figure is ten times as large."""
    shutil.copytree(results, place)
    (block,) = (place / "lab").glob("lab/exam_question/start-*/seeds-000-001")
    second = block.parents[1] / "start-ffffffff" / block.name
    shutil.copytree(block, second)
    quantities = pd.read_parquet(second / "quantities.parquet")
    quantities[["value", "error"]] *= 10
    quantities.to_parquet(second / "quantities.parquet", index=False)
    record = json.loads((second / "run.json").read_text())
    edit(second, checksums=record["checksums"] | {"quantities.parquet": sha256(second / "quantities.parquet")})
    return place


def test_two_settings_of_a_stage_stay_apart(results: Path, found: Laboratory, tmp_path: Path) -> None:
    """Each has a section of its own, and the one planned first, not a mixture, speaks in summaries and claims."""
    both = load.read(["lab"], doubled(results, tmp_path / "results")).laboratory
    first, second = both.labels("exam_question")
    assert second == "start ffffffff"
    assert first.startswith("start ")
    selector = {"baseline": "critic", "advantage": "gae", "stage": "start"}
    alone = measured_texts(found.means, "exam_question", ["cosine"], selector)
    assert measured_texts(both.means, "exam_question", ["cosine"], selector) == alone
    assert lab_tables.targets_table(both, {}).sections[0].rows == lab_tables.targets_table(found, {}).sections[0].rows
    of_stages = both.of("exam_question", "gradient").query("quantity == 'cosine' and arm == 'none-monte_carlo'")
    one, two = (of_stages.loc[of_stages["label"] == label, "value"].to_numpy() for label in (first, second))
    assert two == pytest.approx(10 * one)
    (line,) = lab_report.several_lines(both)
    assert f"claims and summaries use {first}" in line


@pytest.mark.usefixtures("svg_only")
def test_every_study_has_its_laboratory_section(results: Path, tmp_path: Path) -> None:
    """Two studies read together: what both measured counts once, what only the second measured is there."""
    root = tmp_path / "results"
    shutil.copytree(results / "lab", root / "first")
    doubled(results, tmp_path / "other")
    shutil.copytree(tmp_path / "other" / "lab", root / "second")
    assert len(load.read(["first", "second"], root).laboratory.labels("exam_question")) == 2
    assert analyse(["study=first,second", f"results={root}"]) == 0
    text = next(root.rglob("report.md")).read_text()
    assert "start ffffffff" in text


def test_fairness_is_tabled_for_every_baseline(found: Laboratory) -> None:
    """Both brothers' shares, of learning and of variance, as measured; they sum to one, or both are unknown."""
    table = lab_tables.fairness_table(found, "exam_question")
    assert table is not None
    (section,) = table.sections
    rows = {row[:2]: row[2:] for row in section.rows}
    true = rows.pop(("the true gradient", "–"))
    assert true[1] == "–"
    assert 0 < float(true[0]) < 1
    baselines = ["none", "critic", "rloo", "grpo"]
    names = ["none-monte_carlo", "critic-monte_carlo", "rloo-monte_carlo G=4 reward_to_go"]
    assert {(name, critic) for name, critic in zip(names, ("none", "learned", "none"), strict=True)} <= set(rows)
    assert {name.partition("-")[0] for name, _ in rows} == set(baselines)
    each = found.each("exam_question", "kind").query("arm == 'none-monte_carlo' and kind == 'younger'")
    value = each.loc[each["quantity"] == "variance_share", "value"].mean()
    place = table.header.index("younger's share of the variance") - 2
    assert rows["none-monte_carlo", "none"][place].startswith(f"{value:.3f}")


def test_a_study_of_brothers_that_was_not_measured_says_what_measures_it() -> None:
    runs = pd.DataFrame({"task": ["weekly_exam", "cartpole"]})
    nothing = together([])
    (part,) = lab_report.parts(nothing, pd.DataFrame(), runs, ["article"])
    assert part.sentences == ("Not measured yet; python -m bench lab study=article measures it.",)
    assert lab_report.parts(nothing, pd.DataFrame(), runs[1:], ["article"]) == []
    assert lab_report.parts(nothing, pd.DataFrame(), runs, ["clipping"]) == []


def test_policies_that_learned_nothing_are_counted() -> None:
    """Where the last policy has the first one's score, there is no way to be halfway on."""
    keys = {"task": "mountain_car", "level": "policy"}
    rows = [
        {**keys, "label": label, "seed": seed, "quantity": name, "value": value}
        for label, ways in (("halfway", [np.nan, 0.4, np.nan]), ("start", [np.nan] * 3))
        for seed, way in enumerate(ways)
        for name, value in (("learned", way), ("score", -200.0))
    ]
    notes = pd.DataFrame({"task": "mountain_car", "label": ["halfway", "start"], "truth": "time_limited"})
    (line,) = lab_report.precision_lines(Laboratory(pd.DataFrame(rows), pd.DataFrame(), notes))
    halfway, start = line.split(";")
    assert "3 policies, score −200.00, 0.40 of the way" in halfway
    assert "2 of 3 learned nothing, and their first policy stands for halfway" in halfway
    assert "learned nothing" not in start


def test_arms_left_out_are_named_with_the_reason() -> None:
    notes = pd.DataFrame({"task": ["a", "a"], "left_out": [{"vine-td0": "it costs", "vine-gae": "it costs"}] * 2})
    laboratory = Laboratory(pd.DataFrame(), pd.DataFrame(), notes)
    assert lab_report.left_out_lines(laboratory) == ["Not measured on a: vine-td0, vine-gae (it costs)."]


def test_a_study_without_a_laboratory_has_no_section(tmp_path: Path) -> None:
    (tmp_path / "s" / "runs").mkdir(parents=True)
    assert load.read(["s"], tmp_path).laboratory.empty


@pytest.mark.usefixtures("svg_only")
def test_a_report_of_seven_tasks_has_at_most_3000_words(
    found: Laboratory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many tasks, stages, policies and figures as study=bias_variance has; two of the worlds have brothers."""
    writer = ResultsWriter(tmp_path / "results")
    columns = [name for name in COLUMNS if name != "seed"]
    rows = found.quantities[(found.quantities["seed"] == 0) & ~found.quantities["level"].isin(["step", "size"])]
    few = rows[columns].astype(object).where(rows[columns].notna(), None).to_dict("records")
    exams, others = ("weekly_exam", "exam_question"), ("random_walk", "cartpole", "acrobot", "pendulum", "mountain_car")
    for task in (*exams, *others):
        own = [row for row in few if task in exams or row["level"] != "kind"]
        policies = 5 if task in others[1:] else 20
        for stage in ("start", "halfway", "end"):
            writer.stage(
                "s", task, stage, "0123abcd", [{"seed": seed, **row} for seed in range(policies) for row in own]
            )
    blank = {f"{name}_{task}": Figure() for name in lab_figures.FIGURES for task in (*exams, *others)}
    monkeypatch.setattr(report_files.lab_figures, "drawings", lambda *_: blank)
    assert analyse(["study=s", f"results={writer.root}"]) == 0
    words = (writer.root / "s" / "report" / "report.md").read_text().split()
    assert 1000 < len(words) <= 3000
