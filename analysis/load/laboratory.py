"""What `python -m bench lab` measured: bias and variance of every estimator against ground truth, read and selected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from analysis.load.blocks import Problem, frame, planned
from analysis.stats import Interval
from bench.records import block as blocks
from bench.records.files import Damaged
from bench.records.index import LAB
from bench.records.tables import COSTS, QUANTITIES

STAGES = ("start", "halfway", "end", "optimum", "recorded")  # in the order of reports
CRITICS = ("learned", "exact", "none")  # of several, the first there is stands for an arm
VARIANT = ("baseline", "advantage", "critic", "gae_lambda", "n_step", "group_size", "credit")
COLUMNS = (*VARIANT, "level", "weights", "episodes", "kind", "quantity", "value", "error", "low", "high")
COST_COLUMNS = (*VARIANT, "episodes", "steps", "seconds")
IDENTIFIERS = ("task", "stage", "label", "first")  # of a measured stage, see `Laboratory`
STAGE, CRITIC = "halfway", "learned"  # what stands for an estimator where one number has to
WEIGHTS = "undiscounted"  # of states in the gradient: what everybody's update uses
WEAKER = "younger"  # the brother whose share tells whether pay is fair

# By metric of a claim or column of a table: level, quantity, and whether it is divided by the signal.
METRICS: Mapping[str, tuple[str, str, bool]] = {
    "bias": ("advantage", "action_bias", True),
    "variance": ("advantage", "variance", True),
    "gradient_variance": ("gradient", "trace", False),  # trace of the covariance over the squared true gradient
    "cosine": ("gradient", "cosine", False),
    "gradient_share": ("kind", "learning_share", False),
    "variance_share": ("kind", "variance_share", False),
}


@dataclass(frozen=True)
class Stage:
    """One measured stage as read: what its record says, and its tables. `hash` and `seed` tell settings apart."""

    task: str
    name: str
    hash: str
    seed: str
    record: Mapping[str, Any]
    quantities: pd.DataFrame
    costs: pd.DataFrame


@dataclass(frozen=True)
class Laboratory:
    """Everything measured, in tidy tables.

    A stage is named by `task` and `label`: its `stage`, and where one was measured under several settings or seeds, the
    hash of each. Of several, that which was planned `first` stands for the stage where one number has to.

    Attributes:
        quantities: one row per stage, variant and quantity with value, error, low and high; see `COLUMNS`. `arm` is
            such as `critic-gae`, and `swept` says whether it is a further λ, n or credit of that arm.
        costs: environment steps and seconds of a batch of every variant, named alike.
        notes: one row per stage: which truth, how precise, what was left out.
        missing: stages that were planned and are not measured.
    """

    quantities: pd.DataFrame
    costs: pd.DataFrame
    notes: pd.DataFrame
    missing: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing was measured."""
        return self.quantities.empty

    @property
    def tasks(self) -> list[str]:
        """In the order they were planned."""
        return [str(task) for task in self.quantities["task"].unique()]

    def of(self, task: str, level: str, label: str | None = None) -> pd.DataFrame:
        """Rows of one task and level, and of one stage."""
        rows = self.quantities[(self.quantities["task"] == task) & (self.quantities["level"] == level)]
        return rows if label is None else rows[rows["label"] == label]

    def labels(self, task: str) -> list[str]:
        """The stages of a task, in order."""
        return [str(label) for label in self.notes.loc[self.notes["task"] == task, "label"]]


def read(folder: Path, root: Path, problems: list[Problem]) -> tuple[list[Stage], list[str]]:
    """The measured stages below a study's folder as planned, and the names of planned ones that are not measured.

    What cannot be used is added to `problems`.
    """
    entries = planned(LAB, folder, root, problems)["cells"]
    names = {folder / entry["path"]: f"{entry['task']} {entry['stage']}" for entry in entries}
    present, _ = blocks.walk(folder, blocks.LAB)
    stages, missing = [], []
    for path in dict.fromkeys([*names, *present]):
        try:
            stage = _stage(path) if path in present else None
        except Damaged as error:
            problems.append(Problem(str(path.relative_to(root)), str(error)))
            continue
        if stage is not None:
            stages.append(stage)
        elif path in names:
            missing.append(names[path])
    return stages, missing


def _stage(path: Path) -> Stage | None:
    """A measured stage; None while it is not done. Raises `Damaged`."""
    block = blocks.load(path)
    if block.state != "done":
        return None
    quantities = frame(block, QUANTITIES, COLUMNS)
    has_costs = COSTS in block.record["checksums"]
    costs = frame(block, COSTS, COST_COLUMNS) if has_costs else pd.DataFrame(columns=list(COST_COLUMNS))
    record, seed = block.record, ", ".join(block.record["seeds"])
    return Stage(record["task"], record["stage"], path.parent.name, seed, record, quantities, costs)


