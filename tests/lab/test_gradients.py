"""The laboratory's gradients are training's, and its figures are unbiased."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.config.schema import Config, Update
from bench.lab.estimators import Judged, Variant, gradients
from bench.lab.policies import NetworkCritic, NetworkPolicy, TableCritic
from bench.lab.simulate import Episodes, simulate, starts
from bench.lab.statistics import Products, _is_told_from_zero, gradient_figures, kind_figures
from bench.lab.truth import exact_gradients, exact_kind_shares, solution
from bench.learner.actor import Actor
from bench.learner.estimation import estimate
from bench.learner.policy import StackedPolicy
from bench.learner.rollout import Collector, Rollout
from bench.learner.update import Rates, actor_gradient
from bench.seeding import stream
from bench.tasks.base import Task
from bench.tasks.batched import BatchedEnv
from bench.tasks.exact import ExactTask
from bench.tasks.registry import make
from tests.lab.conftest import arm, policy_of


@pytest.mark.parametrize("name", ["cartpole", "pendulum", "weekly_exam"])
@pytest.mark.parametrize(("baseline", "advantage"), [("critic", "gae"), ("grpo", "monte_carlo"), ("batch_mean", "td0")])
def test_a_batch_has_the_gradient_that_training_computes(name: str, baseline: str, advantage: str) -> None:
    """The same rollout through the learner's `estimate` and `actor_gradient`, and through the laboratory."""
    config = arm(name, baseline, advantage, "group.size=3", "group.groups=2")
    config = replace(config, update=Update("vanilla", 1, 1), advantage_norm="none")
    if config.task.time_limit:
        config = replace(config, task=replace(config.task, time_limit=40))
    task = make(config.task)
    stacked = StackedPolicy(task.observation_space, task.action_space, config, [0])
    env = BatchedEnv(task, [0], 6)
    rollout = Collector(env, [stream(0, "action")]).whole_episodes(stacked.acting(), 3, lambda *_: True)
    assert rollout is not None
    critic = None if stacked.critic is None or not config.has_critic else stacked.critic.stack
    samples, _ = estimate(rollout, stacked.acting(), critic, config)
    nothing = Rates(np.zeros((1, 1)), np.zeros((1, 1)), *[torch.ones(1)] * 3)
    actor_gradient(stacked.acting(), samples, config, nothing)
    expected = -stacked.actor.stack.grad[0, : stacked.actor.stack.used] * (rollout.live.sum() / 6)

    judged = Judged.of(*_replayed(rollout, task), _critics(config, stacked, task))
    found = gradients(NetworkPolicy(task, stacked.acting(), config), judged.episodes,
                      judged.advantages(Variant(config, "learned" if config.has_critic else "none")))  # fmt: skip
    torch.testing.assert_close(found[0].float(), expected, rtol=2e-3, atol=float(expected.abs().max()) * 2e-4)


def _replayed(rollout: Rollout, task: Task) -> tuple[Episodes, int]:
    """The rollout's actions again from the same starts, as the laboratory's episodes."""
    env = BatchedEnv(task, [0], 6)
    env.restart(share=3)
    rng = stream(0, "dynamics")
    states, live = [env.state], np.ones(6, dtype=bool)
    for t in range(len(rollout.rewards)):
        actions = rollout.actions[0][:, t]
        chosen = actions[0].numpy() if actions.dtype == torch.int64 else actions.numpy().clip(
            task.action_space.low[:, None], task.action_space.high[:, None])  # fmt: skip
        noise = task.noise(rng, 6)
        after = task.step(states[-1], chosen, noise).state
        states.append(np.where(live, after, states[-1]))
        live = rollout.live[t + 1, 0].numpy() if t + 1 < len(rollout.live) else live
    columns = {name: getattr(rollout, name)[:, 0].numpy() for name in ("terminated", "truncated", "live")}
    return Episodes(np.stack(states), rollout.actions[0], rollout.rewards[:, 0].double().numpy(), **columns), 6


