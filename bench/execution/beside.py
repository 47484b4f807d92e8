"""What a command's cells come to lie beside: a study without grids has the arms that it is given over time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import UserError, unknown
from bench.records import block as blocks
from bench.records import index


def check_controls(configs: Sequence[Config]) -> None:
    """Refuse a control that is an arm neither of the command nor of what its study has. Raises `UserError`.

    That of a study with grids is looked for among these, which `bench.cells.planning` does.
    """
    for study, own in _by_study(configs).items():
        controls = {config.study.control for config in own} - {None}
        if not controls:
            continue
        arms = {config.arm_name: None for config in own} | {str(cell["arm"]): None for cell in _cells(study)}
        for control in controls - arms.keys():
            raise unknown("study.control", control, arms)


def other_budgets(configs: Sequence[Config]) -> list[str]:
    """A line for every task on which a study has cells of other budgets than these, and what keeps them apart."""
    lines = []
    for study, own in _by_study(configs).items():
        hashes = {cell_hash(config) for config in own}
        others = [cell for cell in _cells(study) if cell["hash"] not in hashes]
        asked: dict[str, set[int]] = {}
        for config in own:
            asked.setdefault(config.task_name, set()).add(config.budget)
        for task, budgets in asked.items():
            there = (_budget(study / cell["path"]) for cell in others if cell["task"] == task)
            other = next((budget for budget in there if budget not in (None, *budgets)), None)
            if other is not None:
                lines.append(
                    f"{study}: it has cells of another budget on {task} ({other:,} steps), and scores of different "
                    f"budgets are no comparison of arms; study.name=NAME puts these into a study of their own"
                )
    return lines


def _by_study(configs: Sequence[Config]) -> Mapping[Path, list[Config]]:
    """By folder, the cells of studies without grids."""
    found: dict[Path, list[Config]] = {}
    for config in configs:
        if not config.study.grids:
            found.setdefault(blocks.study_directory(config), []).append(config)
    return found


def _cells(study: Path) -> Sequence[index.Entry]:
    cells: Sequence[index.Entry] = index.STUDY.read(study)["cells"]
    return cells


def _budget(cell: Path) -> int | None:
    """The budget of a cell that was begun; None for one of which nothing can be read."""
    return next(_budgets(cell), None)


def _budgets(cell: Path) -> Iterator[int]:
    for path in blocks.folders(cell):
        try:
            block = blocks.read(path)
        except UserError:  # named by whoever needs it
            continue
        if block is not None:
            yield int(block.record["budget"])
