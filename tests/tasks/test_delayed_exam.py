"""The delayed exam, whose values can be said by hand, against its rules, brute force and what is drawn."""

import itertools
from math import prod

import numpy as np
import pytest
from scipy.special import softmax

from bench.errors import UserError
from bench.tasks import BatchedEnv
from bench.tasks.delayed_exam import PLAY, STUDY, DelayedExam
from tests.tasks.simulation import standard_errors, totals

DELAYS = (0, 1, 2, 8, 100)


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_values_by_hand(delay: int, gamma: float) -> None:
    """Studying is worth γ^L, playing the temptation, and from the second week on all is decided."""
    task = DelayedExam(delay=delay, temptation=0.3)
    solution = task.solve("uniform", gamma)
    assert solution.q_values[0, 0].tolist() == pytest.approx([0.3, gamma**delay], abs=1e-12)
    assert solution.objective == pytest.approx((0.3 + gamma**delay) / 2, abs=1e-12)
    if delay:
        weeks = gamma ** np.arange(delay - 1, -1, -1.0)
        np.testing.assert_allclose(solution.value[1:, 1 + STUDY], weeks, rtol=0, atol=1e-12)
        assert not solution.value[1:, 1 + PLAY].any()


@pytest.mark.parametrize("delay", DELAYS)
def test_the_best_policy_studies_and_the_myopic_one_plays(delay: int) -> None:
    task = DelayedExam(delay=delay)
    assert task.solve("optimal").objective == pytest.approx(1)
    assert task.solve("optimal").policy[0, 0].tolist() == [0, 1]
    assert task.solve("myopic").objective == pytest.approx(0.2 if delay else 1)
    assert task.solve("uniform").objective == pytest.approx(0.6)
    assert task.solve("uniform").objectives.keys() == {"exam"}


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_values_by_brute_force(delay: int) -> None:
    """Every sequence of plans is played with the task's own step and no luck, and weighed by how likely it is."""
    task = DelayedExam(delay=delay, luck=0.0, temptation=0.4)
    policy = softmax(np.random.default_rng(delay).normal(size=(*task.model.table, 2)), axis=-1)
    expected = 0.0
    for plans in itertools.product([PLAY, STUDY], repeat=delay + 1):
        state, chances, brought = task.start(np.random.default_rng(0), 1), [], 0.0
        for week, plan in enumerate(plans):
            chances.append(float(policy[task.index(state)][0, plan]))
            step = task.step(state, np.array([plan]), np.zeros((1, 1)))
            state, brought = step.state, brought + float(step.reward[0])
            assert step.terminated.tolist() == [week == delay]
        expected += prod(chances) * brought
    assert task.solve(policy).objective == pytest.approx(expected, abs=1e-12)
    assert task.expected_totals(policy[None])["return"] == pytest.approx([expected], abs=1e-12)


def test_luck_adds_its_variance_every_week() -> None:
    task = DelayedExam(delay=5, luck=0.7)
    _, returns, _ = totals(task, task.solve("optimal").policy, 100_000, seed=1)
    assert abs(standard_errors(returns, 1.0)) < 4
    # The sample variance of a normal variable has a standard error of σ² √(2/n).
    assert returns.var() == pytest.approx(6 * 0.49, abs=4 * 6 * 0.49 * np.sqrt(2 / 100_000))


@pytest.mark.parametrize("hidden", [False, True])
def test_what_is_seen(hidden: bool) -> None:
    task = DelayedExam(delay=3, hidden=hidden)
    env = BatchedEnv(task, [0], 2)
    env.restart()
    assert env.observation.T.tolist() == [[0, 0, 0], [0, 0, 0]]
    seen = [env.step(np.array([PLAY, STUDY])).observation.T.tolist()]
    seen.append(env.step(np.array([STUDY, PLAY])).observation.T.tolist())
    played, studied = ([0, 0], [0, 0]) if hidden else ([1, 0], [0, 1])
    assert seen == [[[week, *played], [week, *studied]] for week in (0.25, 0.5)]
    assert task.is_tabular


def test_a_policy_that_sees_nothing_has_one_action_for_both_choices() -> None:
    task = DelayedExam(delay=2, hidden=True)
    table = task.policy_table(lambda seen: np.stack([seen[0], 1 - seen[0]], axis=-1))
    assert np.asarray(table)[2].tolist() == pytest.approx(np.tile([[2 / 3, 1 / 3]], (3, 1)))


def test_a_week_as_people_read_it() -> None:
    task = DelayedExam(delay=3)
    state = np.array([1.0, 2.0])
    assert task.describe(state) == "week   1 of 4  chosen: study"
    assert task.describe(state, 1, 0.25) == "week   1 of 4  chosen: study  reward +0.25"


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({"delay": -1}, "task.delay=-1: must lie in 0 to 100 weeks"),
        ({"delay": 101}, "task.delay=101: must lie in 0 to 100 weeks"),
        ({"luck": float("nan")}, "task.luck=nan: must lie in [0, 10]"),
        ({"luck": -0.1}, "task.luck=-0.1: must lie in [0, 10]"),
        ({"temptation": 1.0}, "task.temptation=1.0: must lie in [0, 1), or playing would be best"),
        ({"temptation": float("nan")}, "task.temptation=nan: must lie in"),
    ],
)
def test_numbers_outside_their_ranges_are_refused(knobs: dict[str, float], expected: str) -> None:
    with pytest.raises(UserError) as error:
        DelayedExam(**knobs)  # type: ignore[arg-type]
    assert str(error.value).startswith(expected)
