"""The laboratory's tables and sentences: the closing table, fairness between brothers, what hurts, the truth."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.load.laboratory import VARIANT, WEIGHTS, Laboratory, usual, variant_name
from analysis.tables.formats import Section, Table, interval_text, number_text

SHARES = {"learning_share": "of what is learned", "variance_share": "of the variance"}


def closing_table(found: Laboratory, task: str, returns: Mapping[str, tuple[float, float, float]]) -> Table:
    """The article's comparison of estimators with measured columns: a section per stage.

    Args:
        found: what was measured.
        task: which task.
        returns: final return with its interval by arm, from training runs of the same study; may lack arms.
    """
    sections = []
    for stage in found.labels(task):
        rows = usual(found.of(task, "advantage", stage))
        arms = list(dict.fromkeys(rows["arm"]))
        gradient = usual(found.of(task, "gradient", stage))
        smallest = gradient[(gradient["weights"] == WEIGHTS) & (gradient["episodes"] == gradient["episodes"].min())]
        costs = usual(found.costs[(found.costs["task"] == task) & (found.costs["label"] == stage)])
        sections.append(
            Section(stage, tuple(_row(arm, of_arm(rows, arm), of_arm(smallest, arm), costs, returns) for arm in arms))
        )
    header = ("arm", "bias² (all)", "bias² (action)", "variance", "cosine", "angle to truth (°)", "tr Cov / ‖g‖²",
              "steps", "ms", "final return")  # fmt: skip
    caption = (
        f"{task}: estimators measured. Bias and variance of advantages relative to the mean squared true advantage: "
        f"all of the squared bias, and the part that depends on the action, which alone turns the expected gradient. "
        f"Squared biases are estimated without bias, so one near 0 may come out below it. Gradients of single batches; "
        f"steps and ms of a batch; 95 % intervals; λ = 0.95, n = 5. Where a policy is almost deterministic, true "
        f"advantages vanish, and what is relative to them is huge"
    )
    return Table(caption, header, tuple(sections))


def of_arm(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The rows of one arm by quantity."""
    return rows[rows["arm"] == arm].drop_duplicates("quantity").set_index("quantity")


def _row(
    arm: str,
    advantage: pd.DataFrame,
    gradient: pd.DataFrame,
    costs: pd.DataFrame,
    returns: Mapping[str, tuple[float, float, float]],
) -> tuple[str, ...]:
    scale = float(advantage["value"].get("signal", np.nan))
    relative = [_cell(advantage, name, scale) for name in ("squared_bias", "action_bias", "variance")]
    gradients = [_cell(gradient, name, 1.0) for name in ("cosine", "angle", "trace")]
    mine = costs[costs["arm"] == arm]
    cost = (
        (number_text(mine["steps"].iloc[0], 0), number_text(1000 * mine["seconds"].iloc[0], 1))
        if len(mine)
        else ("–", "–")
    )
    final = interval_text(returns[arm], 2) if arm in returns else "–"
    return (arm, *relative, *gradients, *cost, final)


def _cell(rows: pd.DataFrame, quantity: str, scale: float) -> str:
    """A quantity with its interval, divided by `scale`; a dash where there is none."""
    if quantity not in rows.index or not scale > 0:
        return "–"
    row = rows.loc[[quantity], ["value", "low", "high"]].to_numpy(float)[0]
    if not np.isfinite(row).all():
        return "–"
    numbers = [float(number) / scale for number in row]
    size = max(map(abs, numbers))
    if size >= 1e6:  # ratios to the true advantages of a policy that hardly has any
        estimate, low, high = (f"{number:.1e}".replace("-", "−").replace("e+", "e") for number in numbers)
        return f"{estimate} [{low}, {high}]"
    return interval_text(numbers, 3 if size < 10 else 1 if size < 1000 else 0)


