"""The laboratory's tables and sentences: the estimators, what hurts, fairness between brothers. The unit: a policy."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
import scipy.stats

from analysis.load.laboratory import (
    CONFIDENCE,
    IDENTIFIERS,
    METRICS,
    STAGE,
    VARIANT,
    WEAKER,
    WEIGHTS,
    Laboratory,
    measured,
    usual,
    variant_name,
)
from analysis.tables.formats import Section, Table, interval_text, number_text

SHARES = {"learning_share": "of what is learned", "variance_share": "of the variance"}
ROUNDING = 1e-9
PAIRS = {  # what the article says of targets: the metric, and which less which
    "bias² of TD(0) less Monte Carlo": ("bias", "td0", "monte_carlo"),
    "variance of Monte Carlo less GAE": ("variance", "monte_carlo", "gae"),
    "cosine of GAE less Monte Carlo": ("cosine", "gae", "monte_carlo"),
}
NEGLIGIBLE = 1e-6  # of the task's largest variance of returns: a smaller one is no unit for what else varies
FULL_RETURNS = ("none-monte_carlo", "critic-monte_carlo")  # vary alike, given state and action
LARGEST = 1e6  # beyond, a number is written with a power of ten


def stage_of(found: Laboratory, task: str) -> str | None:
    """The stage that stands for a task: halfway through learning, or the first there is; None where none is."""
    notes = found.notes[(found.notes["task"] == task) & found.notes["first"].astype(bool)]
    wanted = notes[notes["stage"] == STAGE]
    rows = wanted if len(wanted) else notes
    return str(rows["label"].iloc[0]) if len(rows) else None


def targets_table(found: Laboratory, returns: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> Table | None:
    """The article's closing table with measured numbers: the targets under the critic, a section per task.

    Args:
        found: what was measured.
        returns: by task, the final return with its interval by arm, from training runs of the same study; may lack any.
    """
    sections = []
    for task in found.tasks:
        label = stage_of(found, task)
        if label is None:
            continue
        rows = usual(_numbers(found.of(task, "advantage", label), found.of(task, "gradient", label)))
        arms = [arm for arm in dict.fromkeys(rows["arm"]) if str(arm).startswith("critic-")]
        lines = tuple(_row(arm, _of_arm(rows, arm), returns.get(task, {})) for arm in arms)
        if lines:
            sections.append(Section(f"{task}, {label}, {_policies(rows)}", lines))
    if not sections:
        return None
    header = ("target", "bias²", "variance", "E A²", "cosine", "final return")
    caption = (
        "Targets of the advantage under the learned critic: means over policies with Student's 95 % interval. "
        "bias² (the part that depends on the action, which alone turns the expected gradient) and variance are shares "
        "of E A², the variance of the true advantage; a dash where that is not told from zero. cosine: of two training "
        "batches' gradients. λ = 0.95, n = 5"
    )
    return Table(caption, header, tuple(sections))


def _numbers(advantage: pd.DataFrame, gradient: pd.DataFrame) -> pd.DataFrame:
    """The rows of advantages, and those of the gradient of a training batch."""
    smallest = gradient[(gradient["weights"] == WEIGHTS) & (gradient["episodes"] == gradient["episodes"].min())]
    return pd.concat([advantage, smallest]) if len(smallest) else advantage


def _policies(rows: pd.DataFrame) -> str:
    number = int(rows["policies"].max()) if len(rows) else 0
    return f"{number} {'policy' if number == 1 else 'policies'}"


def _of_arm(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The rows of one arm by quantity; of the quantities that both levels have, those of advantages."""
    return rows[rows["arm"] == arm].drop_duplicates("quantity").set_index("quantity")


def _row(arm: str, rows: pd.DataFrame, returns: Mapping[str, tuple[float, float, float]]) -> tuple[str, ...]:
    names = ("relative_bias", "relative_variance", "signal", "cosine")
    cells = [_cell(rows, name) for name in names]
    cells[2] = cells[2].partition(" ")[0]  # what the first two are shares of; its interval is in laboratory.csv
    return (arm.removeprefix("critic-"), *cells, interval_text(returns[arm], 2) if arm in returns else "–")


