"""Any other Gymnasium id trains, evaluates and becomes a stock model; what needs its state is refused beforehand."""

import numpy as np
import pytest

import bench
from bench.errors import UserError
from bench.learner.train import train
from bench.observer import Save
from tests.learner.probes import Notes


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