def together(stages: Sequence[Stage], missing: Sequence[str] = ()) -> Laboratory:
    """Stages of one or several studies; what two studies share counts once."""
    tasks = list(dict.fromkeys(stage.task for stage in stages))
    unique = list({(stage.task, stage.hash, stage.seed): stage for stage in reversed(stages)}.values())[::-1]
    unique.sort(key=lambda stage: (tasks.index(stage.task), _rank(stage.name)))
    quantities, costs, notes = [], [], []
    for stage in unique:
        alike = [other for other in unique if (other.task, other.name) == (stage.task, stage.name)]
        identifiers: dict[str, Any] = {
            "task": stage.task,
            "stage": stage.name,
            "label": _label(stage, alike),
            "first": stage is alike[0],
        }
        quantities.append(stage.quantities.assign(**identifiers))
        costs.append(stage.costs.assign(**identifiers))
        notes.append(identifiers | _notes(stage.record))
    return Laboratory(
        _labelled(_concatenated(quantities, (*IDENTIFIERS, *COLUMNS))),
        _labelled(_concatenated(costs, (*IDENTIFIERS, *COST_COLUMNS))),
        pd.DataFrame(notes, columns=list(dict.fromkeys([*IDENTIFIERS, *(key for note in notes for key in note)]))),
        tuple(missing),
    )


def _rank(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def _label(stage: Stage, alike: Sequence[Stage]) -> str:
    """The stage's name, with what tells it from others of that name."""
    several = len({other.hash for other in alike}) > 1, len({other.seed for other in alike}) > 1
    told = [stage.hash.rpartition("-")[2]] * several[0] + [f"seed {stage.seed}"] * several[1]
    return " ".join([stage.name, *told])


def _notes(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"truth": record.get("truth", ""), "left_out": record.get("left_out", {})} | dict(record.get("notes", {}))


def _concatenated(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    present = [table for table in tables if len(table)]
    return pd.concat(present, ignore_index=True) if present else pd.DataFrame(columns=list(columns))


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    """With `arm` and `swept`, see `Laboratory`."""
    arm = table["baseline"] + "-" + table["advantage"]
    usual_values = {"gae_lambda": 0.95, "n_step": 5}
    swept = table["credit"].eq("outcome")
    for name, value in usual_values.items():
        swept |= table[name].notna() & table[name].ne(value)
    return table.assign(arm=arm, swept=swept)


def usual(rows: pd.DataFrame) -> pd.DataFrame:
    """One variant per arm: its usual λ and n, and of the critics the one training has."""
    rows = rows[~rows["swept"].astype(bool)]
    rank = rows["critic"].map({name: index for index, name in enumerate(CRITICS)})
    rows = rows.assign(rank=rank).dropna(subset="rank")
    best = rows.groupby(["task", "label", "arm"])["rank"].transform("min")
    return rows[rows["rank"] == best]


def measured(quantities: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one of `METRICS`, in its units: at one batch, with the weights and for the brother it is about."""
    level, quantity, relative = METRICS[metric]
    rows = quantities[(quantities["level"] == level) & (quantities["quantity"] == quantity)]
    if level == "gradient":
        smallest = rows.groupby(["task", "label"])["episodes"].transform("min")  # the batch an update uses
        rows = rows[(rows["weights"] == WEIGHTS) & (rows["episodes"] == smallest)]
    if level == "kind":
        rows = rows[rows["kind"] == WEAKER]
    if not relative:
        return rows
    signal = quantities[(quantities["level"] == level) & (quantities["quantity"] == "signal")]
    keys = ["task", "label", *VARIANT]
    found = rows[keys].merge(signal[[*keys, "value"]].drop_duplicates(keys), on=keys, how="left")
    scale = found["value"].to_numpy(float)
    numbers = ["value", "error", "low", "high"]
    return rows.assign(**{name: rows[name].to_numpy(float) / scale for name in numbers})


def select(rows: pd.DataFrame, factors: Mapping[str, object]) -> pd.DataFrame:
    """The rows of one estimator: `STAGE` and `CRITIC` where nothing else is said, λ = .95 of GAE; of a stage measured
    under several settings the one planned first.
    """
    rows = rows[rows["first"].astype(bool)]
    wanted = {"stage": STAGE, "gae_lambda": 0.95} | dict(factors)
    for name, value in wanted.items():
        if name in rows:
            rows = rows[(rows[name] == value) | rows[name].isna()]
    if "critic" not in factors and CRITIC in set(rows["critic"]):
        rows = rows[rows["critic"] == CRITIC]
    return rows


def difference(first: pd.Series, second: pd.Series, confidence: float) -> tuple[Interval, float]:
    """first − second with its normal interval and two-sided p, as if their errors were independent."""
    effect = float(first["value"] - second["value"])
    error = float(np.hypot(first["error"], second["error"]))
    reach = float(scipy.stats.norm.isf((1 - confidence) / 2)) * error
    p = float(2 * scipy.stats.norm.sf(abs(effect) / error)) if error > 0 else float(effect == 0)
    return (effect, effect - reach, effect + reach), p


def variant_name(variant: pd.Series) -> str:
    """`critic-gae λ=0.95`, `group-monte_carlo G=4`."""
    knobs = {"gae_lambda": "λ", "n_step": "n", "group_size": "G"}
    said = [f"{sign}={float(variant[name]):g}" for name, sign in knobs.items() if pd.notna(variant[name])]
    credit = [str(variant["credit"])] if pd.notna(variant["credit"]) and variant["credit"] else []
    return " ".join([f"{variant['baseline']}-{variant['advantage']}", *said, *credit])
