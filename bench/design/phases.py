"""A design of settings from its cells to what is judged on fresh seeds: which cells are trained in which order.

Every setting is trained on the tuning pool. What its readings choose (see `bench.design.choices`) is trained again on
seeds of the confirmation pool, which no choice saw, beside every arm with its own numbers. Everything is derived from
blocks on disk, so the same command goes on wherever it was interrupted.
"""

import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from bench.cells.designs import at_default, judged
from bench.cells.grids import Cell
from bench.config.design import seed_of, setting_of, strata
from bench.config.identity import cell_hash
from bench.design import choices, comparisons
from bench.design.choices import Choice, Means
from bench.design.comparisons import Place
from bench.errors import UserError, counted
from bench.execution.launch import Report, Say, Sweep
from bench.records import block as blocks
from bench.verdicts.selection import MAIN

POOL = "tuning"  # of the seeds that choose
MOST_NAMED = 12  # best settings that are told as command lines


@dataclass(frozen=True)
class DesignedArm:
    """An arm on a task with the cells of its settings, one for each stratum that it is legal in."""

    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """The arm's."""
        return self.cells[0].config.arm_name

    @property
    def task(self) -> str:
        """The task's."""
        return self.cells[0].config.task_name

    @property
    def fresh(self) -> range:
        """The seeds of the confirmation pool that judge."""
        design = self.cells[0].config.design
        return range(0 if design is None else design.judged)

    @property
    def default(self) -> Cell:
        """The arm with its own numbers, on the seeds that judge."""
        return at_default(self.cells[0], self.fresh)

    @property
    def planned(self) -> dict[int, str]:
        """The settings that it has, with their strata."""
        return {
            setting_of(run): str(cell.config.design.stratum)
            for cell in self.cells
            if cell.config.design is not None
            for run in cell.config.seeds
        }

    def judged(self, settings: Sequence[int]) -> Iterator[Cell]:
        """The cells that judge some of its settings."""
        for cell in self.cells:
            own = {setting_of(run) for run in cell.config.seeds}
            if mine := [setting for setting in settings if setting in own]:
                yield judged(cell, mine, self.fresh)

    def means(self, *, exact: bool) -> dict[int, float] | None:
        """By setting the mean score of its seeds, 0 for a failed one; None where runs are not finished.

        Raises `UserError` for a damaged block.
        """
        found: dict[int, list[float]] = {}
        for cell in self.cells:
            wanted = set(cell.config.seeds)
            runs = comparisons.measured(_finished(cell), wanted, exact=exact)
            if not wanted <= runs.keys():
                return None
            for run in sorted(wanted, key=lambda run: (setting_of(run), seed_of(run))):
                measured = runs[run]
                found.setdefault(setting_of(run), []).append(0.0 if measured is None else measured.values["final"])
        return {setting: float(np.mean(scores)) for setting, scores in found.items()}


@dataclass(frozen=True)
class Group:
    """The arms of one design in one study."""

    arms: tuple[DesignedArm, ...]

    @property
    def names(self) -> list[str]:
        """The arms' names, each once."""
        return list(dict.fromkeys(arm.name for arm in self.arms))

    @property
    def by_task(self) -> dict[str, list[DesignedArm]]:
        """The arms of each task."""
        return {
            task: [arm for arm in self.arms if arm.task == task] for task in dict.fromkeys(a.task for a in self.arms)
        }

    @cached_property
    def strata(self) -> dict[int, str]:
        """The stratum of every setting."""
        return dict(chain.from_iterable(arm.planned.items() for arm in self.arms))

    @property
    def scramble(self) -> int:
        """The seed of the sequence, and of the random halves."""
        design = self.arms[0].cells[0].config.design
        return 0 if design is None else design.scramble

    def scores(self) -> tuple[dict[str, dict[str, Means]], list[str]]:
        """By arm and task the means of its settings; and the arms, on a task each, that are not finished."""
        exact = {
            task: all(
                comparisons.is_exact(_finished(cell)) for arm in self.arms if arm.task == task for cell in arm.cells
            )
            for task in dict.fromkeys(arm.task for arm in self.arms)
        }
        found: dict[str, dict[str, Means]] = {}
        waiting = []
        for arm in self.arms:
            means = arm.means(exact=exact[arm.task])
            if means is None:
                waiting.append(f"{arm.name} on {arm.task}")
            else:
                found.setdefault(arm.name, {})[arm.task] = means
        return found, waiting

    def chosen(self, scores: Mapping[str, Mapping[str, Means]]) -> list[Choice]:
        """What is to be judged: for each arm among the settings that all have, and for each two that are compared."""
        shared = set.intersection(*(set(means) for tasks in scores.values() for means in tasks.values()))
        found: list[Choice] = []
        for name, tasks in scores.items():
            own = {
                task: {each: mean for each, mean in means.items() if each in shared} for task, means in tasks.items()
            }
            found += choices.of_arm(name, own, self.strata, self.scramble) if shared else []
        for pair in self.pairs():
            found += choices.of_pair(pair, scores, self.strata, self.scramble)
        return found

    def pairs(self) -> list[tuple[str, str]]:
        """The arms that claims compare, or that are held against the control; none where nothing is compared."""
        cells = [arm.default for arm in self.arms]
        names = {cell_hash(cell.config): cell.config.arm_name for cell in cells}
        try:
            rows = comparisons.plan(cells, comparisons.MOST_PAIRS).rows
        except UserError:
            return []
        compared = [[names[place.hash] for place in row.cells] for row in rows if len(row.cells) == 2]
        return list(dict.fromkeys((pair[0], pair[1]) for pair in compared))

    def to_judge(self, chosen: Sequence[Choice]) -> list[Cell]:
        """The cells that judge what was chosen, each setting once."""
        found: list[Cell] = []
        for arm in self.arms:
            own = [choice.setting for choice in chosen if (choice.arm, choice.task) == (arm.name, arm.task)]
            found += arm.judged(sorted(set(own)))
        return found


