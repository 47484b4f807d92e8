"""Tables: from tidy runs to estimates with intervals, and from those to text."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.claims import comparisons
from analysis.claims.judge import Claim, Judged
from analysis.load import labels
from analysis.load.laboratory import METRICS
from analysis.load.records import MODES, STATUSES, measures
from analysis.stats import estimates as stats
from analysis.tables.formats import Best, Section, Table, Tied, interval_text, optional_text

REPS = 10_000
CONFIDENCE = 0.95
FAILING = 0.5  # normalised: halfway from random to the reference
FLOAT_BYTES = 4  # of a float32
STATISTICS: Mapping[str, stats.Statistic] = {"mean": stats.mean, "iqm": stats.iqm}

_MODE_MEANING = {
    "deterministic": "Deterministic: the most probable action, as published scores are measured.",
    "stochastic": "Stochastic: the policy that is trained, on which claims are judged.",
}


def scores(runs: pd.DataFrame, metric: str) -> dict[str, stats.Array]:
    """By arm, seeds × tasks, both sorted; NaN where a seed has no score. Tasks an arm has no row of are left out.

    Args:
        runs: as `analysis.load` gives them.
        metric: a numeric column of `runs`.
    """
    tasks, task_codes = np.unique(runs["task"].to_numpy(str), return_inverse=True)
    seeds, values = runs["seed"].to_numpy(int), runs[metric].to_numpy(float)
    found = {}
    for arm, places in runs.groupby("arm", sort=False).indices.items():
        own_seeds, rows = np.unique(seeds[places], return_inverse=True)
        array = np.full((len(own_seeds), len(tasks)), np.nan)
        array[rows, task_codes[places]] = values[places]
        found[str(arm)] = array[:, np.unique(task_codes[places])]
    return found


def compared_tasks(runs: pd.DataFrame) -> list[str]:
    """The tasks that aggregates are over: the largest group of tasks that have arms in common, in their order.

    A task with arms of its own, which no other task has, is an experiment of its own.
    """
    largest = max((tasks for tasks, _ in labels.related(runs)), key=len, default=[])
    return [str(task) for task in runs["task"].unique() if task in largest]


def compared_name(runs: pd.DataFrame) -> str:
    """What `compared_tasks` are called: all, or their names."""
    tasks = compared_tasks(runs)
    return "all tasks" if len(tasks) == runs["task"].nunique() else ", ".join(tasks)


def on_every_task(runs: pd.DataFrame, metric: str) -> dict[str, stats.Array]:
    """`scores` of the arms with a score on every of `compared_tasks`: one over fewer would compare other tasks."""
    tasks = compared_tasks(runs)
    return {
        arm: array
        for arm, array in scores(runs[runs["task"].isin(tasks)], metric).items()
        if array.shape[1] == len(tasks) and not np.isnan(array).all(axis=0).any()
    }


def comparison(runs: pd.DataFrame, reps: int = REPS, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Mean, IQM and failures of every arm on every task, in both modes, with the state of every seed.

    Returns:
        One row per measure of a task (`task` holds its label) × arm × mode: `n` (runs with a score), one column per
        other status with its number of seeds, `mean`, `mean_low`, `mean_high`, `iqm`, `iqm_low`, `iqm_high` in the
        task's units, `failing` (share of runs with a normalised score below `FAILING`), and `mark`: "best" mean of the
        task, "tied" with it, or "". Where there are several tasks, rows of `compared_name` (normalised) follow, for the
        arms that have a score on every one of `compared_tasks`. `failing` is not known of a true score, whose best is
        not the reference's.
    """
    rows = []
    for measure in measures(runs):
        part = runs[runs["task"] == measure.task]
        for mode in MODES:
            final, normalised = scores(part, measure.final(mode)), scores(part, measure.normalised(mode))
            counts = _counts(part)
            rows += [
                {"task": measure.label, "arm": arm, "mode": mode}
                | counts[arm]
                | _estimates(final[arm], normalised[arm], (measure.label, arm, mode), reps, confidence)
                | ({"failing": np.nan} if measure.column != "return" else {})
                for arm in final
            ]
    together = compared_tasks(runs)
    if len(together) > 1:
        counts, name = _counts(runs[runs["task"].isin(together)]), f"{compared_name(runs)} (normalised)"
        rows += [
            {"task": name, "arm": arm, "mode": mode}
            | counts[arm]
            | _estimates(array, array, (name, arm, mode), reps, confidence)
            for mode in MODES
            for arm, array in on_every_task(runs, f"normalised_{mode}").items()
        ]
    marks = comparisons.ties(runs, confidence=confidence)
    return pd.DataFrame(rows).merge(marks, on=["task", "arm", "mode"], how="left").fillna({"mark": ""})


