"""What `python -m bench lab` measured: bias and variance of every estimator against ground truth, read and selected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from analysis.load.blocks import Problem, frame, planned
from bench.records import block as blocks
from bench.records.files import Damaged
from bench.records.index import LAB
from bench.records.tables import COSTS, QUANTITIES

STAGES = ("start", "halfway", "end", "optimum", "recorded")  # in the order of reports
CRITICS = ("learned", "exact", "none")  # of several, the first there is stands for an arm
VARIANT = ("baseline", "advantage", "critic", "gae_lambda", "n_step", "group_size", "credit")
MEASURED = ("level", "weights", "episodes", "step", "kind", "quantity")
NUMBERS = ("value", "error", "low", "high")
PAIRED = ("against", "difference", "difference_error")
COLUMNS = ("seed", *VARIANT, *MEASURED, "value", "error", "freedom", *PAIRED)
COST_COLUMNS = ("seed", *VARIANT, "episodes", "steps", "seconds")
IDENTIFIERS = ("task", "stage", "label", "first")  # of a measured stage, see `Laboratory`
STAGE, CRITIC = "halfway", "learned"  # what stands for an estimator where one number has to
WEIGHTS = "undiscounted"  # of states in the gradient: what everybody's update uses
WEAKER = "younger"  # the brother whose share tells whether pay is fair
POLICY = "policy"  # the level of numbers of a policy itself
CONFIDENCE = 0.95

# By metric of a claim or column of a table: level and quantity. Bias (the part that depends on the action) and variance
# are shares of the variance of the true advantage, the gradient's variance of the squared norm of the true gradient.
METRICS: Mapping[str, tuple[str, str]] = {
    "bias": ("advantage", "relative_bias"),
    "variance": ("advantage", "relative_variance"),
    "gradient_variance": ("gradient", "trace"),
    "cosine": ("gradient", "cosine"),
    "gradient_share": ("kind", "learning_share"),
    "variance_share": ("kind", "variance_share"),
}


@dataclass(frozen=True)
class Stage:
    """One measured block of a stage as read: its record, and its tables. `hash` tells settings apart."""

    task: str
    name: str
    hash: str
    record: Mapping[str, Any]
    quantities: pd.DataFrame
    costs: pd.DataFrame

    @property
    def seed_pool(self) -> str:
        """The pool that the seeds of its policies are of."""
        return str((self.record.get("factors") or {}).get("seed_pool", "main"))


@dataclass(frozen=True)
class Laboratory:
    """Everything measured, in tidy tables. The unit is a policy: the `seed` of the training run that it comes from.

    A stage is named by `task` and `label`: its `stage`, and where one was measured under several settings, the hash of
    each. Of several, that which was planned `first` stands for the stage where one number has to.

    Attributes:
        quantities: one row per policy, variant and quantity with value, error, low and high, and where it was paired
            the `difference` from the variant it was measured `against`; see `COLUMNS`. `arm` is such as `critic-gae`,
            and `swept` says whether it is a further λ, n or credit of that arm.
        costs: environment steps and seconds of a batch of every variant, named alike.
        notes: one row per stage: how many policies, which truth, what was left out, and when the first block was begun
            ("" where that is not known of all).
        missing: stages that were planned and are not measured.
        earlier: stages that were measured in an earlier format, which is not read.
    """

    quantities: pd.DataFrame
    costs: pd.DataFrame
    notes: pd.DataFrame
    missing: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing was measured."""
        return self.quantities.empty

    @property
    def tasks(self) -> list[str]:
        """In the order they were planned."""
        return [str(task) for task in self.quantities["task"].unique()]

    @cached_property
    def means(self) -> pd.DataFrame:
        """The quantities' means over policies, see `over_policies`."""
        return over_policies(self.quantities)

    def of(self, task: str, level: str, label: str | None = None) -> pd.DataFrame:
        """Rows of `means` of one task and level, and of one stage."""
        return _of(self.means, task, level, label)

    def each(self, task: str, level: str, label: str | None = None) -> pd.DataFrame:
        """Rows of `quantities`, one per policy, of one task and level, and of one stage."""
        return _of(self.quantities, task, level, label)

    def labels(self, task: str) -> list[str]:
        """The stages of a task, in order."""
        return [str(label) for label in self.notes.loc[self.notes["task"] == task, "label"]]


