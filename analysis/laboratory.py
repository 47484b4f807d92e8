"""What `python -m bench lab` measured: bias and variance of every estimator against ground truth, read and tabled."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats

from analysis.blocks import Damaged, Problem, read_json, read_parquet
from analysis.formats import Section, Table, interval_text, optional_text
from analysis.stats import Interval

FIGURES = "figures.parquet"
VARIANT = ("baseline", "advantage", "critic", "gae_lambda", "n_step", "group_size", "credit")
COLUMNS = (*VARIANT, "level", "weights", "episodes", "kind", "quantity", "value", "error", "low", "high")
STAGE, CRITIC = "middle", "learned"  # what stands for an estimator where one number has to
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


def read(folder: Path, root: Path, problems: list[Problem]) -> pd.DataFrame:
    """The figures of every measured stage below a study's folder, with `task` and `stage`; one row per figure.

    What cannot be used is added to `problems`; a stage still being measured is left out.
    """
    parts = []
    for path in sorted((folder / "lab").glob("*/*/seeds-*")):
        try:
            record = read_json(path / "run.json")
            if record.get("status") == "done":
                table = read_parquet(path / FIGURES, COLUMNS, record)
                parts.append(table.assign(task=str(record["task"]), stage=str(record["stage"])))
        except (Damaged, KeyError) as error:
            cause = f"run.json has no {error}" if isinstance(error, KeyError) else str(error)
            problems.append(Problem(str(path.relative_to(root)), cause))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["task", "stage", *COLUMNS])


def measured(figures: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one of `METRICS`, in its units: at one batch, with the weights and for the brother it is about."""
    level, quantity, relative = METRICS[metric]
    rows = figures[(figures["level"] == level) & (figures["quantity"] == quantity)]
    if level == "gradient":
        smallest = rows.groupby(["task", "stage"])["episodes"].transform("min")  # the batch an update uses
        rows = rows[(rows["weights"] == WEIGHTS) & (rows["episodes"] == smallest)]
    if level == "kind":
        rows = rows[rows["kind"] == WEAKER]
    if not relative:
        return rows
    signal = figures[(figures["level"] == level) & (figures["quantity"] == "signal")]
    keys = ["task", "stage", *VARIANT]
    found = rows[keys].merge(signal[[*keys, "value"]].drop_duplicates(keys), on=keys, how="left")
    scale = found["value"].to_numpy(float)
    numbers = ["value", "error", "low", "high"]
    return rows.assign(**{name: rows[name].to_numpy(float) / scale for name in numbers})


def select(rows: pd.DataFrame, factors: Mapping[str, object]) -> pd.DataFrame:
    """The rows of one estimator: `STAGE` and `CRITIC` where nothing else is said, λ = .95 of GAE."""
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


def estimator_table(figures: pd.DataFrame) -> Table:
    """Bias, variance and agreement of every estimator: a section per task and stage."""
    found = {name: measured(figures, name) for name in ("bias", "variance", "cosine")}
    sections = []
    for (task, stage), part in figures.groupby(["task", "stage"], sort=False):
        variants = part[list(VARIANT)].drop_duplicates()
        here = {name: rows[(rows["task"] == task) & (rows["stage"] == stage)] for name, rows in found.items()}
        rows = [_row(variant, here) for _, variant in variants.iterrows()]
        sections.append(Section(f"{task}, {stage} of training", tuple(rows)))
    return Table(
        caption="Estimators against ground truth. Bias: the part of the squared bias of the advantage that depends on "
        "the action (what depends on the state alone biases no gradient), and variance: both in units of the mean "
        "square of the true advantages. Cosine: mean cosine of the gradients of two batches. With 95 % intervals.",
        header=("estimator", "critic", *found),
        sections=tuple(sections),
    )


def _row(variant: pd.Series, found: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    texts = []
    for rows in found.values():
        same = np.logical_and.reduce([_same(rows[name], variant[name]) for name in VARIANT])
        mine = rows[same]
        numbers = mine[["value", "low", "high"]].to_numpy(float)
        texts.append(interval_text(numbers[0].tolist(), 3) if len(mine) else "–")
    return (_name(variant), str(variant["critic"] or "none"), *texts)


def _same(column: pd.Series, value: object) -> np.ndarray:
    missing = value is None or value != value
    return np.asarray(column.isna() if missing else column == value)


def _name(variant: pd.Series) -> str:
    """`critic-gae λ=0.95`, `group-monte_carlo G=4`."""
    knobs = {"gae_lambda": "λ", "n_step": "n", "group_size": "G"}
    said = [f"{sign}={float(variant[name]):g}" for name, sign in knobs.items() if pd.notna(variant[name])]
    credit = [str(variant["credit"])] if pd.notna(variant["credit"]) and variant["credit"] else []
    return " ".join([f"{variant['baseline']}-{variant['advantage']}", *said, *credit])


def texts(figures: pd.DataFrame, task: str, names: Sequence[str], factors: Mapping[str, object]) -> list[str]:
    """Single numbers of one estimator for a table with other columns too; dashes where nothing was measured."""
    found = []
    for name in names:
        rows = measured(figures, name)
        rows = select(rows[rows["task"] == task], factors)
        found.append(optional_text(float(rows["value"].iloc[0]), 3) if len(rows) else "–")
    return found
