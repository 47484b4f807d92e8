"""The entry point `python -m analysis`: reads options, calls the rest, prints where everything went."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from analysis import claims, document, gallery, load, report
from analysis.style import LOOKS, Look
from bench.errors import UserError, nearest, unknown

USAGE = """\
python -m analysis study=NAME [results=FOLDER] [figures=NAME,...] [style=STYLE] [width=INCHES]

Reads results/NAME and writes tables and figures into results/NAME/report.
  study=NAME      a folder below the results; several: study=NAME,OTHER (the report goes into the first)
  results=FOLDER  the folder of all studies (default: results)
  figures=NAME    only these figures, for example figures=learning_curves
  style=STYLE     screen, paper (small type) or slide (large type)
  width=INCHES    width of the figures, for example 3.3 for a column of a paper
Exit code 0: done. 1: done, but some files were damaged and left out. 2: a mistake in what was asked."""


@dataclass(frozen=True)
class Options:
    """What the command line sets, as text."""

    study: str = ""
    results: str = "results"
    figures: str = ""
    style: str = "screen"
    width: str = ""


def parse(arguments: Sequence[str]) -> Options:
    """Options from `key=value` arguments. Raises `UserError` for anything else."""
    known = [field.name for field in fields(Options)]
    given: dict[str, str] = {}
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if key not in known:
            raise UserError(f"unknown option '{key}': options are {', '.join(known)}{nearest(key, known)}")
        if not sign or not value:
            raise UserError(f"option '{key}' needs a value: {key}=...")
        given[key] = value
    if "study" not in given:
        raise UserError("which study? Give study=NAME, a folder below the results")
    return Options(**given)


def main(arguments: Sequence[str]) -> int:
    """Run the analysis and return the process's exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    try:
        return _analyse(parse(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _analyse(options: Options) -> int:
    look, names = _look(options), gallery.chosen(options.figures.split(",")) if options.figures else []
    studies = options.study.split(",")
    records = load.read(studies, options.results)
    for problem in records.problems:
        print(f"warning: {problem}", file=sys.stderr)
    print(document.summary(records.runs))
    folder = Path(options.results) / studies[0] / "report"
    if names:
        suffix = f"-{options.style}" + (f"-{options.width}in" if options.width else "")
        paths: Iterable[Path] = report.write_figures(gallery.Material.of(records), names, folder, look, suffix=suffix)
    else:
        paths = report.write(records, folder, [claims.read(path) for path in sorted(claims.FOLDER.glob("*.yaml"))])
    for path in paths:
        print(f"wrote {path}")
    return 1 if records.problems else 0


def _look(options: Options) -> Look:
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