def _counts(runs: pd.DataFrame) -> dict[str, dict[str, object]]:
    """By arm, the number of seeds in every state but `done`."""
    table = pd.crosstab(runs["arm"], runs["status"]).reindex(columns=list(STATUSES[1:]), fill_value=0)
    return {str(arm): {str(status): int(number) for status, number in row.items()} for arm, row in table.iterrows()}


def _estimates(
    array: stats.Array, normalised: stats.Array, names: tuple[str, str, str], reps: int, confidence: float
) -> dict[str, object]:
    row: dict[str, object] = {"n": int(np.count_nonzero(~np.isnan(array)))}
    found = stats.intervals(array, list(STATISTICS.values()), reps, confidence, stats.generator(*names))
    for name, estimate in zip(STATISTICS, found, strict=True):
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), estimate, strict=True))
    return row | {"failing": float(stats.failure_rate(normalised, FAILING))}


def comparison_table(estimates: pd.DataFrame, modes: Sequence[str] = MODES, confidence: float = CONFIDENCE) -> Table:
    """`comparison` as text: a section per task, a row per arm, mean and IQM of each of `modes` side by side."""
    sections = []
    for task, part in estimates.groupby("task", sort=False):
        decimals = decimals_of(part[["mean", "iqm"]].to_numpy(float))
        rows = (_comparison_row(str(arm), cells, modes, decimals) for arm, cells in part.groupby("arm", sort=False))
        sections.append(Section(str(task), tuple(rows)))
    columns = ("mean", "IQM", "failing")
    meaning = "Bold: best mean; italic: its difference to the best may be 0. " + " ".join(
        _MODE_MEANING[mode] for mode in modes
    )
    return Table(
        caption=f"Final scores (mean over the last tenth of the evaluations): mean and interquartile mean (IQM) over "
        f"seeds, with {confidence:.0%} stratified bootstrap intervals; failing: share of runs that end below the "
        f"midpoint of random and reference (not said of true scores, whose best is not the reference's). {meaning}",
        header=("arm", "n", *(name + (f", {mode}" if len(modes) > 1 else "") for mode in modes for name in columns)),
        sections=tuple(sections),
    )


def _comparison_row(arm: str, cells: pd.DataFrame, modes: Sequence[str], decimals: int) -> tuple[str, ...]:
    by_mode = {str(row["mode"]): row for _, row in cells.iterrows()}
    estimates = []
    for mode in modes:
        row = by_mode[mode]
        mean, iqm = (interval_text(interval_of(row, name), decimals) for name in STATISTICS)
        marked = {"best": Best, "tied": Tied}.get(str(row["mark"]), str)(mean)
        estimates += [marked, iqm, percent_text(float(row["failing"]))]
    return (arm, count_text(by_mode[modes[0]]), *estimates)


def interval_of(row: pd.Series, name: str) -> stats.Interval:
    """An estimate and its bounds from the columns `name`, `name_low` and `name_high`."""
    return float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"])


def percent_text(share: float) -> str:
    """`35 %`; a dash where it is unknown."""
    return "–" if np.isnan(share) else f"{share:.0%}".replace("%", " %")


def control_table(differences: pd.DataFrame, control: str, confidence: float = CONFIDENCE) -> Table:
    """`analysis.claims.comparisons.against_control` as text: a section per task, a row per arm."""
    sections = []
    for task, part in differences.groupby("task", sort=False):
        decimals = decimals_of(part["difference"].to_numpy(float))
        sections.append(Section(str(task), tuple(_control_row(row, decimals) for _, row in part.iterrows())))
    planned = int((differences["reason"] == "").sum())
    return Table(
        caption=f"Difference to {control} of the final stochastic score, paired by seed: mean with {confidence:.0%} "
        f"bootstrap interval, d (mean over standard deviation of the differences), P(better) = probability of "
        f"improvement, two-sided sign-flip p, and p by Holm over the {planned} planned comparisons of the study.",
        header=("arm", "pairs", "difference", "d", "P(better)", "p", "p (Holm)"),
        sections=tuple(sections),
    )


