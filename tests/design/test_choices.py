"""Choices by hand: four settings, two tasks, two arms."""

import pytest

from bench.design import choices
from bench.design.choices import Choice

STRATA = {0: "few", 1: "few", 2: "many", 3: "many"}
FIRST = {"a": {0: 0.9, 1: 0.5, 2: 0.1, 3: 0.6}, "b": {0: 0.1, 1: 0.4, 2: 0.8, 3: 0.6}}
SECOND = {"a": {0: 0.0, 1: 0.9, 2: 0.2, 3: 0.3}, "b": {0: 0.0, 1: 0.9, 2: 0.2, 3: 0.3}}


def _of(found: list[Choice], reading: str) -> dict[tuple[str, str], int]:
    return {(each.task, each.arm): each.setting for each in found if each.reading == reading}


def test_an_arm_by_itself() -> None:
    """Means over both tasks are .5, .45, .45, .6: all-round is 3, though it is best on neither."""
    found = choices.of_arm("first", FIRST, STRATA, seed=1)
    assert _of(found, "best") == {("a", "first"): 0, ("b", "first"): 2}
    assert _of(found, "without") == {("a", "first"): 2, ("b", "first"): 0}  # the best of the other task
    assert _of(found, "all-round") == {("a", "first"): 3, ("b", "first"): 3}


def test_leaving_one_of_three_tasks_out_takes_the_mean_of_the_others() -> None:
    scores = {"a": {0: 0.0, 1: 0.5}, "b": {0: 0.8, 1: 0.5}, "c": {0: 0.9, 1: 0.5}}
    found = choices.of_arm("arm", scores, {0: "", 1: ""}, seed=0)
    assert _of(found, "without") == {("a", "arm"): 0, ("b", "arm"): 1, ("c", "arm"): 1}


def test_one_task_has_nothing_to_be_left_out_and_no_all_round_setting() -> None:
    found = choices.of_arm("arm", {"a": {0: 0.1, 1: 0.2}}, {0: "", 1: ""}, seed=0)
    assert {each.reading for each in found} == {"best", "half-1", "half-2"}


def test_a_pair_has_one_common_setting_over_arms_and_tasks() -> None:
    """Sums over four columns: 0 → 1.0, 1 → 2.7, 2 → 1.3, 3 → 1.8."""
    found = choices.of_pair(("first", "second"), {"first": FIRST, "second": SECOND}, STRATA, seed=1)
    assert set(_of(found, "common").values()) == {1}
    assert _of(found, "best") == {("a", "first"): 0, ("b", "first"): 2, ("a", "second"): 1, ("b", "second"): 1}


def test_a_pair_is_compared_on_the_settings_that_both_have() -> None:
    """An arm that cannot be cut into segments has not the stratum of segments."""
    without = {task: {setting: means[setting] for setting in (2, 3)} for task, means in SECOND.items()}
    found = choices.of_pair(("first", "second"), {"first": FIRST, "second": without}, STRATA, seed=1)
    assert _of(found, "best") == {("a", "first"): 3, ("b", "first"): 2, ("a", "second"): 3, ("b", "second"): 3}
    assert set(_of(found, "common").values()) == {3}  # sums: 2 → 1.3, 3 → 1.8


def test_a_pair_without_anything_in_common_chooses_nothing() -> None:
    one, other = {"a": {0: 0.5}}, {"a": {1: 0.5}}
    assert choices.of_pair(("x", "y"), {"x": one, "y": other}, {0: "", 1: ""}, seed=0) == []
    assert choices.of_pair(("x", "y"), {"x": {"a": {0: 1.0}}, "y": {"b": {0: 1.0}}}, {0: ""}, seed=0) == []


def test_of_equals_the_first_wins() -> None:
    assert choices.best({3: 0.5, 1: 0.5, 2: 0.4}) == 1


@pytest.mark.parametrize("means", [{}, {0: float("nan"), 1: 0.5}, {0: float("inf")}])
def test_what_has_no_score_is_refused(means: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="each needs a score"):
        choices.best(means)


def test_halves_split_every_stratum_and_stay_the_same() -> None:
    strata = {number: "few" if number < 7 else "many" for number in range(15)}
    first, second = choices.random_halves(strata, seed=5)
    assert first | second == set(strata)
    assert not first & second
    assert [sum(number in half for number in range(7)) for half in (first, second)] == [4, 3]
    assert choices.random_halves(strata, seed=5) == (first, second)
    assert choices.random_halves(strata, seed=6) != (first, second)


def test_the_best_of_all_is_the_best_of_one_half() -> None:
    found = choices.of_arm("arm", FIRST, STRATA, seed=3)
    for task in FIRST:
        halves = {_of(found, name)[task, "arm"] for name in choices.HALVES}
        assert _of(found, "best")[task, "arm"] in halves
        assert len(halves) == 2
