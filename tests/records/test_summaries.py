"""What is kept of a seed's updates, by hand and against pandas."""

import math

import numpy as np
import pandas as pd
import pytest

from bench.records.summaries import empty, quantile, summaries


def updates(seed=0, **columns):
    names = {"kl": "train/kl", "explained": "train/explained_variance", "earned": "rollout/ep_rew_mean"}
    count = len(next(iter(columns.values())))
    return [
        {"seed": seed, "step": 10 * (place + 1), "update": place}
        | {names[name]: values[place] for name, values in columns.items()}
        for place in range(count)
    ]


def test_every_seed_has_its_own():
    rows = [
        *updates(0, kl=[0.1, 0.3], explained=[0.2, 0.6], earned=[-200.0, -150.0]),
        *updates(4, kl=[0.5, 0.5], explained=[0.0, 0.9], earned=[-200.0, -200.0]),
    ]
    assert summaries(rows, budget=20, random=-200.0) == {
        0: {"largest_kl": pytest.approx(0.298), "explained_variance": 0.6, "first_above_random": 20},
        4: {"largest_kl": 0.5, "explained_variance": 0.9, "first_above_random": None},
    }


def test_explained_variance_is_that_of_the_last_tenth():
    rows = updates(explained=[*[0.0] * 17, 0.5, 0.25, 0.75])  # of 200 steps, those after 180 count
    assert summaries(rows, budget=200, random=0.0)[0]["explained_variance"] == 0.5


def test_the_first_update_above_random_counts_whatever_comes_later_and_in_whatever_order():
    rows = updates(earned=[0.0, 0.0, 0.5, 0.0, 2.0])
    assert summaries(rows[::-1], budget=50, random=0.0)[0]["first_above_random"] == 30


def test_what_was_not_recorded_is_none_and_so_is_what_json_cannot_say():
    nothing = {"largest_kl": None, "explained_variance": None, "first_above_random": None}
    assert empty() == nothing
    assert summaries(updates(other := 0, kl=[math.nan, math.nan]), budget=20, random=None)[other] == nothing
    rows = updates(kl=[math.inf, math.inf], explained=[math.nan, -math.inf], earned=[math.nan, 5.0])
    assert summaries(rows, budget=20, random=None)[0] == nothing
    assert summaries(rows, budget=20, random=0.0)[0] == nothing | {"first_above_random": 20}


@pytest.mark.parametrize("count", [1, 2, 3, 50, 100, 101, 333])
def test_the_quantile_is_that_of_pandas_to_the_bit(count):
    values = np.random.default_rng(count).lognormal(size=count)
    frame = pd.DataFrame({"run": 0, "kl": values})
    assert quantile(values.tolist(), 0.99) == frame.groupby("run")["kl"].quantile(0.99).iloc[0]
