"""Claims: named hypotheses, written before the runs, and the verdicts the runs give on them.

A verdict is never written by hand. It follows from the paired difference between two arms, its interval, and the
smallest effect of interest (SESOI) that the claims file fixed beforehand:

- *supported*: the interval lies above the SESOI;  *refuted*: it lies below (where the claim is that an arm is at least
  as good, the SESOI counts as a margin: above −SESOI, or below it);
- *undecided*: it holds the SESOI, or there are fewer seeds than the claim asks for; with the seeds that would decide;
- *uninformative*: every run of both arms is at the same bound, which says nothing about either;
- *mixed*: supported on one task, refuted on another;
- *missing*: an arm was not run, or the two differ in more than the claim names.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis import stats
from analysis.claims import comparisons
from analysis.claims.comparisons import ALPHA
from analysis.claims.metrics import EVALUATED, of_half
from analysis.load import Records, laboratory
from analysis.load.blocks import HALVES
from bench.verdicts import words
from bench.verdicts.hypotheses import CONSTANT, Claim, ClaimsFile

# Where nothing more can be lost or won: runs that are all there say nothing about either arm.
_SCORE = (0.0, 1.0)
BOUNDS: Mapping[str, tuple[float | None, float | None]] = {
    **dict.fromkeys(("final", "final_deterministic", "true_final", "area"), _SCORE),
    "drawdown": (0.0, None),
    "steps": (None, 1.0),
}
Verdict = Literal["supported", "refuted", "undecided", "mixed", "uninformative", "missing"]


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
    noise: float = math.nan  # the share of evaluation noise in the variance of the effect between pairs, where known


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict over all its tasks."""

    name: str
    claim: Claim
    verdict: Verdict
    findings: tuple[Finding, ...]


def judge(file: ClaimsFile, records: Records, metrics: pd.DataFrame) -> list[Judged]:
    """The verdict on every claim of a file that is judged in these studies, from runs with their `run_metrics`.

    A claim is judged on the studies it names, and on nothing else that is read beside them. A study that a claim was
    not planned for speaks for the tasks it has, the planned one for all that were promised.
    """
    studies = records.name.split("+")
    judged = []
    for name, claim in file.claims.items():
        if not set(studies).isdisjoint(claim.studies):
            planned = claim.studies[0] in studies
            if claim.metric in laboratory.METRICS:
                quantities = records.measured_in(claim.studies).quantities
                findings = [_measured(claim, task, quantities) for task in claim.tasks]
            else:
                runs = records.runs_of(claim.studies, metrics)
                tasks = [task for task in claim.tasks if planned or (runs["task"] == task).any()] or claim.tasks
                findings = [_finding(name, claim, task, runs, records.factors) for task in tasks]
            judged.append(Judged(name, claim, overall([finding.verdict for finding in findings]), tuple(findings)))
    return judged


def predates(file: ClaimsFile, records: Records) -> bool | None:
    """Whether the file's last commit is older than the first run or measurement; None where a time is unknown."""
    made = [*records.blocks, *records.measurements]
    started = [str(record["started"]) for record in made if record.get("started")]
    if not started or not file.committed:
        return None
    return bool(pd.Timestamp(file.committed) < min(pd.Timestamp(time) for time in started))


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


def _finding(name: str, claim: Claim, task: str, runs: pd.DataFrame, factors: Sequence[str]) -> Finding:
    mine = runs[runs["task"] == task]
    if mine.empty:
        return _nothing(task, "missing", "no runs of this task")
    common = _select(mine, claim.among)
    mine = mine[mine["arm"].isin(common)]
    if claim.metric not in mine:
        return _nothing(task, "missing", f"{claim.metric}: not recorded on this task")
    selectors = [selector for selector in (claim.arm, claim.against) if CONSTANT not in selector]
    selected = [(_text(selector), _select(mine, selector)) for selector in selectors]
    absent = [f"{text}: {_why_missing(found)}" for text, found in selected if len(found) != 1]
    if absent:
        return _nothing(task, "missing", "; ".join(absent))
    arms = [found[0] for _, found in selected]
    if len(set(arms)) < len(arms):
        return _nothing(task, "missing", f"{' and '.join(text for text, _ in selected)} are one arm, {arms[0]}")
    reason = _confounded(claim, mine, arms, factors)
    if reason:
        return _nothing(task, "missing", reason)
    first, second = _values(claim.metric, claim, mine, arms)
    differences = first - second
    pairs = int(np.count_nonzero(~np.isnan(differences)))
    if pairs < 2:
        return _nothing(task, "missing", f"{pairs} pairs of runs")
    if len(arms) == 2 and _at_one_bound(first, second, claim.metric):
        return _nothing(task, "uninformative", "every run of both arms is at the same bound", pairs)
    found = _decide(claim, task, differences, stats.generator(name, task))
    return replace(found, noise=_noise(claim, mine, arms))


def _noise(claim: Claim, runs: pd.DataFrame, arms: Sequence[str]) -> float:
    """The share of evaluation noise in what a claim is judged by; NaN where it is not known."""
    if claim.metric not in EVALUATED:
        return math.nan
    if runs["exact"].all():
        return 0.0
    names = [of_half(claim.metric, half) for half in HALVES]
    if not set(names) <= set(runs.columns):
        return math.nan
    first, second = (own - others for own, others in (_values(name, claim, runs, arms) for name in names))
    both = ~np.isnan(first) & ~np.isnan(second)
    return stats.noise_share(first[both], second[both])


