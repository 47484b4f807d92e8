"""A tuned study from its cells to its winners' judgement: which cells are trained in which order.

Everything is derived from blocks on disk, so the same command goes on wherever it was interrupted.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.cells.grids import Cell
from bench.config.identity import cell_hash
from bench.config.schema import Config, Tuning
from bench.design import overlay, record, selection
from bench.design import space as design
from bench.design.selection import Result
from bench.errors import UserError
from bench.execution.execute import recorded_config
from bench.execution.launch import Report
from bench.records import block as blocks
from bench.records import provenance

POOL = "tuning"
Sweep = Callable[[Sequence[Cell]], Report]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Tuned:
    """A cell that is tuned: its arm on a task with the seeds that judge it, and the distributions of what it reads."""

    cell: Cell
    tuning: Tuning
    space: Mapping[str, design.Distribution]
    _cells: dict[str, Cell] = field(default_factory=dict, compare=False, repr=False)  # composed so far

    @property
    def label(self) -> str:
        """What to call it."""
        return f"{self.cell.config.task.name} {self.cell.config.arm_name}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the tuning pool."""
        return tuple(range(self.tuning.seeds))

    def trial(self, number: int, values: design.Values) -> Cell:
        """The cell of a setting in the tuning pool."""
        own = {"name": self.trial_name(number), "seed_pool": POOL, "seeds": list(self.seeds)}
        return self._vary({**values, **own})

    def trial_name(self, number: int) -> str:
        """The label of a setting's cell."""
        return f"{self.cell.config.arm_name}-{POOL}-{number:02d}"

    def judged(self, values: design.Values) -> Cell:
        """The cell of a setting in the main pool, with the seeds that judge."""
        return self._vary(values)

    def _vary(self, values: Mapping[str, Any]) -> Cell:
        assert self.cell.vary is not None  # cells planned from a command line have it
        key = repr(sorted(values.items()))
        if key not in self._cells:
            self._cells[key] = self.cell.vary(values)
        return self._cells[key]

    def drawn(self, number: int) -> dict[str, Any]:
        """The random setting of this number, as far as the arm reads it."""
        return design.draw(self.tuning, self.space, number)


def tuned(cells: Sequence[Cell]) -> list[Tuned]:
    """The cells whose study has a tuning section. Raises `UserError` where it, or the command line, is no such plan."""
    found: dict[tuple[str, str, str], Tuned] = {}
    for cell in cells:
        config, tuning = cell.config, cell.config.study.tuning
        if tuning is None:
            continue
        space = design.space(tuning, config.study.name)
        _refuse_fixed(cell, space)
        key = (config.study.name, config.task.name, config.arm_name)
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
        found[key] = Tuned(cell, tuning, read)
    return list(found.values())


def _refuse_fixed(cell: Cell, space: Mapping[str, design.Distribution]) -> None:
    study = cell.config.study.name
    for key in space.keys() & cell.choices.keys():
        raise UserError(f"{key}={cell.choices[key]}: study {study} tunes it (study.tuning.space), so it cannot be set")
    if cell.config.seed_pool == POOL:
        raise UserError(f"seed_pool={POOL}: study {study} tunes on that pool and judges on the main one by itself")


def _reads(cell: Cell, key: str, distribution: design.Distribution) -> bool:
    """Whether the arm reads the key: whether another value makes another cell."""
    assert cell.vary is not None
    values = dict.fromkeys((distribution.at(0.25), distribution.at(0.75)))
    return len({cell_hash(cell.vary({key: value}).config) for value in values}) > 1


def dry_cells(cells: Sequence[Cell]) -> list[Cell]:
    """All cells of all phases, with random settings for what only the tuning will tell. Raises `UserError`."""
    planned = [cell for cell in cells if cell.config.study.tuning is None]
    for each in tuned(cells):
        trials = [_trial(each, number, each.drawn(number)) for number in range(each.tuning.settings)]
        results = [_result(each, trial) for trial in trials]
        best = None if any(result.state == "unfinished" for result in results) else selection.winner(results)
        planned += [each.trial(trial.number, trial.values) for trial in trials]
        planned.append(each.judged(each.drawn(0) if best is None else best.values))
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
    reports, trials = _tune(candidates, sweep, say)
    judged = []
    for each in candidates:
        best = _choose(each, trials[each.label], say)
        if best is not None:
            judged.append(each.judged(best.values))
    if rest or judged:
        say(f"judging {_count(len(judged), 'winner')} on the main pool")
        reports.append(sweep([*judged, *rest]))
    waiting = len(candidates) - len(judged)
    report = _merged(reports)
    if waiting:
        report.warnings.append(f"{_count(waiting, 'arm')} of {len(candidates)} not judged yet")
    return report


