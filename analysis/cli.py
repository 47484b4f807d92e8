"""The entry point `python -m analysis`: reads options, calls the rest, prints where everything went."""

import itertools
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis import load
from analysis.figures import gallery
from analysis.figures.forest import Families
from analysis.figures.style import Look, LookName
from analysis.load import Records, earlier_tuning
from analysis.load.pull import pull
from analysis.report import document, files, scoreboard
from analysis.report.choice import Choice
from analysis.report.document import Document
from analysis.tables import formats, published, reproduction
from analysis.tables.final_scores import comparison
from bench.config.arguments import read, word
from bench.errors import UserError, exit_code, unknown
from bench.verdicts import hypotheses

USAGE = """\
python -m analysis study=NAME [results=FOLDER] [figures=NAME,...] [style=STYLE] [width=INCHES]
                   [arms=NAME,...] [tasks=NAME,...] [labels=NAME:LABEL,...] [panel=FACTOR] [seed_pool=POOL]

Reads results/NAME and writes tables and figures into results/NAME/report.
  study=NAME      a folder below the results; several: study=NAME,OTHER (the report goes into the first)
  results=FOLDER  the folder of all studies (default: results)
  figures=NAME    only these figures, for example figures=learning_curves
  style=STYLE     screen, paper (small type) or slide (large type)
  width=INCHES    width of the figures, for example 3.3 for a column of a paper
  arms=NAME,...   only these arms, in this order; a * stands for any letters: arms=critic-*
  tasks=NAME,...  only these tasks, in this order
  labels=NAME:LABEL,...  what arms are called: labels=critic-gae-clip:GAE
  panel=FACTOR    a panel for each level of a factor, for example baseline; none: all arms in one
                  With any of these four, the report goes into results/NAME/report-chosen; ranks and verdicts stay those
                  of the whole study
  seed_pool=POOL  where there are runs of several pools of seeds: confirmation (unless you say otherwise) or main

python -m analysis compare A B [to=FOLDER]

Two studies' folders cell by cell: the same numbers, different ones, missing ones.
  to=FOLDER       write the table there too, as Markdown, CSV and LaTeX

python -m analysis scores [study=NAME] [results=FOLDER]

The last evaluations of a study (default: scores) beside published scores; the table is also written into its report.

python -m analysis scoreboard [results=FOLDER] [readme=FILE]

The verdicts of all committed studies, between the markers of README.md and results/README.md, and beside the latter
a forest plot of every claims file.

python -m analysis pull ENTITY/PROJECT study=NAME [results=FOLDER] [timeout=60]

Brings the runs of a Weights & Biases project back as a study, results/NAME, which must not exist yet.

Exit code 0: done. 1: done, but some files were damaged and left out. 2: a mistake in what was asked."""


@dataclass(frozen=True)
class Report:
    """Options of a report."""

    study: tuple[str, ...] = ()
    results: str = "results"
    figures: tuple[str, ...] = ()
    style: LookName = "screen"
    width: float | None = None
    arms: str = ""
    tasks: str = ""
    labels: str = ""
    panel: str = ""
    seed_pool: str = ""


@dataclass(frozen=True)
class Compare:
    """Options of `compare`."""

    first: str = word("give the folders of two studies")
    second: str = word("give the folder of a second study")
    to: str = ""


@dataclass(frozen=True)
class Scores:
    """Options of `scores`."""

    study: str = "scores"
    results: str = "results"


@dataclass(frozen=True)
class Scoreboard:
    """Options of `scoreboard`."""

    results: str = "results"
    readme: str = "README.md"


@dataclass(frozen=True)
class Pull:
    """Options of `pull`."""

    source: str = word("give entity/project, a project of Weights & Biases")
    study: str = ""
    results: str = "results"
    timeout: float = 60.0


