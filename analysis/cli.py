"""The entry point `python -m analysis`: reads options, calls the rest, prints where everything went."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

from analysis.claims import judge as claims
from analysis.figures import gallery
from analysis.figures.style import LOOKS, Look
from analysis.load import pull
from analysis.load import records as load
from analysis.load.records import Records
from analysis.report import document, printing, report, scoreboard
from analysis.tables import formats, reproduction, scores, tuned
from bench.errors import UserError, nearest, unknown

USAGE = """\
python -m analysis study=NAME [results=FOLDER] [figures=NAME,...] [style=STYLE] [width=INCHES]

Reads results/NAME and writes tables and figures into results/NAME/report.
  study=NAME      a folder below the results; several: study=NAME,OTHER (the report goes into the first)
  results=FOLDER  the folder of all studies (default: results)
  figures=NAME    only these figures, for example figures=learning_curves
  style=STYLE     screen, paper (small type) or slide (large type)
  width=INCHES    width of the figures, for example 3.3 for a column of a paper

python -m analysis compare A B [to=FOLDER]

Two studies' folders cell by cell: the same numbers, different ones, missing ones.
  to=FOLDER       write the table there too, as Markdown, CSV and LaTeX

python -m analysis scores [study=NAME] [results=FOLDER]

The last evaluations of a study (default: scores) beside published scores; the table is also written into its report.

python -m analysis scoreboard [results=FOLDER] [readme=FILE]

The verdicts of all committed studies, between the markers of README.md and results/README.md.

python -m analysis pull SOURCE study=NAME [results=FOLDER]

Brings runs of Weights & Biases back as a study, results/NAME, which must not exist yet.
  SOURCE          entity/project, or the folder of offline runs (results/quick/wandb)

