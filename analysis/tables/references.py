"""Arms held to a reference policy: what they are worth over the weight β, beside the best their reference allows.

The numbers are exact. `bench.records.exact_values` solves the world when a block ends and leaves them in `run.json`.
"""

from collections.abc import Mapping

import pandas as pd

from analysis import stats
from analysis.load import Records
from analysis.tables.formats import Section, Table, interval_text

QUANTITIES: Mapping[str, str] = {"true_score": "true score per episode", "cheating": "share of cheating"}
COLUMNS = ("task", "arm", "seed", "kind", "coef", "adaptive", *QUANTITIES)
_REFERENCE = ("reference.kind", "reference.placement", "reference.importance", "reference.seed")


def exact_values(records: Records) -> pd.DataFrame:
    """One row per run and policy (`learned`, its `reference`, the `optimum` at each β) with its exact values.

    Returns:
        `task`, `arm`, `seed`, `kind`, `coef` (β: the arm's own, or the optimum's; 0 without a reference), `adaptive`
        (β follows a target), `true_score` (undiscounted, per episode) and `cheating` (share of steps).
    """
    arms = {
        (task, hash_, seed): arm
        for task, hash_, seed, arm in records.runs.loc[
            records.runs["status"] == "done", ["task", "hash", "seed", "arm"]
        ].itertuples(index=False)
    }
    rows: dict[tuple[object, ...], dict[str, object]] = {}
    for block in records.blocks:
        factors, found = block["factors"], block.get("exact_values") or {}
        coef = float(factors.get("reference.coef") or 0.0)
        for seed, values in found.items():
            arm = arms.get((block["task"], block["hash"], int(seed)))
            if arm is None:
                continue
            own = {"task": block["task"], "arm": arm, "seed": int(seed), "coef": coef}
            own |= {"adaptive": factors.get("reference.target") is not None}
            points = [("learned", values["learned"]), ("reference", values.get("reference"))]
            points += [("optimum", point) for point in values.get("optimum", [])]
            for kind, point in points:
                if point is not None:
                    row = own | {"kind": kind} | dict(point)
                    rows[(row["task"], arm, seed, kind, row["coef"])] = row
    return pd.DataFrame(list(rows.values()), columns=list(COLUMNS))


def table(values: pd.DataFrame) -> Table | None:
    """`exact_values` as text: an arm per row, learned beside the optimum at its own β; None where there are none."""
    if values.empty:
        return None
    sections = []
    for task, part in values.groupby("task", sort=False):
        rows = [_row(str(task), str(arm), mine) for arm, mine in part.groupby("arm", sort=False)]
        sections.append(Section(str(task), tuple(rows)))
    return Table(
        caption="Exact values of the trained stochastic policies: undiscounted true score of an episode and share of "
        "weeks spent cheating, beside those of their own reference, and of the policy that is best for the reward "
        "less β times the divergence from that reference (soft dynamic programming). Means over seeds with "
        f"{stats.CONFIDENCE:.0%} bootstrap intervals; an adaptive β has no one optimum.",
        header=(
            "arm", "β", "n", "true score", "optimum’s", "reference’s", "cheating", "optimum’s cheating",
            "reference’s cheating",
        ),
        sections=tuple(sections),
    )  # fmt: skip


def _row(task: str, arm: str, values: pd.DataFrame) -> tuple[str, ...]:
    learned = values[values["kind"] == "learned"]
    coef, adaptive = float(learned["coef"].iloc[0]), bool(learned["adaptive"].iloc[0])
    optimum = values[(values["kind"] == "optimum") & (values["coef"] == coef) & (not adaptive)]
    reference = values[values["kind"] == "reference"]
    texts = [
        interval_text(stats.mean_interval(part[quantity].to_numpy(float), task, arm, kind, quantity), decimals)
        for quantity, decimals in (("true_score", 2), ("cheating", 3))
        for kind, part in (("learned", learned), ("optimum", optimum), ("reference", reference))
    ]
    shown = "–" if reference.empty else f"{coef:g}" + (" at first" if adaptive else "")
    return (arm, shown, str(len(learned)), *texts)


def series(records: Records, values: pd.DataFrame) -> dict[str, list[str]]:
    """Arms that differ in β alone, by what they have in common: the lines of a β curve. Adaptive ones are no part.

    In the study's order, those with several β first.
    """
    held = set(values.loc[(values["coef"] > 0) & ~values["adaptive"].astype(bool), "arm"])
    runs = records.runs[records.runs["arm"].isin(held)].drop_duplicates("arm")
    others = [name for name in _REFERENCE if name in runs and runs[name].nunique(dropna=False) > 1]
    found: dict[str, list[str]] = {}
    for _, row in runs.iterrows():
        said = [_said(name, row[name]) for name in others]
        found.setdefault(", ".join(filter(None, [str(row["name"]), *said])), []).append(str(row["arm"]))
    return dict(sorted(found.items(), key=lambda line: -len(line[1])))


def _said(factor: str, value: object) -> str:
    """A factor as part of a label: `k1`, `importance`, `seed 0`; "" where it is absent or off."""
    if value is None or value is False or value != value:
        return ""
    short = factor.rpartition(".")[2]
    return f"all held to seed {value:g}" if short == "seed" else short if value is True else str(value)
