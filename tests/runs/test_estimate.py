"""What a command would take, from the speed of training it for some seconds."""

import time

import pytest

import bench
from bench.runs import estimate


@pytest.mark.parametrize("algorithm", ["policy_gradient", "sb3_ppo"])
def test_measuring_ends_when_its_time_is_up_and_begins_no_other_seed(monkeypatch, algorithm: str) -> None:
    """With no time at all, the first share of the budget that is reported ends it, whoever trains."""
    shares = []
    counted = estimate._Stopwatch.on_progress

    def on_progress(watch: estimate._Stopwatch, fraction: float, current_return: float | None) -> None:
        shares.append(fraction)
        counted(watch, fraction, current_return)

    monkeypatch.setattr(estimate._Stopwatch, "on_progress", on_progress)
    monkeypatch.setattr(estimate, "MEASURED_FOR", 0.0)
    preset = ["preset=ppo"] if algorithm == "policy_gradient" else [f"algorithm={algorithm}"]
    config = bench.compose(["task=exam_question", *preset, "seeds=3", "budget=8192", "evaluation.points=1"])
    started = time.perf_counter()
    speed = estimate._measured(config)
    passed = time.perf_counter() - started
    assert len([share for share in shares if share > 0]) == 1
    # What took `passed` was this share of the block.
    assert 0 < speed.seconds * estimate._work(config) <= passed / shares[-1]
