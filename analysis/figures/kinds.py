"""Learning curves of each kind of episode, such as of each brother, where a task has several kinds."""

import itertools
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import panel
from analysis.figures.style import Look, Style, legend_of_arms, legend_size, ragged, wrapped
from analysis.load import Records
from bench.observer import EXACT, RETURN_OF


def kind_curves(
    records: Records, styles: Mapping[str, Style], facets: Mapping[str, Mapping[str, Sequence[str]]], look: Look
) -> Figure | None:
    """A row for each task and facet, with a panel for each kind; None where no task has kinds.

    Dotted are the returns of the random policy and of the best.

    Args:
        records: with the arms that are shown.
        styles: as `analysis.figures.style.arm_styles` gives them.
        facets: by task and name of a facet, the arms in it.
        look: of the figure.
    """
    bounds = {str(block["task"]): block["kinds"] for block in records.blocks if block.get("kinds")}
    found = {task: _curves(records, task, list(bounds[task])) for task in facets if task in bounds}
    panels = [[(task, kind, facet) for kind in bounds[task]] for task in found for facet in facets[task]]
    rows = wrapped([row for row in panels if len(found[row[0][0]])], look.columns(2))
    if not rows:
        return None
    across, extra = legend_size(styles, 4.2 * max(map(len, rows)), look)
    figure, placed = ragged(rows, (4.2, 2.7), look, extra=extra)
    for ax, (task, kind, facet) in itertools.chain.from_iterable(placed):
        chosen = {arm: style for arm, style in styles.items() if arm in facets[task][facet]}
        panel.learning_curve(found[task], chosen, ax=ax, value=kind)
        for bound in bounds[task][kind].values():
            ax.axhline(bound, color="0.5", linewidth=0.9, linestyle=":")
        ax.set_title("\n".join(filter(None, [f"{task}: {kind}", facet])))
        ax.set_ylabel("return (stochastic)")
    legend_of_arms(figure, styles, across)
    return figure


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
