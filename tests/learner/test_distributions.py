"""Action distributions against torch's own and closed forms."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import StateDependentNoiseDistribution

from bench.errors import UserError
from bench.learner.distributions import (
    Categorical,
    DiagonalGaussian,
    Distribution,
    StateDependentGaussian,
    distribution_for,
    env_actions,
)

NOTHING = torch.zeros(1, 0)


def test_actions_follow_the_policy() -> None:
    """χ² of 20,000 sampled actions against the probabilities; the bound is its 99.9 % point with 2 degrees."""
    logits = torch.tensor([0.3, -1.0, 1.2]).view(1, 3, 1).expand(1, 3, 20_000)
    noise = torch.from_numpy(Categorical.draw(np.random.default_rng(0), (1, 1, 20_000)))
    counts = torch.bincount(Categorical(logits, NOTHING).sample(noise).flatten(), minlength=3)
    expected = logits[0, :, 0].softmax(0) * 20_000
    assert float(((counts - expected) ** 2 / expected).sum()) < 13.8


def test_categorical_by_hand() -> None:
    even = Categorical(torch.zeros(1, 2, 1), NOTHING)
    uneven = Categorical(torch.tensor([3.0, 1.0]).log().view(1, 2, 1), NOTHING)
    assert float(even.entropy()) == np.float32(np.log(2))
    np.testing.assert_allclose(float(uneven.log_prob(torch.tensor([[[1]]]))), np.log(0.25), rtol=1e-6)
    expected = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    np.testing.assert_allclose(float(even.kl(uneven)), expected, rtol=1e-6)
    assert uneven.mode().tolist() == [[[0]]]


@pytest.fixture
def gaussians() -> tuple[DiagonalGaussian, DiagonalGaussian, torch.distributions.Normal, torch.distributions.Normal]:
    """Two of ours, (S, K, B) = (2, 3, 5), and torch's own with the same parameters."""
    generator = torch.Generator().manual_seed(0)
    means, log_stds = torch.randn(2, 2, 3, 5, generator=generator), torch.randn(2, 2, 3, generator=generator) / 2
    ours = [DiagonalGaussian(mean, log_std) for mean, log_std in zip(means, log_stds, strict=True)]
    theirs = [
        torch.distributions.Normal(mean, log_std.exp().unsqueeze(2).expand_as(mean))
        for mean, log_std in zip(means, log_stds, strict=True)
    ]
    return ours[0], ours[1], theirs[0], theirs[1]


def test_gaussian_equals_torchs(gaussians: tuple[DiagonalGaussian, ...]) -> None:
    first, second, reference, other = gaussians
    noise = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1))
    actions = first.sample(noise)
    torch.testing.assert_close(actions, reference.mean + reference.stddev * noise)
    torch.testing.assert_close(first.log_prob(actions), reference.log_prob(actions).sum(1))
    torch.testing.assert_close(first.entropy(), reference.entropy().sum(1))
    divergence = torch.distributions.kl_divergence(reference, other).sum(1)  # type: ignore[arg-type]
    torch.testing.assert_close(first.kl(second), divergence)
    assert torch.equal(first.mode(), reference.mean)


K, F = 2, 3  # components, features
Noisy = StateDependentGaussian.of(K)


@pytest.fixture
def state_dependent() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Means (S, K, B), features (S, F, B) and log σ (S, K, F), float64."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return random(2, K, 5), random(2, F, 5), random(2, K, F) / 2


def noisy(mean: torch.Tensor, features: torch.Tensor, log_std: torch.Tensor) -> StateDependentGaussian:
    return Noisy(torch.cat([mean, features], 1), log_std.flatten(1))


