"""Claims files: named hypotheses, written and committed before the runs."""

import math
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from bench.config.build import build, written
from bench.errors import UserError, unknown
from bench.paths import CONF
from bench.verdicts import sequential

FOLDER = CONF / "claims"
LARGEST = 1_000_000  # bytes of a file, and values in it

Metric = Literal[
    "final", "final_deterministic", "true_final", "overstated", "area", "steps", "drawdown", "spread", "improvement",
    "final_elder", "final_younger", "area_elder", "area_younger", "behind", "largest_kl", "log_parameters",
    "bias", "variance", "gradient_variance", "cosine", "gradient_share", "variance_share",
]  # fmt: skip

CONSTANT = "constant"  # `against: {constant: 0.0}`: not an arm but a fixed value of the metric


@dataclass(frozen=True)
class Claim:
    """One hypothesis of a claims file.

    Attributes:
        statement: in words, as its source says it.
        source: where it is said.
        studies: names of the studies it is judged in; the first was planned for it, further ones show less.
        arm: factor values that select the arm the claim is about; `name` selects by the arm's name, null what an arm
            has not. The two arms may differ in nothing that is not named here or in `against`.
        against: those of the other arm; or `constant: x`, a fixed value of the metric.
        among: those of both.
        tasks: where it must hold.
        metric: of a run, on the normalised scale where it is a score: `final`, `final_deterministic`, `true_final` (the
            true score, where a task tells it from the reward), `overstated` (reward less true score), `area` (mean
            height of the learning curve), `steps` (share of the budget until `SOLVED`, a run that never gets there
            counting as the whole budget), `drawdown` (mean loss against the best score so far), `spread` (Gini's mean
            difference of final scores: how far two runs of an arm end apart), `improvement` (probability of a higher
            final score, less ½), `final_younger` and `area_younger` (of the younger brother's episodes alone, from the
            random policy to the best by his own exact bounds), `final_elder` and `area_elder` alike, `behind` (the
            elder's `area` less the younger's, each by its own bounds), `largest_kl` (quantile `LARGE` over updates of
            KL(old ‖ new), nats), `log_parameters` (natural logarithm of how many are trained).
            `analysis.load.laboratory.METRICS` are measured without training.
        direction: the claim says the arm's metric is `higher`, `lower`, `equal`, or `not_lower`.
        sesoi: smallest effect of interest in the metric's units; the margin of `equal` and `not_lower`.
        seeds: pairs the claim asks for, where seeds are not added until it is decided.
        seeds_by_task: where a task has another number of them, such as policies that a laboratory cannot solve exactly.
        seed_pool: whose seeds judge it: `confirmation` where it was written after results of the main pool were seen.
        range: the ends of the metric's values, for a metric without its own, or a task whose scores leave 0 to 1; what
            lies beyond counts as the nearer end.
        logarithm: whether the metric's natural logarithm is judged, so that `sesoi` is one of ratios.
        group: which of the file's `weights` its rows share.
        withdrawn: why it is not judged any more; it stays in the table and in the family.
    """

    statement: str
    source: str
    studies: tuple[str, ...]
    arm: Mapping[str, Any]
    against: Mapping[str, Any]
    among: Mapping[str, Any]
    tasks: tuple[str, ...]
    metric: Metric
    direction: Literal["higher", "lower", "equal", "not_lower"]
    sesoi: float
    seeds: int
    seeds_by_task: Mapping[str, int] = field(default_factory=dict)
    seed_pool: Literal["main", "confirmation"] = "main"
    range: tuple[float, float] | None = None
    logarithm: bool = False
    group: str | None = None
    withdrawn: str | None = None

    def pairs(self, task: str) -> int:
        """How many pairs it asks for on a task."""
        return self.seeds_by_task.get(task, self.seeds)


@dataclass(frozen=True)
class ClaimsFile:
    """The claims of one file, which are a family, and the commit that last changed it.

    Attributes:
        weights: by group of claims, its part of the family's level; empty where all rows have the same.
        committed: ISO time of the commit; "" where the file has none.
    """

    path: Path
    title: str
    claims: Mapping[str, Claim]
    commit: str
    committed: str
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """m: the rows of the family, those that were withdrawn or not run among them."""
        return sum(len(claim.tasks) for claim in self.claims.values())

    def share(self, claim: Claim) -> float:
        """The part of the family's level that each row of a claim has: 1/m without weights."""
        if not self.weights or claim.group is None:
            return 1 / self.rows
        alike = sum(len(other.tasks) for other in self.claims.values() if other.group == claim.group)
        return sequential.shares(list(self.weights.values()))[list(self.weights).index(claim.group)] / alike


def read_all() -> list[ClaimsFile]:
    """Every claims file of the suite, in order of their names. Raises `UserError`."""
    return [read(path) for path in sorted(FOLDER.glob("*.yaml"))]


def read(path: Path) -> ClaimsFile:
    """A claims file: `title`, `defaults` for keys the claims share, `weights`, and `claims` by name.

    Raises:
        UserError: for a mistake in it.
    """
    data = _content(path)
    keys = ("title", "defaults", "weights", "claims")
    if not isinstance(data, dict) or not isinstance(data.get("claims"), dict):
        raise UserError(f"claims {path.name}: a mapping with the keys title, defaults and claims is needed")
    for key in data:
        if key not in keys:
            raise unknown(f"key of claims {path.name}", key, keys)
    defaults, title = data.get("defaults") or {}, data.get("title", path.stem)
    if not isinstance(defaults, dict) or not isinstance(title, str):
        raise UserError(f"claims {path.name}: defaults must be a mapping, and the title text")
    found = {str(name): _claim(defaults, claim, f"{path.stem}.{name}") for name, claim in data["claims"].items()}
    weights = _weights(data.get("weights") or {}, found, path)
    tasks = sorted({task for claim in found.values() for task in claim.tasks})
    for name, claim in found.items():
        if foreign := [task for task in claim.seeds_by_task if task not in tasks]:
            raise unknown(f"{path.stem}.{name}.seeds_by_task", foreign[0], tasks)
    return ClaimsFile(path, title, found, *_last_commit(path), weights)