def _cell(rows: pd.DataFrame, quantity: str) -> str:
    """A quantity with its interval, and the number of policies where it is known of some only; a dash for none."""
    if quantity not in rows.index:
        return "–"
    numbers = rows.loc[[quantity], ["value", "low", "high"]].to_numpy(float)[0]
    text = cell_text(numbers.clip(-1, 1) if quantity == "cosine" else numbers)  # no cosine lies beyond
    known, of = int(rows.loc[[quantity], "policies"].iloc[0]), int(rows["policies"].max())
    return text if known == of or text == "–" else f"{text} ({known} of {of})"


def cell_text(numbers: Sequence[float] | np.ndarray) -> str:
    """A number with its interval, in as many digits as it needs; a dash where there is no number."""
    value, low, high = (float(number) for number in numbers)
    if not np.isfinite(value):
        return "–"
    known = [number for number in (value, low, high) if np.isfinite(number)]
    size = max(map(abs, known))
    if size < ROUNDING:
        return "0"
    if size >= LARGEST or 0 < size < 1e-3:  # ratios to hardly any advantages; rewards in small units
        texts = [f"{number:.1e}".replace("-", "−").replace("e+", "e") for number in known]
        return texts[0] if len(texts) < 3 else f"{texts[0]} [{texts[1]}, {texts[2]}]"
    return interval_text((value, low, high), 3 if size < 10 else 1 if size < 1000 else 0)


def plane_table(found: Laboratory, task: str) -> pd.DataFrame:
    """Every policy's action-dependent squared `bias` and `variance`, in units of the variance of its full returns.

    That unit, of returns given state and action, is known well for every policy; the true advantages, of which the
    tables' numbers are shares, vanish for good policies. `signal` is theirs in the same unit, unknown where it is not
    told from zero. A row per `label`, `seed`, `arm`, `critic` and `gae_lambda`, which is −1 for an arm without it: of
    every arm its usual numbers, and of critic-gae every λ. Policies whose returns hardly vary are left out.
    """
    keys = ["label", "seed", "arm", "critic", "gae_lambda"]
    rows = found.each(task, "advantage")
    rows = rows[rows["arm"].eq("critic-gae") | ~rows["swept"].astype(bool)].fillna({"gae_lambda": -1})
    wide = rows.pivot_table(index=keys, columns="quantity", values="value", sort=False).reset_index()
    wide = wide.reindex(columns=[*keys, "action_bias", "variance", "signal", "relative_variance"])
    full = wide[wide["arm"].isin(FULL_RETURNS) & wide["variance"].notna()].sort_values("arm", ascending=False)
    units = full.drop_duplicates(["label", "seed"]).set_index(["label", "seed"])["variance"]
    unit = pd.Series(units[units > NEGLIGIBLE * units.max()], dtype=float).rename("unit")
    wide = wide.merge(unit.reset_index(), on=["label", "seed"])
    signal = wide["signal"].where(wide["relative_variance"].notna())
    shares = {"bias": wide["action_bias"], "variance": wide["variance"], "signal": signal}
    return wide[keys].assign(**{name: values / wide["unit"] for name, values in shares.items()})


