"""One test for each confound that docs/design.md says the engine does not have, in its order and by its name."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

import bench
from bench.config.parse import to_mapping
from bench.config.schema import Config
from bench.learner import PolicyGradient
from bench.learner.evaluate import evaluate
from bench.learner.train import train
from bench.peers.library import peer_seed
from bench.seeding import PURPOSES, SEED_POOLS, seed_sequence
from bench.tasks.base import Task
from bench.tasks.weekly_exam import WeeklyExam
from tests.learner.probes import (
    ADVANTAGES,
    BASELINES,
    UPDATES,
    Alternating,
    Corridor,
    Matching,
    Notes,
    Wage,
    combined,
    learner,
    settings,
)

SMALL = (
    "task=weekly_exam", "gamma=0.5", "hidden=[32,32]", "critic.epochs=2", "critic.minibatches=1",
)  # fmt: skip


def arm(
    baseline: str,
    advantage: str,
    update: str = "vanilla",
    *overrides: str,
    collect: str = "episodes",
    minibatches: int = 1,
) -> Config:
    config = combined(baseline, advantage, update, collect, *SMALL, *overrides)
    if collect == "segments":
        config = dataclasses.replace(config, collect=dataclasses.replace(config.collect, n_envs=8, n_steps=4))
    if update != "vanilla":
        config = dataclasses.replace(
            config, update=dataclasses.replace(config.update, epochs=3, minibatches=minibatches)
        )
    return config


def weights(model: PolicyGradient) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}


def trained(task: Task, config: Config, updates: int, seeds: Sequence[int] = (0, 1, 2)) -> PolicyGradient:
    model = learner(task, config, seeds)
    return model.learn(updates * model.batch_limit())


class Batches(BaseCallback):
    """Keeps the batches a learner collects."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Any] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.batches.append(self.locals["rollout"])


def batches(task: Task, config: Config, updates: int, seeds: Sequence[int] = (0, 1)) -> list[Any]:
    model, kept = learner(task, config, seeds), Batches()
    model.learn(updates * model.batch_limit(), callback=kept)
    return kept.batches


@pytest.mark.parametrize("collect", ["episodes", "segments"])
@pytest.mark.parametrize("truncation", ["end", "bootstrap"])
def test_1_time_limits(collect: str, truncation: str) -> None:
    """V is that of the raw rewards, of the limited or of the continuing task, as `truncation` says.

    Here every step is cut, and the next one starts anew: a value zeroed at the cut would learn s for s / (1 + γ), and a
    trace over the reset would learn about a start that has nothing to do with it, so nearly s as well.
    """
    config = arm(
        "critic", "gae", "vanilla", f"truncation={truncation}", "critic.learning_rate=0.05",
        "learning_rate_schedule=linear", collect=collect,
    )  # fmt: skip
    model = trained(Alternating(), config, 80 if collect == "episodes" else 50)
    assert model.policy.critic is not None
    for shown in (-1.0, 1.0):
        with torch.no_grad():
            values = model.policy.critic.stack.forward(torch.full((3, 1, 2), shown))[0][:, 0, 0]
        expected = shown if truncation == "end" else shown / (1 + 0.5)
        # What a segment's end bootstraps from is only seen in the next one: V follows itself, a little late.
        np.testing.assert_allclose(values.numpy(), expected, atol=0.1)


def close(first: PolicyGradient, second: PolicyGradient) -> bool:
    return torch.allclose(weights(first)["actor_parameters"], weights(second)["actor_parameters"], atol=1e-4)


def test_2_hidden_baselines() -> None:
    """mean_std takes a constant out of the rewards, as a baseline does; rms leaves it in, and takes out the scale:
    an entropy bonus and a norm limit then mean the same for rewards of size 100 and of size 1."""

    def learned(norm: str, **payment: float) -> PolicyGradient:
        config = arm("none", "monte_carlo", "clip", f"advantage_norm={norm}", "ent_coef=0.1", "learning_rate=0.01")
        return trained(Wage(**payment), config, 10)

    assert close(learned("mean_std"), learned("mean_std", offset=3.0))
    assert not close(learned("rms"), learned("rms", offset=3.0))
    assert close(learned("rms"), learned("rms", scale=100.0))
    assert not close(learned("none"), learned("none", scale=100.0))
    assert bench.compose().advantage_norm == "rms"


