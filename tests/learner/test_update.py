"""The steps of an update: their gradients against autograd, and how a batch is cut."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Independent, Normal, kl_divergence

from bench.arms.objectives import KINDS, surrogate
from bench.learner.actor import Actor
from bench.learner.distributions import Categorical, DiagonalGaussian, Distribution, StateDependentGaussian
from bench.learner.minibatches import Minibatches, Samples, normalised
from bench.learner.network import Stack
from bench.learner.rates import Rates
from bench.learner.update import actor_gradient, clip_gradients, critic_gradient
from tests.learner.probes import settings
from tests.learner.test_network import reference_outputs, reference_pass

REPLICAS, INPUTS, WIDE = 3, 4, 16
COUNTS = (16, 13, 2)  # live samples of each replica; the others are padding
FEATURES = 32  # of the networks' last hidden layer
Noisy = StateDependentGaussian.of(2)
SHAPES = {Categorical: (2, 0), DiagonalGaussian: (2, 2), Noisy: (2 + FEATURES, 2 * FEATURES)}  # outputs and extras
NO_RATES = np.zeros((REPLICAS, 1))
NONE = torch.zeros(REPLICAS, 1)


def random(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def ragged(kind: type[Distribution], generator: torch.Generator) -> Samples:
    """Random samples of another policy, in float64."""
    rows, extra = SHAPES[kind]
    outputs, extras = random(generator, REPLICAS, rows, WIDE), random(generator, REPLICAS, extra) / 2
    discrete = torch.randint(2, (REPLICAS, 1, WIDE), generator=generator)
    actions = discrete if kind is Categorical else random(generator, REPLICAS, 2, WIDE)
    count = torch.tensor(COUNTS, dtype=torch.float64).unsqueeze(1)
    present = torch.arange(WIDE) < count
    return Samples(
        observations=random(generator, REPLICAS, INPUTS, WIDE),
        outputs=outputs,
        extras=extras,
        actions=actions,
        log_prob=kind(outputs, extras).log_prob(actions),
        advantage=random(generator, REPLICAS, WIDE),
        target=random(generator, REPLICAS, WIDE),
        share=present / count,
        weight=present * torch.rand((REPLICAS, WIDE), generator=generator, dtype=torch.float64),
        count=count,
    )


def torchs(kind: type[Distribution], outputs: torch.Tensor, extras: torch.Tensor) -> torch.distributions.Distribution:
    if kind is Categorical:
        return TorchCategorical(logits=outputs.transpose(1, 2))
    if kind is DiagonalGaussian:
        return Independent(Normal(outputs.transpose(1, 2), extras.exp().unsqueeze(1).expand(-1, WIDE, -1)), 1)
    mean, features = outputs.transpose(1, 2).split([2, FEATURES], 2)
    variance = features.square() @ extras.exp().square().unflatten(1, (2, FEATURES)).transpose(1, 2)
    return Independent(Normal(mean, (variance + 1e-6).sqrt()), 1)


@pytest.mark.parametrize("update", KINDS)
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("ent_coef", [0.0, 0.3])
def test_the_actors_gradient_is_that_of_its_loss(update: str, kind: type[Distribution], ent_coef: float) -> None:
    """Networks one replica at a time, torch's own distributions and autograd, all the way from the weights."""
    generator = torch.Generator().manual_seed(1)
    samples, extra = ragged(kind, generator), SHAPES[kind][1]
    stack = Stack(REPLICAS, INPUTS, (32, 32), 2, extra=extra, dtype=torch.float64)
    stack.flat[:, : stack.used] = random(generator, REPLICAS, stack.used) / 3
    arm = settings("baseline=none", "advantage=gae", f"update={update}", f"ent_coef={ent_coef}")
    rates = Rates(NO_RATES, NO_RATES, torch.tensor([[0.1], [0.2], [0.3]]), torch.tensor([[0.5], [1.0], [2.0]]), NONE)
    seen = actor_gradient(Actor(stack, kind, None), samples, arm, rates)

    flat = stack.flat.clone().requires_grad_()
    outputs, features = reference_pass(stack, flat, samples.observations)
    if kind is Noisy:  # no gradient flows through the features
        outputs = torch.cat([outputs, features.detach()], 1)
    policy = torchs(kind, outputs, flat[:, stack.used - extra : stack.used])
    actions = samples.actions[:, 0] if kind is Categorical else samples.actions.transpose(1, 2)
    divergence = kl_divergence(torchs(kind, samples.outputs, samples.extras), policy)
    objective = surrogate(
        update, policy.log_prob(actions), samples.log_prob, samples.advantage,
        clip_range=rates.clip_range, kl_coef=rates.kl_coef, kl=divergence,
    )  # type: ignore[arg-type]  # fmt: skip
    loss = -(samples.weight * objective).sum() - ent_coef * (samples.share * policy.entropy()).sum()
    (expected,) = torch.autograd.grad(loss, flat)
    torch.testing.assert_close(stack.grad, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(seen["objective"], objective.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
@pytest.mark.parametrize("importance", [False, True])
def test_a_reference_in_the_loss_adds_the_gradient_of_its_estimate(kind: str, importance: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    samples = ragged(Categorical, generator)
    reference = (2 * random(generator, REPLICAS, WIDE)).sigmoid().log()
    stack = Stack(REPLICAS, INPUTS, (32, 32), 2, dtype=torch.float64)
    stack.flat[:, : stack.used] = random(generator, REPLICAS, stack.used) / 3
    beta = torch.tensor([[0.5], [1.0], [2.0]])
    arm = settings(
        "reference=initial", "reference.placement=loss", f"reference.kind={kind}", "reference.negative_control=true",
        f"reference.importance={importance}", "update=unclipped", "baseline=none",
    )  # fmt: skip
    held = replace(samples, log_prob_reference=reference)
    rates = Rates(NO_RATES, NO_RATES, NONE, NONE, beta)
    seen = actor_gradient(Actor(stack, Categorical, None), held, arm, rates)

    flat = stack.flat.clone().requires_grad_()
    policy = torchs(Categorical, reference_outputs(stack, flat, samples.observations), samples.extras)
    log_prob = policy.log_prob(samples.actions[:, 0])
    log_ratio = reference - log_prob
    estimate = {"k1": -log_ratio, "k2": log_ratio.square() / 2, "k3": log_ratio.exp() - 1 - log_ratio}[kind]
    ratio = (log_prob - samples.log_prob).exp()
    objective = ratio * samples.advantage - beta * estimate * (ratio.detach() if importance else 1)
    (expected,) = torch.autograd.grad(-(samples.weight * objective).sum(), flat)
    torch.testing.assert_close(stack.grad, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(seen["objective"], objective.detach(), rtol=1e-10, atol=1e-12)


def test_the_critics_gradient_is_that_of_its_loss() -> None:
    samples = ragged(Categorical, torch.Generator().manual_seed(1))
    stack = Stack(REPLICAS, INPUTS, (32, 32), 1, dtype=torch.float64)
    stack.flat[:, : stack.used] = random(torch.Generator().manual_seed(2), REPLICAS, stack.used) / 3
    arm = settings("critic.vf_coef=0.7")
    critic_gradient(stack, samples, arm, Rates(NO_RATES, NO_RATES, NONE, NONE, NONE))
    flat = stack.flat.clone().requires_grad_()
    assert samples.target is not None
    error = reference_outputs(stack, flat, samples.observations)[:, 0] - samples.target
    (expected,) = torch.autograd.grad(0.7 * (samples.share * error.square()).sum(), flat)
    torch.testing.assert_close(stack.grad, expected, rtol=1e-10, atol=1e-12)


def test_gradients_are_clipped_by_their_norm_over_both_networks() -> None:
    """Of 3 and 4, which make 5, a limit of 2.5 leaves half; without a limit, or below it, nothing changes."""
    stacks = [Stack(1, INPUTS, (32, 32), 2, dtype=torch.float64) for _ in range(2)]

    def clipped(limit: float | None) -> tuple[list[float], float]:
        for stack, norm in zip(stacks, (3.0, 4.0), strict=True):
            stack.grad.zero_()[:, 5] = norm
        norms, factor = clip_gradients(stacks, torch.tensor([math.inf if limit is None else limit]))
        assert [float(norm) for norm in norms] == [3.0, 4.0]
        return [float(stack.grad[0, 5]) for stack in stacks], float(factor)

    gradients, factor = clipped(2.5)
    assert gradients == pytest.approx([1.5, 2.0], rel=1e-6)
    assert factor == pytest.approx(0.5, rel=1e-6)
    assert clipped(5.1) == clipped(None) == ([3.0, 4.0], 1.0)


def test_what_stands_in_padded_columns_changes_no_bit() -> None:
    samples = ragged(Categorical, torch.Generator().manual_seed(1))
    padding = samples.share == 0
    other = replace(
        samples,
        observations=torch.where(padding.unsqueeze(1), 7.0, samples.observations),
        log_prob=torch.where(padding, -3.0, samples.log_prob),
        advantage=torch.where(padding, 100.0, samples.advantage),
    )
    stack = Stack(REPLICAS, INPUTS, (32, 32), 2, dtype=torch.float64)
    stack.flat[:, : stack.used] = random(torch.Generator().manual_seed(2), REPLICAS, stack.used)
    arm = settings("advantage_norm=mean_std", "update.epochs=2", "update.minibatches=1")
    gradients = []
    for batch in (samples, other):
        (minibatch,) = Minibatches(batch, 1, "mean_std").shuffled([])
        actor_gradient(
            Actor(stack, Categorical, None),
            minibatch,
            arm,
            Rates(NO_RATES, NO_RATES, torch.ones(1), torch.ones(1), NONE),
        )
        gradients.append(stack.grad.clone())
    assert torch.equal(*gradients)


@pytest.mark.parametrize("count", [2, 3])
def test_every_sample_is_in_one_minibatch_of_an_epoch(count: int) -> None:
    """Samples are told apart by their target; each replica's are shared out as evenly as they can be."""
    samples = ragged(Categorical, torch.Generator().manual_seed(1))
    numbers = torch.arange(WIDE, dtype=torch.float64).expand(REPLICAS, -1)
    streams = [np.random.default_rng(replica) for replica in range(REPLICAS)]
    minibatches = Minibatches(replace(samples, target=numbers), count, "none").shuffled(streams)
    assert len(minibatches) == count
    for replica, live in enumerate(COUNTS):
        given = [m.target[replica][m.share[replica] > 0].tolist() for m in minibatches if m.target is not None]
        assert sorted(number for part in given for number in part) == list(range(live))
        assert max(map(len, given)) - min(map(len, given)) <= 1
        for minibatch, part in zip(minibatches, given, strict=True):
            assert float(minibatch.share[replica].sum()) == pytest.approx(1.0 if part else 0.0)


def test_weights_within_a_minibatch_are_those_of_the_batch() -> None:
    """An epoch of one minibatch after the other sums to what the batch sums to, where shares are even."""
    samples = ragged(Categorical, torch.Generator().manual_seed(1))
    even = replace(samples, share=torch.full((REPLICAS, WIDE), 1 / WIDE), count=torch.full((REPLICAS, 1), float(WIDE)))
    streams = [np.random.default_rng(replica) for replica in range(REPLICAS)]
    minibatches = Minibatches(even, 2, "none").shuffled(streams)
    total = sum((m.weight * m.advantage).sum(1) for m in minibatches)
    torch.testing.assert_close(total / 2, (even.weight * even.advantage).sum(1))


def test_empty_minibatches_are_no_steps() -> None:
    """A replica of 2 samples and 4 minibatches: two of one sample each; its neighbour has four of four."""
    samples = ragged(Categorical, torch.Generator().manual_seed(1))
    cut = Minibatches(samples, 4, "none")
    assert cut.filled.tolist() == [[True] * 4, [True] * 4, [True, True, False, False]]


@pytest.mark.parametrize("kind", ["rms", "mean_std", "none"])
def test_normalising_equal_advantages(kind: str) -> None:
    """Of 7 equal numbers, whose single-precision sum is rounded, the mean is subtracted without a residue."""
    equal = torch.full((1, 7), 99.34)
    found = normalised(equal, torch.ones(1, 7) > 0, torch.full((1, 1), 7.0), kind)
    expected = {"rms": torch.ones(1, 7), "mean_std": torch.zeros(1, 7), "none": equal}[kind]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_a_single_sample_is_left_as_it_is_by_mean_std_as_in_sb3() -> None:
    one = torch.tensor([[3.0, 0.0]])
    found = normalised(one, torch.tensor([[True, False]]), torch.ones(1, 1), "mean_std")
    assert found.tolist() == [[3.0, 0.0]]


def test_normalising_nothing_gives_zeros() -> None:
    for kind in ("rms", "mean_std"):
        assert normalised(torch.zeros(1, 4), torch.zeros(1, 4) > 0, torch.zeros(1, 1), kind).tolist() == [[0.0] * 4]


def test_mean_std_by_hand() -> None:
    """1, 2, 3, 6: mean 3, deviations −2 −1 0 3, variance 14/3 with ddof 1; the padding counts for nothing."""
    given = torch.tensor([[1.0, 2.0, 3.0, 6.0, 50.0]])
    found = normalised(given, torch.arange(5).unsqueeze(0) < 4, torch.full((1, 1), 4.0), "mean_std")[:, :4]
    torch.testing.assert_close(found, torch.tensor([[-2.0, -1.0, 0.0, 3.0]]) / (14 / 3) ** 0.5)
