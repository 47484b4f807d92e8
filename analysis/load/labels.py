"""What an arm is called: its name, and the factors in which it differs from another arm of that name."""

from collections.abc import Sequence

import pandas as pd


def arm_labels(runs: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """A label for every row of `runs`, the same for the same arm on every task.

    Cells of one task that share a name but not a hash are told apart by the factors that differ between them,
    `ppo (gamma=0.9)`; what is still ambiguous (a missing cell, whose factors nobody knows) by its hash.
    """
    cells = runs.drop_duplicates(["task", "hash"])
    text = {
        (row["task"], row["hash"]): label
        for name, arm in cells.groupby("arm", sort=False)
        for label, (_, row) in zip(_labels(str(name), arm, factors), arm.iterrows(), strict=True)
    }
    return [text[key] for key in zip(runs["task"], runs["hash"], strict=True)]


def families(runs: pd.DataFrame, factors: Sequence[str], swept: Sequence[str], least: int) -> dict[str, pd.DataFrame]:
    """The runs of one task that differ in `swept` alone, by what they are called.

    Args:
        runs: of one task; arms of one `name` may belong together.
        factors: names of all factor columns of `runs`.
        swept: the factors a figure has on its axes. What follows from them (as many groups as make 64 episodes) may
            differ with them; arms that differ in anything else are families of their own.
        least: how many levels a family must have of each.
    """
    found: list[tuple[str, dict[str, object], pd.DataFrame]] = []
    for name, mine in runs.groupby("name", sort=False):
        others = [factor for factor in factors if factor not in swept]
        by_level = mine.groupby(list(swept))
        free = [factor for factor in others if by_level[factor].nunique(dropna=False).max() > 1]
        pieces = mine.groupby(free, dropna=False, sort=False) if free else [((), mine)]
        found += [
            (str(name), dict(zip(free, key, strict=True)), piece)
            for key, piece in pieces
            if all(piece[factor].nunique() >= least for factor in swept)
        ]
    labelled = {}
    for name, key, piece in found:
        told = [f"{factor}={level}" for factor, level in key.items()
                if any(str(other.get(factor)) != str(level) for again, other, _ in found if again == name)]  # fmt: skip
        labelled[f"{name} ({', '.join(told)})" if told else name] = piece
    return labelled


def related(runs: pd.DataFrame) -> list[tuple[list[str], set[str]]]:
    """Tasks that have arms in common, with their arms: where two share none, each is an experiment of its own."""
    groups: list[tuple[list[str], set[str]]] = []
    for task, found in runs.groupby("task", sort=False)["arm"].unique().items():
        arms = set(map(str, found))
        alike = [group for group in groups if group[1] & arms]
        groups = [group for group in groups if group not in alike]
        tasks = [name for names, _ in alike for name in names]
        groups.append(([*tasks, str(task)], arms.union(*(own for _, own in alike))))
    return groups


def levels(runs: pd.DataFrame, factor: str) -> dict[str, object]:
    """By arm, in order of appearance, its level of a factor; None where no run knows it, as of planned ones."""
    arms = dict.fromkeys(map(str, runs["arm"]))
    if factor not in runs:
        return dict.fromkeys(arms)
    known = runs[runs[factor].notna()].drop_duplicates("arm").set_index("arm")[factor]
    return {arm: known.get(arm) for arm in arms}


def _labels(name: str, cells: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    known = cells[cells[list(factors)].notna().any(axis=1)]
    differing = [
        factor
        for factor in sorted(factors)
        if any(task[factor].map(repr).nunique() > 1 for _, task in known.groupby("task"))
    ]
    differing = _without_repetition(known, differing)
    found = [_with_values(name, row, differing) for _, row in cells.iterrows()]
    alone = cells.groupby("task")["hash"].transform("nunique") == 1
    unknown = ~alone & ~pd.Series(cells.index.isin(known.index), cells.index)
    ambiguous = pd.Series(found).groupby([cells["task"].to_numpy(), found]).transform("size") > 1
    return [
        f"{label} #{hash_}" if twice else label
        for label, hash_, twice in zip(
            found, cells["hash"], unknown.to_numpy(bool) | ambiguous.to_numpy(bool), strict=True
        )
    ]


def _without_repetition(cells: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """Of factors that tell the same cells apart, the one with the shortest name; all others say it again."""
    groups: dict[tuple[int, ...], str] = {}
    for factor in sorted(factors, key=len):
        groups.setdefault(tuple(pd.factorize(cells[factor].map(repr))[0].tolist()), factor)
    return sorted(groups.values())


def _with_values(name: str, row: pd.Series, differing: Sequence[str]) -> str:
    values = [
        f"{factor}={row[factor]:g}" if isinstance(row[factor], float) else f"{factor}={row[factor]}"
        for factor in differing
        if not _absent(row[factor])
    ]
    return f"{name} ({', '.join(values)})" if values else name


def _absent(value: object) -> bool:
    return value is None or value != value