def _finished(cell: Cell) -> list[blocks.Block]:
    config = cell.config
    study = blocks.study_directory(config)
    return comparisons.finished(
        study, Place(cell_hash(config), blocks.cell_directory(config).relative_to(study).as_posix())
    )


def groups(cells: Sequence[Cell]) -> list[Group]:
    """The designs whose settings are chosen from: those on the tuning pool that ask for fresh seeds.

    Raises:
        UserError: for two cells of one name.
    """
    found: dict[tuple[str, str], dict[tuple[str, str], dict[str, Cell]]] = {}
    for cell in cells:
        design = cell.config.design
        if design is None or not design.judged or cell.config.seed_pool != POOL:
            continue
        arms = found.setdefault((str(blocks.study_directory(cell.config)), design.name), {})
        strata = arms.setdefault((cell.config.task_name, cell.config.arm_name), {})
        if str(design.stratum) in strata:
            raise UserError(
                f"design {design.name}: two cells on {cell.config.task_name} are called {cell.config.arm_name}; an arm "
                "of a design needs a name of its own (name=…)"
            )
        strata[str(design.stratum)] = cell
    return [Group(tuple(DesignedArm(tuple(own.values())) for own in arms.values())) for arms in found.values()]


def own_numbers(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of arms with their own numbers, which are judged beside their settings."""
    return [arm.default for group in groups(cells) for arm in group.arms]


def dry_cells(cells: Sequence[Cell]) -> list[Cell]:
    """All cells that will be trained; the first settings stand for those that are still to be chosen."""
    planned = [*cells, *own_numbers(cells)]
    for group in groups(cells):
        scores, waiting = group.scores()
        if not waiting:
            planned += group.to_judge(group.chosen(scores))
            continue
        tasks = len({arm.task for arm in group.arms})
        compared = list(chain.from_iterable(group.pairs()))
        for arm in group.arms:
            number = (4 if tasks > 1 else 2) + compared.count(arm.name)
            planned += arm.judged(list(arm.planned)[:number])
    return planned


def run(cells: Sequence[Cell], sweep: Sweep, say: Say) -> Report:
    """Train every setting and every arm's own numbers, choose, and judge; beside cells that have no design.

    Raises:
        UserError, Interrupted: as `bench.execution.launch.sweep` does.
    """
    found = groups(cells)
    if not found:
        return sweep(cells)
    reports = [sweep([*cells, *own_numbers(cells)])]
    to_judge: list[Cell] = []
    waiting: list[str] = []
    for group in found:
        scores, unfinished = group.scores()
        waiting += unfinished
        if not unfinished:
            chosen = group.chosen(scores)
            to_judge += group.to_judge(chosen)
            _say_best(group, chosen, say)
    if to_judge:
        say(f"judging {counted(sum(_settings(cell) for cell in to_judge), 'chosen setting')} on fresh seeds")
        reports.append(sweep(to_judge))
    report = _merged(reports)
    if waiting:
        report.warnings.append(
            f"{counted(len(waiting), 'arm')} of a design {'is' if len(waiting) == 1 else 'are'} not finished, such as "
            f"{waiting[0]}, so nothing is chosen yet; the same command goes on"
        )
    return report


def _settings(cell: Cell) -> int:
    return len({setting_of(run) for run in cell.config.seeds})


def _say_best(group: Group, chosen: Sequence[Choice], say: Say) -> None:
    """Say what to write for every arm's best setting, where these are few."""
    best = {(choice.arm, choice.task): choice.setting for choice in chosen if choice.reading == "best"}
    if len(best) > MOST_NAMED:
        return
    for arm in group.arms:
        setting = best.get((arm.name, arm.task))
        for cell in arm.cells:
            if setting is not None and setting in {setting_of(run) for run in cell.config.seeds}:
                say(f"{arm.task} {arm.name}, setting {setting} is best: python -m bench {words(cell, setting)}")


def words(cell: Cell, setting: int) -> str:
    """What to write behind `python -m bench` for a setting of a design's cell, outside of its study."""
    from bench.cells.composition import compose  # Hydra takes a third of a second to import

    design, base = cell.config.design, cell.base
    assert design is not None and base is not None and base.vary is not None  # noqa: PT018 - a planned cell of a design
    keys = next(stratum.keys for stratum in strata(design) if stratum.name == design.stratum)
    alone = base.vary({**keys, **design.drawn[str(setting)]})
    own = [word for word in alone.overrides if not word.lstrip("+~").startswith(("study=", "study.", "design"))]
    try:
        complete = cell_hash(compose(own)) == cell_hash(dataclasses.replace(alone.config, design=None, seed_pool=MAIN))
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