def _tune(candidates: Sequence[Tuned], sweep: Sweep, say: Say) -> tuple[list[Report], dict[str, list[record.Trial]]]:
    """Train all settings, round by round; → how the sweeps ended, and every candidate's settings."""
    reports: list[Report] = []
    trials: dict[str, list[record.Trial]] = {each.label: [] for each in candidates}
    for place, numbers in _rounds(candidates):
        going = [each for each in candidates if place == 0 or not _unfinished(each, trials[each.label])]
        asked = []
        for each in going:
            mine = numbers(each)
            trials[each.label] += [_proposed(each, number, trials[each.label]) for number in mine]
            asked += [each.trial(trial.number, trial.values) for trial in trials[each.label][-len(mine) :] if mine]
        if asked:
            _write(candidates, trials)
            say(f"tuning: {_count(len(asked), 'setting')} of {_count(len(going), 'arm')} (arm and task)")
            reports.append(sweep(asked))
    return reports, trials


def _rounds(candidates: Sequence[Tuned]) -> Iterator[tuple[int, Callable[[Tuned], range]]]:
    """The numbers of the settings that are tried at once: all of a random design; Optuna's one by one."""

    def numbers(place: int) -> Callable[[Tuned], range]:
        def of(each: Tuned) -> range:
            total, first = each.tuning.settings, min(each.tuning.startup, each.tuning.settings)
            if each.tuning.sampler == "random":
                return range(total if place == 0 else 0)
            return range(first) if place == 0 else range(first + place - 1, min(first + place, total))

        return of

    most = max(1 if each.tuning.sampler == "random" else each.tuning.settings for each in candidates)
    for place in range(most):
        yield place, numbers(place)


def _proposed(each: Tuned, number: int, before: Sequence[record.Trial]) -> record.Trial:
    """The setting of this number: random, or what Optuna proposed before, or proposes now."""
    if each.tuning.sampler == "random" or number < each.tuning.startup:
        return _trial(each, number, each.drawn(number))
    known = _begun(each, number)
    if known is not None:
        return known
    tried = [(result.values, result.mean) for result in (_result(each, trial) for trial in before)]
    return _trial(each, number, design.suggest(each.tuning, each.space, tried, number))


def _begun(each: Tuned, number: int) -> record.Trial | None:
    """The setting of this number that has a block: a proposal that was once made stays, whatever was learned since."""
    task = blocks.study_directory(each.cell.config) / "runs" / each.cell.config.task.name
    for cell in sorted(task.glob(f"{each.trial_name(number)}-????????")):
        for folder in blocks.folders(cell):
            if not (folder / blocks.CONFIG).exists():
                continue
            config = recorded_config(folder)
            trial = _trial(each, number, {key: _value(config, key) for key in each.space})
            if trial.hash == cell_hash(config):
                return trial
    return None


def _value(config: Config, key: str) -> Any:
    value: Any = dataclasses.asdict(config)
    for part in key.split("."):
        value = value[part] if part in value else value["knobs"][part]
    return value


def _trial(each: Tuned, number: int, values: design.Values) -> record.Trial:
    return record.Trial(number, dict(values), cell_hash(each.trial(number, values).config))


def _result(each: Tuned, trial: record.Trial) -> Result:
    scores = selection.scores(each.trial(trial.number, trial.values).config)
    return Result(trial.number, trial.values, each.seeds, scores)


def _unfinished(each: Tuned, trials: Sequence[record.Trial]) -> list[int]:
    return [trial.number for trial in trials if _result(each, trial).state == "unfinished"]


