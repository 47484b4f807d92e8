"""One gradient step by the kernel against its readable form, number by number.

The readable form, `bench.learner.update` by torch, computes in double precision. Both begin with the same numbers,
which single precision holds exactly. So a difference is what the kernel's arithmetic leaves: at most `TOLERANCE`,
relative to the largest number of an array. All inputs are of order one, and the policy that acted is near the policy
that learns, as in training.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
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
from bench.learner.distributions import Categorical, DiagonalGaussian, Distribution, StateDependentGaussian
from bench.learner.minibatches import Samples
from bench.learner.network import Stack
from bench.learner.optimiser import Adam
from bench.learner.policy import ActorCritic
from bench.learner.rates import Rates
from bench.learner.train_state import TrainState
from bench.learner.update import Update
from tests.learner.probes import settings

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
COUNTS = (70, 3, 2, 1)  # samples of each replica; the others are padding
LONE = (1,) * 70
INPUTS, HIDDEN = 4, (32, 32)
RATE, RATES = 0.5, ((1.0, 2.0, 0.5, 0.25), (0.5, 1.0, 2.0, 0.25))  # learning rates: of actor and critic, per replica
NORMS, CLIPS, AGGREGATES = ("none", "rms", "mean_std"), ("none", "separate", "joint"), ("step", "episode")
AFTERWARDS = ("train/kl", "train/final_clip_fraction")
Kind = type[Distribution]
DISTRIBUTIONS: list[Kind] = [Categorical, DiagonalGaussian, StateDependentGaussian.of(2)]
Numbers = dict[str, Tensor]


class Problem:
    """Networks, their optimisers' moments, and a batch, all random, for replicas of so many samples."""

    def __init__(
        self,
        kind: Kind,
        counts: Sequence[int] = COUNTS,
        inputs: int = INPUTS,
        hidden: tuple[int, ...] = HIDDEN,
        outputs: int = 2,
    ) -> None:
        self.kind, self.counts, self.inputs, self.hidden = kind, counts, inputs, hidden
        self.generator = torch.Generator().manual_seed(7)
        self.replicas, self.width = len(counts), max(counts)
        self.outputs = outputs
        features = (inputs, *hidden)[-1]
        self.extra = {Categorical: 0, DiagonalGaussian: self.outputs}.get(kind, self.outputs * features)
        self.stacks = [self._stack(hidden, self.outputs, self.extra), self._stack((7, 5), 1)]
        self.moments = [
            (self._random(*stack.flat.shape), single(0.25 + self._random(*stack.flat.shape).square()))
            for stack in self.stacks
        ]
        with computing_with("torch"):
            self.samples = self._samples()

    def _random(self, *shape: int) -> Tensor:
        return single(torch.randn(shape, generator=self.generator, dtype=torch.float64))

    def _stack(self, hidden: tuple[int, ...], outputs: int, extra: int = 0) -> Stack:
        stack = Stack(self.replicas, self.inputs, hidden, outputs, extra=extra, dtype=torch.float64)
        for weights, (_, columns) in zip(stack.weights, stack.shapes, strict=True):
            weights.copy_(single(self._random(*weights.shape) / columns**0.5))
        stack.extras.copy_(single(self._random(self.replicas, extra) / 2))
        return stack

    def _samples(self) -> Samples:
        """Actions of a policy that differs from the networks' in outputs and in extras."""
        shape = (self.replicas, self.width)
        count = torch.tensor(self.counts, dtype=torch.float64).unsqueeze(1)
        share = (torch.arange(self.width) < count) / count
        observations = self._random(self.replicas, self.inputs, self.width)
        now, _ = Actor(self.stacks[0], self.kind, None).outputs(observations)
        outputs = single(now + self._random(*now.shape) / 4)
        extras = single(self.stacks[0].extras + self._random(self.replicas, self.extra) / 8)
        old = self.kind(outputs, extras)
        noise = self._random(self.replicas, max(1, self.extra), self.width)
        if self.kind is Categorical:
            noise = torch.rand(self.replicas, 1, self.width, generator=self.generator, dtype=torch.float64)
        actions = old.sample(noise)
        if self.kind is not Categorical:
            actions = single(actions)
        log_prob = single(old.log_prob(actions))
        return Samples(
            observations, outputs, extras, actions, log_prob,
            advantage=self._random(*shape), target=self._random(*shape), share=share, weight=share, count=count,
        )  # fmt: skip

    def weighted(self, aggregate: str) -> Samples:
        """Samples with the weights of means over steps, or over episodes, whose lengths are 1, 2, 3, …"""
        if aggregate == "step":
            return self.samples
        lengths = torch.cat([torch.full((n,), float(n)) for n in range(1, 13)])[: self.width].double()
        weight = (self.samples.share > 0) / lengths
        return replace(self.samples, weight=single(weight / weight.sum(1, keepdim=True)))

    def with_reference(self) -> Samples:
        """Samples with the log-probabilities of a policy that is near."""
        return replace(self.samples, log_prob_reference=single(self.samples.log_prob + self._random(*self.shape) / 2))

    @property
    def shape(self) -> tuple[int, int]:
        return self.replicas, self.width

    def step(
        self,
        engine: Engine,
        dtype: torch.dtype,
        arm: Arm,
        samples: Samples,
        *,
        rate: float = RATE,
        cold: bool = False,
        device: str = "cpu",
    ) -> Numbers:
        """All that an update leaves: gradients (as clipped), moments, weights and diagnostics, in double precision.

        What is measured of the policy that the step leads to is left out: it magnifies the rounding of the weights.
        """

        def column(*values: float) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device).repeat(self.replicas)[: self.replicas].unsqueeze(1)

        states = []
        for stack, (first, second) in zip(self.stacks, self.moments, strict=True):
            flat = stack.flat.to(device, dtype, copy=True)
            state = TrainState(stack.like(flat), Adam(flat))
            if not cold:
                state.adam.first.copy_(first), state.adam.second.copy_(second)
                state.adam.steps[:, 0] = np.arange(self.replicas) * 3
            states.append(state)
        actor, critic = (rate * column(*row).double().cpu().numpy() for row in RATES)
        rates = Rates(actor, critic, column(0.25, 0.125, 0.5), column(0.5, 1, 2), column(0.5, 0.25, 1))
        given = {
            name: value.to(device, dtype if value.is_floating_point() else value.dtype)
            for name, value in vars(samples).items()
            if value is not None
        }
        streams = [np.random.default_rng(replica) for replica in range(self.replicas)]
        networks = ActorCritic(Actor(states[0].stack, self.kind, None), *states)
        with computing_with(engine):
            found: Numbers = dict(Update(networks, arm, rates, streams).run(Samples(**given)))
        for name, state in zip(("actor", "critic"), states, strict=True):
            found |= {f"{name} gradient": state.stack.grad, f"{name} weights": state.stack.flat}
            found |= {f"{name} first": state.adam.first, f"{name} second": state.adam.second}
            found[f"{name} steps"] = torch.from_numpy(state.adam.steps)
        left_out = AFTERWARDS if rate > 0 else ()
        return {name: values.double().cpu() for name, values in found.items() if name not in left_out}


