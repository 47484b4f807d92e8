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
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml

from analysis.claims import comparisons
from analysis.load import laboratory
from analysis.load.records import Records
from analysis.stats import curves, inference
from analysis.stats import estimates as stats
from bench.config.build import build
from bench.errors import UserError

FOLDER = Path(__file__).resolve().parents[1] / "conf" / "claims"
REPS = 10_000
ALPHA = 0.05
SOLVED = 0.8  # normalised score whose first crossing counts as learnt
LARGE = 0.99  # quantile of a run's updates that counts as its largest: the maximum of hundreds is mostly noise
MOST_SEEDS = 10_000

Metric = Literal[
    "final", "final_deterministic", "true_final", "overstated", "area", "steps", "drawdown", "spread",
    "largest_kl", "log_parameters",
    "bias", "variance", "gradient_variance", "cosine", "gradient_share", "variance_share",
]  # fmt: skip
# Where nothing more can be lost or won: runs that are all there say nothing about either arm.
_SCORE = (0.0, 1.0)
BOUNDS: Mapping[str, tuple[float | None, float | None]] = {
    **dict.fromkeys(("final", "final_deterministic", "true_final", "area"), _SCORE),
    "drawdown": (0.0, None),
    "steps": (None, 1.0),
}
CONSTANT = "constant"  # `against: {constant: 0.0}`: not an arm but a fixed value of the metric
Verdict = Literal["supported", "refuted", "undecided", "mixed", "uninformative", "missing"]


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
                figures = records.measured_in(claim.studies).figures
                findings = [_measured(claim, task, figures) for task in claim.tasks]
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


def run_metrics(records: Records) -> pd.DataFrame:
    """`records.runs` with a column per `Metric` it has, of the stochastic policy unless the metric says otherwise."""
    found = curves.run_metrics(records.curves[records.curves["mode"] == "stochastic"], SOLVED)
    keys = ["task", "hash", "seed"]
    runs = records.runs.merge(found.drop(columns=["arm", "mode"]), on=keys, how="left")
    scores = {"final": "normalised_stochastic", "final_deterministic": "normalised_deterministic"}
    scores |= {"true_final": "true_normalised_stochastic"} if "true_normalised_stochastic" in runs else {}
    runs = runs.assign(**{metric: runs[column].astype(float) for metric, column in scores.items()})
    if "true_final" in runs:
        runs["overstated"] = runs["final"] - runs["true_final"]
    median = runs.groupby(["task", "hash"])["final"].transform("median")
    parameters = runs[["parameters_actor", "parameters_critic"]].astype(float).sum(axis=1, min_count=1)
    return runs.assign(
        steps=np.minimum(runs["steps_to_threshold"].astype(float) / runs["budget"].astype(float), 1.0),
        spread=(runs["final"] - median).abs(),
        largest_kl=_largest(records.training, "train/kl", runs[keys]),
        log_parameters=np.log(parameters.where(runs["status"] == "done")),
    )


def _largest(training: pd.DataFrame, column: str, runs: pd.DataFrame) -> stats.Array:
    """The `LARGE` quantile of a diagnostic over each run's updates; NaN where it was not recorded."""
    if column not in training:
        return np.full(len(runs), np.nan)
    found = training.groupby(list(runs), observed=True)[column].quantile(LARGE)
    return found.reindex(pd.MultiIndex.from_frame(runs)).to_numpy(float)


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
    selected = {_text(selector): _select(mine, selector) for selector in selectors}
    absent = [f"{text}: {_why_missing(found)}" for text, found in selected.items() if len(found) != 1]
    if absent:
        return _nothing(task, "missing", "; ".join(absent))
    arms = [found[0] for found in selected.values()]
    reason = _confounded(claim, mine, arms, factors)
    if reason:
        return _nothing(task, "missing", reason)
    first, second = _values(claim, mine, arms)
    differences = first - second
    pairs = int(np.count_nonzero(~np.isnan(differences)))
    if pairs < 2:
        return _nothing(task, "missing", f"{pairs} pairs of runs")
    if len(arms) == 2 and _at_one_bound(first, second, claim.metric):
        return _nothing(task, "uninformative", "every run of both arms is at the same bound", pairs)
    return _decide(claim, task, differences, stats.generator(name, task))


def _measured(claim: Claim, task: str, figures: pd.DataFrame) -> Finding:
    """What the laboratory says: two estimates with their standard errors, in place of pairs of runs."""
    rows = laboratory.measured(figures[figures["task"] == task], claim.metric)
    found = [laboratory.select(rows, selector) for selector in (claim.arm, claim.against)]
    if any(len(each) != 1 for each in found):
        return _nothing(task, "missing", f"not measured; python -m bench lab study={claim.studies[0]} measures it")
    if any(each[["value", "error"]].isna().any(axis=None) for each in found):
        return _nothing(task, "undecided", "not told from zero for this policy")
    confidence = 1 - ALPHA / claim.looks
    (effect, low, high), p = laboratory.difference(found[0].iloc[0], found[1].iloc[0], confidence)
    if claim.direction == "lower":
        effect, low, high = -effect, -high, -low
    verdict = _held_against(claim, low, high)
    return Finding(task, verdict, 1, effect, low, high, p, None, "one policy")


def _held_against(claim: Claim, low: float, high: float) -> Verdict:
    """An interval, oriented as the claim is, against the smallest effect of interest."""
    if claim.direction == "equal":
        inside, outside = -claim.sesoi < low and high < claim.sesoi, low > claim.sesoi or high < -claim.sesoi
        return "supported" if inside else "refuted" if outside else "undecided"
    threshold = -claim.sesoi if claim.direction == "not_lower" else claim.sesoi
    return "supported" if low > threshold else "refuted" if high < threshold else "undecided"


def _values(claim: Claim, runs: pd.DataFrame, arms: Sequence[str]) -> tuple[stats.Array, stats.Array]:
    """(seeds,) twice: the metric of the arm, and of the other arm or the constant."""
    if len(arms) == 2:
        return comparisons.paired_scores(runs, arms[0], arms[1], claim.metric)
    values = runs.loc[runs["arm"] == arms[0], claim.metric].to_numpy(float)
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
    both, tolerance = both[~np.isnan(both)], 1e-3
    low, high = BOUNDS.get(metric, (None, None))
    at_bottom = low is not None and bool((both <= low + tolerance).all())
    return at_bottom or (high is not None and bool((both >= high - tolerance).all()))


def _decide(claim: Claim, task: str, differences: stats.Array, rng: np.random.Generator) -> Finding:
    oriented = -differences if claim.direction == "lower" else differences
    effect, low, high = stats.interval(oriented, stats.mean, REPS, 1 - ALPHA / claim.looks, rng)
    pairs = int(np.count_nonzero(~np.isnan(oriented)))
    verdict: Verdict
    if claim.direction == "equal":
        p = inference.equivalence_test(oriented, claim.sesoi)
        outside = low > claim.sesoi or high < -claim.sesoi
        verdict = "supported" if p <= ALPHA / claim.looks else "refuted" if outside else "undecided"
    else:
        shift = claim.sesoi if claim.direction == "not_lower" else 0.0
        p = inference.sign_flip_test(oriented + shift, rng)
        verdict = _held_against(claim, low, high)
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