def _critics(config: Config, stacked: StackedPolicy, task: Task) -> dict[str, NetworkCritic]:
    if not config.has_critic:
        return {}
    assert stacked.critic is not None
    return {
        "learned": NetworkCritic(task, stacked.critic.stack, Actor(stacked.actor.stack, stacked.distribution, None))
    }


def test_the_exact_gradient_is_what_unbiased_estimators_aim_at() -> None:
    """Monte Carlo and an exact critic's GAE agree with the exact gradient in every direction, γ^t weights or none."""
    config = arm("weekly_exam", "critic", "gae", "gamma=0.9")
    policy, batches = policy_of(config), 1500
    rng = np.random.default_rng(5)
    value = solution(policy.task, policy, 0.9).value  # type: ignore[arg-type]
    begun = starts(policy.task, rng, batches, 1)
    episodes = simulate(policy, begun, np.zeros(batches, dtype=int), rng)
    judged = Judged.of(episodes, 1, {"exact": TableCritic(policy.task, value)})  # type: ignore[arg-type]
    advantages = judged.advantages(Variant(config, "exact"))
    truth = exact_gradients(policy.task, policy, 0.9)  # type: ignore[arg-type]
    for weights, name in ((None, "undiscounted"), (0.9 ** np.arange(16), "discounted")):
        found = gradients(policy, episodes, advantages, weights).numpy()
        bias = gradient_figures(Products.of(found, truth[name]))["squared_bias"]
        assert abs(bias.value) < 4 * bias.error
        assert bias.error < 0.02
    wrong = gradient_figures(Products.of(found, truth["undiscounted"]))["squared_bias"]
    assert wrong.value > 4 * wrong.error  # the weights matter, and would be noticed


def test_figures_of_known_gradients() -> None:
    """Normal gradients around a known mean, against a known truth: every figure covers its closed form."""
    rng = np.random.default_rng(6)
    dimensions, n, sigma = 40, 400, 0.3
    truth, mean = np.zeros(dimensions), np.zeros(dimensions)
    truth[0], mean[0], mean[1] = 2.0, 1.0, 1.0
    found = mean + sigma * rng.standard_normal((n, dimensions))
    figures = gradient_figures(Products.of(found, truth[None]))
    trace = sigma**2 * dimensions
    expected = {
        "squared_bias": 2 / 4,
        "cosine_truth": 2**-0.5,
        "angle": 45.0,
        "direction_error": 2**-0.5,
        "trace": trace / 4,
        "trace_absolute": trace,
        "signal_to_noise": 2 / trace,
    }
    for name, value in expected.items():
        figure = figures[name]
        assert abs(figure.value - value) < 4 * figure.error, name
        assert figure.low < figure.value < figure.high
    assert figures["cosine"].value == pytest.approx(2 / (2 + trace), abs=0.03)  # E cos ≈ SNR / (1 + SNR)


def test_the_truths_own_error_is_carried_through() -> None:
    """With the truth known from few noisy blocks, intervals widen and no bias appears."""
    rng = np.random.default_rng(7)
    mean = np.ones(30)
    found = mean + rng.standard_normal((300, 30))
    exact = gradient_figures(Products.of(found, mean[None]))["squared_bias"]
    blocks = mean + 3 * rng.standard_normal((20, 30))
    noisy = gradient_figures(Products.of(found, blocks))["squared_bias"]
    assert noisy.error > 3 * exact.error
    assert abs(noisy.value) < 4 * noisy.error


def test_shares_of_kinds_of_episodes() -> None:
    """Two kinds whose gradients have lengths 1 and 3 and variances 4 and 1 per dimension."""
    rng = np.random.default_rng(8)
    kind = rng.integers(2, size=1600)
    mean = np.zeros((1600, 10))
    mean[kind == 0, 0], mean[kind == 1, 1] = 1.0, 3.0
    found = mean + np.where(kind == 0, 2.0, 1.0)[:, None] * rng.standard_normal((1600, 10))
    scores = rng.standard_normal((1600, 10))
    figures = kind_figures(found, scores, np.repeat(np.arange(200), 8), kind, ["one", "other"])
    for name, learning, noise in (("one", 0.25, 0.8), ("other", 0.75, 0.2)):
        for quantity, expected in (("learning_share", learning), ("variance_share", noise)):
            figure = figures[name][quantity]
            assert abs(figure.value - expected) < 4 * figure.error


