"""Which cells a command line asks for."""

from dataclasses import dataclass
from typing import Any

import pytest

from bench.cells import grids
from bench.cells.grids import Illegal, plan, product, read_grids
from bench.errors import UserError

GRIDS = [
    {"baseline": ["none", "critic"], "gamma": [0.9, 1], "task": ["cartpole", "weekly_exam"]},
    {"preset": ["ppo", "grpo"], "task": ["cartpole", "weekly_exam"]},
]
PRESETS = {"ppo": "critic", "grpo": "grpo"}


@dataclass(frozen=True)
class FakeConfig:
    values: tuple[tuple[str, Any], ...]
    seeds: tuple[int, ...] = (0,)

    @property
    def arm_name(self) -> str:
        return str(dict(self.values)["preset"])


@pytest.fixture(autouse=True)
def hashes_of_fakes(monkeypatch):
    """A preset is a label, and no part of a cell."""
    monkeypatch.setattr(grids, "cell_hash", lambda config: str([each for each in config.values if each[0] != "preset"]))


class FakeComposed:
    """`preset` sets the baseline."""

    def __init__(self, choices):
        self.values = {"baseline": "none", "gamma": 0.99, "task": "cartpole", "preset": None} | choices
        if self.values["preset"]:
            self.values["baseline"] = PRESETS[self.values["preset"]]

    def value(self, key):
        return self.values[key]

    def parse(self):
        if self.values["gamma"] == 0:
            raise UserError("gamma=0: refused")
        return FakeConfig(tuple(sorted(self.values.items(), key=str)))


def cells(grids, **asked):
    planned = plan(
        grids,
        {key.replace("__", "."): value for key, value in asked.items()},
        FakeComposed,
        "quick",
        {"baseline", "task", "preset"},
    )
    return [dict(cell.config.values) for cell in planned]


def test_a_study_is_the_union_of_its_grids_products():
    assert len(cells(GRIDS)) == 2 * 2 * 2 + 2 * 2


def test_without_grids_the_product_of_what_is_asked():
    assert len(cells([], baseline=["none", "critic"], task=["cartpole", "weekly_exam"])) == 4
    assert len(cells([])) == 1


def test_a_swept_key_restricts():
    assert len(cells(GRIDS, task=["cartpole"])) == 6
    assert {cell["baseline"] for cell in cells(GRIDS, baseline=["critic"])} == {"critic"}


def test_a_restriction_looks_at_what_a_cell_ended_up_as():
    found = cells(GRIDS, baseline=["critic"])
    assert {cell["preset"] for cell in found} == {None, "ppo"}


def test_restrictions_add_up():
    assert cells(GRIDS, preset=["ppo"], task=["weekly_exam"]) == [
        {"baseline": "critic", "gamma": 0.99, "task": "weekly_exam", "preset": "ppo"}
    ]


def test_numbers_compare_as_numbers():
    assert {cell["gamma"] for cell in cells(GRIDS, gamma=[1.0])} == {1}


def test_any_other_key_applies_to_every_cell():
    assert all(cell["seeds"] == 3 for cell in cells(GRIDS, seeds=[3]))
    assert len(cells(GRIDS, ent_coef=[0, 0.01])) == 2 * len(cells(GRIDS))


def test_a_setting_that_a_grid_fixes_is_replaced():
    grids = [{"task": ["cartpole"], "budget": [40]}, {"task": ["weekly_exam"], "budget": [20]}]
    assert [cell["budget"] for cell in cells(grids)] == [40, 20]
    assert [(cell["task"], cell["budget"]) for cell in cells(grids, budget=[5])] == [
        ("cartpole", 5),
        ("weekly_exam", 5),
    ]


def test_an_option_that_a_grid_fixes_restricts():
    grids = [{"task": ["cartpole"]}, {"task": ["weekly_exam"]}]
    assert [cell["task"] for cell in cells(grids, task=["weekly_exam"])] == ["weekly_exam"]


def test_a_value_no_cell_has_is_refused_with_those_they_have():
    with pytest.raises(UserError) as refused:
        cells(GRIDS, task=["cartpol"])
    expected = "task=cartpol: no cell of study quick asked for has it; they have cartpole, weekly_exam; did you mean"
    assert str(refused.value).startswith(expected)


def test_one_of_several_values_missing_is_refused_too():
    with pytest.raises(UserError, match="preset=dr_grpo"):
        cells(GRIDS, preset=["ppo", "dr_grpo"])


