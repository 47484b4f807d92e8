"""Claims: named hypotheses, written before the runs, and the verdicts the runs give on them.

A verdict is never written by hand. It follows from the paired difference between two arms, its interval, and the
smallest effect of interest (SESOI) that the claims file fixed beforehand:

- *supported*: the interval lies above the SESOI;  *refuted*: it lies below;
- *undecided*: it holds the SESOI, or there are fewer seeds than the claim asks for; with the seeds that would decide;
- *uninformative*: every run of both arms is at the same bound, which says nothing about either;
- *mixed*: supported on one task, refuted on another;  *missing*: an arm was not run.
"""

import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml

from analysis import comparisons, curves, inference, stats
from analysis.load import Records
from bench.config import build
from bench.errors import UserError

FOLDER = Path(__file__).resolve().parents[1] / "conf" / "claims"
REPS = 10_000
ALPHA = 0.05
SOLVED = 0.8  # normalised score whose first crossing counts as learnt
MOST_SEEDS = 10_000

Metric = Literal["final", "final_deterministic", "area", "drawdown", "steps"]
Verdict = Literal["supported", "refuted", "undecided", "mixed", "uninformative", "missing"]


@dataclass(frozen=True)
class Claim:
    """One hypothesis of a claims file.

    Attributes:
        statement: in words, as its source says it.
        source: where it is said.
        arm: factor values that select the arm the claim is about; `name` selects by the arm's name.
        against: those of the other arm.
        among: those of both.
        tasks: where it must hold.
        metric: `final`, `final_deterministic` (normalised final scores), `area` (mean height of the normalised learning
            curve), `drawdown` (instability), `steps` (share of the budget until a normalised score of `SOLVED`, a run
            that never gets there counting as the whole budget).
        direction: the claim says the arm's metric is `higher`, `lower` or `equal`.
        sesoi: smallest effect of interest in the metric's units; the margin where the direction is `equal`.
        seeds: pairs the claim asks for.
        looks: how often the data are looked at, 1 or 2; each look has the level α/looks.
    """

    statement: str
    source: str
    arm: Mapping[str, Any]
    against: Mapping[str, Any]
    among: Mapping[str, Any]
    tasks: tuple[str, ...]
    metric: Metric
    direction: Literal["higher", "lower", "equal"]
    sesoi: float
    seeds: int
    looks: int


@dataclass(frozen=True)
class Finding:
    """What the runs say about a claim on one task; effects are oriented so that the claim's direction is positive."""

    task: str
    verdict: Verdict
    pairs: int
    effect: float
    low: float
    high: float
    p: float
    seeds_needed: int | None
    note: str


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict over all its tasks."""

    name: str
    claim: Claim
    verdict: Verdict
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class ClaimsFile:
    """The claims of one file, and the commit that last changed it."""

    path: Path
    title: str
    claims: Mapping[str, Claim]
    commit: str
    committed: str  # ISO time of that commit; "" where the file has none


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
    if claim.sesoi < 0 or (claim.direction == "equal" and claim.sesoi == 0):
        raise UserError(f"{path}.sesoi={claim.sesoi}: must be greater than 0 (or 0 for any difference in a direction)")
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


def judge(file: ClaimsFile, metrics: pd.DataFrame) -> list[Judged]:
    """The verdict on every claim of a file, from runs with their `run_metrics`."""
    return [
        Judged(name, claim, overall([finding.verdict for finding in findings]), tuple(findings))
        for name, claim in file.claims.items()
        for findings in [[_finding(name, claim, task, metrics) for task in claim.tasks]]
    ]


def predates(file: ClaimsFile, records: Records) -> bool | None:
    """Whether the file's last commit is older than the first run; None where either time is unknown."""
    started = [str(block["started"]) for block in records.blocks if block.get("started")]
    if not started or not file.committed:
        return None
    return bool(pd.Timestamp(file.committed) < min(pd.Timestamp(time) for time in started))