def _measured(claim: Claim, task: str, quantities: pd.DataFrame) -> Finding:
    """What the laboratory says: differences between two estimators, paired by the policy they were asked about."""
    first, second = (
        laboratory.of_policies(quantities, claim.metric, task, selector) for selector in (claim.arm, claim.against)
    )
    if first.empty or second.empty:
        return _nothing(task, "missing", f"not measured; python -m bench lab study={claim.studies[0]} measures it")
    differences = (first - second).to_numpy(float)
    unknown = int(np.isnan(differences).sum())
    if len(differences) - unknown < 2:
        return _nothing(task, "undecided", "not told from zero for these policies", len(differences) - unknown)
    found = _decide(claim, task, differences, stats.generator(claim.metric, task))
    note = f"{unknown} of {len(differences)} policies not told from zero" if unknown else ""
    return replace(found, note="; ".join(text for text in (found.note, note) if text))


def _interval_verdict(claim: Claim, low: float, high: float) -> Verdict:
    """An interval, oriented as the claim is, against the smallest effect of interest."""
    if claim.direction == "equal":
        inside, outside = -claim.sesoi < low and high < claim.sesoi, low > claim.sesoi or high < -claim.sesoi
        return "supported" if inside else "refuted" if outside else "undecided"
    threshold = -claim.sesoi if claim.direction == "not_lower" else claim.sesoi
    return "supported" if low > threshold else "refuted" if high < threshold else "undecided"


def _values(metric: str, claim: Claim, runs: pd.DataFrame, arms: Sequence[str]) -> tuple[stats.Array, stats.Array]:
    """(seeds,) twice: a metric of the claim's arm, and of the other arm or the constant."""
    if len(arms) == 2:
        return comparisons.paired_scores(runs, arms[0], arms[1], metric)
    values = runs.loc[runs["arm"] == arms[0], metric].to_numpy(float)
    return values, np.full(len(values), float(claim.against[CONSTANT]))


def _confounded(claim: Claim, runs: pd.DataFrame, arms: Sequence[str], factors: Sequence[str]) -> str:
    """Why a difference between the arms has more than one cause; "" where it has only those the claim names.

    A factor that one of the arms does not have (a critic's settings without a critic) comes with one that is named.
    """
    if len(arms) < 2:
        return ""
    named = {*claim.arm, *claim.against}
    reason = comparisons.not_comparable(runs, arms[0], arms[1], besides=named)
    if reason:
        return reason
    first, second = (runs[runs["arm"] == arm].iloc[0] for arm in arms)
    others = [
        f"{factor} ({first[factor]}, {second[factor]})"
        for factor in factors
        if factor not in named
        and pd.notna(first[factor])
        and pd.notna(second[factor])
        and first[factor] != second[factor]
    ]
    return f"the arms also differ in {', '.join(others)}" if others else ""


def _nothing(task: str, verdict: Verdict, note: str, pairs: int = 0) -> Finding:
    return Finding(task, verdict, pairs, math.nan, math.nan, math.nan, math.nan, None, note)


def _select(runs: pd.DataFrame, selector: Mapping[str, Any]) -> list[str]:
    """The labels of the arms whose factors have the selector's values (of a list, one of them; null: not there)."""
    chosen = runs
    for factor, value in selector.items():
        if factor not in chosen:  # as if every arm had none of it
            chosen = chosen if value is None or (isinstance(value, list) and None in value) else chosen.iloc[:0]
            continue
        wanted = value if isinstance(value, list) else [value]  # a list: any of them
        levels = chosen[factor].astype(object)
        chosen = chosen[levels.isin([v for v in wanted if v is not None]) | (levels.isna() & (None in wanted))]
    return [str(arm) for arm in chosen["arm"].unique()]


def _text(selector: Mapping[str, Any]) -> str:
    return ", ".join(f"{factor}={value}" for factor, value in selector.items())


def _why_missing(found: Sequence[str]) -> str:
    return f"several arms ({', '.join(found)})" if found else "not run"


def _at_one_bound(first: stats.Array, second: stats.Array, metric: str) -> bool:
    """Whether all runs lie at the lower bound of the metric (or below), or all at the upper one."""
    both = np.concatenate([first, second])
    return words.at_one_bound(both[~np.isnan(both)], *BOUNDS.get(metric, (None, None)))


def _decide(claim: Claim, task: str, differences: stats.Array, rng: np.random.Generator) -> Finding:
    oriented = -differences if claim.direction == "lower" else differences
    effect, low, high = stats.interval(oriented, stats.mean, stats.REPS, 1 - ALPHA / claim.looks, rng)
    pairs = int(np.count_nonzero(~np.isnan(oriented)))
    verdict: Verdict
    if claim.direction == "equal":
        p = stats.equivalence_test(oriented, claim.sesoi)
        outside = low > claim.sesoi or high < -claim.sesoi
        verdict = "supported" if p <= ALPHA / claim.looks else "refuted" if outside else "undecided"
    else:
        shift = claim.sesoi if claim.direction == "not_lower" else 0.0
        p = stats.sign_flip_test(oriented + shift, rng)
        verdict = _interval_verdict(claim, low, high)
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
    needed = stats.seeds_needed(claim.sesoi / spread, ALPHA / claim.looks)
    return None if needed is None else max(needed, claim.seeds)
