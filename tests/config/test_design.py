"""Designs of settings: how runs are numbered, and which points settings are."""

import dataclasses
import math

import pytest

from bench.config.design import (
    Distribution,
    changed,
    distributions,
    plan_of,
    points,
    run_number,
    seed_of,
    setting_of,
    strata,
)
from bench.config.schema import Design
from bench.errors import UserError

UNIT = {"uniform": [0, 1]}
SPACE = {"gamma": UNIT, "gae_lambda": UNIT, "critic.gae_lambda": UNIT}
DESIGN = Design("made", 8, 1, SPACE, {"some": {"keys": {"collect": "episodes"}}, "other": {"weight": 2}})


def test_a_run_has_a_setting_of_a_stratum_and_a_seed():
    assert run_number(2005, 3) == 32_005
    assert (setting_of(32_005), seed_of(32_005)) == (2005, 3)
    assert (setting_of(7), seed_of(7)) == (7, 0)
    some, other = strata(DESIGN)
    assert (some.name, some.weight, list(some.settings(3))) == ("some", 1.0, [0, 1, 2])
    assert (other.name, other.weight, list(other.settings(3))) == ("other", 2.0, [1000, 1001, 1002])
    (whole,) = strata(dataclasses.replace(DESIGN, strata={}))
    assert (whole.name, whole.weight, whole.keys) == ("all", 1.0, {})


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("scramble", [0, 7])
@pytest.mark.parametrize("settings", [8, 64])
def test_of_n_points_each_nth_of_each_range_has_one(place: int, scramble: int, settings: int):
    """The definition of a digital net in base 2, in each dimension: independent draws would miss a third of them."""
    wide = {"log_uniform": [1e-150, 1e150]}  # three digits leave a quantile where it is
    space = dict.fromkeys(SPACE, wide)
    design = dataclasses.replace(DESIGN, settings=settings, scramble=scramble, space=space)
    found = points(design, strata(design)[place])
    for key in SPACE:
        places = [(math.log10(point[key]) + 150) / 300 for point in found.values()]
        assert sorted(math.floor(settings * share) for share in places) == list(range(settings))


def test_more_settings_leave_the_first_and_the_order_of_keys_means_nothing():
    more = dataclasses.replace(DESIGN, settings=13, space=dict(reversed(SPACE.items())))
    for stratum in strata(DESIGN):
        first, found = points(DESIGN, stratum), points(more, stratum)
        assert len(found) == 13
        assert {setting: found[setting] for setting in first} == first


def test_strata_and_scrambles_draw_apart():
    some, other = (list(points(DESIGN, stratum).values()) for stratum in strata(DESIGN))
    again = list(points(dataclasses.replace(DESIGN, scramble=2), strata(DESIGN)[0]).values())
    assert not any(point in other or point in again for point in some)


def test_a_distribution_is_read_at_its_quantiles():
    assert Distribution("uniform", (0.5, 0.9)).at(0.25) == 0.6
    assert Distribution("log_uniform", (1e-4, 1e-2)).at(0.5) == 1e-3
    assert Distribution("log_uniform", (1e-4, 1e-2)).at(0.75) == 3.16e-3  # 10 ** -2.5, to three digits
    assert Distribution("uniform", (0.99994, 0.99996)).at(0.5) == 0.99996  # 0.99995 is 1 to three digits: not outside
    assert [Distribution("choice", (1.0, 2.0, 4.0)).at(share) for share in (0, 0.33, 0.34, 0.99)] == [1, 1, 2, 4]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"normal": [0, 1]}, "unknown distribution of design.space.gamma 'normal'"),
        ({"uniform": [1, 0]}, "design.space.gamma.uniform=[1, 0]: must be two rising numbers"),
        ({"uniform": [0.5, 0.5]}, "must be two rising numbers"),
        ({"log_uniform": [0, 1]}, "must be two rising numbers, above 0"),
        ({"uniform": [0, math.inf]}, "must be a list of finite numbers"),
        ({"uniform": [0, "one"]}, "must be a list of finite numbers"),
        ({"uniform": 0.5}, "must be a list of numbers"),
        ({"choice": []}, "must be a list of numbers"),
        ({"choice": [0.5]}, "must be at least two numbers, each named once"),
        ({"choice": [0.5, 0.9, 0.5]}, "must be at least two numbers, each named once"),
        ({"uniform": [0, 1], "choice": [1, 2]}, "write one of uniform: [...], log_uniform: [...], choice: [...]"),
        (0.9, "design.space.gamma=0.9: write one of"),
    ],
)
def test_a_distribution_that_is_none_is_refused(given: object, message: str):
    with pytest.raises(UserError) as refused:
        distributions(dataclasses.replace(DESIGN, space={"gamma": given}))
    assert message in str(refused.value)


def test_settings_that_are_alike_are_refused():
    design = dataclasses.replace(DESIGN, settings=4, space={"gamma": {"choice": [0.9, 0.99]}})
    with pytest.raises(UserError, match=r"^design\.settings=4: only 2 of them differ"):
        points(design, strata(design)[0])


@pytest.mark.parametrize(
    ("now", "what"),
    [
        ({"settings": 99}, ""),
        ({"space": dict(reversed(SPACE.items()))}, ""),
        ({"space": SPACE | {"gamma": {"uniform": [0.0, 1.0]}}}, ""),
        ({"scramble": 3}, "scramble was 1 and is 3"),
        ({"space": SPACE | {"gamma": {"uniform": [0.5, 1]}}}, "space.gamma was"),
        ({"space": SPACE | {"ent_coef": UNIT}}, "space.ent_coef was not there and is"),
        ({"space": {"gamma": UNIT, "gae_lambda": UNIT}}, "is not there"),
        (
            {"strata": dict(reversed(DESIGN.strata.items()))},
            "the order of its strata was some, other and is other, some",
        ),
        ({"strata": {"some": DESIGN.strata["some"], "other": {"weight": 3}}}, "strata.other was"),
    ],
)
def test_what_of_a_design_has_changed(now: dict, what: str):
    found = changed(plan_of(DESIGN), plan_of(dataclasses.replace(DESIGN, **now)))
    assert found.startswith(what) if what != "is not there" else found.endswith(what)
    assert bool(found) == bool(what)
