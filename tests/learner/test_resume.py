"""A run that was interrupted ends with the bits of one that was not."""

import dataclasses
import io

import numpy as np
import pytest
import torch

import bench
from bench.config.schema import Config
from bench.errors import DamagedCheckpoint
from bench.learner import train as training
from bench.learner.checkpoint import read_checkpoint
from bench.learner.train import TrainedBlock, train
from bench.observer import Save
from bench.paths import CONF
from tests.learner.probes import Corridor, Notes

SMALL = ("hidden=[32,32]", "evaluation.points=4", "evaluation.episodes=2", "critic.epochs=2")
EPISODES = ("collect=episodes", "group.groups=1", "group.size=4")
SEGMENTS = ("collect=segments", "collect.n_envs=2", "collect.n_steps=16")
SCALED = ("norm_obs=true", "norm_reward=true")
EXAM = ("task=weekly_exam", "gamma=0.99", "budget=384", "update.epochs=2")
HELD = ("exploration=sde", "exploration.log_std_init=-1")
PENDULUM = ("task=pendulum", "task.time_limit=20", "update.epochs=2")


class Saving(Notes):
    """Keeps, at every moment the run could be saved, what is saved and how many rows had been reported."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[tuple[bytes, int, int, int]] = []

    def on_checkpoint(self, save: Save | None) -> None:
        assert save is not None
        file = io.BytesIO()
        save(file)
        self.saved.append((file.getvalue(), len(self.updates), len(self.evaluations), len(self.exact_returns)))


def cell(*overrides: str, seeds: tuple[int, ...] = (0, 3, 8)) -> Config:
    return dataclasses.replace(bench.compose([*SMALL, *overrides]), seeds=seeds)


def run(config: Config, checkpoint: bytes | None = None) -> tuple[TrainedBlock, Saving]:
    notes = Saving()
    return train(config, config.seeds, notes, None if checkpoint is None else io.BytesIO(checkpoint)), notes


def final_state(block: TrainedBlock) -> bytes:
    file = io.BytesIO()
    torch.save(block.model.get_checkpoint(), file)
    return file.getvalue()


def check_every(config: Config, places: slice = slice(1, None, 3)) -> Saving:
    """Go on from the checkpoints at `places` of an uninterrupted run, each in a model of its own."""
    whole, all_notes = run(config)
    assert len(all_notes.saved) > 3
    for saved, updates, evaluations, exact_returns in all_notes.saved[places]:
        resumed, notes = run(config, saved)
        assert final_state(resumed) == final_state(whole)  # bytes: weights, moments, streams, environments, β
        np.testing.assert_equal(notes.updates, all_notes.updates[updates:])  # equal where NaN, too
        np.testing.assert_equal(notes.evaluations, all_notes.evaluations[evaluations:])
        assert notes.exact_returns == all_notes.exact_returns[exact_returns:]
        assert resumed.outcomes == whole.outcomes
        assert [content for content, *_ in notes.saved] == [content for content, *_ in all_notes.saved][
            -len(notes.saved) :
        ]
    return all_notes


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param((*EXAM, *EPISODES), id="discrete-episodes"),
        pytest.param((*EXAM, *SEGMENTS, *SCALED, "update=kl_penalty"), id="discrete-segments-scaled-kl"),
        pytest.param((*EXAM, *EPISODES, *SCALED, "update=kl_penalty"), id="discrete-episodes-scaled-kl"),
        pytest.param((*PENDULUM, *SEGMENTS, *SCALED, "budget=200", "update=kl_penalty"), id="box-segments-scaled-kl"),
        pytest.param((*PENDULUM, *EPISODES, *SCALED, "budget=500", "update=kl_penalty"), id="box-episodes-scaled-kl"),
        pytest.param((*PENDULUM, *SEGMENTS, "budget=200"), id="box-segments"),
        pytest.param((*PENDULUM, *EPISODES, "budget=400"), id="box-episodes"),
        pytest.param((*PENDULUM, *SEGMENTS, *HELD, "exploration.sample_freq=5", "budget=200"), id="box-segments-held"),
        pytest.param((*PENDULUM, *EPISODES, *HELD, "budget=400"), id="box-episodes-held"),
        pytest.param(
            (*EXAM, *EPISODES, "baseline=group", "advantage=monte_carlo", "group.scale=rank", "group.temperature=0.5"),
            id="comparisons",
        ),
        pytest.param(
            (*EXAM, *SEGMENTS, "critic.network=shared", "grad_clip=joint", "critic.epochs=2"), id="shared-layers"
        ),
        pytest.param((*EXAM, *EPISODES, "learning_rate_schedule=linear", "clip_range_schedule=linear"), id="schedules"),
    ],
)
def test_going_on_from_any_checkpoint_gives_the_same_bits(overrides: tuple[str, ...]) -> None:
    check_every(cell(*overrides))


@pytest.mark.slow
@pytest.mark.parametrize("group", ["baseline", "update", "reference"])
def test_every_option_goes_on(group: str) -> None:
    options = {path.stem for path in (CONF / group).glob("*.yaml")} - {"plugin", "checkpoint"}  # which need a file
    assert options
    for option in sorted(options):
        arm = (*EXAM, *EPISODES, "advantage=monte_carlo", "update.epochs=1", f"{group}={option}")
        budget = "budget=1500" if option == "vine" else "budget=384"  # its restored episodes are charged
        check_every(cell(*arm, budget, seeds=(0, 3)), slice(2, 3))


def test_replicas_that_ended_or_failed_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes of random length, so that replicas use up their budgets at different times; one fails on the way."""
    monkeypatch.setattr(training, "make", lambda _: Corridor(length=5, time_limit=None))
    monkeypatch.setattr(training.PolicyGradient, "batch_limit", lambda _: 20)
    original = training.PolicyGradient.train

    def train_badly(self: training.PolicyGradient) -> None:
        original(self)
        if self.updates[2] == 4 and 2 not in self.failures:
            self.policy.actor.stack.flat[2] = torch.nan
            self._retire_failed({"train/x_loss": torch.zeros(len(self.active))})

    monkeypatch.setattr(training.PolicyGradient, "train", train_badly)
    config = cell(*EPISODES, "task=weekly_exam", "gamma=0.9", "budget=150", seeds=(0, 1, 2, 3, 4, 5))
    notes = check_every(config)
    saved = [read_checkpoint(io.BytesIO(content))["model"] for content, *_ in notes.saved]
    assert len({tuple(state["active"]) for state in saved}) > 2
    assert list(saved[-1]["failures"]) == [2]
    assert any(state["watch"]["waiting"] for state in map(_state, notes.saved))