def test_state_dependent_noise_is_that_of_sb3(state_dependent: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    """Log-probabilities, entropies and actions of SB3's distribution with the same parameters and matrices."""
    ours = noisy(*state_dependent)
    noise = torch.randn(2, K, F, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    actions = ours.sample(noise.flatten(1, 2))
    for replica, (mean, features, log_std) in enumerate(zip(*state_dependent, strict=True)):
        theirs = StateDependentNoiseDistribution(K, full_std=True, use_expln=False, squash_output=False)
        theirs.proba_distribution_net(F, latent_sde_dim=F)
        theirs.proba_distribution(mean.T, log_std.T, features.T)
        # SB3 has a matrix (F, K) for each sample.
        theirs.exploration_matrices = (log_std.exp().unsqueeze(2) * noise[replica]).permute(2, 1, 0)
        torch.testing.assert_close(actions[replica].T, theirs.sample())
        torch.testing.assert_close(ours.mode()[replica].T, theirs.mode())
        torch.testing.assert_close(ours.log_prob(actions)[replica], theirs.log_prob(actions[replica].T))
        entropy = theirs.entropy()
        assert entropy is not None
        torch.testing.assert_close(ours.entropy()[replica], entropy)
    spread = ours.summary(actions, torch.full((2, 5), 0.2))["train/std"]
    torch.testing.assert_close(spread, state_dependent[2].exp().mean((1, 2)))


def test_state_dependent_noise_has_the_spread_its_density_says() -> None:
    """40,000 actions of one state: σ = (1, 2) and φ = (3, −1) give variances 9 + 4; the mean's error is 0.018."""
    features = torch.tensor([3.0, -1.0]).view(1, 2, 1).expand(1, 2, 40_000)
    policy = StateDependentGaussian.of(1)(
        torch.cat([torch.ones(1, 1, 40_000), features], 1), torch.tensor([[1.0, 2.0]]).log()
    )
    noise = torch.from_numpy(Noisy.draw(np.random.default_rng(0), (1, 2, 40_000)))
    actions = policy.sample(noise)
    assert abs(float(actions.mean()) - 1) < 4 * 0.018
    assert abs(float(actions.var()) / 13 - 1) < 4 * np.sqrt(2 / 40_000)
    torch.testing.assert_close(policy.variance, torch.full((1, 1, 40_000), 13 + 1e-6))


def test_state_dependent_divergence_equals_torchs(
    state_dependent: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    mean, features, log_std = state_dependent
    first, second = noisy(mean, features, log_std), noisy(mean.flip(2), features.flip(2), -log_std)
    references = [torch.distributions.Normal(p.mean, p.variance.sqrt()) for p in (first, second)]
    divergence = torch.distributions.kl_divergence(*references).sum(1)  # type: ignore[arg-type]
    torch.testing.assert_close(first.kl(second), divergence)
    assert float(first.kl(noisy(mean, features, log_std)).abs().max()) == 0.0


SHAPES = {Categorical: (3, 0), DiagonalGaussian: (3, 3), Noisy: (K + F, K * F)}  # outputs and extras


@pytest.mark.parametrize("kind", SHAPES)
def test_the_backward_pass_is_the_derivative(kind: type[Distribution]) -> None:
    """Against finite differences in float64: log π, the entropy and KL(old ‖ π), each with weights of its own."""
    generator, (outputs, extras) = torch.Generator().manual_seed(0), SHAPES[kind]

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    old = kind(random(2, outputs, 5), random(2, extras) / 2)
    discrete = kind is Categorical
    actions = torch.randint(3, (2, 1, 5), generator=generator) if discrete else random(*old.mode().shape)
    d_log_prob, d_entropy, d_kl = random(2, 5), random(2, 5), random(2, 5)
    detached = random(2, F, 5)  # features, of which gradients know nothing

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, outputs, extras):  # type: ignore[no-untyped-def]
            ctx.save_for_backward(outputs, extras)
            policy = kind(outputs, extras)
            terms = d_log_prob * policy.log_prob(actions) + d_entropy * policy.entropy() + d_kl * old.kl(policy)
            return terms.sum()

        @staticmethod
        def backward(ctx, d_loss):  # type: ignore[no-untyped-def]
            d_outputs, d_extras = kind(*ctx.saved_tensors).backward(actions, d_log_prob, d_entropy, old, d_kl)
            missing = ctx.saved_tensors[0].shape[1] - d_outputs.shape[1]  # the features', which are constants
            d_outputs = torch.nn.functional.pad(d_outputs, (0, 0, 0, missing))
            return d_loss * d_outputs, None if d_extras is None else d_loss * d_extras

    def loss(outputs: torch.Tensor, extras: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = Loss.apply(torch.cat([outputs, detached], 1) if kind.reads_features else outputs, extras)
        return result

    varied = random(2, outputs - F if kind.reads_features else outputs, 5).requires_grad_()
    assert torch.autograd.gradcheck(loss, (varied, (random(2, extras) / 2).requires_grad_(not discrete)))


def test_environments_get_actions_inside_the_box_and_plain_integers() -> None:
    box = spaces.Box(np.array([-1.0, -2.0], np.float32), np.array([1.0, 2.0], np.float32))
    actions = torch.tensor([[[0.5, 3.0], [-3.0, 1.0]]])  # one replica, two components, two environments
    assert env_actions(actions, box).tolist() == [[0.5, 1.0], [-2.0, 1.0]]
    two_replicas = torch.tensor([[[0, 1]], [[2, 3]]])
    assert env_actions(two_replicas, spaces.Discrete(4)).tolist() == [0, 1, 2, 3]


def test_spaces_without_a_distribution_are_refused() -> None:
    with pytest.raises(UserError, match="MultiDiscrete"):
        distribution_for(spaces.MultiDiscrete([2, 2]))


def test_what_a_batch_did_is_summarised_per_replica() -> None:
    actions = torch.tensor([[[0, 2, 2, 1]], [[1, 1, 0, 0]]])
    share = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]])  # the second has two samples and padding
    summary = Categorical(torch.zeros(2, 3, 4), torch.zeros(2, 0)).summary(actions, share)
    assert {name: values.tolist() for name, values in summary.items()} == {
        "rollout/action_0": [0.25, 0.0],
        "rollout/action_1": [0.25, 1.0],
        "rollout/action_2": [0.5, 0.0],
    }
    gaussian = DiagonalGaussian(torch.zeros(1, 2, 4), torch.tensor([[1.0, 3.0]]).log())
    torch.testing.assert_close(gaussian.summary(actions, share)["train/std"], torch.tensor([2.0]))
