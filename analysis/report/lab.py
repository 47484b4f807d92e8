"""What a report says of the laboratory's measurements: the estimators, where a baseline hurts, fairness, the truth."""

import warnings
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from analysis.load.laboratory import POLICY, STAGE, Laboratory
from analysis.report.document import Part
from analysis.tables.formats import number_text
from analysis.tables.lab import baselines_table, fairness_table, final_returns, hurts, policies_lines, targets_table
from bench.paths import CONF

UNIT = (
    "The unit is a policy: one training run of its own seed. Numbers are means over policies with Student's interval. "
    "Every policy's value is in policies.csv and in the figures; every mean of every stage in laboratory.csv."
)
EVERY = (
    "The paired differences that claims are judged by, one number per policy in the order of seeds. Those of other "
    "tasks: figures `policies`, policies.csv."
)
TRUTH = (
    "How well it is known: the standard error of the true values as a share of the true advantages, and of the true "
    "gradient as a share of its length; medians over policies."
)
EXAM_WORLDS = ("exam_question", "weekly_exam")  # the laboratory tells their brothers apart


def parts(
    found: Laboratory,
    estimates: pd.DataFrame,
    runs: pd.DataFrame,
    studies: Sequence[str],
    judged: Collection[str] = (),
) -> list[Part]:
    """What a report says about it: the estimators, where a baseline hurts, fairness, and how true the truth is.

    Every policy's differences are told of the tasks that claims are `judged` on; of all, where there is none. Of a
    study that was not measured, only which command would measure its brothers' shares, if it has any.
    """
    fairness = [table for task in found.tasks if (table := fairness_table(found, task)) is not None]
    told = [] if fairness else _unmeasured(runs, studies)
    # A report of many tasks is about estimators; one of the exam worlds, such as that of study=article, about brothers.
    aside = len(found.tasks) > len(EXAM_WORLDS)
    fair = [
        Part("Fairness between the brothers", tuple(told), tables=tuple(fairness), of_page=aside and bool(fairness))
    ]
    fair = fair if fairness or told else []
    missing = (*(f"Not measured: {name}." for name in found.missing), *earlier_lines(found, studies))
    if found.empty:
        return [*fair, Part("The ground truth", items=missing)] if missing else fair
    returns = {task: final_returns(estimates, runs, task) for task in found.tasks}
    targets, baselines = targets_table(found, returns), baselines_table(found)
    beside_none = (baselines,) if baselines else ()
    harm = tuple(hurts(found)) or ("None: no baseline's variance is above that of no baseline beyond its interval.",)
    truth = (*precision_lines(found), *several_lines(found), *left_out_lines(found), *missing)
    return [
        Part("The estimators, measured", (UNIT,), tables=(targets,) if targets else ()),
        Part("Where a baseline hurts", items=harm, tables=() if aside else beside_none),
        *([Part("Baselines beside none", tables=beside_none, of_page=True)] if aside and beside_none else []),
        *([Part("Every policy", (EVERY,), items=tuple(policies_lines(found, judged)))] if targets else []),
        *fair,
        Part("The ground truth", (TRUTH,), items=truth),
    ]


def earlier_lines(found: Laboratory, studies: Sequence[str]) -> list[str]:
    """One line on what was measured in an earlier format."""
    if not found.earlier:
        return []
    names = studies[0] if len(studies) == 1 else "NAME"
    return [
        f"Not read, since measured in an earlier format, one policy each: {', '.join(found.earlier)}; "
        f"python -m bench lab study={names} measures them anew."
    ]


def _unmeasured(runs: pd.DataFrame, studies: Sequence[str]) -> list[str]:
    """The command that measures the brothers of an exam world that was trained in and not measured."""
    if runs.empty or not set(EXAM_WORLDS) & set(runs["task"]):
        return []
    planned = [study for study in studies if (CONF / "lab" / f"{study}.yaml").exists()]
    return [f"Not measured yet; python -m bench lab study={study} measures it." for study in planned]


def precision_lines(found: Laboratory) -> list[str]:
    """What the truth is and how well it is known, and where the policies stand: a line per task."""
    lines = []
    for task in found.tasks:
        notes = found.notes[found.notes["task"] == task]
        truths = ", ".join(dict.fromkeys(str(truth) for truth in notes["truth"] if truth))
        said = [f"{note['label']}: {_precision(found, task, str(note['label']))}" for _, note in notes.iterrows()]
        lines.append(f"{task} ({truths} truth). {'; '.join(said)}.")
    return lines


def _precision(found: Laboratory, task: str, label: str) -> str:
    rows = found.each(task, POLICY, label)
    policies = int(rows["seed"].nunique())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a median of infinite numbers
        known = rows.groupby("quantity")["value"].median()
    said = [f"{policies} {'policy' if policies == 1 else 'policies'}"]
    score, learned = known.get("score", np.nan), known.get("learned", np.nan)
    if np.isfinite(score):
        way = f", {number_text(learned, 2)} of the way" if np.isfinite(learned) else ""
        said.append(f"score {number_text(score, 2)}{way}")
    ways = rows.loc[rows["quantity"] == "learned", "value"]
    if label.partition(" ")[0] == STAGE and ways.isna().any():
        said.append(f"{ways.isna().sum()} of {policies} learned nothing, and their first policy stands for {STAGE}")
    shares = {"values": known.get("truth_precision", np.nan), "gradient": known.get("true_gradient_precision", np.nan)}
    if all(share == 0 for share in shares.values()):
        return ", ".join([*said, "exact"])
    said += [_known(share, what) for what, share in shares.items()]
    return ", ".join(text for text in said if text)


def _known(share: float, what: str) -> str:
    """How well a truth is known; "" where there is none."""
    if np.isnan(share):
        return ""
    if share == 0:
        return f"{what} exact"
    return f"{what} not distinguished from zero" if np.isinf(share) else f"{what} to {share:.2g}"


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
