"""What a report says of the laboratory's measurements: the estimators, where a baseline hurts, fairness, the truth."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.load.laboratory import Laboratory
from analysis.report.document import Part
from analysis.tables.lab import closing_table, fairness_table, final_returns, hurts
from bench.paths import CONF

EXAM_WORLDS = ("exam_question", "weekly_exam")  # the laboratory tells their brothers apart


def parts(found: Laboratory, estimates: pd.DataFrame, runs: pd.DataFrame, studies: Sequence[str]) -> list[Part]:
    """What a report says about it: closing tables, where a baseline hurts, fairness, and how true the truth is.

    Of a study that was not measured, only which command would measure its brothers' shares, if it has any.
    """
    fairness = [table for task in found.tasks if (table := fairness_table(found, task)) is not None]
    told = [] if fairness else _unmeasured(runs, studies)
    fair = [Part("Fairness between the brothers", tuple(told), tables=tuple(fairness))] if fairness or told else []
    missing = tuple(f"Not measured: {name}." for name in found.missing)
    if found.empty:
        return [*fair, Part("The ground truth", items=missing)] if missing else fair
    shown = tuple(closing_table(found, task, final_returns(estimates, runs, task)) for task in found.tasks)
    harm = tuple(hurts(found)) or ("None: no baseline's variance is above that of no baseline beyond its interval.",)
    truth = (*precision_lines(found), *several_lines(found), *left_out_lines(found), *missing)
    return [
        Part("The estimators, measured", tables=shown),
        Part("Where a baseline hurts", items=harm),
        *fair,
        Part("The ground truth", items=truth),
    ]


def _unmeasured(runs: pd.DataFrame, studies: Sequence[str]) -> list[str]:
    """The command that measures the brothers of an exam world that was trained in and not measured."""
    if runs.empty or not set(EXAM_WORLDS) & set(runs["task"]):
        return []
    planned = [study for study in studies if (CONF / "lab" / f"{study}.yaml").exists()]
    return [f"Not measured yet; python -m bench lab study={study} measures it." for study in planned]


def precision_lines(found: Laboratory) -> list[str]:
    """What the truth is and how well it is known, per task and stage."""
    lines = []
    for _, note in found.notes.iterrows():
        share = note.get("truth_precision", np.nan)
        known = "exact" if share == 0 else f"known to {share:.2g} of the true advantages"
        if share == np.inf:
            known = "true advantages not distinguished from zero"
        gradient = note.get("gradient_precision", np.nan)
        if np.isfinite(gradient) and gradient > 0:
            known += f", the gradient to {gradient:.2g} of its length"
        elif gradient == np.inf:
            known += ", the gradient not distinguished from zero"
        lines.append(f"{note['task']}, {note['label']}: {note['truth']} truth, {known}.")
    return lines


def several_lines(found: Laboratory) -> list[str]:
    """Stages that were measured under several settings: which of them speaks where there is one number."""
    lines = []
    for (task, stage), rows in found.notes.groupby(["task", "stage"], sort=False):
        if len(rows) > 1:
            first = rows.loc[rows["first"], "label"].iloc[0]
            lines.append(f"{task}, {stage}: {len(rows)} settings, each shown; claims and summaries use {first}.")
    return lines


def left_out_lines(found: Laboratory) -> list[str]:
    """Arms that were asked for and are refused, with the reason: one line for all of a task with the same."""
    lines: dict[tuple[str, str], list[str]] = {}
    for _, note in found.notes.iterrows():
        for arm, reason in note["left_out"].items():
            arms = lines.setdefault((str(note["task"]), str(reason)), [])
            arms += [arm] if arm not in arms else []
    return [f"Not measured on {task}: {', '.join(arms)} ({reason})." for (task, reason), arms in lines.items()]
