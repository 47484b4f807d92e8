"""Differences to the control, and claims with their verdicts, as text."""

import math
from collections.abc import Sequence

import pandas as pd

from analysis import stats
from analysis.claims.verdicts import Judged
from analysis.load.laboratory import METRICS
from analysis.tables.formats import Section, Table, decimals_of, interval_of, interval_text, optional_text, p_text
from bench.verdicts.hypotheses import Claim

_NOISE = (
    "Noise: the share of the differences' variance that is the scatter of evaluations, by two halves of the episodes; "
    "0 where returns are exact."
)


def control_table(differences: pd.DataFrame, control: str) -> Table:
    """`analysis.claims.comparisons.against_control` as text: a section per task, a row per arm."""
    sections = []
    for task, part in differences.groupby("task", sort=False):
        decimals = decimals_of(part["difference"].to_numpy(float))
        sections.append(Section(str(task), tuple(_control_row(row, decimals) for _, row in part.iterrows())))
    planned = int((differences["reason"] == "").sum())
    return Table(
        caption=f"Difference to {control} of the final stochastic score, paired by seed: mean with "
        f"{stats.CONFIDENCE:.0%} bootstrap interval, d (mean over standard deviation of the differences), P(better) = "
        f"probability of improvement, two-sided sign-flip p, and p by Holm over the {planned} planned "
        "comparisons of the study.",
        header=("arm", "pairs", "difference", "d", "P(better)", "p", "p (Holm)"),
        sections=tuple(sections),
    )


def _control_row(row: pd.Series, decimals: int) -> tuple[str, ...]:
    if row["reason"]:
        return (str(row["arm"]), "–", str(row["reason"]), "–", "–", "–", "–")
    found = interval_text(interval_of(row, "difference"), decimals)
    values = [
        optional_text(row["effect"], 2),
        optional_text(row["improvement"], 2),
        p_text(row["p"]),
        p_text(row["p_holm"]),
    ]
    return (str(row["arm"]), str(int(row["pairs"])), found, *values)


def claims_table(judged: Sequence[Judged], title: str) -> Table:
    """Claims with their verdicts as text: a row per claim and task; effects point in the direction of the claim."""
    raw = [finding.p for claim in judged for finding in claim.findings]
    adjusted = iter(stats.holm(raw))
    with_noise = any(math.isfinite(finding.noise) for claim in judged for finding in claim.findings)
    rows = []
    for claim in judged:
        for finding in claim.findings:
            effect = interval_text((finding.effect, finding.low, finding.high), 3)
            needed = "–" if finding.seeds_needed is None else str(finding.seeds_needed)
            verdict = finding.verdict + (f": {finding.note}" if finding.note else "")
            about = f"{claim.claim.statement} ({claim.claim.source})"
            pairs = "–" if claim.claim.metric in METRICS else str(finding.pairs)  # two estimates of one policy
            numbers = [pairs, needed, p_text(finding.p), p_text(next(adjusted))]
            numbers += [optional_text(finding.noise, 2)] if with_noise else []
            rows.append((about, claim.verdict, finding.task, verdict, claimed_text(claim.claim), effect, *numbers))
    header = ("claim", "verdict", "task", "on this task", "claimed", "effect", "pairs", "needed", "p", "p (Holm)")
    noise = f" {_NOISE}" if with_noise else ""
    return Table(
        caption=f"{title}. Effects are differences in the direction the claim predicts, paired by seed where arms were "
        "trained, with their intervals; a verdict compares the interval with the smallest effect of interest, which "
        f"the claims file fixed beforehand. Needed: the seeds that would decide what is undecided.{noise}",
        header=(*header, *(("noise",) if with_noise else ())),
        sections=(Section("", tuple(rows)),),
    )


def claimed_text(claim: Claim) -> str:
    """What a claim predicts: `area higher by more than 0.05`."""
    metric, size = claim.metric.replace("_", " "), f"{claim.sesoi:g}"
    by = {"equal": f"equal within {size}", "not_lower": f"lower by less than {size}"}
    return f"{metric} {by.get(claim.direction, f'{claim.direction} by more than {size}')}"
