"""The figure of the front page: what is subtracted, and what it is subtracted from, in two panels of three lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.panel import learning_curve
from analysis.figures.style import Look, arm_styles, grid, house_style, legend_below
from analysis.load import Records

MODE = "stochastic"
SIZE = (3.6, 2.4)  # of a panel, in inches
LEGEND = 0.5  # inches
SPAN = (0.0, 500.0)  # of CartPole's returns


@dataclass(frozen=True)
class Panel:
    """A panel: of which study and task, what it asks, and by label the factors that single an arm out."""

    study: str
    task: str
    title: str
    arms: Mapping[str, Mapping[str, str]]


_OWN = {"baseline": "critic", "update": "clip", "critic.target": "same"}
PANELS: Sequence[Panel] = (
    Panel(
        "baselines",
        "cartpole",
        "Full return minus which baseline?",
        {
            "none": {"name": "none-monte_carlo-clip"},
            "a critic": {"name": "critic-monte_carlo-clip"},
            "a group's mean": {"name": "group-monte_carlo-clip"},
        },
    ),
    Panel(
        "estimators",
        "cartpole",
        "Which estimate of the return minus a critic?",
        {
            "TD(0)": {**_OWN, "advantage": "td0"},
            "GAE": {"baseline": "critic", "update": "clip", "advantage": "gae"},
            "Monte Carlo": {**_OWN, "advantage": "monte_carlo"},
        },
    ),
)


def front(studies: Mapping[str, Records], panels: Sequence[Panel] = PANELS) -> Figure | None:
    """The figure from the records of its studies; None where one of them, or an arm, is not there."""
    found = [_curves(studies[each.study], each) for each in panels if each.study in studies]
    tables = [table for table in found if table is not None]
    if len(tables) < len(panels):
        return None
    labels = [label for each in panels for label in each.arms]
    styles = arm_styles(pd.DataFrame({"arm": labels}))
    look = Look()
    with house_style(look):
        figure, axes = grid(1, len(panels), SIZE, look, LEGEND)
        for ax, each, table in zip(axes[0], panels, tables, strict=True):
            own = {label: styles[label] for label in each.arms}
            learning_curve(table, own, ax=ax)
            ax.set_title(each.title, loc="left")
            ax.set_ylabel("mean return")
            ax.set_ylim(*SPAN)
            legend_below(ax, own, len(own))
    return figure


def finals(studies: Mapping[str, Records], panels: Sequence[Panel] = PANELS) -> list[str]:
    """What each panel's arms end at, in words: `none 292.6, a critic 428.0`; a panel whose arms are not there is ""."""
    found = []
    for each in panels:
        runs = {label: _cell(studies[each.study], each, label) for label in each.arms} if each.study in studies else {}
        means = {label: mine[f"final_{MODE}"].astype(float).mean() for label, mine in runs.items() if mine is not None}
        found.append(", ".join(f"{label} {mean:.0f}" for label, mean in means.items()))
    return found


def _cell(records: Records, panel: Panel, label: str) -> pd.DataFrame | None:
    """The runs of one of a panel's arms; None where it is not there, or several fit."""
    cells = records.runs[records.runs["task"] == panel.task]
    for factor, level in panel.arms[label].items():
        cells = cells[cells[factor] == level] if factor in cells else cells[:0]
    return cells if cells["hash"].nunique() == 1 else None


def _curves(records: Records, panel: Panel) -> pd.DataFrame | None:
    """The curves of a panel's arms under their labels; None where one is not there, or several fit."""
    found = []
    for label in panel.arms:
        cells = _cell(records, panel, label)
        if cells is None:
            return None
        curves = records.curves
        mine = curves[(curves["hash"] == cells["hash"].iloc[0]) & (curves["mode"] == MODE)]
        found.append(mine[mine["task"] == panel.task].assign(arm=label))
    together: pd.DataFrame = pd.concat(found, ignore_index=True)
    return together
