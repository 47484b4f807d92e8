"""The sentence of a factor: hand-made effects, and what a reader is told of them."""

from analysis.claims.effects import Effect
from analysis.report.answer import sentences_of


def effect(task: str, effect: float, half: float, level: str = "td0") -> Effect:
    return Effect("advantage", level, "gae", task, 1, 20, effect, effect - half, effect + half)


def test_a_level_is_lower_somewhere_higher_elsewhere_and_alike_on_the_rest() -> None:
    found = [effect("cartpole", -0.3, 0.1), effect("pendulum", 0.2, 0.1), effect("acrobot", 0.05, 0.1)]
    assert sentences_of(found) == [
        "Return target: TD(0) ends lower than GAE on cartpole (−0.30 [−0.40, −0.20]) and higher than GAE on pendulum "
        "(+0.20 [0.10, 0.30]), with no difference shown on acrobot."
    ]


def test_an_interval_that_ends_at_0_shows_no_difference() -> None:
    assert sentences_of([effect("cartpole", 0.25, 0.25)]) == [
        "Return target: no difference is shown between TD(0) and GAE on cartpole (+0.25 [0.000, 0.50])."
    ]


def test_the_two_largest_levels_are_told_and_the_others_counted() -> None:
    found = [effect("a", size, 0.01, level) for level, size in (("td0", 0.1), ("nstep", -0.3), ("monte_carlo", 0.2))]
    assert sentences_of(found) == [
        "Return target: n-step ends lower than GAE on a (−0.30 [−0.31, −0.29]); "
        "Monte Carlo ends higher than GAE on a (+0.20 [0.19, 0.21]); 1 more level below."
    ]


def test_nothing_that_varies_has_no_sentence() -> None:
    assert sentences_of([]) == []
