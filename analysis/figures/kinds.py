"""Learning curves of each kind of episode, such as of each brother, where a task has several kinds."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from analysis.figures import panel
from analysis.figures.style import Look, Style, legend_below, legend_right, ragged
from analysis.load import Records
from bench.observer import EXACT, RETURN_OF

Panel = tuple[str, str, str]  # task, kind, facet


def kind_curves(
    records: Records, styles: Mapping[str, Style], facets: Mapping[str, Mapping[str, Sequence[str]]], look: Look
) -> Figure | None:
    """A row per task and facet, a column per kind; dotted, the random policy and the best. None without kinds.

    Args:
        records: with the arms that are shown.
        styles: as `analysis.figures.style.arm_styles` gives them.
        facets: by task and name of a facet, the arms in it.
        look: of the figure.
    """
    bounds = {str(block["task"]): block["kinds"] for block in records.blocks if block.get("kinds")}
    found = {task: _curves(records, task, list(bounds[task])) for task in facets if task in bounds}
    across = look.columns(3) - 1 or 1
    rows: list[list[Panel]] = []
    for task, table in found.items():
        for facet in facets[task] if len(table) else ():
            panels = [(task, kind, facet) for kind in bounds[task]]
            rows += [panels[start : start + across] for start in range(0, len(panels), across)]
    if not rows:
        return None
    figure, placed = ragged(rows, (4.6, 2.7) if across > 1 else (4.2, 3.6), look)
    for row in placed:
        for ax, (task, kind, facet) in row:
            chosen = {arm: styles[arm] for arm in facets[task][facet]}
            panel.learning_curve(found[task], chosen, ax=ax, value=kind)
            for bound in bounds[task][kind].values():
                ax.axhline(bound, color="0.5", linewidth=0.9, linestyle=":")
            ax.set_title(" · ".join(filter(None, [task, kind, facet])))
            ax.set_ylabel("return (stochastic)" if ax is row[0][0] else "")
        (legend_right if across > 1 else _under)(row[-1][0], chosen)
    return figure


def _under(ax: Axes, styles: Mapping[str, Style]) -> Legend:
    return legend_below(ax, styles, 2)


def _curves(records: Records, task: str, kinds: Sequence[str]) -> pd.DataFrame:
    """The evaluations of the runs of a task that are done, with a column for each kind: exact where that is known."""
    mine = records.evaluations[(records.evaluations["task"] == task) & (records.evaluations["mode"] == "stochastic")]
    done = records.runs[(records.runs["task"] == task) & (records.runs["status"] == "done")]
    known = set(zip(done["hash"], done["seed"], strict=True))
    mine = mine[[(digest, seed) in known for digest, seed in zip(mine["hash"].astype(str), mine["seed"], strict=True)]]
    names = {kind: (f"{EXACT}{RETURN_OF}{kind}", f"{RETURN_OF}{kind}") for kind in kinds}
    columns = {kind: [name for name in both if name in mine] for kind, both in names.items()}
    if not all(columns.values()):
        return mine.iloc[:0]
    values = {kind: mine[there].bfill(axis=1).iloc[:, 0] for kind, there in columns.items()}
    return mine[["task", "arm", "hash", "seed", "step", "mode"]].assign(**values)
