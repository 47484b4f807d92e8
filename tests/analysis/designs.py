"""Made-up designs of settings, as data frames of runs."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.load.designed import Designed

Score = Callable[[str, str, int, int], float]  # task, arm, setting, seed → normalised score; NaN: the run failed
SPACE = {"learning_rate": {"log_uniform": [1e-4, 1e-2]}, "gae_lambda": {"uniform": [0.8, 1.0]}}


def rows(
    score: Score, tasks: Sequence[str], arms: Sequence[str], settings: Sequence[int], seeds: int, *, pool: str,
    strata: Mapping[int, str] | None = None, keys: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """A row for each run; a setting's share of [0, 1] is its place among `settings`, for both keys of `SPACE`."""
    found = []
    for task in tasks:
        for arm in arms:
            own = (keys or {}).get(arm, list(SPACE))
            for setting in settings:
                share = (settings.index(setting) + 0.5) / len(settings)
                values = {"learning_rate": 10 ** (-4 + 2 * share), "gae_lambda": 0.8 + 0.2 * share}
                for seed in range(seeds):
                    value = score(task, arm, setting, seed)
                    failed = bool(np.isnan(value))
                    found.append(
                        {
                            "study": "made_up", "design": "wide", "task": task, "arm": arm, "hash": f"{task}-{arm}",
                            "stratum": (strata or {}).get(setting, "all"), "weight": 1.0, "setting": setting,
                            "seed": seed, "seed_pool": pool, "status": "failed" if failed else "done",
                            "failed": failed, "score": 0.0 if failed else value, "start": 0.0, "exact": True,
                            "final": 0.0 if failed else value, "area": 0.0 if failed else value / 2,
                            **{key: values[key] if key in own else np.nan for key in SPACE},
                        }
                    )  # fmt: skip
    return pd.DataFrame(found)


def designed(
    tried: pd.DataFrame, fresh: pd.DataFrame | None = None, default: pd.DataFrame | None = None,
    weights: Mapping[str, float] | None = None,
) -> Designed:  # fmt: skip
    """A design of these runs; without fresh seeds, and without runs at the arms' own numbers, where none are given."""
    strata = dict.fromkeys(dict.fromkeys(tried["stratum"]), 1.0)
    none = tried.iloc[:0]
    return Designed(
        "wide",
        SPACE,
        weights or strata,
        1,
        tried,
        none if fresh is None else fresh,
        none if default is None else default,
    )