def _choose(each: Tuned, trials: Sequence[record.Trial], say: Say) -> Result | None:
    """The winner, recorded and stored; None where there is none yet, with the reason."""
    results = [_result(each, trial) for trial in trials]
    left = [result.number for result in results if result.state == "unfinished"]
    if left or len(trials) < each.tuning.settings:
        finished = len(results) - len(left)
        say(
            f"{each.label}: {finished} of {each.tuning.settings} settings are finished, so there is no winner yet; "
            "the same command goes on"
        )
        return None
    best = selection.winner(results)
    if best is None:
        say(f"{each.label}: every setting failed, so there is nothing to judge")
        return None
    say(f"{each.label}: setting {best.number} wins with {best.mean:.6g} ({_listed(best.values)})")
    judged = each.judged(best.values)
    record.write(judged.config, each.tuning, [_candidate(each, trials, best.number, cell_hash(judged.config))])
    if each.tuning.overlays != "none":
        _store(each, judged.config, results, best, say)
    return best


def _store(each: Tuned, config: Config, results: Sequence[Result], best: Result, say: Say) -> None:
    path = overlay.OVERLAYS / config.task.name / f"{config.arm_name}.yaml"
    try:
        made = overlay.overlay(config, best.values, _comment(each, config, results, best))
    except overlay.NoOverlay as reason:
        say(f"{each.label}: no overlay ({reason})")
        return
    done = overlay.store(path, made, replace=each.tuning.overlays == "replace")
    if done == "written":
        say(f"wrote {path}")
    elif done == "kept":
        say(f"kept {path}, which holds another winner; study.tuning.overlays=replace puts this one in its place")


def _comment(each: Tuned, config: Config, results: Sequence[Result], best: Result) -> list[str]:
    """Where a winner is from."""
    tuning, task, arm = each.tuning, config.task.name, config.arm_name
    failed = sum(result.state == "failed" for result in results)
    scores = ", ".join(f"{best.scores[seed]:.6g}" for seed in best.seeds)
    seeds = ", ".join(map(str, best.seeds))
    git = provenance.git()
    commit = (git["commit"] or "unknown")[:12] + (" with uncommitted changes" if git["dirty"] else "")
    return [
        f"{arm} on {task}, the best of {tuning.settings} settings of study={config.study.name}.",
        f"Setting {best.number} ({tuning.sampler}, design {tuning.design}); {failed} of them failed. Tried from:",
        *(f"  {key}: {distribution}" for key, distribution in each.space.items()),
        f"Mean final {selection.MODE} return {best.mean:.6g} on the tuning pool, seeds {seeds}:",
        f"  {scores}; optimistic, since it was chosen for them: see python -m analysis study={config.study.name}",
        f"Budget {config.budget} steps, cell {cell_hash(config)} of the main pool, commit {commit}.",
    ]


def _listed(values: design.Values) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _candidate(
    each: Tuned, trials: Sequence[record.Trial], winner: int | None = None, judged: str | None = None
) -> record.Candidate:
    config = each.cell.config
    return record.Candidate(
        config.task.name, config.arm_name, each.seeds, each.tuning.settings, tuple(trials), winner, judged
    )


def _write(candidates: Sequence[Tuned], trials: Mapping[str, Sequence[record.Trial]]) -> None:
    """Say what is tried before it is trained; winners that are still to be chosen again stay until then."""
    for study in {each.cell.config.study.name: None for each in candidates}:
        mine = [each for each in candidates if each.cell.config.study.name == study]
        config = mine[0].cell.config
        known = {(each.task, each.arm): each for each in record.read(blocks.study_directory(config))}
        entries = []
        for each in mine:
            entry = _candidate(each, trials[each.label])
            before = known.get((entry.task, entry.arm))
            if before is not None and before.trials[: len(entry.trials)] == entry.trials:
                continue  # nothing new: a finished study is not made to look unfinished
            entries.append(entry)
        if entries:
            record.write(config, mine[0].tuning, entries)


def _merged(reports: Sequence[Report]) -> Report:
    """One report of several sweeps."""
    last = reports[-1]
    return Report(
        cells=sum(report.cells for report in reports),
        skipped=sum(report.skipped for report in reports),
        directory=last.directory,
        elsewhere=sum(report.elsewhere for report in reports),
        failures=[line for report in reports for line in report.failures],
        warnings=list(dict.fromkeys(line for report in reports for line in report.warnings)),
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
