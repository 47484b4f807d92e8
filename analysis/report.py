"""The report of a study: tables, figures and a page of text, written next to its runs."""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis import formats, gallery, tables
from analysis.gallery import FIGURES, Material
from analysis.load import MODES, STATUSES, Records
from analysis.style import FORMATS, Look, save
from bench.errors import UserError


def write(records: Records, folder: Path) -> Iterator[Path]:
    """Write the report into `folder` and yield each file's path once it is there.

    Raises:
        UserError: if the folder cannot be written, or there is nothing to report.
    """
    if records.runs.empty:
        raise UserError(f"study={records.name}: no runs found, nothing to report")
    material = Material.of(records)
    table = tables.comparison_table(material.estimates)
    texts = {
        "comparison.md": formats.markdown(table),
        "comparison.csv": formats.csv(material.estimates),
        "comparison.tex": "\n".join(
            formats.latex(tables.comparison_table(material.estimates, [mode])) for mode in reversed(MODES)
        ),
        "runs.csv": formats.csv(records.runs.drop(columns="block")),
    }
    for name, text in texts.items():
        yield write_file(folder / name, text.encode())
    drawn = yield from write_figures(material, list(FIGURES), folder, Look())
    yield write_file(folder / "report.md", page(records, table, drawn).encode())


def write_figures(
    material: Material, names: Sequence[str], folder: Path, look: Look, suffix: str = ""
) -> Generator[Path, None, list[str]]:
    """Draw the figures called `names`, each in every format, and yield each file's path once it is there.

    Returns:
        The names of the figures drawn; the study may hold nothing for some of them.

    Raises:
        UserError: if the folder cannot be written.
    """
    drawn = []
    for name in names:
        figure = gallery.draw(name, material, look)
        if figure is not None:
            drawn.append(name)
            for kind in FORMATS:
                yield write_file(folder / f"{name}{suffix}.{kind}", save(figure, kind, look))
    return drawn


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


def page(records: Records, table: formats.Table, drawn: Sequence[str]) -> str:
    """`report.md`: what there is, what is missing, the table, the figures, and how to make them again."""
    parts = [
        f"# {records.title}",
        summary(records.runs),
        *_troubles(records),
        "## Final scores",
        formats.markdown(table),
    ]
    parts += ["## Figures", *(f"![{name.replace('_', ' ')}]({name}.svg)" for name in drawn)]
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
