"""What a user types where the name of an option is wanted, as one line."""

import pytest

from bench.cells.composition import compose
from bench.cells.mistakes import check
from bench.errors import UserError

BASELINES = "allowed are batch_mean, critic, group, grpo, none, plugin, rloo, time_mean, vine"


@pytest.mark.parametrize("value", ["3", "true", "null", "0.5", "[none,critic]", "{a:1}", "3,4", "none,3", "range(3,5)"])
def test_a_value_that_is_no_name_of_an_option(value: str) -> None:
    with pytest.raises(UserError, match=f"^unknown baseline '.*': {BASELINES}"):
        check([f"baseline={value}"])


@pytest.mark.parametrize("written", ["group=8", "+group=8", "group=8,9", "group=range(8,10)"])
def test_a_value_that_is_meant_for_a_setting(written: str) -> None:
    keys = "groups, size, start, credit, scale, leave_one_out, ddof, eps, alive_only"
    line = rf"^group=8: group is a section of settings \({keys}\); did you mean group\.size=8\?$"
    with pytest.raises(UserError, match=line):
        check([written])


def test_a_choice_of_hydras() -> None:
    with pytest.raises(UserError, match=r"^hydra/launcher=3: must be the name of an option$"):
        check(["hydra/launcher=3"])


@pytest.mark.parametrize("written", ["baseline=interval(1,2)", "gamma=interval(0.9,1)"])
def test_an_interval(written: str) -> None:
    with pytest.raises(UserError, match=r"name the values, an interval has no end of them$"):
        check([written])


@pytest.mark.parametrize("written", ["baseline=none,critic", "baseline=glob(*)", "~preset", "gamma=3", "group.size=8"])
def test_what_is_right_passes(written: str) -> None:
    check([written])


def test_compose_checks_too() -> None:
    with pytest.raises(UserError, match=r"^unknown advantage '0\.95'"):
        compose(["advantage=0.95"])