def _weights(given: Any, claims: Mapping[str, Claim], path: Path) -> dict[str, float]:
    """The parts of the level that groups of claims have. Raises `UserError`."""
    if not isinstance(given, dict) or not all(
        isinstance(name, str) and _is_number(weight) and weight > 0 for name, weight in given.items()
    ):
        raise UserError(f"claims {path.name}: weights={given}: must be groups and their positive parts of the level")
    for name, claim in claims.items():
        if claim.group is None and given:
            raise UserError(f"{path.stem}.{name}.group: must be one of the file's weights, {', '.join(given)}")
        if claim.group is not None and claim.group not in given:
            raise unknown(f"{path.stem}.{name}.group", claim.group, given)
    if empty := [name for name in given if not any(claim.group == name for claim in claims.values())]:
        raise UserError(f"claims {path.name}: weights.{empty[0]}: no claim has the group {empty[0]}")
    return {name: float(weight) for name, weight in given.items()}


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which the last would count in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node. Raises `yaml.YAMLError`."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.MarkedYAMLError(problem=f"'{twice[0]}' is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def _content(path: Path) -> Any:
    """What a claims file says, if it is no larger than one can be, its aliases counted. Raises `UserError`."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise UserError(f"cannot read claims {path.name}: it has more than {LARGEST:,} bytes")
        data = yaml.load(text.decode(), _Loader)  # a safe one
        if _count(data, {}) > LARGEST:
            raise UserError(f"cannot read claims {path.name}: its aliases make more than {LARGEST:,} values")
    except OSError as error:
        raise UserError(f"cannot read claims {path.name}: {error.strerror}") from error
    except RecursionError as error:
        raise UserError(f"cannot read claims {path.name}: its values are nested too deeply") from error
    except (yaml.YAMLError, ValueError, OverflowError, AttributeError, TypeError) as error:  # of odd text, tags, dates
        raise UserError(f"cannot read claims {path.name}: {' '.join(str(error).split())}") from error
    return data


def _count(value: Any, known: dict[int, int]) -> int:
    """How many values there are with all that aliases repeat. Raises `RecursionError` where one holds itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        inside = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(each, known) for each in inside)
    return known[id(value)]


def _claim(defaults: Mapping[str, Any], data: Any, path: str) -> Claim:
    claim = build(Claim, {**defaults, **data} if isinstance(data, dict) else data, path)
    for key, selector in (("arm", claim.arm), ("against", claim.against), ("among", claim.among)):
        if (
            not isinstance(selector, Mapping)
            or not (selector or key == "among")
            or not all(map(_selects, selector.items()))
        ):
            raise UserError(f"{path}.{key}={selector}: must be factors and their values, such as baseline: critic")
    for key, names in (("tasks", claim.tasks), ("studies", claim.studies)):
        if not names or len(set(names)) < len(names):
            raise UserError(f"{path}.{key}={written(list(names))}: must name one or more, each once")
    if claim.sesoi <= 0:
        raise UserError(f"{path}.sesoi={claim.sesoi}: must be greater than 0, the smallest effect of interest")
    _check_range(claim, path)
    if CONSTANT in {*claim.arm, *claim.among} or (CONSTANT in claim.against and len(claim.against) > 1):
        raise UserError(f"{path}: a constant stands alone under against, in place of an arm")
    if CONSTANT in claim.against and not _is_number(claim.against[CONSTANT]):
        raise UserError(f"{path}.against={claim.against}: a constant must be a number, and finite")
    if dict(claim.arm) == dict(claim.against):
        raise UserError(f"{path}: arm and against select the same runs")
    _check_seeds(claim, path)
    if claim.withdrawn is not None and not claim.withdrawn.strip():
        raise UserError(f"{path}.withdrawn: must say why")
    return claim


def _check_seeds(claim: Claim, path: str) -> None:
    """Refuse what is no number of pairs. Raises `UserError`."""
    by_task = {f"seeds_by_task.{task}": number for task, number in claim.seeds_by_task.items()}
    for key, number in {"seeds": claim.seeds, **by_task}.items():
        if number < 1:
            raise UserError(f"{path}.{key}={number}: must be at least 1")


def _check_range(claim: Claim, path: str) -> None:
    """Refuse ends that are no range, and a logarithm that cannot be. Raises `UserError`."""
    low, high = claim.range or (-math.inf, math.inf)
    if not low < high:
        raise UserError(f"{path}.range={[low, high]}: must be two rising numbers")
    if claim.logarithm and claim.range is not None and low <= 0:
        raise UserError(f"{path}.range={[low, high]}: must lie above 0, its logarithm is judged")


def _selects(item: tuple[Any, Any]) -> bool:
    """Whether a factor's name and a value, or a list of values, can select arms."""
    factor, value = item
    values = value if isinstance(value, list) else [value]
    return isinstance(factor, str) and bool(values) and not any(isinstance(each, dict | list) for each in values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _last_commit(path: Path) -> tuple[str, str]:
    """Hash and time of the last commit of a file; empty where it has none, or was changed since."""
    try:
        changed = _git(path, "status", "--porcelain", "--", path.name)
        commit, _, time = _git(path, "log", "-n1", "--format=%H %cI", "--", path.name).strip().partition(" ")
    except (OSError, subprocess.CalledProcessError):
        return "", ""
    return ("", "") if changed.strip() else (commit, time)


def _git(path: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(path.resolve().parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
