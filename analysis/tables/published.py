"""Published scores beside a study's own: which targets are reached, from the last evaluation of every seed.

What was published, and the targets, are in `conf/scores.yaml`, with their sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from analysis import stats
from analysis.load import STATUSES, Records
from analysis.tables.final_scores import count_text
from analysis.tables.formats import Best, Section, Table, decimals_of, interval_of, interval_text, optional_text
from bench.config.build import build
from bench.errors import UserError
from bench.paths import CONF

FILE = CONF / "scores.yaml"
MODE = "deterministic"


@dataclass(frozen=True)
class Published:
    """A published score: the arms it stands beside (none: in a row of its own), and the key of its source."""

    arms: tuple[str, ...]
    score: float
    source: str


@dataclass(frozen=True)
class TaskScores:
    """What a task's arms should reach: the mean's `target`, None for a share of the way from random to reference."""

    target: float | None
    published: tuple[Published, ...]


@dataclass(frozen=True)
class Scores:
    """What `conf/scores.yaml` holds; see the comments there."""

    sources: Mapping[str, str]
    share: float
    most_failing: int
    tasks: Mapping[str, TaskScores]


def read(path: Path = FILE) -> Scores:
    """Targets and published scores. Raises `UserError`."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read scores {path.name}: {' '.join(str(error).split())}") from error
    found = build(Scores, data)
    for name, task in found.tasks.items():
        for entry in task.published:
            if entry.source not in found.sources:
                raise UserError(f"tasks.{name}: unknown source '{entry.source}': there are {', '.join(found.sources)}")
    return found


def last_evaluations(records: Records) -> pd.DataFrame:
    """`task`, `arm`, `seed` and `score` of every run that is done: its last evaluation, deterministic."""
    curves = records.curves[records.curves["mode"] == MODE].sort_values("step", kind="stable")
    last = curves.drop_duplicates(["task", "hash", "seed"], keep="last")
    return last[["task", "arm", "seed", "return"]].rename(columns={"return": "score"}).reset_index(drop=True)


def comparison(records: Records, scores: Scores, reps: int = stats.REPS) -> pd.DataFrame:
    """One row per task × arm, and per published score without an arm.

    Returns:
        `n` and one column per other status with its number of seeds, `mean` with `mean_low` and `mean_high` (bootstrap
        over seeds), `worst` seed, `failing` (seeds below the midpoint of random and target), `published` with its
        `source`, `target`, and `reached`: the mean is there and no more than `scores.most_failing` seeds fail.
    """
    last, rows = last_evaluations(records), []
    for (name, arm), runs in records.runs.groupby(["task", "arm"], sort=False):
        task = str(name)
        if task not in scores.tasks:
            continue
        wanted = scores.tasks[task]
        low, high = float(runs["score_random"].iloc[0]), float(runs["score_reference"].iloc[0])
        target = low + scores.share * (high - low) if wanted.target is None else wanted.target
        values = last.loc[(last["task"] == task) & (last["arm"] == arm), "score"].to_numpy(float)
        estimate = stats.mean_interval(values, "scores", task, arm, reps=reps)
        failing = int((values < (low + target) / 2).sum())
        beside = next((entry for entry in wanted.published if arm in entry.arms), None)
        counts = {status: int((runs["status"] == status).sum()) for status in STATUSES[1:]}
        rows.append(
            {"task": task, "arm": arm, "n": len(values), **counts}
            | dict(zip(("mean", "mean_low", "mean_high"), estimate, strict=True))
            | {"worst": min(values, default=np.nan), "failing": failing, **_of(beside), "target": target}
            | {"reached": bool(len(values) and estimate[0] >= target and failing <= scores.most_failing)}
        )
    alone = [
        {"task": task, "arm": entry.source, "target": np.nan} | _of(entry)
        for task, wanted in scores.tasks.items()
        for entry in wanted.published
        if not entry.arms and task in set(records.runs["task"])
    ]
    found, whole = pd.DataFrame([*rows, *alone]), ["n", *STATUSES[1:], "failing"]
    return found.astype({"reached": object}).fillna(dict.fromkeys(whole, 0)).astype(dict.fromkeys(whole, int))


def _of(entry: Published | None) -> dict[str, object]:
    return {"published": np.nan if entry is None else entry.score, "source": "" if entry is None else entry.source}


def table(found: pd.DataFrame, scores: Scores) -> Table:
    """`comparison` as text: a section per task, a row per arm."""
    sections = []
    for task, rows in found.groupby("task", sort=False):
        numbers = rows[["mean", "published"]].to_numpy(float)
        target = rows["target"].dropna()
        heading = f"{task}, target {optional_text(target.iloc[0] if len(target) else np.nan, decimals_of(numbers))}"
        sections.append(Section(heading, tuple(_row(row, decimals_of(numbers)) for _, row in rows.iterrows())))
    sources = "; ".join(f"{key}: {source}" for key, source in scores.sources.items())
    return Table(
        caption=f"Last evaluation of every seed, deterministic: mean with its {stats.CONFIDENCE:.0%} bootstrap "
        f"interval over seeds, the worst seed, and how many seeds end below the midpoint of random and target; bold: "
        f"the mean is at least the target and at most {scores.most_failing} seed is below. Published: {sources}.",
        header=("arm", "seeds", "mean", "worst", "below midpoint", "published"),
        sections=tuple(sections),
    )


def _row(row: pd.Series, decimals: int) -> tuple[str, ...]:
    source = f" ({row['source']})" if row["source"] else ""
    published = optional_text(float(row["published"]), decimals) + source
    if not row[["n", *STATUSES[1:]]].any():
        return (str(row["arm"]), "–", "–", "–", "–", published)
    mean = interval_text(interval_of(row, "mean"), decimals)
    shown = Best(mean) if row["reached"] is True else mean
    worst, failing = optional_text(float(row["worst"]), decimals), str(row["failing"]) if row["n"] else "–"
    return (str(row["arm"]), count_text(row), shown, worst, failing, published)