def _control_row(row: pd.Series, decimals: int) -> tuple[str, ...]:
    if row["reason"]:
        return (str(row["arm"]), "–", str(row["reason"]), "–", "–", "–", "–")
    found = interval_text(interval_of(row, "difference"), decimals)
    values = [
        optional_text(row["effect"], 2),
        optional_text(row["improvement"], 2),
        p_text(row["p"]),
        p_text(row["p_holm"]),
    ]
    return (str(row["arm"]), str(int(row["pairs"])), found, *values)


def p_text(p: float) -> str:
    """Three decimals, `<0.001` below them, a dash for a comparison that could not be made."""
    return "<0.001" if p < 0.001 else optional_text(p, 3)


def scoreboard(judged: Sequence[Judged], title: str) -> Table:
    """Claims with their verdicts as text: a row per claim and task; effects point in the direction of the claim."""
    raw = [finding.p for claim in judged for finding in claim.findings]
    adjusted = iter(stats.holm(raw))
    rows = []
    for claim in judged:
        for finding in claim.findings:
            effect = interval_text((finding.effect, finding.low, finding.high), 3)
            needed = "–" if finding.seeds_needed is None else str(finding.seeds_needed)
            verdict = finding.verdict + (f": {finding.note}" if finding.note else "")
            about = f"{claim.claim.statement} ({claim.claim.source})"
            pairs = "–" if claim.claim.metric in METRICS else str(finding.pairs)  # two estimates of one policy
            numbers = (pairs, needed, p_text(finding.p), p_text(next(adjusted)))
            rows.append((about, claim.verdict, finding.task, verdict, claimed_text(claim.claim), effect, *numbers))
    return Table(
        caption=f"{title}. Effects are differences in the direction the claim predicts, paired by seed where arms were "
        "trained, with their intervals; a verdict compares the interval with the smallest effect of interest, which "
        "the claims file fixed beforehand. Needed: the seeds that would decide what is undecided.",
        header=("claim", "verdict", "task", "on this task", "claimed", "effect", "pairs", "needed", "p", "p (Holm)"),
        sections=(Section("", tuple(rows)),),
    )


def claimed_text(claim: Claim) -> str:
    """What a claim predicts: `area higher by more than 0.05`."""
    metric, size = claim.metric.replace("_", " "), f"{claim.sesoi:g}"
    by = {"equal": f"equal within {size}", "not_lower": f"lower by less than {size}"}
    return f"{metric} {by.get(claim.direction, f'{claim.direction} by more than {size}')}"


def costs(runs: pd.DataFrame) -> pd.DataFrame:
    """What one run of each arm costs, as the median over its runs that are done.

    Returns:
        One row per task and arm: `env_steps`, `updates`, `wall_seconds` and `cpu_seconds` (a block's, shared by its
        seeds), `steps_per_second` (of a whole block), `parameters` (actor and critic), `peak_memory_bytes` (process).
    """
    columns = ["env_steps", "updates", "wall_seconds", "cpu_seconds", "steps_per_second", "parameters"]
    parts = runs[["parameters_actor", "parameters_critic"]].astype(float)
    done = runs.assign(parameters=parts.sum(axis=1, min_count=1))[runs["status"] == "done"]
    measured = [*columns, "peak_memory_bytes"]
    return (
        done.astype(dict.fromkeys(measured, float))
        .groupby(["task", "arm"], sort=False)[measured]
        .median()
        .reset_index()
    )


def cost_table(costs: pd.DataFrame) -> Table:
    """`costs` as text."""
    sections = [
        Section(str(task), tuple(_cost_row(row) for _, row in part.iterrows()))
        for task, part in costs.groupby("task", sort=False)
    ]
    return Table(
        caption="Cost of one run, median over seeds. Seeds train together in blocks, so seconds are a block's "
        "divided by its seeds, while steps per second and peak memory are those of the whole block.",
        header=("arm", "steps", "updates", "wall s", "CPU s", "steps/s", "parameters", "peak MB"),
        sections=tuple(sections),
    )


def _cost_row(row: pd.Series) -> tuple[str, ...]:
    whole = [thousands_text(float(row[key])) for key in ("env_steps", "updates")]
    seconds = [optional_text(float(row[key]), 2) for key in ("wall_seconds", "cpu_seconds")]
    rest = [thousands_text(float(row[key])) for key in ("steps_per_second", "parameters")]
    return (str(row["arm"]), *whole, *seconds, *rest, thousands_text(float(row["peak_memory_bytes"]) / 1e6))


