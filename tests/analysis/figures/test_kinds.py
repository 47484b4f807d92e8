"""Learning curves of each brother: what is drawn is what was recorded."""

import numpy as np
import pyarrow.parquet as pq
import pytest

import bench
from analysis import load
from analysis.figures import gallery
from analysis.figures.style import Look

SMALL = ("budget=400", "evaluation.points=4", "hidden=[16,16]", "group.groups=2", "group.size=2", "seeds=2",
         "wandb=disabled", "study.name=brothers")  # fmt: skip


def test_each_brother_has_a_panel_with_his_own_returns_between_his_own_bounds(tmp_path):
    config = bench.compose([f"results={tmp_path}", "task=weekly_exam", *SMALL])
    curves = pq.read_table(bench.run(config) / "curves.parquet").to_pandas()
    figure = gallery.draw("learning_curves_of_kinds", gallery.Material.of(load.read(["brothers"], tmp_path)), Look())
    assert figure is not None
    stochastic = curves[curves["mode"] == "stochastic"]
    for ax, kind, bounds in zip(figure.axes, ("elder", "younger"), ((10.82, 13.09), (6.48, 9.74)), strict=True):
        assert ax.get_title() == f"weekly_exam: {kind}"
        curve, *dotted = ax.lines
        expected = stochastic.groupby("step")[f"exact_return_of_{kind}"].mean()
        np.testing.assert_allclose(curve.get_ydata(), expected, rtol=0, atol=1e-12)
        assert [line.get_ydata()[0] for line in dotted] == pytest.approx(bounds, abs=0.01)


def test_a_task_without_kinds_has_no_such_figure(tmp_path):
    bench.run(bench.compose([f"results={tmp_path}", "task=delayed_exam", "task.delay=1", *SMALL]))
    material = gallery.Material.of(load.read(["brothers"], tmp_path))
    assert gallery.draw("learning_curves_of_kinds", material, Look()) is None