def against_none(found: Laboratory, task: str) -> pd.DataFrame:
    """How many times the gradient variance of no baseline every baseline has, under Monte Carlo: value, low, high.

    The logarithm of the ratio is averaged over policies, with Student's interval. A row per stage and baseline, and
    `policies`.
    """
    rows = found.each(task, "gradient")
    rows = rows[(rows["quantity"] == "trace_absolute") & (rows["weights"] == WEIGHTS)]
    rows = rows[(rows["advantage"] == "monte_carlo") & (rows["credit"] != "outcome") & (rows["critic"] != "error")]
    rows = rows[rows["episodes"] == rows["episodes"].min()]
    critic = np.where(rows["baseline"] == "critic", " (" + rows["critic"] + " V)", "")
    rows = rows.assign(name=rows["baseline"] + critic)
    ratios = []
    for label, of_stage in rows.groupby("label", sort=False):
        wide = of_stage.pivot_table(index="seed", columns="name", values="value", sort=False)
        if "none" not in wide:
            continue
        for name in [each for each in wide if each != "none"]:
            with np.errstate(all="ignore"):
                logs = np.log(wide[name] / wide["none"]).replace([np.inf, -np.inf], np.nan).dropna()
            if len(logs):
                number, low, high = np.exp(mean_interval(logs.to_numpy(float)))
                ratios.append({"label": label, "baseline": name, "value": number, "low": low, "high": high,
                               "policies": len(logs)})  # fmt: skip
    return pd.DataFrame(ratios, columns=["label", "baseline", "value", "low", "high", "policies"])


def mean_interval(values: np.ndarray) -> np.ndarray:
    """The mean of values of independent policies with Student's interval; NaN for that of a single one."""
    n, mean = len(values), float(values.mean())
    if n < 2:
        return np.array([mean, np.nan, np.nan])
    reach = float(scipy.stats.t.isf((1 - CONFIDENCE) / 2, n - 1)) * float(values.std(ddof=1)) / np.sqrt(n)
    return np.array([mean, mean - reach, mean + reach])


def baselines_table(found: Laboratory) -> Table | None:
    """Each baseline's gradient variance under Monte Carlo, relative to that of none, by task, halfway; None without."""
    columns: dict[str, pd.Series] = {}
    for task in found.tasks:
        table = against_none(found, task)
        rows = table[table["label"] == stage_of(found, task)].set_index("baseline")
        if len(rows):
            texts = map(cell_text, rows[["value", "low", "high"]].to_numpy(float))
            columns[task] = pd.Series(list(texts), index=rows.index)
    if not columns:
        return None
    names = list(dict.fromkeys(name for column in columns.values() for name in column.index))
    lines = [(name, *(str(column.get(name, "–")) for column in columns.values())) for name in names]
    caption = (
        f"Where a baseline hurts: how many times the gradient variance of no baseline each one has, {STAGE}, under "
        f"full returns. Geometric means over policies with Student's 95 % interval: above 1 it hurts. grpo divides by "
        f"the standard deviation, so that its scale is another"
    )
    return Table(caption, ("baseline", *columns), (Section("", tuple(lines)),))


def hurts(found: Laboratory) -> list[str]:
    """A line for every task and stage where baselines have more gradient variance than none, whole interval and all."""
    lines = []
    for task in found.tasks:
        for label, rows in against_none(found, task).query("low > 1").groupby("label", sort=False):
            ratios = zip(rows["baseline"], rows["value"], strict=True)
            named = ", ".join(f"{name} ({number_text(value, 2)} times)" for name, value in ratios)
            lines.append(f"{task}, {label}: {named}.")
    return lines


def best_table(found: Laboratory, task: str) -> pd.DataFrame:
    """Which estimator has the smallest error, by stage and episodes per batch: `label`, `episodes`, `arm`, `value`.

    `tied` counts the further ones whose paired difference from it over policies is not told from zero. Estimators that
    are unknown for half of the policies are left out, then policies for which another one is unknown.
    """
    rows = usual(found.each(task, "gradient"))
    rows = rows[(rows["quantity"] == "least_error") & (rows["weights"] == WEIGHTS)]
    best = []
    for (label, episodes), cell in rows.groupby(["label", "episodes"], sort=False):
        wide = cell.pivot_table(index="seed", columns="arm", values="value", sort=False, dropna=False)
        wide = wide.dropna(how="all")
        wide = wide.loc[:, wide.notna().mean() > 0.5].dropna()
        if wide.empty:
            continue
        means = wide.mean()
        arm = str(means.idxmin())
        apart = [mean_interval((wide[other] - wide[arm]).to_numpy(float)) for other in wide if other != arm]
        tied = sum(not low > 0 for _, low, _ in apart)
        best.append({"label": label, "episodes": episodes, "arm": arm, "value": float(means[arm]), "tied": tied,
                     "policies": len(wide)})  # fmt: skip
    return pd.DataFrame(best, columns=["label", "episodes", "arm", "value", "tied", "policies"])