def critic_costs(runs: pd.DataFrame) -> pd.DataFrame:
    """What a critic costs each arm, and an arm without one saves: counted from its networks, batches and clock.

    Returns:
        One row per task and arm with runs that are done, medians over them: `parameters_actor`, `parameters_critic` (0
        without one), `state_actor`, `state_critic` (bytes of weights, gradients and Adam's two moments, float32),
        `batch_critic` (bytes of values and targets of a batch, float32), `batch` (steps between two updates),
        `update_seconds` (per update of one seed; NaN where not measured) and `update_share` (of the wall time).
    """
    done = runs[runs["status"] == "done"]
    numbers = ["parameters_actor", "parameters_critic", "env_steps", "updates", "seconds_per_update", "wall_seconds"]
    found = done.astype(dict.fromkeys(numbers, float)).assign(
        seeds=done.groupby("block")["seed"].transform("count").astype(float)
    )
    medians = found.groupby(["task", "arm"], sort=False)[[*numbers, "seeds"]].median().reset_index()
    medians["batch"] = medians["env_steps"] / medians["updates"].where(medians["updates"] > 0)
    has_critic = medians["parameters_critic"] > 0
    for name in ("actor", "critic"):
        medians[f"state_{name}"] = 4 * FLOAT_BYTES * medians[f"parameters_{name}"].fillna(0.0)
    medians["batch_critic"] = np.where(has_critic, 2 * FLOAT_BYTES * medians["batch"], 0.0)
    medians["update_seconds"] = medians["seconds_per_update"] / medians["seeds"]
    medians["update_share"] = medians["update_seconds"] * medians["updates"] / medians["wall_seconds"]
    return medians.drop(columns=["seconds_per_update", "wall_seconds", "env_steps", "updates", "seeds"])


def critic_table(runs: pd.DataFrame) -> Table | None:
    """`critic_costs` as text, where some arms of a study have a critic and others have none; else None."""
    costs = critic_costs(runs[runs["parameters_actor"].notna()])
    if costs.empty or (costs["parameters_critic"] > 0).nunique() < 2:
        return None
    sections = [
        Section(str(task), tuple(_critic_row(row) for _, row in part.iterrows()))
        for task, part in costs.groupby("task", sort=False)
    ]
    return Table(
        caption="What a critic costs, and an arm without one saves, per seed. Training state: weights, gradients and "
        "Adam's two moments (16 bytes a parameter). Batch: values and targets of the steps between two updates (8 "
        "bytes a step). Update: its wall time divided by the seeds that are updated together, per 1,000 steps, and "
        "its share of a run's wall time, which simulation and evaluation make up.",
        header=(
            "arm", "actor parameters", "critic parameters", "state actor kB", "state critic kB", "steps per update",
            "batch critic kB", "update ms per 1,000 steps", "of the time",
        ),
        sections=tuple(sections),
    )  # fmt: skip


def _critic_row(row: pd.Series) -> tuple[str, ...]:
    parameters = [thousands_text(float(row[f"parameters_{name}"])) for name in ("actor", "critic")]
    state = [optional_text(float(row[f"state_{name}"]) / 1e3, 1) for name in ("actor", "critic")]
    milliseconds = float(row["update_seconds"]) * 1e6 / float(row["batch"])
    return (
        str(row["arm"]),
        *parameters,
        *state,
        thousands_text(float(row["batch"])),
        optional_text(float(row["batch_critic"]) / 1e3, 1),
        optional_text(milliseconds, 1),
        percent_text(float(row["update_share"])),
    )


def thousands_text(value: float) -> str:
    """`12,000`; a dash where it is unknown."""
    return "–" if np.isnan(value) else f"{value:,.0f}"


def count_text(row: pd.Series) -> str:
    """`10`, or `8 (1 failed, 1 missing)`: how many runs an estimate rests on, and what became of the others."""
    others = [f"{row[status]} {status}" for status in STATUSES if status != "done" and row[status]]
    return f"{row['n']} ({', '.join(others)})" if others else str(row["n"])


def decimals_of(values: stats.Array) -> int:
    """Decimals that show four digits of the largest value, with one to three decimals."""
    finite = np.abs(values[np.isfinite(values)])
    if not finite.size or finite.max() == 0:
        return 1
    return int(np.clip(3 - np.floor(np.log10(finite.max())), 1, 3))
