"""What a critic costs: what is counted, by hand, and the table and the targets made of it."""

import pytest

from bench.speed.critic import update
from bench.speed.plan import WIDTHS, Job, Options, Result, jobs
from bench.speed.tables import critic_table
from bench.speed.targets import targets
from bench.speed.workload import Measurement, Workload
from tests.speed.conftest import cells


def measured(arm: str, seconds: float, peak: int, activations: int) -> tuple[Measurement, Workload]:
    counted = {
        "actor_parameters": 1000,
        "critic_parameters": 900 if arm == "critic" else 0,
        "weights": 8000,
        "optimiser": 8000,
        "activations": activations,
        "peak": peak,
    }
    return Measurement(1024, seconds, counted=counted), Workload((0,), 5120, arm=arm, hidden=32)


def of_both():
    found = []
    for arm, numbers in {"critic": (0.4, 4_000_000, 2000), "critic_free": (0.2, 3_000_000, 1600)}.items():
        measurement, workload = measured(arm, *numbers)
        found.append(Result(Job("critic", "update", 0, (workload,)), [measurement], 1.0))
    return found


def test_the_table_has_a_row_for_each_width_and_arm():
    _, _, with_one, without = critic_table(of_both()).splitlines()
    assert cells(with_one) == ["32, 32", "with a critic", "1,900", "8", "8", "2", "4.0", "400.0"]
    assert cells(without) == ["32, 32", "without", "1,000", "8", "8", "2", "3.0", "200.0"]


def test_the_targets_are_shares_of_what_an_update_with_a_critic_takes():
    found = {target.target.partition(": ")[2]: (target.measured, target.met) for target in targets(of_both())}
    assert found == {
        "memory: at most 0.75": ("0.75", True),
        "activations: at most 0.75": ("0.80", False),
        "time: at most 0.75": ("0.50", True),
    }


def test_one_arm_alone_says_nothing():
    assert critic_table(of_both()[:1]) == ""
    assert targets(of_both()[:1]) == []


def test_each_width_has_a_process_for_either_arm():
    planned = [job.workloads for job in jobs(Options(part="critic"))]
    pairs = [(workload.hidden, workload.arm) for (workload,) in planned]
    assert pairs == [(width, arm) for width in WIDTHS for arm in ("critic", "critic_free")]


@pytest.mark.parametrize("arm", ["critic", "critic_free"])
def test_what_is_counted(arm):
    """Two layers of 8 units: 4·8 + 8, 8·8 + 8, then four actions or one value: 148 and 121 parameters of two seeds."""
    found = update(Workload((0, 1), 2 * 1024, arm=arm, hidden=8))
    assert found.counted is not None
    critic = 242 if arm == "critic" else 0
    assert (found.counted["actor_parameters"], found.counted["critic_parameters"]) == (296, critic)
    assert found.counted["weights"] == found.counted["optimiser"] == 2 * 4 * (296 + critic)
    assert found.env_steps == 1024 * 2
    assert found.seconds > 0
    assert found.counted["activations"] > 256 * 8 * 4  # a minibatch's first layer alone
