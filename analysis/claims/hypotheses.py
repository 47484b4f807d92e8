"""Claims files: named hypotheses, written and committed before the runs."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from bench.config.build import build
from bench.errors import UserError
from bench.paths import CONF

FOLDER = CONF / "claims"

Metric = Literal[
    "final", "final_deterministic", "true_final", "overstated", "area", "steps", "drawdown", "spread",
    "largest_kl", "log_parameters",
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
            counting as the whole budget), `drawdown` (mean share of its running best that a run has lost again),
            `spread` (distance of the final score from its arm's median: how far seeds lie apart), `largest_kl`
            (quantile `LARGE` over updates of KL(old ‖ new), nats), `log_parameters` (natural logarithm of how many are
            trained). `analysis.load.laboratory.METRICS` are measured without training.
        direction: the claim says the arm's metric is `higher`, `lower`, `equal`, or `not_lower`.
        sesoi: smallest effect of interest in the metric's units; the margin of `equal` and `not_lower`.
        seeds: pairs the claim asks for.
        looks: how often the data are looked at, 1 or 2; each look has the level α/looks.
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
    looks: int


@dataclass(frozen=True)
class ClaimsFile:
    """The claims of one file, and the commit that last changed it."""

    path: Path
    title: str
    claims: Mapping[str, Claim]
    commit: str
    committed: str  # ISO time of that commit; "" where the file has none


def read_all() -> list[ClaimsFile]:
    """Every claims file of the suite, in order of their names. Raises `UserError`."""
    return [read(path) for path in sorted(FOLDER.glob("*.yaml"))]


def read(path: Path) -> ClaimsFile:
    """A claims file: `title`, `defaults` for keys the claims share, and `claims` by name. Raises `UserError`."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read claims {path.name}: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or not isinstance(data.get("claims"), dict):
        raise UserError(f"claims {path.name}: a mapping with the keys title, defaults and claims is needed")
    defaults = data.get("defaults") or {}
    found = {str(name): _claim(defaults, claim, f"{path.stem}.{name}") for name, claim in data["claims"].items()}
    commit, committed = _last_commit(path)
    return ClaimsFile(path, str(data.get("title", path.stem)), found, commit, committed)


def _claim(defaults: Mapping[str, Any], data: Any, path: str) -> Claim:
    claim = build(Claim, {**defaults, **data} if isinstance(data, dict) else data, path)
    for key, selector in (("arm", claim.arm), ("against", claim.against)):
        if not isinstance(selector, Mapping) or not selector:
            raise UserError(f"{path}.{key}={selector}: must be factors and their values, such as baseline: critic")
    if claim.sesoi < 0 or (claim.direction in ("equal", "not_lower") and claim.sesoi == 0):
        raise UserError(f"{path}.sesoi={claim.sesoi}: must be greater than 0 (or 0 for any difference in a direction)")
    if CONSTANT in claim.against and not isinstance(claim.against[CONSTANT], int | float):
        raise UserError(f"{path}.against={claim.against}: a constant must be a number")
    if dict(claim.arm) == dict(claim.against):
        raise UserError(f"{path}: arm and against select the same runs")
    if claim.looks not in (1, 2):
        raise UserError(f"{path}.looks={claim.looks}: at most two looks at the data")
    return claim


def _last_commit(path: Path) -> tuple[str, str]:
    """Hash and time of the last commit of a file; empty where it has none, or was changed since."""
    try:
        changed = _git(path, "status", "--porcelain", "--", path.name)
        commit, _, time = _git(path, "log", "-n1", "--format=%H %cI", "--", path.name).strip().partition(" ")
    except (OSError, subprocess.CalledProcessError):
        return "", ""
    return ("", "") if changed.strip() else (commit, time)


def _git(path: Path, *arguments: str) -> str:
    command = ["git", "-C", str(path.resolve().parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