def against_none(found: Laboratory, task: str) -> pd.DataFrame:
    """How many times the gradient variance of no baseline every baseline has, under Monte Carlo: value, low, high.

    The interval is that of a ratio of independent estimates; they share their batches, so it is wider than needed.
    """
    rows = found.of(task, "gradient")
    rows = rows[(rows["quantity"] == "trace_absolute") & (rows["weights"] == WEIGHTS)]
    rows = rows[(rows["advantage"] == "monte_carlo") & (rows["credit"] != "outcome") & (rows["critic"] != "error")]
    rows = rows[rows["episodes"] == rows["episodes"].min()]
    ratios = []
    for stage, of_stage in rows.groupby("label", sort=False):
        none = of_stage[of_stage["baseline"] == "none"]
        if none.empty or not none["value"].iloc[0] > 0:
            continue
        for _, row in of_stage[of_stage["baseline"] != "none"].iterrows():
            if not row["value"] > 0:
                continue
            relative = np.hypot(row["error"] / row["value"], none["error"].iloc[0] / none["value"].iloc[0])
            ratio = row["value"] / none["value"].iloc[0]
            name = f"critic ({row['critic']} V)" if row["baseline"] == "critic" else row["baseline"]
            low, high = ratio * np.exp(-1.96 * relative), ratio * np.exp(1.96 * relative)
            ratios.append({"label": stage, "baseline": name, "value": ratio, "low": low, "high": high})
    return pd.DataFrame(ratios, columns=["label", "baseline", "value", "low", "high"])


def hurts(found: Laboratory) -> list[str]:
    """A line for every baseline whose gradient variance is above that of no baseline, whole interval and all."""
    lines = []
    for task in found.tasks:
        for _, row in against_none(found, task).query("low > 1").iterrows():
            text = interval_text([row["value"], row["low"], row["high"]], 2)
            scaled = ", whose scale differs (it divides by the std)" if row["baseline"] == "grpo" else ""
            lines.append(f"{task}, {row['label']}: {row['baseline']} has {text} times the variance of none{scaled}.")
    return lines


def fairness_table(found: Laboratory, task: str) -> Table | None:
    """Each brother's share of what is learned and of its variance under every baseline; None without brothers."""
    rows = found.of(task, "kind")
    if rows.empty:
        return None
    kinds = list(dict.fromkeys(rows["kind"]))
    sections = []
    for label in found.labels(task):
        mine = rows[rows["label"] == label]
        variants = [own for _, own in mine.groupby(list(VARIANT), sort=False, dropna=False)]
        lines = [_true_shares(mine, kinds)]
        lines += [(variant_name(own.iloc[0]), str(own["critic"].iloc[0]), *_shares(own, kinds)) for own in variants]
        sections.append(Section(label, tuple(lines)))
    header = ("estimator", "critic", *(f"{kind}'s share {of}" for kind in kinds for of in SHARES.values()))
    caption = (
        f"{task}: fairness between the brothers. The share of ‖E[gradient | brother]‖, and of the trace of its "
        f"covariance; 95 % intervals. A baseline that is a function of the state leaves the first as it is. "
        f"A dash: not told from zero, or too few of an almost deterministic policy's rare actions in the sample"
    )
    return Table(caption, header, tuple(sections))


def _true_shares(rows: pd.DataFrame, kinds: Sequence[str]) -> tuple[str, ...]:
    """The shares of the true gradient, which are exact; it has no variance."""
    of_truth = rows[rows["quantity"] == "true_share"].drop_duplicates("kind").set_index("kind")["value"]
    values = [float(of_truth.get(kind, np.nan)) for kind in kinds]
    shares = [text for value in values for text in (number_text(value, 3) if np.isfinite(value) else "–", "–")]
    return ("the true gradient", "–", *shares)


def _shares(rows: pd.DataFrame, kinds: Sequence[str]) -> list[str]:
    """Both shares of every kind; what of an interval lies outside 0 to 1 no share can be."""
    shares = rows.set_index(["kind", "quantity"])[["value", "low", "high"]].astype(float).clip(0, 1)
    numbers = {key: list(map(float, row)) for key, row in zip(shares.index, shares.to_numpy(), strict=True)}
    return [interval_text(numbers[kind, share], 3) for kind in kinds for share in SHARES]


def final_returns(estimates: pd.DataFrame, runs: pd.DataFrame, task: str) -> dict[str, tuple[float, float, float]]:
    """Final return with its interval by `baseline-advantage`, from the runs with PPO's clip of the same study."""
    found: dict[str, tuple[float, float, float]] = {}
    rows = estimates[(estimates["task"] == task) & (estimates["mode"] == "stochastic")] if len(estimates) else estimates
    for _, row in rows.iterrows():
        arm = runs[(runs["arm"] == row["arm"]) & (runs["task"] == task)]
        if len(arm) and {"baseline", "advantage", "update"} <= set(arm) and arm["update"].iloc[0] == "clip":
            name = f"{arm['baseline'].iloc[0]}-{arm['advantage'].iloc[0]}"
            found.setdefault(name, (float(row["mean"]), float(row["mean_low"]), float(row["mean_high"])))
    return found
