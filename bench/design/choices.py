"""Which settings of a design are judged on fresh seeds, chosen by their mean scores on the tuning pool.

A score that chose is too high: the best of many noisy means owes part of its lead to luck. So what is chosen here is
trained again, on seeds that no choice saw. Of settings with equal means the first one is taken.

Scores are normalised. A failed run has that of a random policy: no setting is left out.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

Reading = Literal["best", "half-1", "half-2", "without", "all-round", "common"]
HALVES: Final[tuple[Reading, ...]] = ("half-1", "half-2")

Means = Mapping[int, float]  # by the number of a setting, its mean over the seeds of the tuning pool
Strata = Mapping[int, str]  # by the number of a setting, its stratum


@dataclass(frozen=True)
class Choice:
    """A setting that is to be judged.

    Attributes:
        reading: why: the `best` of the arm on the task, the best of a random half of the settings, the best for the
            other tasks (`without` this one), for all tasks (`all-round`), or for two arms and all tasks (`common`).
        task, arm: where it is judged.
        setting: its number.
    """

    reading: Reading
    task: str
    arm: str
    setting: int


def of_arm(arm: str, by_task: Mapping[str, Means], strata: Strata, seed: int) -> list[Choice]:
    """What is chosen for an arm by itself: its best, those of both halves, without a task, and all-round.

    Args:
        arm: its name.
        by_task: the means of its settings on each task.
        strata: of all settings.
        seed: of the random halves.

    Raises:
        ValueError: for a task without settings, and for means that are not finite.
    """
    halves = random_halves(strata, seed)
    found = []
    for task, means in by_task.items():
        found.append(Choice("best", task, arm, best(means)))
        for name, half in zip(HALVES, halves, strict=True):
            if own := _among(means, half):
                found.append(Choice(name, task, arm, best(own)))
    if len(by_task) > 1:
        everywhere = best(mean_of(by_task.values()))
        for task in by_task:
            others = [means for other, means in by_task.items() if other != task]
            found.append(Choice("without", task, arm, best(mean_of(others))))
            found.append(Choice("all-round", task, arm, everywhere))
    return found


def of_pair(arms: Sequence[str], scores: Mapping[str, Mapping[str, Means]], strata: Strata, seed: int) -> list[Choice]:
    """What is chosen for two arms that are compared, among the settings that both have.

    Args:
        arms: the two.
        scores: by arm and task, the means of its settings.
        strata, seed: see `of_arm`.

    Returns:
        Each arm's own best on each task and those of both halves, and one setting for both arms and all their tasks.
        Nothing where they have no task or no setting in common.

    Raises:
        ValueError: for means that are not finite.
    """
    tasks = [task for task in scores[arms[0]] if all(task in scores[arm] for arm in arms)]
    every = [scores[arm][task] for arm in sorted(arms) for task in tasks]
    shared = set.intersection(*(set(means) for means in every)) if every else set()
    if not shared:
        return []
    common = best(mean_of([_among(means, shared) for means in every]))
    halves = random_halves(strata, seed)
    found = []
    for task in tasks:
        for arm in arms:
            means = _among(scores[arm][task], shared)
            found += [Choice("best", task, arm, best(means)), Choice("common", task, arm, common)]
            for name, half in zip(HALVES, halves, strict=True):
                if own := _among(means, half):
                    found.append(Choice(name, task, arm, best(own)))
    return found


def best(means: Means) -> int:
    """The setting with the highest mean, of equal ones that of the lowest number. Raises `ValueError` for none."""
    if not means or not np.isfinite(list(means.values())).all():
        raise ValueError(
            f"{len(means)} settings: there must be one, and each needs a score; a failed run has the worst"
        )
    return min(means, key=lambda setting: (-means[setting], setting))


def mean_of(parts: Iterable[Means]) -> dict[int, float]:
    """The mean over tasks, or arms, of the settings that all of them have."""
    given = list(parts)
    shared = set.intersection(*(set(means) for means in given)) if given else set()
    return {setting: float(np.mean([means[setting] for means in given])) for setting in sorted(shared)}


def random_halves(strata: Strata, seed: int) -> tuple[frozenset[int], frozenset[int]]:
    """The settings split in two at random, each stratum for itself; of an odd number the first half has one more."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *b"halves"])))
    halves: tuple[list[int], list[int]] = ([], [])
    for stratum in sorted(set(strata.values())):
        own = rng.permutation(sorted(setting for setting, name in strata.items() if name == stratum))
        middle = (len(own) + 1) // 2
        halves[0].extend(int(setting) for setting in own[:middle])
        halves[1].extend(int(setting) for setting in own[middle:])
    return frozenset(halves[0]), frozenset(halves[1])


def _among(means: Means, settings: Collection[int]) -> dict[int, float]:
    return {setting: mean for setting, mean in means.items() if setting in settings}
