"""Which policy of a training run stands for which stage."""

import numpy as np
import pytest

import bench
from bench.lab.policies import table_of
from bench.lab.stages import halfway, trained
from bench.tasks.exact import ExactTask


@pytest.mark.parametrize("sign", [1, -1])
def test_halfway_is_where_the_mean_of_a_hundred_episodes_crosses_half_of_the_way(sign: int) -> None:
    """Two hundred episodes without a point, then with one: the hundred around episode 200 are the first half way."""
    returns = sign * np.repeat([0.0, 1.0], [200, 1000])
    begun = 8 * (np.arange(1200) // 4)  # batches of four episodes of two steps
    assert halfway(begun.tolist(), returns.tolist()) == begun[200]


def test_halfway_of_few_or_no_episodes() -> None:
    """Fewer than a window are one window: nothing tells an earlier from a later policy, its middle is as good."""
    assert halfway([], []) == 0
    assert halfway([0, 10, 20, 30], [0.0, 1.0, 0.0, 1.0]) == 20


def test_halfway_has_part_of_what_is_learned_and_lacks_another() -> None:
    """By the exact value of the policies, which the stage is not chosen by.

    A mean of a hundred answers has a standard error of 0.05, a tenth of all there is to learn, and the policy changes
    over these hundred: about half is a quarter to three quarters.

    At half of the budget the policy is deterministic: no advantage is left to measure.
    """
    config = bench.compose(
        ["task=exam_question", "task.answers=two", "baseline=critic", "advantage=gae", "truncation=end", "group.size=4",
         "group.groups=10", "batch.epochs=2", "batch.minibatches=1", "learning_rate=0.002", "budget=2_000"]
    )  # fmt: skip
    found = [trained(config, 0, name) for name in ("start", "halfway", "end")]
    task = found[0].policy.task
    assert isinstance(task, ExactTask)
    start, half, end = (task.solve(table_of(task, stage.policy), 1.0).objective for stage in found)
    assert 0 == found[0].env_steps < found[1].env_steps < found[2].env_steps / 4
    assert 0.25 < (half - start) / (end - start) < 0.75