def test_3_joint_clipping() -> None:
    """The critic's loss, however large, shrinks the actor's step under `joint` and leaves it alone under `separate`."""

    def learned(clip: str, vf_coef: float) -> PolicyGradient:
        config = settings(*SMALL, "update=vanilla", "critic.epochs=1", f"grad_clip={clip}", f"critic.vf_coef={vf_coef}")
        return trained(Matching(steps=4), config, 1)

    for clip, same in (("separate", True), ("joint", False)):
        actors = [weights(learned(clip, vf_coef))["actor_parameters"] for vf_coef in (0.5, 5000.0)]
        assert torch.equal(*actors) == same
    for limit in (1e-3, 1e3):  # one minibatch per update: clipped, or not
        model = trained(
            Matching(steps=4), arm("critic", "gae", "vanilla", f"max_grad_norm={limit}", "critic.epochs=1"), 1
        )
        for row in model.latest:
            for network in ("actor", "critic"):
                assert row[f"train/{network}_grad_clipped"] == float(row[f"train/{network}_grad_norm"] > limit)


def test_4_no_clip() -> None:
    """`unclipped` does not know ε, whatever its size; KL and the share beyond one reference ε are logged for all."""

    def learned(update: str, clip_range: float) -> PolicyGradient:
        return trained(Wage(), arm("none", "gae", update, f"clip_range={clip_range}", "learning_rate=0.3"), 1)

    tight, wide = learned("unclipped", 1e-6), learned("unclipped", 10.0)
    assert torch.equal(*(weights(model)["actor_parameters"] for model in (tight, wide)))
    clipped = learned("clip", 1e9)  # an ε beyond reach: the objective of `unclipped`
    assert close(tight, clipped)
    for name in ("train/clip_fraction", "train/final_clip_fraction", "train/kl", "train/approx_kl"):
        logged = [[row[name] for row in model.latest] for model in (tight, wide, clipped)]
        assert logged[0] == logged[1] == pytest.approx(logged[2], rel=1e-4)
        assert max(logged[0]) > 0, name
    for update in UPDATES:
        model = learned(update, 0.2)
        assert all(np.isfinite(row["train/kl"]) and 0 <= row["train/clip_fraction"] <= 1 for row in model.latest)


def test_5_data() -> None:
    """The first batches of all arms that collect in the same way are the same, bit for bit."""
    size = ("group.groups=1", "group.size=8", "group.start=independent")
    reference = None
    for baseline in BASELINES:
        for advantage in ADVANTAGES:
            (batch,) = batches(Matching(steps=4), arm(baseline, advantage, "vanilla", *size), 1)
            reference = reference or batch
            for name in ("observations", "actions", "rewards", "terminated", "truncated", "live"):
                assert torch.equal(getattr(batch, name), getattr(reference, name)), (baseline, advantage, name)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def test_5_choosing_a_baseline_chooses_nothing_else() -> None:
    """Beside its own name, an option of the baseline sets only what defines it."""
    defines = {
        "grpo": {"group.scale"},
        "rloo": {"group.leave_one_out"},
        "time_mean": {"group.groups", "group.size", "group.start"},
    }
    default = flat(to_mapping(bench.compose(["task=weekly_exam", "baseline=none"])))
    for baseline in BASELINES:
        chosen = flat(to_mapping(bench.compose(["task=weekly_exam", f"baseline={baseline}"])))
        changed = {key for key, value in chosen.items() if value != default[key]} - {"baseline.name"}
        assert changed == defines.get(baseline, set()), baseline


def test_6_the_critics_target() -> None:
    """After its first update the critic is the same in all arms that have one; with target `same` it is not."""

    def critics(target: str) -> list[torch.Tensor]:
        arms = [
            (b, a) for b in BASELINES for a in ADVANTAGES if b != "time_mean" and (b == "critic" or a != "monte_carlo")
        ]
        found = []
        for baseline, advantage in arms:
            model = trained(
                Corridor(length=6, time_limit=4), arm(baseline, advantage, "clip", f"critic.target={target}"), 1
            )
            found.append(weights(model)["critic_parameters"])
        return found

    first, *others = critics("gae")
    assert all(torch.equal(first, other) for other in others)
    first, *others = critics("same")
    assert not all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("collect", ["episodes", "segments"])
def test_7_evaluation(collect: str) -> None:
    """Evaluating, and predicting, at every step changes no training number."""
    task = Matching(steps=4)

    class Nosy(BaseCallback):
        model: PolicyGradient

        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:
            with torch.no_grad():
                evaluate(self.model.policy.acting(), task, [0, 1], self.model.updates[0], 3)
            self.model.predict(np.ones((6, 1), np.float32))

    config = arm("critic", "gae", "clip", collect=collect)
    left_alone, watched = learner(task, config, [0, 1]), learner(task, config, [0, 1])
    left_alone.learn(300)
    watched.learn(300, callback=Nosy())
    for name, tensor in weights(watched).items():
        assert torch.equal(tensor, weights(left_alone)[name])


