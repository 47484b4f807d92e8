"""What the reader chooses of a study: arms, tasks, names and panels; ranks and verdicts stay the study's."""

import pandas as pd
import pytest

from analysis import load
from analysis.cli import main
from analysis.report.choice import Choice
from bench.errors import UserError


@pytest.fixture
def records(results) -> load.Records:
    """Three arms on two tasks; the name of one has commas."""
    cells = [
        {"task": task, "arm": arm, "seeds": range(6), "k": k}
        for task in ("cartpole", "weekly_exam")
        for k, arm in enumerate(["critic-td0", "critic-gae", "ppo (a=1, b=2)"])
    ]
    results.study("s", cells, control="critic-gae")
    for k, cell in enumerate(cells):
        score = lambda seed, _, k=k: 60.0 + 2 * k + seed % 3 * 0.1 * k  # noqa: E731
        results.block("s", cell["task"], cell["arm"], range(6), score, k=cell["k"])
    return load.read(["s"], results.root)


def read(records: load.Records, arms: str = "", tasks: str = "", labels: str = "", panel: str = "") -> Choice:
    return Choice.read(records, arms, tasks, labels, panel)


@pytest.mark.parametrize(
    ("asked", "arms"),
    [
        ("", ["critic-td0", "critic-gae", "ppo (a=1, b=2)"]),
        ("critic-gae,critic-td0", ["critic-gae", "critic-td0"]),
        ("ppo (a=1, b=2),critic-td0", ["ppo (a=1, b=2)", "critic-td0"]),
        ("ppo*,critic-*", ["ppo (a=1, b=2)", "critic-td0", "critic-gae"]),
        ("*", ["critic-td0", "critic-gae", "ppo (a=1, b=2)"]),
    ],
)
def test_arms_are_chosen_in_the_order_asked_for(records, asked, arms):
    shown = read(records, arms=asked).records(records)
    assert list(shown.runs["arm"].unique()) == arms
    assert set(shown.curves["arm"]) == set(arms)


def test_tasks_are_chosen_and_arms_renamed(records):
    choice = read(records, tasks="weekly_exam", labels="critic-gae:GAE,ppo (a=1, b=2):PPO plain")
    shown = choice.records(records)
    assert list(shown.runs["task"].unique()) == ["weekly_exam"]
    assert list(shown.runs["arm"].unique()) == ["critic-td0", "GAE", "PPO plain"]
    assert shown.control == "GAE"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"arms": "critic-gea"}, "did you mean 'critic-gae'"),
        ({"tasks": "cartpol"}, "did you mean 'cartpole'"),
        ({"labels": "critic-gae"}, "critic-gae"),
        ({"labels": "nobody:X"}, "unknown arm 'nobody'"),
        ({"labels": "critic-gae:critic-td0"}, "two arms would be called critic-td0"),
        ({"panel": "baselin"}, "unknown panel 'baselin'"),
    ],
)
def test_what_a_study_has_not_is_refused(records, asked, message):
    with pytest.raises(UserError, match=message.replace("(", "[(]")):
        read(records, **asked)


@pytest.mark.usefixtures("svg_only")
def test_ranks_and_verdicts_stay_those_of_the_study(results, records, capsys):  # noqa: ARG001
    """The whole study's report is left as it is; of two arms alone intervals would be narrower."""
    root = results.root / "s"
    assert main(["study=s", f"results={results.root}"]) == 0
    whole = {path.name: path.read_bytes() for path in (root / "report").iterdir()}
    asked = ["arms=critic-gae,critic-td0", "labels=critic-td0:TD", "tasks=cartpole"]
    assert main(["study=s", f"results={results.root}", *asked]) == 0
    assert {path.name: path.read_bytes() for path in (root / "report").iterdir()} == whole
    tables = [pd.read_csv(root / folder / "comparison.csv") for folder in ("report", "report-chosen")]
    columns = ["mean", "mean_low", "mean_high", "n"]
    every, chosen = (table.set_index(["task", "arm", "mode"]) for table in tables)
    assert set(chosen.index.get_level_values("arm")) == {"critic-gae", "TD"}
    for task, arm, mode in chosen.index:
        own = every.loc[task, {"TD": "critic-td0"}.get(arm, arm), mode]
        assert chosen.loc[(task, arm, mode), columns].tolist() == own[columns].tolist()
    levels = [set(pd.read_csv(root / folder / "control.csv")["level"]) for folder in ("report", "report-chosen")]
    assert levels[0] == levels[1]
