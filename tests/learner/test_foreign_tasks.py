"""Any other Gymnasium id trains, evaluates and becomes a stock model; what needs its state is refused beforehand."""

import functools
import itertools
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import bench
from bench.config.parse import parse, to_mapping
from bench.config.schema import Config
from bench.errors import RunWarning, UserError
from bench.execution.checks import check
from bench.learner.train import train
from bench.observer import Save
from bench.tasks.registry import gymnasium_env, make
from tests.learner.probes import Notes
from tests.tasks.zoo import TRAPS, ZOO, Sound, Trap, first_resets, registered


class ForeignNotes(Notes):
    """There is no checkpoint of an environment whose state is out of reach."""

    def on_checkpoint(self, save: Save | None) -> None:
        assert save is None


SMALL = (
    "hidden=[32,32]", "update.epochs=2", "critic.epochs=2", "evaluation.points=1", "evaluation.episodes=2", "seeds=2",
    "task.time_limit=20", "group.groups=1", "group.size=4", "budget=160",
)  # fmt: skip
IDS = {"Acrobot-v1": "Discrete", "Pendulum-v1": "Box"}


@pytest.mark.parametrize("collect", ["episodes", "segments"])
@pytest.mark.parametrize("id", IDS)
def test_a_foreign_id_trains(id: str, collect: str) -> None:
    """Two batches of 4 × 20 steps, evaluations of its own, finite losses and weights that moved."""
    how = ("group.start=independent",) if collect == "episodes" else ("collect.n_envs=4", "collect.n_steps=20")
    config = bench.compose(["task=gym", f"task.id={id}", f"collect={collect}", *SMALL, *how])
    notes = ForeignNotes()
    trained = train(config, config.seeds, notes)
    assert {type(trained.model.action_space).__name__} == {IDS[id]}
    for outcome in trained.outcomes.values():
        assert (outcome.status, outcome.env_steps, outcome.updates) == ("done", 160, 2)
    assert {row["length"] for row in notes.evaluations} == {20}
    assert len(notes.evaluations) == 2 * 2 * 2 * 2  # grid steps, seeds, modes, episodes
    for row in notes.updates:
        assert row["train/kl"] > 0
        assert np.isfinite(row["train/value_loss"])
    stock = trained.model.replica(1)
    assert stock.observation_space == trained.model.observation_space


