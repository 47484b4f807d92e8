"""Training a block: evaluation on a fixed grid, with the policy in force there, changing no training number."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from bench.learner import train as training
from bench.learner.actor import Actor
from bench.learner.diagnostics import explained_variance
from bench.learner.evaluate import Judged, evaluate
from bench.learner.train import TrainedBlock, train
from bench.tasks.base import Task
from tests.learner.probes import SEGMENTS, Corridor, Matching, Notes, actor, settings


@pytest.fixture(autouse=True)
def matching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks train in the small matching world, whatever task the configuration names."""
    monkeypatch.setattr(training, "make", lambda _: Matching(steps=4))


def block(*overrides: str, seeds: tuple[int, ...] = (0, 1)) -> tuple[TrainedBlock, Notes]:
    notes = Notes()
    config = settings(
        "task=weekly_exam",
        "gamma=0.9",
        "budget=320",
        "evaluation.points=4",
        "evaluation.episodes=3",
        "hidden=[32,32]",
        *overrides,
    )
    return train(dataclasses.replace(config, seeds=seeds), seeds, notes), notes


def test_evaluations_lie_on_the_grid_in_both_modes_for_every_seed() -> None:
    _, notes = block(*SEGMENTS)
    found = [(row["step"], row["seed"], row["mode"], row["episode"]) for row in notes.evaluations]
    expected = [
        (step, seed, mode, episode)
        for step in (0, 80, 160, 240, 320)
        for seed in (0, 1)
        for mode in ("deterministic", "stochastic")
        for episode in range(3)
    ]
    assert sorted(found) == sorted(expected)
    assert {row["length"] for row in notes.evaluations} == {4}
    assert all(0 <= row["return"] <= 4 for row in notes.evaluations)


@pytest.mark.parametrize("collect", ["segments", "episodes"])
def test_evaluating_more_often_changes_no_training_number(collect: str) -> None:
    overrides = SEGMENTS if collect == "segments" else ()
    rare, rare_notes = block(*overrides, "evaluation.points=1")
    often, often_notes = block(*overrides, "evaluation.points=20", "evaluation.episodes=7")
    assert torch.equal(rare.model.policy.actor.stack.flat, often.model.policy.actor.stack.flat)
    np.testing.assert_equal(rare_notes.updates, often_notes.updates)  # equal where NaN, too