def _state(saved: tuple[bytes, int, int, int]) -> dict[str, dict[str, list[object]]]:
    return read_checkpoint(io.BytesIO(saved[0]))


def test_a_checkpoint_of_another_model_is_refused() -> None:
    _, notes = run(cell(*EXAM, *EPISODES))
    saved = notes.saved[1][0]
    for other in (cell(*EXAM, *EPISODES, seeds=(0, 1)), cell(*EXAM, *EPISODES, "hidden=[64,64]"), cell(*PENDULUM)):
        with pytest.raises(DamagedCheckpoint, match="not one of this model"):
            run(other, saved)


@pytest.mark.parametrize("damage", ["truncated", "empty", "noise"])
def test_a_damaged_checkpoint_is_refused(damage: str) -> None:
    _, notes = run(cell(*EXAM, *EPISODES))
    saved = notes.saved[1][0]
    content = {"truncated": saved[:-100], "empty": b"", "noise": np.random.default_rng(0).bytes(1000)}[damage]
    with pytest.raises(DamagedCheckpoint):
        run(cell(*EXAM, *EPISODES), content)


def test_a_foreign_environment_says_that_it_cannot_be_saved() -> None:
    answers: list[Save | None] = []

    class Asked(Notes):
        def on_checkpoint(self, save: Save | None) -> None:
            answers.append(save)

    config = cell("task=gym", "task.id=CartPole-v1", *EPISODES, "group.start=independent", "budget=2000", seeds=(0,))
    train(config, config.seeds, Asked())
    assert answers
    assert set(answers) == {None}
