"""Tables: from tidy runs to estimates with intervals, and from those to Markdown, CSV, LaTeX and HTML."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import stats
from analysis.load import MODES, STATUSES

REPS = 10_000
CONFIDENCE = 0.95
ALL_TASKS = "all tasks (normalised)"
STATISTICS: Mapping[str, stats.Statistic] = {"mean": stats.mean, "iqm": stats.iqm}

_MODE_MEANING = {
    "deterministic": "Deterministic: the most probable action, as published scores are measured.",
    "stochastic": "Stochastic: the policy that is trained, on which claims are judged.",
}
_LATEX_SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "−": r"\textminus{}",
}


@dataclass(frozen=True)
class Section:
    """Rows of text under one heading."""

    heading: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Table:
    """A table as text: the first column is aligned left, the others right."""

    caption: str
    header: tuple[str, ...]
    sections: tuple[Section, ...]


def scores(runs: pd.DataFrame, arm: str, metric: str) -> stats.Array:
    """Seeds × tasks of one arm, both sorted; NaN where a seed has no score.

    Args:
        runs: as `analysis.load` gives them.
        arm: an arm's label.
        metric: a numeric column of `runs`.
    """
    mine = runs[runs["arm"] == arm]
    return mine.set_index(["seed", "task"])[metric].astype(float).unstack("task").sort_index().to_numpy(float)


def comparison(runs: pd.DataFrame, reps: int = REPS, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Mean and IQM of every arm on every task, in both modes, with their intervals and the state of every seed.

    Returns:
        One row per task × arm × mode: `n` (runs with a score), one column per other status with its number of seeds,
        and `mean`, `mean_low`, `mean_high`, `iqm`, `iqm_low`, `iqm_high` in the task's units. Where there are several
        tasks, rows of `ALL_TASKS` follow with normalised scores, for the arms that have a score on every task.
    """
    tasks, arms = runs["task"].unique(), runs["arm"].unique()
    rows = []
    for task in tasks:
        part = runs[runs["task"] == task]
        rows += [
            _estimates(str(task), arm, mode, part, f"final_{mode}", reps, confidence)
            for arm in arms
            if (part["arm"] == arm).any()
            for mode in MODES
        ]
    if len(tasks) > 1:
        rows += [
            _estimates(ALL_TASKS, arm, mode, runs, f"normalised_{mode}", reps, confidence)
            for arm in arms
            for mode in MODES
            if _on_every_task(runs, arm, mode, len(tasks))
        ]
    return pd.DataFrame(rows)


def _on_every_task(runs: pd.DataFrame, arm: str, mode: str, tasks: int) -> bool:
    """An aggregate over fewer tasks would compare other tasks, not other arms."""
    scored = runs[(runs["arm"] == arm) & runs[f"final_{mode}"].notna()]
    return bool(scored["task"].nunique() == tasks)


def _estimates(
    task: str, arm: str, mode: str, runs: pd.DataFrame, metric: str, reps: int, confidence: float
) -> dict[str, object]:
    mine = runs[runs["arm"] == arm]
    array = scores(runs, arm, metric)
    row: dict[str, object] = {"task": task, "arm": arm, "mode": mode, "n": int(np.count_nonzero(~np.isnan(array)))}
    row |= {status: int((mine["status"] == status).sum()) for status in STATUSES if status != "done"}
    for name, statistic in STATISTICS.items():
        rng = stats.generator(task, arm, mode, name)
        found = stats.interval(array, statistic, reps, confidence, rng)
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))
    return row


def comparison_table(estimates: pd.DataFrame, modes: Sequence[str] = MODES, confidence: float = CONFIDENCE) -> Table:
    """`comparison` as text: a section per task, a row per arm, mean and IQM of each of `modes` side by side."""
    sections = []
    for task, part in estimates.groupby("task", sort=False):
        decimals = _decimals(part[["mean", "iqm"]].to_numpy(float))
        rows = (_comparison_row(str(arm), cells, modes, decimals) for arm, cells in part.groupby("arm", sort=False))
        sections.append(Section(str(task), tuple(rows)))
    meaning = " ".join(_MODE_MEANING[mode] for mode in modes)
    return Table(
        caption=f"Final scores (mean over the last tenth of the evaluations): mean and interquartile mean (IQM) over "
        f"seeds, with {confidence:.0%} stratified bootstrap intervals. {meaning}",
        header=("arm", "n", *(f"{name}, {mode}" for mode in modes for name in ("mean", "IQM"))),
        sections=tuple(sections),
    )


