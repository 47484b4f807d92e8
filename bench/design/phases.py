"""A tuned study from its cells to its winners' judgement: which cells are trained in which order.

Everything is derived from blocks on disk, so the same command goes on wherever it was interrupted.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.cells.grids import Cell
from bench.config.identity import cell_hash
from bench.config.schema import Tuning
from bench.design import record, selection
from bench.design.selection import Result
from bench.design.space import Distribution, Values, distributions, draw
from bench.errors import UserError, counted
from bench.execution.launch import Report, Say, Sweep
from bench.records import block as blocks

POOL = "tuning"


@dataclass(frozen=True)
class TunedCell:
    """A cell that is tuned: its arm on a task with the seeds that judge it, and the distributions of what it reads."""

    cell: Cell
    tuning: Tuning
    space: Mapping[str, Distribution]

    @property
    def label(self) -> str:
        """What to call it."""
        return f"{self.cell.config.task_name} {self.cell.config.arm_name}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the tuning pool that each setting is tried on."""
        return tuple(range(self.tuning.seeds))

    @cached_property
    def settings(self) -> list[Values]:
        """The settings that are tried, as far as the arm reads them."""
        return [draw(self.tuning.design, self.space, number) for number in range(self.tuning.settings)]

    @cached_property
    def trials(self) -> list[Cell]:
        """The cell of each setting on the tuning pool."""
        name = f"{self.cell.config.arm_name}-{POOL}"
        pool = {"seed_pool": POOL, "seeds": list(self.seeds)}
        return [
            _vary(self.cell, {**values, "name": f"{name}-{number:02d}", **pool})
            for number, values in enumerate(self.settings)
        ]

    def judged(self, values: Values) -> Cell:
        """The cell of a setting on the main pool, with the seeds that judge."""
        return _vary(self.cell, values)

    def results(self) -> list[Result]:
        """What the settings scored so far."""
        scores = selection.scores([trial.config for trial in self.trials])
        return [
            Result(number, values, self.seeds, own)
            for number, (values, own) in enumerate(zip(self.settings, scores, strict=True))
        ]

    def candidate(self, winner: int | None = None, judged: str | None = None) -> record.Candidate:
        """Its entry in the study's record."""
        trials = tuple(
            record.Trial(number, values, cell_hash(trial.config))
            for number, (values, trial) in enumerate(zip(self.settings, self.trials, strict=True))
        )
        config = self.cell.config
        return record.Candidate(
            config.task_name, config.arm_name, self.seeds, self.tuning.settings, trials, winner, judged
        )


def _vary(cell: Cell, values: Values) -> Cell:
    assert cell.vary is not None  # cells planned from a command line have it
    return cell.vary(values)


def tuned(cells: Sequence[Cell]) -> list[TunedCell]:
    """The cells whose study has a tuning section. Raises `UserError` where it, or the command line, is no such plan."""
    found: dict[tuple[str, str, str], TunedCell] = {}
    for cell in cells:
        config, tuning = cell.config, cell.config.study.tuning
        if tuning is None:
            continue
        space = distributions(tuning, config.study.name)
        _refuse_fixed(cell, space)
        key = (config.study.name, config.task_name, config.arm_name)
        if key in found:
            raise UserError(
                f"study {config.study.name}: two cells on {config.task.name} are called {config.arm_name}; "
                "a tuned arm needs a name of its own (name=…)"
            )
        read = {name: each for name, each in space.items() if _reads(cell, name, each)}
        if not read:
            raise UserError(
                f"study {config.study.name}: {config.arm_name} reads no key of study.tuning.space: {', '.join(space)}"
            )
        found[key] = TunedCell(cell, tuning, read)
    return list(found.values())


def _refuse_fixed(cell: Cell, space: Mapping[str, Distribution]) -> None:
    study = cell.config.study.name
    for key in space.keys() & cell.choices.keys():
        raise UserError(f"{key}={cell.choices[key]}: study {study} tunes it (study.tuning.space), so it cannot be set")
    if cell.config.seed_pool == POOL:
        raise UserError(f"seed_pool={POOL}: study {study} tunes on that pool and judges on the main one by itself")


def _reads(cell: Cell, key: str, distribution: Distribution) -> bool:
    """Whether the arm reads the key: whether another value makes another cell."""
    values = dict.fromkeys((distribution.at(0.25), distribution.at(0.75)))
    return len({cell_hash(_vary(cell, {key: value}).config) for value in values}) > 1