def single(values: Tensor) -> Tensor:
    """Round to what single precision holds."""
    return values.float().double()


@functools.cache
def problem(kind: Kind, counts: Sequence[int] = COUNTS) -> Problem:
    return Problem(kind, counts)


@functools.cache
def usual() -> Arm:
    """PPO's arm with one step of each network."""
    once = ("update.epochs=1", "update.minibatches=1", "critic.epochs=1", "critic.minibatches=1")
    return settings("advantage=gae", "update=clip", "baseline=critic", *once, "ent_coef=0.25", "critic.vf_coef=0.5")


def arm_of(
    objective: str, norm: Any = "rms", clip: str = "separate", critic: dict[str, Any] | None = None, **update: Any
) -> Arm:
    """PPO's arm with these parts, also where a configuration refuses an objective with several steps.

    Limits of gradients lie between the norms of the replicas, so that some are clipped and some are not.
    """
    arm = usual()
    limit, critic_limit = {"none": (None, None), "separate": (0.5, 2.0), "joint": (2.0, None)}[clip]
    return replace(
        arm,
        update=replace(arm.update, name=objective, **update),
        critic=replace(arm.critic, max_grad_norm=critic_limit, **critic or {}),
        advantage_norm=norm,
        grad_clip="joint" if clip == "joint" else "separate",
        max_grad_norm=limit,
    )