def test_8_pairing() -> None:
    """With a policy that stands still, arms that differ in critic, target, update and epochs act the same for ever:
    no purpose draws from another's stream. With learning, still the same starts."""
    task = Matching(steps=4)
    arms = [
        ("none", "monte_carlo", "vanilla"), ("critic", "gae", "clip"), ("grpo", "td0", "unclipped"),
        ("batch_mean", "nstep", "kl_penalty"),
    ]  # fmt: skip
    still = [batches(task, arm(*factors, "learning_rate=1e-30", minibatches=2), 3) for factors in arms]
    for other in still[1:]:
        for mine, theirs in zip(still[0], other, strict=True):
            assert torch.equal(mine.actions, theirs.actions)
            assert torch.equal(mine.observations, theirs.observations)
    moving = [batches(task, arm(*factors, "learning_rate=0.05", minibatches=2), 3) for factors in arms]
    for other in moving[1:]:
        for mine, theirs in zip(moving[0], other, strict=True):
            assert torch.equal(mine.observations[:, :, 0], theirs.observations[:, :, 0])
        assert not torch.equal(moving[0][2].actions, other[2].actions)


def test_8_streams_of_seeds_and_purposes_are_apart() -> None:
    """No two seeds, purposes or pools share a stream, and a peer's integer seeds are nowhere near one another."""
    states = {
        tuple(seed_sequence(seed, purpose, *key, pool=pool).generate_state(2))
        for seed in range(20) for purpose in PURPOSES for pool in SEED_POOLS for key in ((), (0,), (1,))
    }  # fmt: skip
    assert len(states) == 20 * len(PURPOSES) * 3 * 3
    peers = np.sort([peer_seed(seed, pool) for seed in range(100) for pool in SEED_POOLS])
    assert np.diff(peers).min() > 1000, "Stable-Baselines3 seeds environment i with seed + i"


def test_9_group_size() -> None:
    """Groups and members can be set apart: at equal episodes per update, steps and updates are equal too; at equal
    steps, more episodes per update are fewer updates. Both numbers are recorded."""

    def used(groups: int, size: int) -> tuple[int, int, int]:
        config = bench.compose(
            ["task=weekly_exam", "baseline=group", "advantage=monte_carlo", "update=vanilla", "hidden=[32,32]",
             "budget=2048", "evaluation.points=1", "evaluation.episodes=1", "seeds=1",
             f"group.groups={groups}", f"group.size={size}"]
        )  # fmt: skip
        outcome = train(config, config.seeds, Notes()).outcomes[0]
        return config.n_envs, outcome.env_steps, outcome.updates

    assert used(4, 2) == used(2, 4) == used(1, 8) == (8, 2048, 2048 // (8 * 16))  # an exam year has 16 weeks
    assert used(1, 16) == (16, 2048, 2048 // (16 * 16))


def test_10_budgets() -> None:
    """A batch that might not fit is not started, in either collection; what is left is recorded, per seed."""
    for overrides, batch in (
        (("group.groups=1", "group.size=4"), 4 * 16),
        (("collect=segments", "collect.n_envs=2", "collect.n_steps=20"), 40),
    ):
        for budget in (5 * batch - 1, 5 * batch, 5 * batch + 1):
            config = bench.compose(
                ["task=weekly_exam", "update=vanilla", "hidden=[32,32]", f"budget={budget}", "evaluation.points=1",
                 "evaluation.episodes=1", "seeds=2", "critic.epochs=1", *overrides]
            )  # fmt: skip
            for outcome in train(config, config.seeds, Notes()).outcomes.values():
                assert outcome.env_steps == budget // batch * batch
                assert outcome.unused_budget == budget % batch
    # Where episodes differ in length the longest one counts, and no seed takes from another's budget.
    model = learner(Corridor(length=9, time_limit=8), arm("none", "monte_carlo"), range(6)).learn(500)
    assert len(set(model.env_steps)) > 1
    for steps in model.env_steps:
        assert 500 - 8 * 8 < steps <= 500


def test_the_exam_has_sixteen_weeks() -> None:
    """What two of the tests above count with."""
    assert WeeklyExam().horizon == 16