def _of(table: pd.DataFrame, task: str, level: str, label: str | None) -> pd.DataFrame:
    rows = table[(table["task"] == task) & (table["level"] == level)]
    return rows if label is None else rows[rows["label"] == label]


def over_policies(quantities: pd.DataFrame) -> pd.DataFrame:
    """Return the means over policies: `value`, its standard `error`, Student's interval `low` to `high`, `policies`.

    A policy for which a quantity is not known (a ratio to a true gradient that is not told from zero) has no part in
    its mean: `policies` counts those that have. Of a single policy the interval is its own, which speaks of that policy
    alone.
    """
    keys = [*IDENTIFIERS, "arm", "swept", *VARIANT, *MEASURED]
    if quantities.empty:
        return pd.DataFrame(columns=[*keys, *NUMBERS, "policies"])
    numbers = quantities[list(NUMBERS)].astype(float)
    known = quantities[keys].assign(**{name: numbers[name] for name in NUMBERS}, squares=np.square(numbers["value"]))
    groups = known.groupby(keys, sort=False, dropna=False)
    found = groups["value"].agg(["mean", "std", "count"]).join(groups[["error", "low", "high"]].mean())
    count = found["count"].to_numpy(float)
    with np.errstate(all="ignore"):
        error = found["std"].to_numpy(float) / np.sqrt(count)
        reach = scipy.stats.t.isf((1 - CONFIDENCE) / 2, count - 1) * error
    alone = found["count"] == 1
    value = found["mean"]
    return found.assign(
        value=value,
        error=np.where(alone, found["error"], error),
        low=np.where(alone, found["low"], value - reach),
        high=np.where(alone, found["high"], value + reach),
        policies=found["count"],
    ).reset_index()[[*keys, *NUMBERS, "policies"]]


def read(folder: Path, root: Path, problems: list[Problem]) -> tuple[list[Stage], list[str], list[str]]:
    """The measured stages below a study's folder as planned, and the names of others.

    What cannot be used is added to `problems`.

    Returns:
        The stages; the names of planned ones that are not measured; and of those in an earlier format.
    """
    entries = planned(LAB, folder, root, problems)["cells"]
    names = {folder / entry["path"]: f"{entry['task']} {entry['stage']}" for entry in entries}
    present, _ = blocks.walk(folder, blocks.LAB)
    stages, missing, earlier = [], [], []
    for path in dict.fromkeys([*names, *present]):
        try:
            stage = _stage(path) if path in present else None
        except EarlierFormat:
            earlier.append(f"{path.parts[-3]} {path.parts[-2].rpartition('-')[0]}")
            continue
        except Damaged as error:
            problems.append(Problem(str(path.relative_to(root)), str(error)))
            continue
        if stage is not None:
            stages.append(stage)
        elif path in names:
            missing.append(names[path])
    return stages, list(dict.fromkeys(missing)), list(dict.fromkeys(earlier))


class EarlierFormat(Exception):
    """A stage was measured before policies were told apart."""


def _stage(path: Path) -> Stage | None:
    """A measured stage; None while it is not done. Raises `Damaged` and `EarlierFormat`."""
    block = blocks.load(path)
    if block.state != "done":
        return None
    quantities = frame(block, QUANTITIES, ("quantity", "value"))
    if "seed" not in quantities:
        raise EarlierFormat
    quantities = _with_intervals(frame(block, QUANTITIES, COLUMNS))
    has_costs = COSTS in block.record["checksums"]
    costs = frame(block, COSTS, COST_COLUMNS) if has_costs else pd.DataFrame(columns=list(COST_COLUMNS))
    return Stage(block.record["task"], block.record["stage"], path.parent.name, block.record, quantities, costs)