def run_metrics(records: Records) -> pd.DataFrame:
    """`records.runs` with a column per `Metric`, of the stochastic policy unless the metric says otherwise."""
    found = curves.run_metrics(records.curves[records.curves["mode"] == "stochastic"], SOLVED)
    runs = records.runs.merge(found.drop(columns=["arm", "mode"]), on=["task", "hash", "seed"], how="left")
    steps = np.minimum(runs["steps_to_threshold"].astype(float) / runs["budget"].astype(float), 1.0)
    scores = {"final": runs["normalised_stochastic"], "final_deterministic": runs["normalised_deterministic"]}
    return runs.assign(**scores, steps=steps)


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict over tasks: mixed if they contradict each other, else a decided one only if no task is left open."""
    kinds = set(verdicts) - {"uninformative"}
    if not kinds:
        return "uninformative"
    if {"supported", "refuted"} <= kinds:
        return "mixed"
    if "missing" in kinds:
        return "missing"
    return "undecided" if "undecided" in kinds else kinds.pop()


def _finding(name: str, claim: Claim, task: str, runs: pd.DataFrame) -> Finding:
    mine = runs[runs["task"] == task]
    common = _select(mine, claim.among)
    mine = mine[mine["arm"].isin(common)]
    selected = {_text(selector): _select(mine, selector) for selector in (claim.arm, claim.against)}
    absent = [f"{text}: {_why_missing(found)}" for text, found in selected.items() if len(found) != 1]
    if absent:
        return _nothing(task, "missing", "; ".join(absent))
    arm, other = (found[0] for found in selected.values())
    reason = comparisons.not_comparable(mine, arm, other, besides=claim.arm)
    if reason:
        return _nothing(task, "missing", reason)
    first, second = comparisons.paired_scores(mine, arm, other, claim.metric)
    differences = first - second
    pairs = int(np.count_nonzero(~np.isnan(differences)))
    if pairs < 2:
        return _nothing(task, "missing", f"{pairs} pairs of runs")
    if _at_one_bound(first, second, claim.metric):
        return _nothing(task, "uninformative", "every run of both arms is at the same bound", pairs)
    return _decide(claim, task, differences, stats.generator(name, task))


def _nothing(task: str, verdict: Verdict, note: str, pairs: int = 0) -> Finding:
    return Finding(task, verdict, pairs, math.nan, math.nan, math.nan, math.nan, None, note)


def _select(runs: pd.DataFrame, selector: Mapping[str, Any]) -> list[str]:
    """The labels of the arms whose factors have the selector's values."""
    chosen = runs
    for factor, value in selector.items():
        if factor not in chosen:
            return []
        chosen = chosen[chosen[factor].astype(object) == value]
    return [str(arm) for arm in chosen["arm"].unique()]


def _text(selector: Mapping[str, Any]) -> str:
    return ", ".join(f"{factor}={value}" for factor, value in selector.items())


def _why_missing(found: Sequence[str]) -> str:
    return f"several arms ({', '.join(found)})" if found else "not run"


def _at_one_bound(first: stats.Array, second: stats.Array, metric: str) -> bool:
    """Whether all runs are at 0 (random, nothing lost) or all at 1 (the reference, never solved)."""
    both = np.concatenate([first, second])
    both = both[~np.isnan(both)]
    tolerance = 1e-3
    at_top = both >= 1 - tolerance
    at_bottom = np.abs(both) <= tolerance if metric != "final" else both <= tolerance
    return bool(at_top.all() or at_bottom.all())


def _decide(claim: Claim, task: str, differences: stats.Array, rng: np.random.Generator) -> Finding:
    oriented = -differences if claim.direction == "lower" else differences
    effect, low, high = stats.interval(oriented, stats.mean, REPS, 1 - ALPHA / claim.looks, rng)
    pairs = int(np.count_nonzero(~np.isnan(oriented)))
    if claim.direction == "equal":
        p = inference.equivalence_test(oriented, claim.sesoi)
        outside = low > claim.sesoi or high < -claim.sesoi
        verdict: Verdict = "supported" if p <= ALPHA / claim.looks else "refuted" if outside else "undecided"
    else:
        p = inference.sign_flip_test(oriented, rng)
        verdict = "supported" if low > claim.sesoi else "refuted" if high < claim.sesoi else "undecided"
    note = ""
    if pairs < claim.seeds and verdict != "undecided":
        note = f"{verdict} so far, {pairs} of {claim.seeds} seeds"
        verdict = "undecided"
    needed = _seeds_needed(claim, oriented) if verdict == "undecided" else None
    return Finding(task, verdict, pairs, effect, low, high, p, needed, note)


def _seeds_needed(claim: Claim, differences: stats.Array) -> int | None:
    """Pairs with power 0.8 for the SESOI at the measured spread; never from the effect observed."""
    spread = float(np.nanstd(differences, ddof=1))
    if claim.sesoi == 0 or spread == 0:
        return None
    needed = inference.seeds_needed(claim.sesoi / spread, ALPHA / claim.looks, most=MOST_SEEDS)
    return None if needed is None else max(needed, claim.seeds)