def main(arguments: Sequence[str]) -> int:
    """Run the analysis and return the process's exit code."""
    return exit_code(_dispatch, arguments)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] == "help" or {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0 if arguments else 2
    first, *others = arguments
    if "=" in first:
        return _report(arguments)
    if first not in COMMANDS:
        raise UserError(f"unknown command '{first}': allowed are {', '.join(COMMANDS)}; a report is study={first}")
    return COMMANDS[first](others)


def _report(words: Sequence[str]) -> int:
    options = read("python -m analysis", words, Report)
    if not options.study:
        raise UserError("which study? Give study=NAME, a folder below the results")
    look, names = _look(options), gallery.chosen(options.figures)
    folder = Path(options.results) / options.study[0] / _folder(options)
    files.check_folder(folder)
    everything = load.read(options.study, options.results)
    records, tuning = earlier_tuning.split(_of_pool(everything, options), folder.parent)
    _warn(records)
    choice = Choice()
    if folder.name != "report":
        choice = Choice.read(records, options.arms, options.tasks, options.labels, options.panel)
    if names:
        suffix = f"-{options.style}" + (f"-{options.width:g}in" if options.width else "")
        judged = document.Verdicts.of(records, hypotheses.read_all(), everything) if "forest" in names else None
        families = choice.verdicts(judged).families if judged else {}
        _print(files.write_figures(_material(records, choice, families), names, folder, look, suffix=suffix))
    else:
        written, said = _followed(
            files.write_report(records, folder, hypotheses.read_all(), tuning, everything, choice)
        )
        print("\n".join(said.answer))
        print(f"wrote {written} files into {folder}")
        print(f"next: open {folder / 'index.html'} in a browser")
    return 1 if records.problems else 0


def _folder(options: Report) -> str:
    """Where a report goes: one that is not of all the study has a folder of its own."""
    return "report-chosen" if options.arms or options.tasks or options.labels or options.panel else "report"


def _material(records: Records, choice: Choice, families: Families) -> gallery.Material:
    """What single figures are drawn from; ranks are those of all arms."""
    estimates = choice.estimates(comparison(records.runs, records.control), records)
    return replace(gallery.Material.of(choice.records(records), families, estimates), panel=choice.panel)


def _followed(report: Generator[Path, None, Document]) -> tuple[int, Document]:
    """How many files a report has, and what it says; on a terminal its files are named while they are written."""
    shown = sys.stderr.isatty()
    for written in itertools.count():
        try:
            path = next(report)
        except StopIteration as end:
            if shown:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            return written, end.value
        if shown:
            print(f"\r\x1b[K{written + 1} files, the last {path.name}", end="", file=sys.stderr, flush=True)
    raise AssertionError("a report ends")


def _of_pool(everything: Records, options: Report) -> Records:
    """What a report shows: the runs of one pool of seeds, where there are several, or one is asked for."""
    pools = load.seed_pools(everything)
    if options.seed_pool and options.seed_pool not in pools:
        raise unknown("seed_pool", options.seed_pool, pools)
    chosen = options.seed_pool or next(iter(pools), "")
    if len(pools) < 2:
        return everything
    others = " and ".join(f"seed_pool={pool}" for pool in pools if pool != chosen)
    print(f"runs of the {chosen} pool of seeds; {others} shows the others, and claims are judged on their own pool")
    return load.read(options.study, options.results, chosen)


def _look(options: Report) -> Look:
    if not options.figures and (options.style, options.width) != ("screen", None):
        raise UserError("style and width are for single figures: give figures=NAME too")
    if options.width is not None and not 2 <= options.width <= 40:
        raise UserError(f"width={options.width:g}: must lie between 2 and 40 inches")
    return Look(options.style, options.width)


def _compare(words: Sequence[str]) -> int:
    options = read("compare", words, Compare)
    first, second = _records(options.first), _records(options.second)
    found = reproduction.compare(first, second)
    table = reproduction.table(found, (options.first, options.second))
    print(formats.markdown(table))
    print(reproduction.summary(found))
    if options.to:
        _print(files.write_table(Path(options.to) / "compare", table, found))
    return 1 if first.problems or second.problems else 0


def _scores(words: Sequence[str]) -> int:
    options = read("scores", words, Scores)
    scores = published.read()
    records = _records(Path(options.results) / options.study)
    found = published.comparison(records, scores)
    if found.empty:
        raise UserError(f"study={options.study}: no runs of {', '.join(scores.tasks)}, which have published scores")
    table = published.table(found, scores)
    print(formats.markdown(table))
    _print(files.write_table(Path(options.results) / options.study / "report" / "scores", table, found))
    return 1 if records.problems else 0


def _scoreboard(words: Sequence[str]) -> int:
    options = read("scoreboard", words, Scoreboard)
    results, claims_files, studies = Path(options.results), hypotheses.read_all(), {}
    for name in scoreboard.committed(results):
        print(f"reading {results / name}", file=sys.stderr)
        studies[name] = scoreboard.read(results, name, claims_files)
    for path, page in ((Path(options.readme), scoreboard.front_page), (results / "README.md", scoreboard.results_page)):
        try:
            text = page(path.read_text(encoding="utf-8"), claims_files, studies)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        _print([files.write_file(path, text.encode())])
    for name, content in scoreboard.pictures(claims_files, studies).items():
        _print([files.write_file(results / name, content)])
    return 0


def _pull(words: Sequence[str]) -> int:
    options = read("pull", words, Pull)
    pulled = pull(options.source, Path(options.results), options.study, options.timeout)
    for problem in pulled.problems:
        print(f"warning: {problem}", file=sys.stderr)
    print(f"{pulled.runs} runs in {pulled.blocks} blocks")
    _print([pulled.folder])
    return 1 if pulled.problems else 0


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "compare": _compare,
    "scores": _scores,
    "scoreboard": _scoreboard,
    "pull": _pull,
}


def _records(folder: str | Path) -> Records:
    """What the folder of one study holds; its problems are warned of. Raises `UserError` if there are no runs in it."""
    path = Path(folder).resolve()
    records = load.read([path.name], path.parent)
    if records.runs.empty:
        raise UserError(f"{folder}: no runs found, nothing to compare")
    _warn(records)
    return records


def _warn(records: Records) -> None:
    for problem in records.problems:
        print(f"warning: {problem}", file=sys.stderr)


def _print(paths: Iterable[Path]) -> None:
    """Name every file as it is written."""
    for path in paths:
        print(f"wrote {path}", flush=True)
