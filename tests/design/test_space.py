"""The settings that are tried: drawn from what the study says, the same for every arm and on each call."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from bench.config.schema import Tuning
from bench.design.space import distributions, draw
from bench.errors import UserError

TUNING = Tuning(
    settings=12,
    seeds=5,
    design=1,
    space={
        "learning_rate": {"log_uniform": [1e-4, 1e-2]},
        "gae_lambda": {"uniform": [0.8, 1]},
        "group.size": {"choice": [2, 4, 8]},
    },
)


def test_draws_have_the_distributions_that_the_study_names():
    space = distributions(TUNING, "s")
    draws = [draw(1, space, number) for number in range(2000)]
    rates = np.array([draw["learning_rate"] for draw in draws])
    lambdas = np.array([draw["gae_lambda"] for draw in draws])
    sizes = [draw["group.size"] for draw in draws]
    assert 1e-4 <= rates.min() < 1.1e-4
    assert 0.9e-2 < rates.max() <= 1e-2
    # log10 is uniform on [-4, -2], λ on [.8, 1]; a choice takes each option a third of the time
    assert scipy.stats.kstest(np.log10(rates), "uniform", (-4, 2)).pvalue > 0.001
    assert scipy.stats.kstest(lambdas, "uniform", (0.8, 0.2)).pvalue > 0.001
    assert scipy.stats.chisquare(np.unique(sizes, return_counts=True)[1]).pvalue > 0.001
    assert abs(np.corrcoef(np.log(rates), lambdas)[0, 1]) < 0.1


def test_a_quantile_is_by_the_logarithm_or_by_the_value():
    space = distributions(TUNING, "s")
    assert space["learning_rate"].at(0.5) == 1e-3  # the geometric mean of the bounds
    assert space["gae_lambda"].at(0.5) == 0.9
    assert [space["group.size"].at(share) for share in (0.0, 0.34, 0.99)] == [2, 4, 8]


def test_more_settings_and_other_keys_leave_a_setting_as_it_is():
    space = distributions(TUNING, "s")
    fewer = {"learning_rate": space["learning_rate"]}
    whole = [draw(1, space, number) for number in range(12)]
    assert [draw(1, space, number) for number in range(50)][:12] == whole
    assert [draw(1, fewer, number) for number in range(12)] == [
        {"learning_rate": setting["learning_rate"]} for setting in whole
    ]
    assert draw(2, space, 0) != whole[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": 0}, "study.tuning.settings=0: must be at least 1"),
        ({"seeds": 0}, "study.tuning.seeds=0: must be at least 1"),
        ({"space": {}}, "study.tuning.space: name at least one key"),
        ({"space": {"gamma": 0.9}}, "study.tuning.space.gamma=0.9: write one of uniform: [...], "),
        ({"space": {"gamma": {"log": [1, 2]}}}, "unknown distribution of study s: study.tuning.space.gamma 'log'"),
        ({"space": {"gamma": {"uniform": [1, 0]}}}, "gamma.uniform=[1, 0]: must be two rising numbers"),
        ({"space": {"gamma": {"uniform": [0.5]}}}, "gamma.uniform=[0.5]: must be two rising numbers"),
        ({"space": {"gamma": {"log_uniform": [0, 1]}}}, "must be two rising numbers, above 0"),
        ({"space": {"gamma": {"choice": []}}}, "gamma.choice=[]: must be a list"),
        ({"space": {"seeds": {"choice": [3]}}}, "tuning sets seeds itself"),
    ],
)
def test_a_section_that_is_no_design_is_refused(changes, message):
    with pytest.raises(UserError) as error:
        distributions(dataclasses.replace(TUNING, **changes), "s")
    assert message in str(error.value)