def test_no_direction_is_made_up_where_the_mean_is_not_told_from_zero() -> None:
    """Two opposite gradients: the estimate of ‖E ĝ‖², a product of different batches, is −1, so there is no angle."""
    figures = gradient_figures(Products.of(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([[0.0, 1.0]])))
    for name in ("cosine_truth", "angle", "direction_error"):
        assert np.isnan(figures[name].value), name


def test_no_share_is_made_up_where_a_kinds_mean_is_not_told_from_zero() -> None:
    """One kind learns, the other is noise around zero: what of it would be learned is unknown, its noise is known."""
    rng = np.random.default_rng(12)
    kind = np.tile([0, 1], 400)
    found = rng.standard_normal((800, 10))
    found[kind == 0, 0] += 1.0
    figures = kind_figures(found, rng.standard_normal((800, 10)), np.repeat(np.arange(100), 8), kind, ["one", "other"])
    for name in ("one", "other"):
        assert np.isnan(figures[name]["learning_share"].value)
        assert abs(figures[name]["variance_share"].value - 0.5) < 4 * figures[name]["variance_share"].error


def test_no_share_is_made_up_where_the_sample_lacks_rare_actions() -> None:
    """One of two actions has a probability of 1e-5 and was never drawn: every score is the other's, 1e-5 (1, -1)."""
    rng = np.random.default_rng(14)
    scores = np.tile([1e-5, -1e-5], (800, 1))
    rewards = rng.random((800, 1))
    figures = kind_figures(
        rewards * scores, scores, np.repeat(np.arange(100), 8), np.tile([0, 1], 400), ["one", "other"]
    )
    assert np.isnan([figure.value for of_kind in figures.values() for figure in of_kind.values()]).all()


@pytest.mark.parametrize("baseline", ["none", "critic", "rloo", "group", "time_mean"])
def test_the_brothers_shares_under_unbiased_baselines_are_those_of_the_true_gradient(baseline: str) -> None:
    """Every one of these leaves E[ĝ | brother] as it is, but for a factor that the brothers have in common."""
    config = arm("exam_question", baseline, "monte_carlo", "hidden=[8,8]")
    policy = policy_of(config, spread=1.0)
    task = policy.task
    assert isinstance(task, ExactTask)
    true = exact_kind_shares(task, policy, config.gamma)
    assert sum(true.values()) == pytest.approx(1)
    assert true["younger"] != pytest.approx(0.5, abs=0.02)
    batches, size = 300, 128
    begun = starts(task, np.random.default_rng(1), batches * size, 1)
    episodes = simulate(policy, begun, np.zeros(batches * size, dtype=np.int64), np.random.default_rng(2))
    critic = TableCritic(task, solution(task, policy, config.gamma).value)
    judged = Judged.of(episodes, size, {"exact": critic})
    variant = Variant(config, "exact" if config.has_critic else "none")
    found = gradients(policy, episodes, judged.advantages(variant).flatten(1).unsqueeze(2)).numpy()
    scores = gradients(policy, episodes, torch.from_numpy(episodes.live.astype(float)).unsqueeze(2)).numpy()
    kinds = task.kind(episodes.states[0])
    figures = kind_figures(found, scores, np.repeat(np.arange(batches), size), kinds, list(true))
    for name, share in true.items():
        figure = figures[name]["learning_share"]
        assert abs(figure.value - share) < 4 * figure.error < 0.2


def test_means_of_zero_are_told_from_zero_as_rarely_as_the_level_says() -> None:
    """300 times 40 vectors in 3 dimensions, one far larger: at a level of .001 more than 3 errors have p = .0003."""
    rng = np.random.default_rng(13)
    vectors = rng.standard_normal((300, 40, 3)) * np.array([10.0, 1.0, 1.0])
    assert sum(_is_told_from_zero(each @ each.T) for each in vectors) <= 3
    assert all(_is_told_from_zero(each @ each.T) for each in vectors[:20] + np.array([10.0, 0.0, 0.0]))
