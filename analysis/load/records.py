"""From result folders to tidy tables.

A block that is unfinished or failed has rows that say so; one that is damaged or foreign is named among the problems
and its seeds are marked. Nothing is dropped silently and nothing missing becomes a zero.
"""

import warnings
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.load import labels, laboratory, settings, sound
from analysis.load.blocks import COLUMNS, SCORES, LoadedBlock, PlannedCell, Problem, plan, read_blocks, study_folder
from analysis.load.laboratory import Laboratory
from bench.config import names
from bench.design import audit, ledger
from bench.design.ledger import Line
from bench.observer import EXACT
from bench.records import summaries
from bench.records.files import Damaged
from bench.records.tables import CURVES, TRAINING
from bench.verdicts.metrics import Seeds, merged

MODES = ("deterministic", "stochastic")
STATUSES = (
    "done",
    "failed",
    "unfinished",
    "damaged",
    "missing",
)  # a run found several times counts as the first of these

JUDGING = ("confirmation", "main")  # pools of seeds; that of tuning judges nothing
TRUE_SCORE = "true score"

_KEYS = ("study", "task", "arm", "hash", "seed")
_CELL = ["task", "hash"]
_RUN = [*_CELL, "seed"]
_BOUNDS = ("score_random", "score_reference", "budget")
_OUTCOME = ("env_steps", "updates", "unused_budget", *summaries.KEYS)
_PARAMETERS = ("parameters_actor", "parameters_critic")
_SHARED_COSTS = ("wall_seconds", "cpu_seconds")  # of a block; divided by its seeds, so that sums over runs are right
_BLOCK_COSTS = ("steps_per_second", "peak_memory_bytes", "seconds_per_update")


class DamagedRecord(UserWarning):
    """A block or study file that could not be used, with its path and the cause."""


@dataclass(frozen=True)
class Measure:
    """What runs of a task are judged by: a column of the evaluations, see `SCORES`."""

    task: str
    column: str = "return"

    @property
    def label(self) -> str:
        """The task, and what is measured where it is not the return."""
        return self.task if self.column == "return" else f"{self.task} ({TRUE_SCORE})"

    def final(self, mode: str) -> str:
        """The column of `runs` with the final score."""
        return f"{SCORES[self.column][0]}_{mode}"

    def normalised(self, mode: str) -> str:
        """The column of `runs` with the normalised final score."""
        return f"{SCORES[self.column][1]}_{mode}"


def measures(runs: pd.DataFrame) -> list[Measure]:
    """What the tasks of `runs` are judged by, in their order: the return, and the true score where there is one."""
    found = [Measure(str(task), column) for task in runs["task"].unique() for column in SCORES]
    return [each for each in found if each.column == "return" or _is_known(runs, each)]


def _is_known(runs: pd.DataFrame, measure: Measure) -> bool:
    columns = [column for column in map(measure.final, MODES) if column in runs]
    return bool(runs.loc[runs["task"] == measure.task, columns].notna().any(axis=None))


@dataclass(frozen=True)
class Share:
    """What one of several studies brought.

    Attributes:
        cells: hashes of its cells, planned or found.
        stages: what it measured.
        ledger: of the looks at it, where seeds were added until it was decided; None where that cannot be used.
        forged: whether that ledger is not what its blocks give.
    """

    cells: frozenset[str]
    stages: tuple[laboratory.Stage, ...]
    ledger: tuple[Line, ...] | None = ()
    forged: bool = False