def dry_cells(cells: Sequence[Cell]) -> list[Cell]:
    """All cells of both phases, with the first setting in place of an unknown winner. Raises `UserError`."""
    planned = [cell for cell in cells if cell.config.study.tuning is None]
    for each in tuned(cells):
        results = each.results()
        best = None if _unfinished(results) else selection.winner(results)
        planned += each.trials
        planned.append(each.judged(each.settings[0] if best is None else best.values))
    return planned


def run(cells: Sequence[Cell], sweep: Sweep, say: Say) -> Report:
    """Tune, choose the winners and judge them, beside the cells of studies that are not tuned.

    Raises:
        UserError, Interrupted: as `bench.execution.launch.sweep` does.
    """
    candidates = tuned(cells)
    rest = [cell for cell in cells if cell.config.study.tuning is None]
    if not candidates:
        return sweep(rest)
    _record_plan(candidates)
    trials = [trial for each in candidates for trial in each.trials]
    say(f"tuning: {counted(len(trials), 'setting')} of {counted(len(candidates), 'arm')} (arm and task)")
    reports = [sweep(trials)]
    judged = {each.label: cell for each in candidates if (cell := _choose(each, say)) is not None}
    if rest or judged:
        say(f"judging {counted(len(judged), 'winner')} on the main pool")
        reports.append(sweep([*judged.values(), *rest]))
    report = _merged(reports)
    if waiting := len(candidates) - len(judged):
        report.warnings.append(f"{counted(waiting, 'arm')} of {len(candidates)} not judged yet")
    for label, cell in judged.items():
        say(f"{label}, the winner: python -m bench {words(cell)}")
    return report


def _record_plan(candidates: Sequence[TunedCell]) -> None:
    """Record what is tried before it is trained; winners that are still to be chosen again stay until then."""
    for study in {each.cell.config.study.name: None for each in candidates}:
        mine = [each for each in candidates if each.cell.config.study.name == study]
        config = mine[0].cell.config
        known = {(each.task, each.arm): each.trials for each in record.read(blocks.study_directory(config))}
        entries = [each.candidate() for each in mine]
        # A finished study is not made to look unfinished.
        new = [entry for entry in entries if known.get((entry.task, entry.arm), ())[: entry.settings] != entry.trials]
        if new:
            record.write(config, mine[0].tuning, new)


def _unfinished(results: Sequence[Result]) -> int:
    return sum(result.state == "unfinished" for result in results)


def _choose(each: TunedCell, say: Say) -> Cell | None:
    """The cell that judges the winner, which is recorded; None where there is no winner yet, with the reason."""
    results = each.results()
    if unfinished := _unfinished(results):
        say(
            f"{each.label}: {len(results) - unfinished} of {len(results)} settings are finished, so there is no winner "
            "yet; the same command goes on"
        )
        return None
    best = selection.winner(results)
    if best is None:
        say(f"{each.label}: every setting failed, so there is nothing to judge")
        return None
    listed = ", ".join(f"{key}={value}" for key, value in best.values.items())
    say(f"{each.label}: setting {best.number} wins with {best.mean:.6g} ({listed})")
    judged = each.judged(best.values)
    record.write(judged.config, each.tuning, [each.candidate(best.number, cell_hash(judged.config))])
    return judged


def words(cell: Cell) -> str:
    """What to write behind `python -m bench` for the cell outside of its study."""
    from bench.cells.composition import compose  # Hydra takes a third of a second to import

    own = [word for word in cell.overrides if not word.lstrip("+~").startswith(("study=", "study."))]
    try:
        complete = cell_hash(compose(own)) == cell_hash(cell.config)
    except UserError:
        complete = False
    return shlex.join(own) + ("" if complete else ", and what else its study sets")


def _merged(reports: Sequence[Report]) -> Report:
    """One report of several sweeps."""
    return Report(
        cells=sum(report.cells for report in reports),
        skipped=sum(report.skipped for report in reports),
        directory=reports[-1].directory,
        elsewhere=sum(report.elsewhere for report in reports),
        failures=[line for report in reports for line in report.failures],
        warnings=list(dict.fromkeys(line for report in reports for line in report.warnings)),
    )