def _comparison_row(arm: str, cells: pd.DataFrame, modes: Sequence[str], decimals: int) -> tuple[str, ...]:
    by_mode = {str(row["mode"]): row for _, row in cells.iterrows()}
    estimates = [
        interval_text([float(by_mode[mode][f"{name}{bound}"]) for bound in ("", "_low", "_high")], decimals)
        for mode in modes
        for name in STATISTICS
    ]
    return (arm, count_text(by_mode[modes[0]]), *estimates)


def count_text(row: pd.Series) -> str:
    """`10`, or `8 (1 failed, 1 missing)`: how many runs an estimate rests on, and what became of the others."""
    others = [f"{row[status]} {status}" for status in STATUSES if status != "done" and row[status]]
    return f"{row['n']} ({', '.join(others)})" if others else str(row["n"])


def interval_text(interval: Sequence[float], decimals: int) -> str:
    """`487.3 [480.1, 493.0]`; a dash where there is no run."""
    if np.isnan(interval[0]):
        return "–"
    estimate, low, high = (number_text(value, decimals) for value in interval)
    return f"{estimate} [{low}, {high}]"


def number_text(value: float, decimals: int) -> str:
    """A number with a fixed number of decimals and a true minus sign; never `-0.0`."""
    text = f"{value:.{decimals}f}"
    if not text.strip("-0."):
        text = text.lstrip("-")
    return text.replace("-", "−")


def _decimals(values: stats.Array) -> int:
    """Decimals that show four digits of the largest value, and at least one decimal."""
    finite = np.abs(values[np.isfinite(values)])
    if not finite.size or finite.max() == 0:
        return 1
    return int(np.clip(3 - np.floor(np.log10(finite.max())), 1, 4))


def markdown(table: Table) -> str:
    """A pipe table per section, each under its heading."""
    rule = "|---|" + "---:|" * (len(table.header) - 1)
    parts = [table.caption]
    for section in table.sections:
        rows = [table.header, *section.rows]
        lines = ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in rows]
        heading = [f"**{_markdown_cell(section.heading)}**"] if section.heading else []
        parts += [*heading, "\n".join([lines[0], rule, *lines[1:]])]
    return "\n\n".join(parts) + "\n"


def _markdown_cell(text: str) -> str:
    """Text that Markdown shows as it is: names may hold pipes, asterisks or tags."""
    text = re.sub(r"([\\`*<>|#])", r"\\\1", text.replace("\n", " "))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)  # an underscore within a word is no emphasis


def latex(table: Table) -> str:
    """A `table` environment with booktabs rules; needs `\\usepackage{booktabs}`."""
    columns = len(table.header)
    lines = [
        r"\begin{table}",
        r"  \centering",
        r"  \footnotesize",
        r"  \setlength{\tabcolsep}{4pt}",
        rf"  \caption{{{latex_text(table.caption)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (columns - 1)}}}",
        r"    \toprule",
        rf"    {_latex_row(table.header)}",
    ]
    for section in table.sections:
        lines.append(r"    \midrule")
        if section.heading:
            lines += [rf"    \multicolumn{{{columns}}}{{l}}{{\emph{{{latex_text(section.heading)}}}}} \\"]
        lines += [f"    {_latex_row(row)}" for row in section.rows]
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def _latex_row(row: Sequence[str]) -> str:
    # a row that starts with a bracket would be read as the argument of the \\ before it
    return " & ".join(("{}" if cell.startswith("[") else "") + latex_text(cell) for cell in row) + r" \\"


def latex_text(text: str) -> str:
    """`text` with every sign that means something to LaTeX escaped."""
    return "".join(_LATEX_SIGNS.get(sign, sign) for sign in text.replace("\n", " "))


def csv(frame: pd.DataFrame) -> str:
    """A tidy table with all its digits, for other programs."""
    return frame.to_csv(index=False, lineterminator="\n")