def error(name: str, found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest number that is expected.

    Diagnostics are means of numbers of order one, whose rounding remains where these cancel: relative to 1 at least.
    """
    assert found.shape == expected.shape
    assert bool(expected.isfinite().all()), name
    size = expected.abs().max().clamp(min=1.0 if name.startswith("train/") else 1e-300)
    return float((found - expected).abs().max() / size)


def check(found: Numbers, expected: Numbers, tolerance: float) -> None:
    assert set(found) == set(expected)
    for name, values in expected.items():
        difference = error(name, found[name], values)
        assert difference <= tolerance, f"{name}: {difference:.2g}, and {tolerance} is allowed"


def check_both(problem: Problem, arm: Arm, samples: Samples, condition: float = 1.0) -> Numbers:
    """Compare the kernel's step of both types with the readable one; return that.

    In single precision `condition` times as much is allowed.
    """
    expected = problem.step("torch", torch.float64, arm, samples)
    check(problem.step("kernel", torch.float64, arm, samples), expected, TOLERANCE[torch.float64])
    check(problem.step("kernel", torch.float32, arm, samples), expected, TOLERANCE[torch.float32] * condition)
    return expected


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
@pytest.mark.parametrize("objective", KINDS)
def test_every_objective_distribution_normalisation_clip_and_aggregation(objective: str, kind: Kind) -> None:
    clipped = {clip: set[float]() for clip in CLIPS}
    for norm, clip, aggregate in itertools.product(NORMS, CLIPS, AGGREGATES):
        found = check_both(problem(kind), arm_of(objective, norm, clip), problem(kind).weighted(aggregate))
        clipped[clip] |= {*found["train/actor_grad_clipped"].tolist(), *found["train/critic_grad_clipped"].tolist()}
    assert clipped == {"none": {0.0}, "separate": {0.0, 1.0}, "joint": {0.0, 1.0}}


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_every_estimate_of_a_reference(kind: Kind) -> None:
    samples = problem(kind).with_reference()
    for estimate, importance, objective in itertools.product(("k1", "k2", "k3"), (False, True), KINDS):
        arm = arm_of(objective)
        held: Any = {"name": "initial", "placement": "loss", "kind": estimate, "importance": importance}
        found = check_both(problem(kind), replace(arm, reference=replace(arm.reference, **held)), samples)
        without = problem(kind).step("torch", torch.float64, arm, problem(kind).samples)
        assert error("actor gradient", found["actor gradient"], without["actor gradient"]) > 0.01


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
@pytest.mark.parametrize("objective", KINDS)
def test_every_sample_alone(objective: str, kind: Kind) -> None:
    """With one sample for each of many replicas a mean is the sample's own, and so is the gradient by the outputs.

    The latter is the gradient by the head's biases. Without an advantage, what `kl_penalty` maximises is −β KL.
    """
    lone = problem(kind, LONE)
    arm = arm_of(objective, "none", "none")
    judged = check_both(lone, arm, lone.samples)["train/policy_gradient_loss"]
    assert len(judged.unique()) > 40  # values of their own
    nothing = replace(lone.samples, advantage=torch.zeros(lone.shape, dtype=torch.float64))
    divergence = check_both(lone, arm, nothing)["train/policy_gradient_loss"]
    assert bool((divergence > 0).all()) if objective == "kl_penalty" else bool((divergence == 0).all())


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("minibatches", [2, 7])
def test_every_minibatch_of_ragged_batches(minibatches: int, norm: str, kind: Kind) -> None:
    """At a learning rate of zero all steps begin with the same weights; the moments are sums over their gradients.

    The last minibatches of replicas with fewer samples are empty: no gradient is left of them to compare.
    """
    both, own = {"epochs": 2, "minibatches": minibatches}, {"epochs": 2, "minibatches": 1}
    for critic, clip, aggregate in ((both, "joint", "step"), (own, "separate", "episode"), (own, "none", "step")):
        arm, samples = arm_of("clip", norm, clip, critic, **both), problem(kind).weighted(aggregate)
        expected = problem(kind).step("torch", torch.float64, arm, samples, rate=0)
        steps = expected["actor steps"][:, 0] - 3 * torch.arange(len(COUNTS))
        assert steps.tolist() == [2.0 * min(minibatches, count) for count in COUNTS]
        for dtype, tolerance in TOLERANCE.items():
            found = problem(kind).step("kernel", dtype, arm, samples, rate=0)
            for numbers in (found, expected):
                numbers["actor gradient"][torch.tensor(COUNTS) < minibatches] = 0
                numbers["critic gradient"][torch.tensor(COUNTS) < arm.critic.minibatches] = 0
            check(found, expected, tolerance)


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
@pytest.mark.parametrize("counts", [(1,), (2,), (3,), (70,), (3, 70, 1)])
def test_every_size_of_a_batch(counts: tuple[int, ...], kind: Kind) -> None:
    own = Problem(kind, counts)
    for objective, norm in zip(KINDS, (*NORMS, "mean_std", "rms"), strict=True):
        check_both(own, arm_of(objective, norm, "joint"), own.samples)


@pytest.mark.parametrize("name", [Categorical, DiagonalGaussian, StateDependentGaussian])
@pytest.mark.parametrize("hidden", [(), (1,), (5,), (17, 3), (64, 33, 8)])
def test_every_shape_of_a_network(hidden: tuple[int, ...], name: Kind) -> None:
    """Widths that are no multiples of a vector's, with as many outputs and inputs.

    Six components, or the small variances of one feature, make log π large: here up to 20. Its rounding is the relative
    error of the ratio ρ, so of the slope and of the gradient, and grows with log π.
    """
    for outputs, inputs in ((1, 1), (3, 17), (6, 2)):
        kind = StateDependentGaussian.of(outputs) if name is StateDependentGaussian else name
        own = Problem(kind, (9, 2), inputs, hidden, outputs)
        condition = max(1.0, float(own.samples.log_prob.abs().max()))
        for objective in ("clip", "kl_penalty"):
            check_both(own, arm_of(objective), own.samples, condition)


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_adams_first_step(kind: Kind) -> None:
    """From moments of zero a step is −rate · g / (|g| + eps): a relative error of g counts, however small g is.

    So the step is computed anew, in double precision, from the gradient that the kernel found.
    """
    expected = problem(kind).step("torch", torch.float64, arm_of("clip"), problem(kind).samples, cold=True)
    for dtype, tolerance in TOLERANCE.items():
        found = problem(kind).step("kernel", dtype, arm_of("clip"), problem(kind).samples, cold=True)
        for name, stack, rates in zip(("actor", "critic"), problem(kind).stacks, RATES, strict=True):
            gradient = found[f"{name} gradient"]
            assert error(name, gradient, expected[f"{name} gradient"]) <= tolerance
            weights, adam = stack.flat.clone(), Adam(stack.flat)
            with computing_with("torch"):
                adam.step(weights, gradient, RATE * np.array(rates).reshape(-1, 1))
            for part, values in (("weights", weights), ("first", adam.first), ("second", adam.second)):
                assert error(name, found[f"{name} {part}"], values) <= tolerance, f"{name} {part} of {dtype}"


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
@pytest.mark.parametrize("norm", NORMS)
def test_what_a_plug_in_is_given(norm: str, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """log π of both policies and the normalised advantages of every sample, as in the readable form."""
    given: list[tuple[Tensor, ...]] = []

    def own(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, **options: Any) -> Tensor:
        given.append((log_prob.detach().clone(), log_prob_old.clone(), advantage.clone()))
        return surrogate("clip", log_prob, log_prob_old, advantage, clip_range=options["clip_range"])

    monkeypatch.setattr(plugin, "load", lambda *_: SimpleNamespace(function=own))
    check_both(problem(kind), arm_of("plugin", norm, plugin="mine:own"), problem(kind).samples)
    present = problem(kind).samples.share > 0
    expected, *found = given
    for values in found:
        tolerance = TOLERANCE[values[0].dtype]
        for name, one, other in zip(("log_prob", "log_prob_old", "advantage"), values, expected, strict=True):
            assert error(name, one[present].double(), other[present]) <= tolerance, f"{name} of {values[0].dtype}"
    assert [values[0].dtype for values in found] == [torch.float64, torch.float32]
