"""Which policy of a training run stands for which stage."""

import numpy as np
import pytest

import bench
from bench.lab.policies import table_of
from bench.lab.stages import halfway, trained
from bench.tasks.exact import ExactTask


@pytest.mark.parametrize(
    ("scores", "index"),
    [
        ([0.0, 0.1, 0.45, 0.9, 1.0], 2),
        ([0.0, -0.1, -0.45, -0.9, -1.0], 2),  # what is learned may cost points
        ([0.0, 0.9, 0.5, 0.9, 1.0], 2),  # a policy that came halfway again is nearer than one that jumped over it
        ([0.0, 0.4, 0.6, 1.0], 1),  # equals: the first
        ([0.0, 1.0], 0),
        ([3.0], 0),
    ],
)
def test_halfway_is_the_score_nearest_to_the_middle(scores: list[float], index: int) -> None:
    assert halfway(scores) == index


def test_halfway_is_halfway_through_learning() -> None:
    """By the exact value of the policies: candidates are 15 % of the steps apart, so that about half is .4 to .6.

    At half of the budget the policy is deterministic: no advantage is left to measure. Several seeds trained together
    are what they are alone.
    """
    config = bench.compose(
        ["task=exam_question", "task.answers=two", "baseline=critic", "advantage=gae", "truncation=end", "group.size=4",
         "group.groups=10", "batch.epochs=2", "batch.minibatches=1", "learning_rate=0.002", "budget=2_000"]
    )  # fmt: skip
    found = [trained(config, [0, 3], name) for name in ("start", "halfway", "end")]
    (alone,) = trained(config, [3], "halfway")
    task = alone.policy.task
    assert isinstance(task, ExactTask)
    for place, seed in enumerate((0, 3)):
        start, half, end = (of_seed[place] for of_seed in found)
        values = [task.solve(table_of(task, stage.policy), 1.0).objective for stage in (start, half, end)]
        assert [stage.score for stage in (start, half, end)] == pytest.approx(values, abs=1e-12)
        assert 0 == start.env_steps < half.env_steps < end.env_steps / 4
        assert half.learned == pytest.approx((values[1] - values[0]) / (values[2] - values[0]), abs=1e-12)
        assert 0.4 < half.learned < 0.6
        assert (half.seed, end.learned) == (seed, 1.0)
    assert alone.env_steps == found[1][1].env_steps
    np.testing.assert_array_equal(table_of(task, alone.policy), table_of(task, found[1][1].policy))