def fairness_table(found: Laboratory, task: str) -> Table | None:
    """Each brother's share of what is learned and of its variance under every baseline; None without brothers."""
    rows = found.of(task, "kind")
    if rows.empty:
        return None
    kinds = list(dict.fromkeys(rows["kind"]))
    kinds = [WEAKER] if len(kinds) == 2 and WEAKER in kinds else kinds  # the other has the rest
    label = stage_of(found, task)
    mine = rows[rows["label"] == label]
    variants = [own for _, own in mine.groupby(list(VARIANT), sort=False, dropna=False)]
    lines = [_true_shares(mine, kinds)]
    lines += [(variant_name(own.iloc[0]), str(own["critic"].iloc[0]), *_shares(own, kinds)) for own in variants]
    header = ("estimator", "critic", *(f"{kind}'s share {of}" for kind in kinds for of in SHARES.values()))
    caption = (
        f"{task}: fairness between the brothers. The share of ‖E[gradient | brother]‖, and of the trace of its "
        f"covariance: means over policies with Student's 95 % interval. A baseline that is a function of the state "
        f"leaves the first as it is. A dash: not told from zero, or too few of an almost deterministic policy's rare "
        f"actions in the sample"
    )
    return Table(caption, header, (Section(f"{label}, {_policies(mine)}", tuple(lines)),))


def _true_shares(rows: pd.DataFrame, kinds: Sequence[str]) -> tuple[str, ...]:
    """The shares of the true gradient, which are exact; it has no variance."""
    of_truth = rows[rows["quantity"] == "true_share"].drop_duplicates("kind").set_index("kind")["value"]
    values = [float(of_truth.get(kind, np.nan)) for kind in kinds]
    shares = [text for value in values for text in (number_text(value, 3) if np.isfinite(value) else "–", "–")]
    return ("the true gradient", "–", *shares)


def _shares(rows: pd.DataFrame, kinds: Sequence[str]) -> list[str]:
    """Both shares of every kind; what of an interval lies outside 0 to 1 no share can be."""
    shares = rows.set_index(["kind", "quantity"])[["value", "low", "high"]].astype(float).clip(0, 1)
    numbers = dict(zip(shares.index, shares.to_numpy(), strict=True))
    return [cell_text(numbers[kind, share]) for kind in kinds for share in SHARES]


def policies_lines(found: Laboratory, tasks: Collection[str] = ()) -> list[str]:
    """Every policy's difference between targets under the critic, in the order of seeds: a line per pair and task.

    Of these `tasks`; of all, where none of them was measured.
    """
    lines = []
    chosen = [task for task in found.tasks if task in tasks] or found.tasks
    for name, (metric, first, second) in PAIRS.items():
        for task in chosen:
            label = stage_of(found, task)
            rows = usual(measured(found.each(task, METRICS[metric][0], label), metric))
            wide = rows[rows["baseline"] == "critic"].pivot_table(
                index="seed", columns="advantage", values="value", sort=True
            )
            if {first, second} <= set(wide):
                values = (wide[first] - wide[second]).to_numpy(float)
                told = ", ".join("–" if np.isnan(value) else number_text(value, 2) for value in values)
                lines.append(f"{name}, {task}, {label}: {told}.")
    return lines


def policies_table(found: Laboratory) -> pd.DataFrame:
    """Every policy's value of each of `METRICS`, one row per policy and estimator, for a file."""
    tables = [
        measured(found.quantities, metric)[[*IDENTIFIERS[:3], "seed", "arm", *VARIANT, "value", "error"]].assign(
            metric=metric
        )
        for metric in METRICS
    ]
    return pd.concat(tables, ignore_index=True)


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
