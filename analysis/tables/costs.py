"""What a run costs, and what a critic costs."""

import numpy as np
import pandas as pd

from analysis.tables.formats import Section, Table, optional_text, percent_text, thousands_text

FLOAT_BYTES = 4  # of a float32


def costs_of_runs(runs: pd.DataFrame) -> pd.DataFrame:
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
    """`costs_of_runs` as text."""
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