Exit code 0: done. 1: done, but some files were damaged and left out. 2: a mistake in what was asked."""

T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """Options of a report, as text."""

    study: str
    results: str = "results"
    figures: str = ""
    style: str = "screen"
    width: str = ""


@dataclass(frozen=True)
class Compare:
    """Options of `compare`, as text."""

    first: str
    second: str
    to: str = ""


@dataclass(frozen=True)
class Scores:
    """Options of `scores`, as text."""

    study: str = "scores"
    results: str = "results"


@dataclass(frozen=True)
class Scoreboard:
    """Options of `scoreboard`, as text."""

    results: str = "results"
    readme: str = "README.md"


@dataclass(frozen=True)
class Pull:
    """Options of `pull`, as text."""

    source: str
    study: str
    results: str = "results"


def parse(kind: type[T], arguments: Sequence[str], positional: Sequence[str] = ()) -> T:
    """Options of a command from `key=value` arguments, after those that have a place. Raises `UserError`."""
    plain = [argument for argument in arguments if "=" not in argument]
    if positional and len(plain) != len(positional):
        raise UserError(f"give {' and '.join(positional)}: {len(positional)} values without '=', not {len(plain)}")
    known = [field.name for field in fields(kind) if field.name not in positional]  # type: ignore[arg-type]  # a dataclass, which no bound says
    given = dict(zip(positional, plain, strict=False))
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if positional and not sign:
            continue
        if key not in known:
            hint = nearest(key, known) if sign else f"; did you mean study={key}?"
            raise UserError(f"unknown option '{argument}': options are {', '.join(known)}{hint}")
        if not sign or not value:
            raise UserError(f"option '{key}' needs a value: {key}=...")
        given[key] = value
    for field in fields(kind):  # type: ignore[arg-type]  # as above
        if field.default is MISSING and field.name not in given:
            raise UserError(f"which {field.name}? Give {field.name}=NAME, a folder below the results")
    return kind(**given)


def main(arguments: Sequence[str]) -> int:
    """Run the analysis and return the process's exit code."""
    if not arguments or arguments[0] == "help" or {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0 if arguments else 2
    try:
        if arguments[0] == "compare":
            return _compare(parse(Compare, arguments[1:], ("first", "second")))
        if arguments[0] == "scores":
            return _scores(parse(Scores, arguments[1:]))
        if arguments[0] == "scoreboard":
            return _scoreboard(parse(Scoreboard, arguments[1:]))
        if arguments[0] == "pull":
            return _pull(parse(Pull, arguments[1:], ("source",)))
        return _report(parse(Report, arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _report(options: Report) -> int:
    look, names = _look(options), gallery.chosen(options.figures.split(",")) if options.figures else []
    studies = options.study.split(",")
    folder = Path(options.results) / studies[0] / "report"
    records, tuning = tuned.split(load.read(studies, options.results), folder.parent)
    records = replace(records, evaluations=records.evaluations.iloc[:0].copy())  # most of the memory, and done with
    _warn(records)
    if len(records.runs):
        print(document.summary(records.runs))
    if names:
        suffix = f"-{options.style}" + (f"-{options.width}in" if options.width else "")
        paths: Iterable[Path] = report.write_figures(gallery.Material.of(records), names, folder, look, suffix=suffix)
    else:
        paths = report.write(records, folder, _claims_files(), tuning)
    _write_and_print(paths)
    if not names:
        print(f"next: open {folder / 'index.html'} in a browser")
    return 1 if records.problems else 0


def _write_and_print(paths: Iterable[Path]) -> None:
    """Name every file as it is written; the page is printed when the memory of those who draw is free again."""
    page = None
    for path in paths:
        print(f"wrote {path}", flush=True)
        page = path if path.name == "index.html" else page
    if page is not None:
        try:
            print(f"wrote {printing.pdf(page)}")
        except printing.NotPrinted as reason:
            print(f"note: {reason}", file=sys.stderr)


def _compare(options: Compare) -> int:
    first, second = _records(options.first), _records(options.second)
    for records in (first, second):
        _warn(records)
    found = reproduction.compare(first, second)
    text = reproduction.table(found, (options.first, options.second))
    print(formats.markdown(text))
    print(reproduction.summary(found))
    if options.to:
        written = {"md": formats.markdown(text), "csv": formats.csv(found), "tex": formats.latex(text)}
        for kind, content in written.items():
            print(f"wrote {report.write_file(Path(options.to) / f'compare.{kind}', content.encode())}")
    return 1 if first.problems or second.problems else 0


def _scores(options: Scores) -> int:
    held = scores.read()
    records = _records(str(Path(options.results) / options.study))
    _warn(records)
    found = scores.comparison(records, held)
    if found.empty:
        raise UserError(f"study={options.study}: no runs of {', '.join(held.tasks)}, which have published scores")
    text = scores.table(found, held)
    print(formats.markdown(text))
    written = {"md": formats.markdown(text), "csv": formats.csv(found), "tex": formats.latex(text)}
    for kind, content in written.items():
        path = Path(options.results) / options.study / "report" / f"scores.{kind}"
        print(f"wrote {report.write_file(path, content.encode())}")
    return 1 if records.problems else 0


def _records(folder: str) -> Records:
    """What the folder of one study holds. Raises `UserError` if there are no runs in it."""
    path = Path(folder)
    records = load.read([path.resolve().name], path.resolve().parent)
    if records.runs.empty:
        raise UserError(f"{folder}: no runs found, nothing to compare")
    return records


def _pull(options: Pull) -> int:
    pulled = pull.pull(options.source, Path(options.results), options.study)
    for problem in pulled.problems:
        print(f"warning: {problem}", file=sys.stderr)
    print(f"{pulled.runs} runs in {pulled.blocks} blocks")
    print(f"wrote {pulled.folder}")
    return 1 if pulled.problems else 0


def _scoreboard(options: Scoreboard) -> int:
    results, readme = Path(options.results), Path(options.readme)
    files = _claims_files()
    studies = {}
    for name in scoreboard.committed(results):
        print(f"reading {results / name}", file=sys.stderr)
        studies[name] = scoreboard.read(results, name, files)
    for path, page in ((readme, scoreboard.front_page), (results / "README.md", scoreboard.results_page)):
        try:
            text = page(path.read_text(encoding="utf-8"), files, studies)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        print(f"wrote {report.write_file(path, text.encode())}")
    return 0


def _claims_files() -> list[claims.ClaimsFile]:
    return [claims.read(path) for path in sorted(claims.FOLDER.glob("*.yaml"))]


def _warn(records: Records) -> None:
    for problem in records.problems:
        print(f"warning: {problem}", file=sys.stderr)


def _look(options: Report) -> Look:
    if options.style not in LOOKS:
        raise unknown("style", options.style, LOOKS)
    if not options.figures and (options.style, options.width) != ("screen", ""):
        raise UserError("style and width are for single figures: give figures=NAME too")
    try:
        width = float(options.width) if options.width else None
    except ValueError as error:
        raise UserError(f"width={options.width}: must be a number of inches") from error
    if width is not None and not 2 <= width <= 40:
        raise UserError(f"width={options.width}: must lie between 2 and 40 inches")
    return Look(options.style, width)
