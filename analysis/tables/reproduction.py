"""Two result folders cell by cell: another machine, another version, another lab's runs of the same study."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import load, stats
from analysis.load import Records
from analysis.tables import formats
from bench.verdicts.judge import ALPHA

FINAL = "final_stochastic"


@dataclass(frozen=True)
class Side:
    """The runs of one cell in one of the two folders."""

    hash: str
    runs: pd.DataFrame  # by seed

    def count(self) -> str:
        """`10`, or `8 (2 failed)`."""
        found = self.runs["status"].value_counts()
        others = [f"{found[status]} {status}" for status in load.STATUSES if status != "done" and status in found]
        done = int(found.get("done", 0))
        return f"{done} ({', '.join(others)})" if others else str(done)


def compare(first: Records, second: Records) -> pd.DataFrame:
    """Every cell of two result folders, side by side.

    Cells are the same where their hash is (the configuration is the same in everything that can change a number), else
    where task and arm have the same name. Differences are second − first: paired by seed where at least two seeds are
    in both, which is right for the same code elsewhere as for changed code with the same starts, else independent.

    Returns:
        One row per cell of either: `task`, `arm`, `cell` ("same settings", "same name, other settings", "only in the
        first", "only in the second"), `n_first`, `n_second` (text, with what is not done), `pairs`, `identical`
        (common seeds with the same final scores to the last bit, in both modes), `first`, `second` (mean final
        scores), `difference` (`_low`, `_high`), `p` (sign-flip, of pairs), `p_holm` over all of them, and `time`
        (seconds per step, second over first).
    """
    rows = [_row(task, arm, sides) for task, arm, sides in _matched(first.runs, second.runs)]
    table = pd.DataFrame(rows)
    table["p_holm"] = np.nan
    tested = table["p"].notna()
    table.loc[tested, "p_holm"] = stats.holm(table.loc[tested, "p"].to_numpy(float))
    return table


def _matched(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[tuple[str, str, tuple[Side | None, Side | None]]]:
    """(task, arm, (its runs in the first, in the second)) for every cell, in the order of the first."""
    ours, left = _cells(first), _cells(second)
    for key, (arm, mine) in ours.items():
        alike = [other for other, (name, _) in left.items() if (other[0], name) == (key[0], arm) and other not in ours]
        found = left.pop(key if key in left else alike[0], None) if key in left or alike else None
        yield key[0], arm, (mine, found[1] if found else None)
    for (task, _), (arm, theirs) in left.items():
        yield task, arm, (None, theirs)


def _cells(runs: pd.DataFrame) -> dict[tuple[str, str], tuple[str, Side]]:
    """By task and hash, the arm's label and its runs."""
    return {
        (str(task), str(hash_)): (str(part["arm"].iloc[0]), Side(str(hash_), part.set_index("seed").sort_index()))
        for (task, hash_), part in runs.groupby(["task", "hash"], sort=False)
    }


def _row(task: str, arm: str, sides: tuple[Side | None, Side | None]) -> dict[str, object]:
    mine, theirs = sides
    row: dict[str, object] = {"task": task, "arm": arm, "cell": _relation(mine, theirs)}
    row |= {f"n_{name}": side.count() if side else "–" for name, side in zip(("first", "second"), sides, strict=True)}
    unknown = ("first", "second", "difference", "difference_low", "difference_high", "p", "time")
    row |= dict.fromkeys(unknown, np.nan) | {"pairs": 0, "identical": 0}
    means = [float(side.runs[FINAL].mean()) if side else np.nan for side in sides]
    row |= {"first": means[0], "second": means[1]}
    if mine is None or theirs is None:
        return row
    common = mine.runs.index.intersection(theirs.runs.index)
    a, b = (side.runs[FINAL].astype(float) for side in (mine, theirs))
    row |= _common(mine.runs.loc[common], theirs.runs.loc[common])
    rng = stats.generator(task, arm, "stochastic", "compare")
    if int(str(row["pairs"])) >= 2:
        differences = (b[common] - a[common]).to_numpy(float)
        found = stats.interval(differences, stats.mean, stats.REPS, stats.CONFIDENCE, rng)
        row["p"] = stats.sign_flip_test(differences, rng)
    else:
        found = stats.difference_interval(b.to_numpy(), a.to_numpy(), stats.mean, stats.REPS, stats.CONFIDENCE, rng)
    row |= dict(zip(("difference", "difference_low", "difference_high"), found, strict=True))
    return row | {"time": _seconds_per_step(theirs.runs) / _seconds_per_step(mine.runs)}


def _relation(mine: Side | None, theirs: Side | None) -> str:
    if mine is None or theirs is None:
        return "only in the second" if mine is None else "only in the first"
    return "same settings" if mine.hash == theirs.hash else "same name, other settings"


def _common(mine: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, object]:
    """How many seeds are done in both, and in how many of them nothing differs."""
    pairs = mine[FINAL].notna() & theirs[FINAL].notna()
    columns = [f"final_{each}" for each in load.MODES]
    same = (mine[columns].to_numpy(float) == theirs[columns].to_numpy(float)).all(axis=1)
    return {"pairs": int(pairs.sum()), "identical": int((pairs.to_numpy(bool) & same).sum())}


def _seconds_per_step(runs: pd.DataFrame) -> float:
    return float((runs["wall_seconds"].astype(float) / runs["env_steps"].astype(float)).median())


def table(found: pd.DataFrame, names: tuple[str, str]) -> formats.Table:
    """`compare` as text: a section per task, a row per cell."""
    sections = []
    for task, part in found.groupby("task", sort=False):
        decimals = formats.decimals_of(part[["first", "second"]].to_numpy(float))
        sections.append(formats.Section(str(task), tuple(_text(row, decimals) for _, row in part.iterrows())))
    return formats.Table(
        caption=f"A = {names[0]}, B = {names[1]}. Final stochastic scores (mean over seeds); difference B − A with its "
        f"{stats.CONFIDENCE:.0%} bootstrap interval, paired by seed where at least two seeds are in both; identical: "
        "common seeds whose final scores agree to the last bit; p: two-sided sign-flip, and by Holm over all cells; "
        "time: seconds per step, B over A.",
        header=("arm", "cell", "n A", "n B", "identical", "A", "B", "B − A", "p", "p (Holm)", "time"),
        sections=tuple(sections),
    )


def _text(row: pd.Series, decimals: int) -> tuple[str, ...]:
    identical = f"{row['identical']} of {row['pairs']}" if row["pairs"] else "–"
    scores = [formats.optional_text(float(row[key]), decimals) for key in ("first", "second")]
    difference = formats.interval_text(formats.interval_of(row, "difference"), decimals)
    tests = [formats.p_text(float(row[key])) for key in ("p", "p_holm")]
    names = (str(row["arm"]), str(row["cell"]), str(row["n_first"]), str(row["n_second"]))
    return (*names, identical, *scores, difference, *tests, formats.optional_text(float(row["time"]), 2))


def summary(found: pd.DataFrame) -> str:
    """One sentence: how many cells there are in both, how many agree, how many differ."""
    shared = found[~found["cell"].str.startswith("only")]
    pairs = int(shared["pairs"].sum())
    differ = int((shared["p_holm"] < ALPHA).sum())
    alone = len(found) - len(shared)
    both, apart = ("cell" if number == 1 else "cells" for number in (len(shared), differ))
    return (
        f"{len(shared)} {both} in both, {alone} in one only; {int(shared['identical'].sum())} of {pairs} common runs "
        f"identical; {differ} {apart} differ{'s' if differ == 1 else ''} at {ALPHA} after Holm."
    )