@dataclass(frozen=True)
class Records:
    """What result folders hold.

    Attributes:
        name: the studies' names, joined by a plus sign.
        title: the study's own title.
        control: label of the arm the others are compared with, if the study has one.
        factors: names of the factor columns of `runs`.
        runs: one row per cell and seed, planned ones that do not exist included; scores are NaN unless it is done.
        evaluations: one row per run, step and mode: the number of `episodes`, and for every number of an episode, such
            as `return` and `length`, the mean and the unbiased variance (`return_variance`; NaN for a single episode).
            Cells are named by `task`, `arm` and `hash`.
        curves: the same rows of the runs that are done, with the means of every column of `SCORES` there is, and the
            same normalised (`return_normalised`); the exact values, on the tasks of `exact`.
        training: one row per update of a run whose diagnostics are there.
        problems: what could not be used.
        laboratory: what `python -m bench lab` measured.
        blocks: the `run.json` of every block that could be read, in order of path.
        shares: by study, what it brought; a cell or a stage that several have is in the share of each.
        exact: the tasks whose scores and curves are exact returns: those where every evaluation of every run has them.
        partly_exact: the tasks where only some have them, so that scores and curves are means of episodes.
        measured: by task and hash of a cell, what each of its finished runs comes to.
        exact_measured: the same from exact returns, of the cells where every evaluation has them.
        designs: the designs of settings that the studies have.
        settings: the runs of these designs, which are in no other table; see `analysis.load.settings`.
    """

    name: str
    title: str
    control: str | None
    factors: tuple[str, ...]
    runs: pd.DataFrame
    evaluations: pd.DataFrame
    curves: pd.DataFrame
    training: pd.DataFrame
    problems: tuple[Problem, ...]
    laboratory: Laboratory
    blocks: tuple[Mapping[str, Any], ...]
    shares: Mapping[str, Share]
    exact: frozenset[str] = frozenset()
    partly_exact: frozenset[str] = frozenset()
    measured: Mapping[tuple[str, str], Seeds] = field(default_factory=dict)
    exact_measured: Mapping[tuple[str, str], Seeds] = field(default_factory=dict)
    designs: tuple[Mapping[str, Any], ...] = ()
    settings: pd.DataFrame = field(default_factory=pd.DataFrame)

    def runs_of(self, studies: Sequence[str], runs: pd.DataFrame) -> pd.DataFrame:
        """The rows of `runs` whose cells these studies have, whichever folder a run was read from."""
        cells = {cell for name in studies if name in self.shares for cell in self.shares[name].cells}
        return runs[runs["hash"].isin(cells)]

    def measured_in(self, studies: Sequence[str], seed_pool: str | None = None) -> Laboratory:
        """What these studies measured, as if no other had been read; of one pool of seeds, or of all."""
        stages = [stage for name in studies if name in self.shares for stage in self.shares[name].stages]
        return laboratory.together([stage for stage in stages if seed_pool in (None, stage.seed_pool)])

    @property
    def measurements(self) -> list[Mapping[str, Any]]:
        """The `run.json` of every measured stage, once each."""
        stages = [stage for share in self.shares.values() for stage in share.stages]
        return [
            stage.record
            for stage in {(stage.task, stage.hash, *stage.record["seeds"]): stage for stage in stages}.values()
        ]


