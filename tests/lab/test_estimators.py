"""The laboratory's gradients are training's."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.config.schema import Config, Update
from bench.lab.estimators import Batches, Variant, gradients
from bench.lab.policies import NetworkCritic, NetworkPolicy
from bench.lab.simulate import Episodes
from bench.learner.actor import Actor
from bench.learner.estimation import estimate
from bench.learner.policy import StackedPolicy
from bench.learner.rates import Rates
from bench.learner.rollout import Collector, Rollout
from bench.learner.update import actor_gradient
from bench.seeding import stream
from bench.tasks.base import Task
from bench.tasks.batched import BatchedEnv
from bench.tasks.registry import make
from tests.lab.conftest import arm


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

    batches = Batches.of(*_replayed(rollout, task), _critics(config, stacked, task))
    found = gradients(NetworkPolicy(task, stacked.acting(), config), batches.episodes,
                      batches.advantages(Variant(config, "learned" if config.has_critic else "none")))  # fmt: skip
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