def _with_intervals(quantities: pd.DataFrame) -> pd.DataFrame:
    """With `low` and `high`, Student's interval of each policy's own number: the number itself where it is exact."""
    value, error = (quantities[name].to_numpy(float) for name in ("value", "error"))
    with np.errstate(all="ignore"):
        reach = scipy.stats.t.isf((1 - CONFIDENCE) / 2, quantities["freedom"].to_numpy(float)) * error
    reach = np.where(error == 0, 0.0, reach)
    return quantities.assign(low=value - reach, high=value + reach)


def together(stages: Sequence[Stage], missing: Sequence[str] = (), earlier: Sequence[str] = ()) -> Laboratory:
    """Stages of one or several studies; a policy that two studies measured alike counts once."""
    tasks = list(dict.fromkeys(stage.task for stage in stages))
    found: dict[tuple[str, str, str], list[Stage]] = {}
    for stage in stages:
        found.setdefault((stage.task, stage.name, stage.hash), []).append(stage)
    quantities, costs, notes = [], [], []
    for task, name, hash8 in sorted(found, key=lambda each: (tasks.index(each[0]), _rank(each[1]))):
        alike = [other for other in found if other[:2] == (task, name)]
        label = name if len(alike) == 1 else f"{name} {hash8.rpartition('-')[2]}"
        identifiers: dict[str, Any] = {"task": task, "stage": name, "label": label}
        identifiers["first"] = (task, name, hash8) == alike[0]
        policies: set[int] = set()
        for stage in found[task, name, hash8]:
            new = set(stage.quantities["seed"]) - policies
            policies |= new
            quantities.append(stage.quantities[stage.quantities["seed"].isin(new)].assign(**identifiers))
            costs.append(stage.costs[stage.costs["seed"].isin(new)].assign(**identifiers))
        records = [stage.record for stage in found[task, name, hash8]]
        own = {
            "truth": records[0].get("truth", ""),
            "left_out": records[0].get("left_out", {}),
            "policies": len(policies),
            "started": min(str(record.get("started", "")) for record in records),
        }
        notes.append(identifiers | own)
    return Laboratory(
        _labelled(_concatenated(quantities, (*IDENTIFIERS, *COLUMNS))),
        _labelled(_concatenated(costs, (*IDENTIFIERS, *COST_COLUMNS))),
        pd.DataFrame(notes, columns=[*IDENTIFIERS, "truth", "left_out", "policies", "started"]),
        tuple(missing),
        tuple(earlier),
    )


def _rank(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


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


def measured(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one of `METRICS`: of a training batch, with the weights and for the brother that it is about.

    `rows` are those of `Laboratory.quantities`, one per policy, or of `Laboratory.means`.
    """
    level, quantity = METRICS[metric]
    rows = rows[(rows["level"] == level) & (rows["quantity"] == quantity)]
    if level == "gradient":
        smallest = rows.groupby(["task", "label"])["episodes"].transform("min")  # the batch an update uses
        rows = rows[(rows["weights"] == WEIGHTS) & (rows["episodes"] == smallest)]
    if level == "kind":
        rows = rows[rows["kind"] == WEAKER]
    return rows


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


def of_policies(quantities: pd.DataFrame, metric: str, task: str, factors: Mapping[str, object]) -> pd.Series:
    """The values of a metric of one estimator by the seed of the policy; empty where none, or several, are meant."""
    rows = select(measured(quantities[quantities["task"] == task], metric), factors)
    values = rows.set_index("seed")["value"].astype(float).sort_index()
    return values if values.index.is_unique else values.iloc[:0]


def variant_name(variant: pd.Series) -> str:
    """`critic-gae λ=0.95`, `group-monte_carlo G=4`."""
    knobs = {"gae_lambda": "λ", "n_step": "n", "group_size": "G"}
    said = [f"{sign}={float(variant[name]):g}" for name, sign in knobs.items() if pd.notna(variant[name])]
    credit = [str(variant["credit"])] if pd.notna(variant["credit"]) and variant["credit"] else []
    return " ".join([f"{variant['baseline']}-{variant['advantage']}", *said, *credit])
