"""The kernel's gradient steps against their readable form, which computes by torch: `bench.learner.update`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import plugin
from bench.arms.objectives import KINDS, surrogate
from bench.config.schema import Arm
from bench.kernel.engine import Engine, computing_with
from bench.learner.actor import Actor
from bench.learner.distributions import Categorical, DiagonalGaussian, Distribution
from bench.learner.minibatches import Samples
from bench.learner.network import Stack
from bench.learner.optimiser import Adam
from bench.learner.policy import ActorCritic
from bench.learner.rates import Rates
from bench.learner.train_state import TrainState
from bench.learner.update import Update
from tests.learner.probes import settings
from tests.learner.test_update import INPUTS, REPLICAS, SHAPES, WIDE, Noisy, ragged

HIDDEN = (32, 32)  # that of `SHAPES`


def networks(kind: type[Distribution], dtype: torch.dtype, *, shared: bool = False) -> ActorCritic:
    """Random networks, the same at every call."""
    generator = torch.Generator().manual_seed(5)
    actor = Stack(REPLICAS, INPUTS, HIDDEN, 2, extra=SHAPES[kind][1], dtype=dtype)
    critic = Stack(REPLICAS, *((HIDDEN[-1], ()) if shared else (INPUTS, (7, 5))), 1, dtype=dtype)
    for stack in (actor, critic):
        stack.flat.copy_(torch.randn(stack.flat.shape, generator=generator, dtype=torch.float64) / 3)
    states = [TrainState(stack, Adam(stack.flat)) for stack in (actor, critic)]
    return ActorCritic(Actor(actor, kind, None), *states, shared)


def rates(dtype: torch.dtype) -> Rates:
    """Others for every replica."""
    columns = [
        torch.tensor(row, dtype=dtype).unsqueeze(1) for row in ([0.1, 0.2, 0.3], [0.5, 1.0, 2.0], [0.3, 0.2, 0.1])
    ]
    return Rates(np.array([[1e-2], [2e-2], [3e-2]]), np.array([[3e-2], [2e-2], [1e-2]]), *columns)


def updated(
    engine: Engine, kind: type[Distribution], arm: Arm, dtype: torch.dtype, **changes: Any
) -> dict[str, Tensor]:
    """Weights, moments and diagnostics after an update."""
    samples = ragged(kind, torch.Generator().manual_seed(1))
    reference = (
        2 * torch.randn(REPLICAS, WIDE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ).sigmoid()
    if arm.reference.name != "none":
        samples = replace(samples, log_prob_reference=reference.log())
    cast = {
        name: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in vars(replace(samples, **changes)).items()
    }
    trained = networks(kind, dtype, shared=arm.shares_layers)
    assert trained.critic is not None
    streams = [np.random.default_rng(replica) for replica in range(REPLICAS)]
    with computing_with(engine):
        diagnostics = Update(trained, arm, rates(dtype), streams).run(Samples(**cast))
    found = {
        f"{name} {part}": value
        for name, state in (("actor", trained.actor), ("critic", trained.critic))
        for part, value in (("weights", state.stack.flat), ("first", state.adam.first), ("second", state.adam.second))
    }
    found["steps"] = torch.from_numpy(np.hstack([trained.actor.adam.steps, trained.critic.adam.steps]))
    return found | diagnostics


def check(kind: type[Distribution], arm: Arm, **changes: Any) -> None:
    """In double precision to 1e-12 for every number, in single precision to what rounding leaves of a few steps."""
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 3e-4)):
        ours, theirs = (updated(engine, kind, arm, dtype, **changes) for engine in ("kernel", "torch"))
        assert set(ours) == set(theirs)
        for name, value in theirs.items():
            torch.testing.assert_close(
                ours[name], value, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
            )


BOTH = ("update.epochs=2", "update.minibatches=3", "critic.epochs=2", "critic.minibatches=3", "baseline=critic")


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("update", KINDS)
def test_every_objective_and_distribution(update: str, kind: type[Distribution]) -> None:
    arm = settings("advantage=gae", "update=unclipped", *BOTH, "ent_coef=0.3")
    check(kind, replace(arm, update=replace(arm.update, name=update)))  # also those that are refused with several steps


@pytest.mark.parametrize(
    "overrides",
    [
        ["advantage_norm=none"],
        ["advantage_norm=mean_std"],
        ["max_grad_norm=0.01", "critic.max_grad_norm=0.01"],
        ["max_grad_norm=null", "critic.max_grad_norm=null"],
        ["grad_clip=joint", "max_grad_norm=0.3"],
        ["update.minibatches=1", "critic.minibatches=1"],
        ["update.epochs=3", "critic.epochs=1", "critic.minibatches=2"],
        ["update.minibatches=7", "critic.minibatches=7"],  # more than the 2 samples of one replica
        ["critic.vf_coef=0.1", "ent_coef=0"],
        ["learning_rate=1.0"],
        ["critic.network=shared", "grad_clip=joint", "ent_coef=0.3"],
        ["critic.network=shared", "grad_clip=joint", "max_grad_norm=null", "critic.vf_coef=0.1", "update=kl_penalty"],
        ["critic.network=shared", "grad_clip=joint", "update.minibatches=7", "critic.minibatches=7"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("kind", [Categorical, DiagonalGaussian, Noisy])
def test_every_setting_of_a_step(overrides: list[str], kind: type[Distribution]) -> None:
    check(kind, settings("advantage=gae", "update=clip", *BOTH, *overrides))


@pytest.mark.parametrize("estimate", ["k1", "k2", "k3"])
@pytest.mark.parametrize("importance", ["false", "true"])
@pytest.mark.parametrize("layers", [(), ("critic.network=shared", "grad_clip=joint")], ids=str)
def test_a_reference_in_the_loss(estimate: str, importance: str, layers: tuple[str, ...]) -> None:
    reference = (
        "reference=initial", "reference.placement=loss", f"reference.kind={estimate}",
        "reference.negative_control=true", f"reference.importance={importance}",
    )  # fmt: skip
    check(Categorical, settings("advantage=gae", "update=unclipped", *BOTH, *layers, *reference))


@pytest.mark.parametrize("overrides", [(), ("critic.network=shared", "grad_clip=joint")], ids=str)
def test_a_plug_in_computes_between_two_halves(overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """An objective of one's own that is PPO's takes the steps of `update=clip`."""

    def clip(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, **given: Any) -> Tensor:
        return surrogate("clip", log_prob, log_prob_old, advantage, clip_range=given["clip_range"])

    found: Callable[..., Any] = lambda *_: type("Found", (), {"function": staticmethod(clip)})  # noqa: E731
    monkeypatch.setattr(plugin, "load", found)
    arm = settings("advantage=gae", "update=clip", *BOTH, *overrides)
    own = replace(arm, update=replace(arm.update, name="plugin", plugin="mine:clip"))
    for kind in SHAPES:
        check(kind, own)
        ours, theirs = updated("kernel", kind, own, torch.float64), updated("kernel", kind, arm, torch.float64)
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-12, atol=1e-13)


def test_at_the_policy_that_acted_the_ratio_is_exactly_one() -> None:
    """So the first step of an update has a divergence of exactly zero, whatever the type."""
    for kind in (Categorical, DiagonalGaussian):
        trained = networks(kind, torch.float32)
        samples = ragged(kind, torch.Generator().manual_seed(1))
        observations, actions = samples.observations.float(), samples.actions
        actions = actions if kind is Categorical else actions.float()
        outputs, _ = trained.acting.outputs(observations)
        policy = kind(outputs, trained.actor.stack.extras)
        once = ("update.epochs=1", "update.minibatches=1", "critic.epochs=1", "critic.minibatches=1")
        arm = settings("advantage=gae", "update=clip", *BOTH, *once)
        found = updated("kernel", kind, arm, torch.float32, outputs=outputs, log_prob=policy.log_prob(actions),
                        extras=trained.actor.stack.extras.clone())  # fmt: skip
        assert found["train/approx_kl"].tolist() == [0.0] * REPLICAS