def test_values_that_exclude_each_other_are_refused():
    with pytest.raises(UserError, match="baseline=none: no cell of study quick asked for has it; they have critic"):
        cells(GRIDS, preset=["ppo"], baseline=["none"])


def test_every_cell_is_validated():
    expected = r"^gamma=0: refused \(1 of 2 cells; illegal=skip leaves it out\)$"
    with pytest.raises(UserError, match=expected):
        cells([{"gamma": [1, 0]}])
    with pytest.raises(UserError, match=r"^gamma=0: refused$"):
        cells([{"gamma": [0], "task": ["cartpole", "weekly_exam"]}])  # all of them, so nothing would be left


def odd_gammas_only(config):
    if dict(config.values)["gamma"] % 2 == 0:
        raise UserError(f"gamma={dict(config.values)['gamma']}: even")


def test_all_illegal_cells_are_listed_at_once():
    wanted = [{"gamma": [0, 1, 2], "task": ["cartpole", "acrobot"], "baseline": ["none"]}]
    with pytest.raises(UserError) as refused:
        plan(wanted, {}, FakeComposed, "quick", {"baseline", "task"}, odd_gammas_only)
    assert str(refused.value).splitlines() == [
        "4 of 6 cells are not legal; illegal=skip leaves them out:",
        "  gamma=0 task=cartpole: gamma=0: refused",
        "  gamma=0 task=acrobot: gamma=0: refused",
        "  gamma=2 task=cartpole: gamma=2: even",
        "  gamma=2 task=acrobot: gamma=2: even",
    ]


def test_a_long_list_of_illegal_cells_is_cut():
    with pytest.raises(UserError) as refused:
        plan([{"gamma": [*range(0, 60, 2), 1]}], {}, FakeComposed, "quick", {}, odd_gammas_only)
    lines = str(refused.value).splitlines()
    assert lines[0].startswith("30 of 31 cells are not legal")
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == "  and 10 more"


def test_illegal_cells_can_be_left_out():
    skipped = []
    kept = plan([{"gamma": [0, 1, 2, 3]}], {}, FakeComposed, "quick", {}, odd_gammas_only, skipped)
    assert [dict(cell.config.values)["gamma"] for cell in kept] == [1, 3]
    assert skipped == [Illegal("gamma=0", "gamma=0: refused"), Illegal("gamma=2", "gamma=2: even")]
    with pytest.raises(UserError, match=r"^gamma=2: even$"):
        plan([{"gamma": [2]}], {}, FakeComposed, "quick", {}, odd_gammas_only, [])  # none would be left


@pytest.mark.parametrize("key", ["results", "dry_run", "study.name", "wandb", "retry", "illegal", "plugins"])
def test_what_makes_no_other_cell_has_one_value(key):
    for wanted, asked in (([{key: ["a", "b"]}], {}), ([], {key: ["a", "b"]})):
        with pytest.raises(UserError, match=f"^{key}=a,b: {key} is no factor; give one value$"):
            plan(wanted, asked, FakeComposed, "quick", {})


def test_counts_of_seeds_are_no_factor_in_a_grid_either():
    with pytest.raises(UserError, match=r"^seeds=3,5: seeds are no factor; write seeds=\[3,5\] for these$"):
        plan([{"seeds": [3, 5]}], {}, FakeComposed, "quick", {})


def test_more_cells_than_anybody_wants_are_refused_before_one_is_composed():
    many = {f"key{number}": list(range(100)) for number in range(4)}
    with pytest.raises(UserError, match=r"^study quick: 100000000 cells are asked for; at most 20000 are planned"):
        plan([many], {}, FakeComposed, "quick", {})


def test_the_same_cell_twice_is_one():
    assert len(cells([{"gamma": [0.9]}, {"gamma": [0.9, 1]}])) == 2


def test_grids_hold_values_or_lists_of_them():
    assert read_grids([{"a": 1, "b": [1, 2], "hidden": [[64, 64]]}], "s") == [
        {"a": [1], "b": [1, 2], "hidden": [[64, 64]]}
    ]
    for wrong in ({"a": 1}, ["a"], "a", [{"a": []}]):
        with pytest.raises(UserError, match="study s"):
            read_grids(wrong, "s")


def test_a_product_runs_through_the_last_key_first():
    assert [tuple(choices.values()) for choices in product({"a": [1, 2], "b": [3, 4]})] == [
        (1, 3),
        (1, 4),
        (2, 3),
        (2, 4),
    ]
