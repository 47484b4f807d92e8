"""The report of a study: tables, figures and a page of text, written next to its runs."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import figures, tables
from analysis.load import MODES, STATUSES, Records
from bench.errors import UserError


@dataclass(frozen=True)
class Report:
    """What a report is made of; `estimates` are computed once for tables and figures."""

    records: Records
    estimates: pd.DataFrame

    @classmethod
    def of(cls, records: Records) -> "Report":
        """The report of what was read."""
        return cls(records, tables.comparison(records.runs))


def _learning_curves(mode: str) -> Callable[[Report], Figure]:
    return lambda report: figures.learning_curves(report.records.evaluations, report.records.runs, mode)


def _final_scores(mode: str) -> Callable[[Report], Figure]:
    return lambda report: figures.final_score_intervals(report.records.runs, report.estimates, mode)


FIGURES: Mapping[str, Callable[[Report], Figure]] = {
    f"{name}_{mode}": make(mode)
    for name, make in (("learning_curves", _learning_curves), ("final_scores", _final_scores))
    for mode in reversed(MODES)
}


def write(records: Records, folder: Path) -> Iterator[Path]:
    """Write the report into `folder` and yield each file's path once it is there.

    Raises:
        UserError: if the folder cannot be written, or there is nothing to report.
    """
    if records.runs.empty:
        raise UserError(f"study={records.name}: no runs found, nothing to report")
    report = Report.of(records)
    table = tables.comparison_table(report.estimates)
    texts = {
        "comparison.md": tables.markdown(table),
        "comparison.csv": tables.csv(report.estimates),
        "comparison.tex": "\n".join(
            tables.latex(tables.comparison_table(report.estimates, [mode])) for mode in reversed(MODES)
        ),
        "runs.csv": tables.csv(records.runs.drop(columns="block")),
        "report.md": page(report, table),
    }
    for name, text in texts.items():
        yield write_file(folder / name, text.encode())
    for name, draw in FIGURES.items():
        figure = draw(report)
        for kind in figures.FORMATS:
            yield write_file(folder / f"{name}.{kind}", figures.save(figure, kind))


def write_file(path: Path, content: bytes) -> Path:
    """Write `content` whole or not at all: whoever reads `path` never sees half a file. Raises `UserError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return path


def page(report: Report, table: tables.Table) -> str:
    """`report.md`: what there is, what is missing, the table, the figures, and how to make them again."""
    records = report.records
    parts = [
        f"# {records.title}",
        summary(records.runs),
        *_troubles(records),
        "## Final scores",
        tables.markdown(table),
    ]
    parts += ["## Figures", *(f"![{name.replace('_', ' ')}]({name}.svg)" for name in FIGURES)]
    parts += ["## How it was made", _provenance(records)]
    return "\n\n".join(parts) + "\n"


def summary(runs: pd.DataFrame) -> str:
    """One sentence: how many runs there are of how many planned, and what became of the others."""
    counts = runs["status"].value_counts()
    others = [f"{counts[status]} {status}" for status in STATUSES if status != "done" and status in counts]
    return (
        f"{counts.get('done', 0)} of {len(runs)} runs are done"
        f"{' (' + ', '.join(others) + ')' if others else ''}: {runs['arm'].nunique()} arms on "
        f"{runs['task'].nunique()} tasks ({', '.join(map(str, runs['task'].unique()))})."
    )


def _troubles(records: Records) -> list[str]:
    """What failed or could not be read, by name; nothing where all is well."""
    failed = records.runs[records.runs["cause"].notna()]
    lines = [
        f"- {task}, {arm}, seed {seed}: {cause}"
        for task, arm, seed, cause in failed[["task", "arm", "seed", "cause"]].itertuples(index=False)
    ]
    lines += [f"- not usable: {problem}" for problem in records.problems]
    return ["## What failed or is missing", "\n".join(lines)] if lines else []


def _provenance(records: Records) -> str:
    """Commands, commits, versions and machines of the runs, each once."""
    blocks = records.blocks
    lines = [
        ("Commands", [str(block.get("command") or "") for block in blocks]),
        ("Commits", [_commit(block.get("git") or {}) for block in blocks]),
        ("Versions", [_pairs(block.get("versions") or {}) for block in blocks]),
        ("Machines", [_pairs(block.get("host") or {}) for block in blocks]),
    ]
    steps = records.runs["env_steps"].astype(float).sum()
    hours = records.runs["cpu_seconds"].astype(float).sum() / 3600
    found = [f"- {name}: {'; '.join(sorted(set(values) - {''})) or 'not recorded'}" for name, values in lines]
    return "\n".join([*found, f"- In all: {steps:,.0f} environment steps, {hours:.2f} CPU hours"])


def _commit(git: Mapping[str, object]) -> str:
    return f"{str(git.get('commit', ''))[:12]}{' with uncommitted changes' if git.get('dirty') else ''}"


def _pairs(mapping: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in mapping.items())