def load(
    study: str | Sequence[str], results: str | Path = "results"
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The runs, evaluations and training curves of one or several studies, with one column per factor.

    Args:
        study: name of a folder below `results`, or several.
        results: the folder of all studies.

    Returns:
        `runs` (one row per cell and seed), `evaluations` (per run, step and mode) and `training` (per update); see
        `Records`.

    Raises:
        UserError: if there is no such study, or a task has several pairs of score bounds.

    Warns:
        DamagedRecord: for every file that could not be used.
    """
    records = read([study] if isinstance(study, str) else study, results)
    for problem in records.problems:
        warnings.warn(str(problem), DamagedRecord, stacklevel=2)
    return records.runs, with_factors(records.evaluations, records), with_factors(records.training, records)


def with_factors(table: pd.DataFrame, records: Records) -> pd.DataFrame:
    """`table` with the factor columns of its cells, as categories (a study may have millions of updates)."""
    cells = records.runs.drop_duplicates(_CELL).set_index(_CELL)
    columns = [factor for factor in records.factors if factor not in table.columns]
    rows = cells.index.get_indexer(pd.MultiIndex.from_frame(table[_CELL]))
    added = {column: _categories(cells[column].to_numpy(), rows) for column in columns}
    return table.assign(**added) if added else table


def seed_pools(records: Records) -> list[str]:
    """The pools of seeds that judge, of which there are runs: the confirmation pool first."""
    found = {record.get("seed_pool") for record in records.blocks}
    return [pool for pool in JUDGING if pool in found]


def _of_pool(
    blocks: Sequence[LoadedBlock], plans: Sequence[PlannedCell], pool: str
) -> tuple[list[LoadedBlock], list[PlannedCell]]:
    """Without the cells whose seeds are of the other pool that judges; a cell of which no block is there is kept."""
    records = [block.record for block in blocks if "design" not in block.record]  # designs choose, and judge, apart
    gone = {record.get("hash") for record in records if record.get("seed_pool") in {*JUDGING} - {pool}}
    kept = [block for block in blocks if block.record.get("hash") not in gone]
    return kept, [cell for cell in plans if cell.hash not in gone]


def read(studies: Sequence[str], results: str | Path = "results", seed_pool: str | None = None) -> Records:
    """Everything the folders of `studies` below `results` hold.

    Args:
        studies: names of folders.
        results: the folder of all studies.
        seed_pool: of the pools that judge, the one whose runs are wanted; None for all.

    Raises:
        UserError: if one does not exist, or a task has several pairs of score bounds.
    """
    problems: list[Problem] = []
    found = _folders(studies, Path(results), problems)
    blocks, plans = found.blocks, found.plans
    if seed_pool is not None:
        blocks, plans = _of_pool(blocks, plans, seed_pool)
    blocks, plans = labels.with_tasks_apart(sound.without_infinite(blocks), plans)
    sound.refuse_several_bounds(blocks)
    exact, partly_exact = _solved(blocks)
    designs = [design for header in found.headers for design in header.get("designs", {}).values()]
    (blocks, plans), of_designs = settings.split(blocks, plans)
    blocks = [_judged_exactly(block) if block.record.get("task") in exact else block for block in blocks]
    runs = _runs(blocks, plans)
    runs = runs.assign(name=runs["arm"], arm=labels.arm_labels(runs, _factor_names(blocks)))
    runs = _normalised_scores(runs)
    problems += _without_score(runs)
    evaluations = _long_table(blocks, runs, CURVES)
    pa.default_memory_pool().release_unused()  # the pages of files that were read, as much as all tables
    return Records(
        name="+".join(studies),
        title=names.bounded(str(found.headers[0].get("title", "")), names.WIDEST) or "+".join(studies),
        control=_control(found.headers[0].get("control"), runs, plans),
        factors=tuple(_factor_names(blocks)),
        runs=runs,
        evaluations=evaluations,
        curves=curves(evaluations, runs, exact),
        training=_long_table(blocks, runs, TRAINING),
        problems=tuple(problems),
        laboratory=laboratory.together(
            [stage for share in found.shares.values() for stage in share.stages], found.missing, found.earlier
        ),
        blocks=tuple(block.record for block in [*blocks, *of_designs[0]] if "status" in block.record),
        shares=found.shares,
        exact=exact,
        partly_exact=partly_exact,
        measured=_measured(blocks, lambda block: block.measured),
        exact_measured=_measured(blocks, lambda block: block.exact_measured if block.tables else block.measured),
        designs=tuple(designs),
        settings=settings.frame(*of_designs, designs, exact, STATUSES),
    )


@dataclass
class _Folders:
    """What the folders of studies hold, before it is sorted: plans, blocks, and what the laboratory wrote."""

    headers: list[Mapping[str, Any]] = field(default_factory=list)
    plans: list[PlannedCell] = field(default_factory=list)
    blocks: list[LoadedBlock] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    earlier: list[str] = field(default_factory=list)
    shares: dict[str, Share] = field(default_factory=dict)


def _folders(studies: Sequence[str], root: Path, problems: list[Problem]) -> _Folders:
    """Read each study; what is wrong with its files is appended to `problems`."""
    found = _Folders()
    for name in studies:
        folder = study_folder(root, name)
        header, cells = plan(folder, root, problems)
        blocks = read_blocks(folder, root, problems)
        stages, missing, earlier = laboratory.read(folder, root, problems)
        own = {cell.hash for cell in cells} | {str(block.record.get("hash")) for block in blocks}
        found.shares[name] = Share(frozenset(own), tuple(stages), *_looked_at(folder, root, problems))
        found.headers.append(header)
        found.plans += cells
        found.blocks += blocks
        found.missing += missing
        found.earlier += earlier
    return found


def _looked_at(folder: Path, root: Path, problems: list[Problem]) -> tuple[tuple[Line, ...] | None, bool]:
    """The ledger of a study, and whether it is forged, which `problems` then tell."""
    wrong, _ = audit.audit(folder)
    where = folder / ledger.LEDGER
    problems += [Problem(str(where.relative_to(root)), each.removeprefix(f"ledger {where}: ")) for each in wrong]
    try:
        return tuple(ledger.load(folder)), bool(wrong)
    except Damaged:
        return None, True


def _measured(blocks: Sequence[LoadedBlock], of_block: Callable[[LoadedBlock], Seeds]) -> dict[tuple[str, str], Seeds]:
    """By task and hash, what the runs of each cell come to, if each of its finished blocks says it."""
    found: dict[tuple[str, str], list[tuple[Mapping[str, Any], Seeds]]] = {}
    for block in blocks:
        if block.measured:
            key = str(block.record["task"]), str(block.record["hash"])
            found.setdefault(key, []).append((block.record, of_block(block)))
    return {key: merged(own) for key, own in found.items() if all(seeds for _, seeds in own)}


def _solved(blocks: Sequence[LoadedBlock]) -> tuple[frozenset[str], frozenset[str]]:
    """The tasks where all blocks with evaluations have exact scores, and those where only some have."""
    evaluated = [block for block in blocks if block.tables]
    solved = {str(block.record["task"]) for block in evaluated if block.exact_scores is not None}
    sampled = {str(block.record["task"]) for block in evaluated if block.exact_scores is None}
    return frozenset(solved - sampled), frozenset(solved & sampled)


def _judged_exactly(block: LoadedBlock) -> LoadedBlock:
    return replace(block, scores=block.exact_scores or {})


def _control(name: object, runs: pd.DataFrame, plans: Sequence[PlannedCell]) -> str | None:
    """Label of the arm called `name`, which may be a second name of a cell; None where it is no arm, or several."""
    hashes = {cell.hash for cell in plans if cell.arm == name}
    found = runs.loc[(runs["name"] == name) | runs["hash"].isin(hashes), "arm"].unique()
    return str(found[0]) if len(found) == 1 else None


def _factor_names(blocks: Sequence[LoadedBlock]) -> list[str]:
    """All factors any block has, in order of first appearance; the task is not one, it is half of a cell's name."""
    names = dict.fromkeys(key for block in blocks for key in block.record.get("factors", {}))
    return [name for name in names if name not in _KEYS]


def _runs(blocks: Sequence[LoadedBlock], plans: Sequence[PlannedCell]) -> pd.DataFrame:
    """One row per cell and seed in the planned order; of a run that was found several times the best."""
    factors = _factor_names(blocks)
    planned = [row for cell in plans for row in _planned_rows(cell)]
    found = [row for index, block in enumerate(blocks) for row in _block_rows(index, block, factors)]
    numbers = [key for key in (*_BOUNDS, *_OUTCOME, *_PARAMETERS, *_SHARED_COSTS, *_BLOCK_COSTS) if key not in factors]
    scores = [f"{name}_{mode}" for mode in MODES for names in _recorded_scores(blocks) for name in names]
    columns = [*_KEYS, "status", "cause", *factors, *numbers, "block", *scores]
    table = pd.DataFrame([*planned, *_without_unplanned(found, planned)], columns=columns)
    table["_place"] = table.groupby(_CELL, sort=False).ngroup()
    table["_rank"] = table["status"].map(STATUSES.index)
    table = table.sort_values(["_place", "seed", "_rank"], kind="stable").drop_duplicates(["_place", "seed"])
    table = _known_of_cells(table, ["arm", *factors, *_BOUNDS])
    return table.drop(columns=["_place", "_rank"]).reset_index(drop=True)


def _without_unplanned(found: list[dict[str, Any]], planned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A damaged folder seeds-003-005 may have held the list [3, 5]: its seed 4 counts only if it was planned."""
    seeds = {(row["task"], row["hash"], row["seed"]) for row in planned}
    cells = {key[:2] for key in seeds}
    return [
        row
        for row in found
        if row["status"] != "damaged"
        or (row["task"], row["hash"]) not in cells
        or (row["task"], row["hash"], row["seed"]) in seeds
    ]


def _planned_rows(cell: PlannedCell) -> list[dict[str, Any]]:
    common = {"study": cell.study, "task": cell.task, "arm": cell.arm, "hash": cell.hash}
    return [common | {"seed": seed, "status": "missing", "block": -1} for seed in cell.seeds]


def _known_of_cells(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Rows of missing and damaged seeds learn what another row of the same cell knows."""
    first = table.groupby("_place")[list(dict.fromkeys(columns))].first().reindex(table["_place"])
    return table.assign(**{str(column): first[column].to_numpy() for column in first})


def _block_rows(index: int, block: LoadedBlock, factors: Sequence[str]) -> list[dict[str, Any]]:
    record = block.record
    common = {"study": block.study, "block": index} | {key: record.get(key) for key in ("task", "arm", "hash")}
    common |= {factor: _plain(record.get("factors", {}).get(factor)) for factor in factors}
    common |= _costs(record)
    rows = []
    for seed, status in sorted(block.statuses.items()):
        outcome = record.get("seeds", {}).get(str(seed), {})
        numbers = {key: np.nan if outcome.get(key) is None else outcome[key] for key in _OUTCOME}
        numbers |= block.scores.get(seed, {}) if status == "done" else {}
        cause = outcome.get("cause") or {"damaged": f"{block.path} is damaged"}.get(status)
        rows.append(common | numbers | {"seed": seed, "status": status, "cause": cause})
    return rows


def _costs(record: Mapping[str, Any]) -> dict[str, Any]:
    score, parameters, seeds = record.get("score", {}), record.get("parameters", {}), len(record.get("seeds", {})) or 1
    costs: dict[str, Any] = {f"score_{key}": score.get(key, np.nan) for key in ("random", "reference")}
    costs |= {"budget": record.get("budget", np.nan)}
    costs |= {f"parameters_{key}": parameters.get(key, np.nan) for key in ("actor", "critic")}
    costs |= {key: record.get(key) or np.nan for key in _BLOCK_COSTS}
    return costs | {key: (record.get(key) or np.nan) / seeds for key in _SHARED_COSTS}


def _plain(value: Any) -> Hashable:
    """A factor's value as something a table can group by."""
    return str(value) if isinstance(value, (list, dict)) else value


def _long_table(blocks: Sequence[LoadedBlock], runs: pd.DataFrame, file: str) -> pd.DataFrame:
    """The rows of one file of all blocks, each run once, with the names of its cell."""
    winners = set(zip(runs["block"], runs["seed"], strict=True))
    parts, owners = [], []
    for index, block in enumerate(blocks):
        table = block.tables.get(file)
        if table is None:
            continue
        seeds = table["seed"].to_numpy()
        lost = [seed for seed in np.unique(seeds) if (index, seed) not in winners]
        parts.append(table.filter(pa.array(~np.isin(seeds, lost))) if lost else table)
        owners.append(np.full(len(parts[-1]), index))
    if not parts:
        return pd.DataFrame(columns=["study", "task", "arm", "hash", *COLUMNS[file]])
    rows = _frame(parts)
    names = runs.drop_duplicates("block").set_index("block")[["study", "task", "arm", "hash"]]
    places = names.index.get_indexer(pd.Index(np.concatenate(owners)))
    return pd.concat([pd.DataFrame({c: _categories(names[c].to_numpy(), places) for c in names}), rows], axis=1)


def _frame(parts: Sequence[pa.Table]) -> pd.DataFrame:
    """Tables of one kind below each other; text as categories, which take a twentieth of the memory."""
    whole = pa.concat_tables(parts, promote_options="permissive")
    texts = [field.name for field in whole.schema if field.type in (pa.string(), pa.large_string())]
    rows: pd.DataFrame = whole.to_pandas(categories=texts)
    return rows.assign(**{name: rows[name].cat.set_categories(sorted(rows[name].cat.categories)) for name in texts})


def _categories(values: Any, rows: Any) -> pd.Categorical:
    """`values[rows]` as categories, without building the long column."""
    codes, levels = pd.factorize(np.asarray(values, object))
    return pd.Categorical.from_codes(np.where(rows < 0, -1, codes[rows]), categories=pd.Index(levels))


def _recorded_scores(blocks: Sequence[LoadedBlock]) -> list[tuple[str, str]]:
    """The return's names, and those of the others of `SCORES` that any block has."""
    known = {name for block in blocks for scores in block.scores.values() for name in scores}
    return [names for column, names in SCORES.items() if column == "return" or _scores_of(names[0]) & known]


def _scores_of(prefix: str) -> set[str]:
    return {f"{prefix}_{mode}" for mode in MODES}


def _normalised_scores(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with each final score normalised, too; see `SCORES`."""
    pairs = [(f"{final}_{mode}", f"{normalised}_{mode}") for final, normalised in SCORES.values() for mode in MODES]
    return runs.assign(**{normalised: _normalised(runs[final], runs) for final, normalised in pairs if final in runs})


def _without_score(runs: pd.DataFrame) -> list[Problem]:
    """The cells with runs that are done and have no final score."""
    empty = runs[(runs["status"] == "done") & runs["final_stochastic"].isna()]
    return [
        Problem(f"{task}/{arm}", f"no evaluation in the last tenth of the budget (seeds {', '.join(map(str, seeds))})")
        for (task, arm), seeds in empty.groupby(["task", "arm"], sort=False)["seed"]
    ]


def _normalised(scores: pd.Series, bounds: pd.DataFrame) -> pd.Series:
    """(score − random) / (reference − random), with the bounds of the same row."""
    low, high = bounds["score_random"].astype(float), bounds["score_reference"].astype(float)
    return (scores.astype(float) - low) / (high - low)


def curves(evaluations: pd.DataFrame, runs: pd.DataFrame, exact: Collection[str] = ()) -> pd.DataFrame:
    """The learning curves of the runs that are done; see `Records.curves`. Those of the tasks `exact` are exact."""
    keys = ["task", "arm", "hash", "seed", "mode", "step"]
    columns = [column for column in SCORES if column in evaluations]
    means = evaluations.assign(**_judged(evaluations, columns, exact))[[*keys, *columns]].sort_values(keys)
    kept = runs.loc[runs["status"] == "done", [*_RUN, "score_random", "score_reference"]]
    table = means.astype({"task": object, "hash": object, "arm": object, "mode": str}).merge(kept, on=_RUN)
    table = table.assign(**{f"{column}_normalised": _normalised(table[column], table) for column in columns})
    return table.drop(columns=["score_random", "score_reference"])


def _judged(evaluations: pd.DataFrame, columns: Sequence[str], exact: Collection[str]) -> dict[str, pd.Series]:
    """The columns of scores, of the tasks `exact` their exact values."""
    solved = evaluations["task"].astype(str).isin(exact)
    known = [column for column in columns if f"{EXACT}{column}" in evaluations]
    return {column: evaluations[column].where(~solved, evaluations[f"{EXACT}{column}"]) for column in known}