def test_a_grid_step_is_judged_with_the_policy_it_was_taken_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 64 steps, grid 0, 80, 160, …: step 80 belongs to the second batch, taken after the first update."""
    judged: dict[int, torch.Tensor] = {}

    def spy(actor: Actor, _: Task, seeds: Sequence[int], places: Sequence[int], *__: int, **___: bool) -> list[Judged]:
        for place in places:
            chosen = [number for number, other in enumerate(places) if other == place]
            assert [seeds[number] for number in chosen] == [0, 1]
            judged[place] = actor.stack.flat[chosen].clone()
        return [Judged([{"seed": seed, "mode": "deterministic", "return": 0.0}], []) for seed in seeds]

    monkeypatch.setattr(training, "judge", spy)
    after: list[torch.Tensor] = []
    original = training.PolicyGradient.train

    def train_and_look(self: training.PolicyGradient) -> None:
        if not after:
            after.append(self.policy.actor.stack.flat.clone())
        original(self)
        after.append(self.policy.actor.stack.flat.clone())

    monkeypatch.setattr(training.PolicyGradient, "train", train_and_look)
    block(*SEGMENTS)
    updates_before = {0: 0, 1: 1, 2: 2, 3: 3, 4: 5}  # index on the grid → updates; 320 is reached after the fifth
    assert judged.keys() == updates_before.keys()
    for index, updates in updates_before.items():
        assert torch.equal(judged[index], after[updates])


def test_training_rows_count_per_seed() -> None:
    trained, notes = block(*SEGMENTS, "budget=330")
    assert [(row["seed"], row["step"], row["update"]) for row in notes.updates] == [
        (seed, 64 * update, update) for update in range(1, 6) for seed in (0, 1)
    ]
    for outcome in trained.outcomes.values():
        assert (outcome.env_steps, outcome.updates, outcome.unused_budget, outcome.status) == (320, 5, 10, "done")


DIAGNOSTICS = {
    "train/kl", "train/approx_kl", "train/clip_fraction", "train/final_clip_fraction", "train/entropy_loss",
    "train/actor_grad_norm", "train/actor_grad_clipped", "train/advantage_mean", "train/advantage_rms",
    "train/policy_gradient_loss", "rollout/live_share", "rollout/ep_rew_mean", "rollout/ep_len_mean",
    "rollout/action_0", "rollout/action_1",
}  # fmt: skip
CRITIC_DIAGNOSTICS = {
    "train/critic_grad_norm", "train/critic_grad_clipped", "train/value_loss", "train/explained_variance"
}  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("baseline=critic",), DIAGNOSTICS | CRITIC_DIAGNOSTICS),
        (("baseline=none", "advantage=td0"), DIAGNOSTICS | CRITIC_DIAGNOSTICS),
        (("baseline=none", "advantage=monte_carlo", "update=vanilla"), DIAGNOSTICS),
        (("baseline=grpo", "advantage=monte_carlo"), DIAGNOSTICS | {"train/dead_groups", "train/lone_survivors"}),
    ],
)
def test_every_arm_logs_what_it_has(overrides: tuple[str, ...], expected: set[str]) -> None:
    _, notes = block(*overrides)
    assert set(notes.updates[-1]) - {"seed", "step", "update"} == expected
    assert notes.updates[0]["train/kl"] > 0  # measured after the update: also one full-batch step moves the policy
    assert notes.updates[0]["rollout/live_share"] == 1.0


def test_parameters_are_counted_per_network() -> None:
    actor = (1 * 32 + 32) + (32 * 32 + 32) + (32 * 2 + 2)
    critic = (1 * 32 + 32) + (32 * 32 + 32) + (32 * 1 + 1)
    assert block()[0].parameters == {"actor": actor, "critic": critic}
    assert block("baseline=none", "advantage=monte_carlo")[0].parameters == {"actor": actor}


def test_evaluation_starts_and_noise_come_from_its_own_streams() -> None:
    policies = actor(3)
    first = evaluate(policies, Matching(steps=9), [0, 1, 2], 4, 5)
    assert first == evaluate(policies, Matching(steps=9), [0, 1, 2], 4, 5)
    assert first != evaluate(policies, Matching(steps=9), [0, 1, 2], 5, 5)
    alone = evaluate(policies.select([1]), Matching(steps=9), [1], 4, 5)
    assert alone == [row for row in first if row["seed"] == 1]


def test_evaluation_waits_for_the_longest_episode() -> None:
    rows = evaluate(actor(1), Corridor(length=5, time_limit=None), [0], 0, 10)
    for row in rows:  # a start at s gives 5 − s steps and the return Σ_{s<k≤5} k
        length = int(row["length"])
        assert row["return"] == sum(range(6 - length, 6))
    assert len({row["length"] for row in rows}) > 1


@pytest.mark.slow
@pytest.mark.parametrize("baseline", ["none", "batch_mean", "time_mean", "critic", "group", "grpo", "rloo"])
@pytest.mark.parametrize("advantage", ["td0", "nstep", "gae", "monte_carlo"])
@pytest.mark.parametrize("update", ["vanilla", "unclipped", "clip", "clip_without_min", "kl_penalty"])
def test_every_combination_learns_to_match(baseline: str, advantage: str, update: str) -> None:
    """Four matches of four: in this world each step's reward depends on its own action only, so every arm must."""
    epochs = () if update == "vanilla" else ("update.epochs=4",)
    batch = (
        "group.size=16" if baseline == "time_mean" else "group.groups=4",
        "budget=5120",
        "evaluation.points=1",
        "gamma=0.5",
        "critic.epochs=4",
    )
    rate = "learning_rate=0.05" if update == "vanilla" else "learning_rate=0.01"
    _, notes = block(f"baseline={baseline}", f"advantage={advantage}", f"update={update}", rate, *batch, *epochs)
    final = [r["return"] for r in notes.evaluations if r["step"] == 5120 and r["mode"] == "deterministic"]
    assert np.mean(final) > 3.9


def test_explained_variance_does_not_cancel_where_values_are_large_and_nearly_equal() -> None:
    noise = torch.randn(2, 32, 2, 8, generator=torch.Generator().manual_seed(0))
    targets = 50 + 1e-3 * noise[0]
    values = targets + 1e-3 * noise[1]
    found = explained_variance(values, targets, torch.ones_like(targets, dtype=torch.bool))
    for replica in (0, 1):
        y, error = targets[:, replica].double().numpy(), (targets - values)[:, replica].double().numpy()
        assert float(found[replica]) == pytest.approx(1 - np.var(error) / np.var(y), abs=1e-4)
