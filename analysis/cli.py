"""The entry point `python -m analysis`: reads options, calls the rest, prints where everything went."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from analysis import load, report
from bench.errors import UserError, nearest

USAGE = """\
python -m analysis study=NAME [results=FOLDER]

Reads results/NAME and writes tables and figures into results/NAME/report.
  study=NAME      a folder below the results; several: study=NAME,OTHER (the report goes into the first)
  results=FOLDER  the folder of all studies (default: results)
Exit code 0: done. 1: done, but some files were damaged and left out. 2: a mistake in what was asked."""


@dataclass(frozen=True)
class Options:
    """What the command line sets, as text."""

    study: str = ""
    results: str = "results"


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
    studies = options.study.split(",")
    records = load.read(studies, options.results)
    for problem in records.problems:
        print(f"warning: {problem}", file=sys.stderr)
    print(report.summary(records.runs))
    for path in report.write(records, Path(options.results) / studies[0] / "report"):
        print(f"wrote {path}")
    return 1 if records.problems else 0