@pytest.mark.slow
@pytest.mark.parametrize("id", IDS)
def test_a_foreign_id_gives_the_same_bits_again(id: str) -> None:
    config = bench.compose(["task=gym", f"task.id={id}", "group.start=independent", *SMALL])
    notes = [ForeignNotes(), ForeignNotes()]
    for one in notes:
        train(config, config.seeds, one)
    assert notes[0].evaluations == notes[1].evaluations
    np.testing.assert_equal(notes[0].updates, notes[1].updates)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "group.start=shared with task=gym: its states cannot be copied; use group.start=independent"),
        (("baseline=group",), "group.start=shared with task=gym"),
        (("baseline=vine", "group.start=independent"), "baseline=vine with task=gym: its states cannot be restored"),
    ],
)
def test_what_needs_its_state_is_refused_before_anything_runs(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as refused:
        bench.compose(["task=gym", "task.id=Acrobot-v1", *overrides, "budget=1000000"])
    assert message in str(refused.value)


@pytest.mark.parametrize("overrides", [("collect=segments",), ("baseline=time_mean",), ("group.start=independent",)])
def test_what_does_not_need_it_is_not_refused(overrides: tuple[str, ...]) -> None:
    assert bench.compose(["task=gym", "task.id=Acrobot-v1", *overrides]).task.name == "gym"


def tiny(collect: str, id: str, *more: str) -> Config:
    """A cell of two seeds and two batches on an id; composed once, since only the id differs."""
    config = parse(dict(_tiny(collect, *more)))
    return replace(config, task=replace(config.task, knobs={"id": id}, time_limit=None))


@functools.cache
def _tiny(collect: str, *more: str) -> dict[str, Any]:
    sizes = {
        "segments": ("collect.n_envs=2", "collect.n_steps=16"),
        "episodes": ("group.start=independent", "group.groups=1", "group.size=2", "task.time_limit=6"),
    }
    return to_mapping(
        bench.compose(
            ["task=gym", f"collect={collect}", *sizes[collect], "hidden=[8]", "update.epochs=1", "critic.epochs=1",
             "update.minibatches=1", "critic.minibatches=1", "evaluation.points=1", "evaluation.episodes=1", "seeds=2",
             "budget=64", *more]
        )
    )  # fmt: skip


ANIMALS = [
    pytest.param(name, collect, id=f"{name}-{collect}")
    for name, (_, outcome) in ZOO.items()
    for collect in (("segments",) if outcome.refused else ("segments", "episodes"))
]


@pytest.mark.parametrize(("name", "collect"), ANIMALS)
def test_what_becomes_of_an_odd_environment(name: str, collect: str) -> None:
    """The real path: what is asked before anything trains, then a tiny training with its evaluations."""
    env, outcome = ZOO[name]
    notes = ForeignNotes()
    with registered(env) as id, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = tiny(collect, id)
        if outcome.refused is not None:
            with pytest.raises(UserError) as refused:
                check(config)
            assert outcome.refused in str(refused.value)
            assert f"task.id={id}" in str(refused.value)
            assert "\n" not in str(refused.value)
            return
        check(config)
        trained = train(config, config.seeds, notes)
    told = [str(warning.message) for warning in caught if issubclass(warning.category, RunWarning)]
    assert [outcome.warned in line for line in told] == [True] if outcome.warned else not told
    for found in trained.outcomes.values():
        if outcome.fails is None:
            assert (found.status, found.cause) == ("done", None)
            assert found.updates >= 2
        else:
            assert found.status == "failed"
            assert f"task.id={id}: {outcome.fails}" in str(found.cause)
    assert {row["seed"] for row in notes.evaluations} == (set() if outcome.fails else {0, 1})


PLACES = {"training": (), "evaluation": (1, 0)}  # keys of the stream that an episode is reset from


@pytest.mark.parametrize("collect", ["segments", "episodes"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("trap", TRAPS)
def test_only_the_seed_that_meets_it_fails_and_says_why(
    monkeypatch: pytest.MonkeyPatch, trap: str, place: str, collect: str
) -> None:
    does, cause = TRAPS[trap]
    monkeypatch.setattr(Trap, "trap", staticmethod(does))
    notes = [ForeignNotes(), ForeignNotes()]
    with registered(Trap) as id:
        config = tiny(collect, id)
        check(config)
        unharmed = train(config, config.seeds, notes[0])
        monkeypatch.setattr(Trap, "seeds", first_resets(1, *PLACES[place]))
        trained = train(config, config.seeds, notes[1])
    assert trained.outcomes[0] == unharmed.outcomes[0]
    assert trained.outcomes[0].status == "done"
    assert trained.outcomes[1].status == "failed"
    assert trained.outcomes[1].cause is not None
    assert cause in trained.outcomes[1].cause
    assert trained.outcomes[1].cause.startswith(f"task.id={id}: ")
    assert trained.outcomes[1].cause.endswith(f" at step 2 of an episode in {place}")
    for kept in ("evaluations", "updates"):
        before, after = ([row for row in getattr(one, kept) if row["seed"] == 0] for one in notes)
        np.testing.assert_equal(after, before)
    assert all(np.isfinite(row["return"]) for row in notes[1].evaluations)
    judged = {row["step"] for row in notes[1].evaluations if row["seed"] == 1}
    assert judged == (set() if place == "training" else {0})


@pytest.mark.parametrize("collect", ["segments", "episodes"])
def test_no_row_is_left_of_a_batch_with_a_fault(collect: str) -> None:
    notes = ForeignNotes()
    with registered(ZOO["pays nan"][0]) as id:
        trained = train(tiny(collect, id), [0, 1], notes)
    assert notes.updates == []
    assert {outcome.updates for outcome in trained.outcomes.values()} == {0}


class Dealer(Sound):
    """It deals 0, 1, 2, … in turn, one card an episode, and remembers which were played."""

    made: ClassVar[list["Dealer"]] = []
    observation_space = spaces.Box(0, 1, (2,))

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.card, self.played = -1, list[int]()
        self.made.append(self)

    def reset(self, **keywords: Any) -> Any:
        self.card += 1
        return super().reset(**keywords)

    def step(self, action: Any) -> Any:
        if self.card not in self.played:
            self.played.append(self.card)
        assert self.steps < self.length, "an episode that has ended is stepped"
        return super().step(action)


@pytest.mark.parametrize("collect", ["segments", "episodes"])
def test_each_episode_is_reset_once_and_nothing_is_stepped_that_waits(collect: str) -> None:
    Dealer.made.clear()
    with registered(Dealer) as id:
        train(tiny(collect, id), [0, 1], ForeignNotes())
    used = [dealer for dealer in Dealer.made if dealer.played]
    assert len(used) == 2 * 2 + 2 * 4  # two seeds: of training two each, of two evaluations two each
    for dealer in used:
        assert dealer.played == list(range(len(dealer.played)))
        assert dealer.card - dealer.played[-1] <= (collect == "segments")  # the last may just have been dealt
    assert sum(len(dealer.played) > 2 for dealer in used) == 4


def test_an_environment_without_a_limit_is_asked_for_one() -> None:
    with registered(Sound, limit=None) as id, pytest.raises(UserError, match=f"task.id={id}: .*give task.time_limit"):
        bench.compose(["task=gym", f"task.id={id}", "collect=segments"])


NUMBERS = itertools.count()
MODULE = """
import gymnasium
from tests.tasks.zoo import Sound

gymnasium.register("Mine-v0", entry_point=Sound, max_episode_steps=9)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the current folder that registers an id."""
    name = f"my_envs_{next(NUMBERS)}"  # what one test has named may be imported by the next
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield name
    sys.path[:] = before
    sys.modules.pop(name, None)
    gymnasium.registry.pop("Mine-v0", None)


def test_an_id_may_name_the_module_that_registers_it(module: str) -> None:
    with pytest.raises(UserError, match="unknown Gymnasium id 'Mine-v0'"):
        bench.compose(["task=gym", "task.id=Mine-v0", "collect=segments"])
    config = bench.compose(["task=gym", f"task.id={module}:Mine-v0", "collect=segments"])
    assert config.task.knobs["id"] == f"{module}:Mine-v0"
    task = make(config.task)
    assert task.time_limit == 9
    assert gymnasium_env(task).reset(seed=0)[0].shape == (2,)


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("no_such_module_here:Mine-v0", "cannot import 'no_such_module_here' from this folder or Python's path"),
        ("tests.tasks.zoo:Mine-v0", "'tests.tasks.zoo' registers no Gymnasium id 'Mine-v0'"),
    ],
)
def test_a_module_that_registers_nothing_of_the_kind_is_refused(id: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        bench.compose(["task=gym", f"task.id={id}", "collect=segments"])
    assert message in str(refused.value)


def test_a_record_imports_no_module(module: str) -> None:
    config = tiny("segments", f"{module}:Mine-v0")
    with pytest.raises(UserError, match=f"if you trust it, add plugins={module}"):
        parse(to_mapping(config))
    assert module not in sys.modules
