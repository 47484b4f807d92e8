"""A step in the environments: one call of the kernel against the networks and the distribution by themselves."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from bench.kernel.engine import Engine, computing_with
from bench.learner.acting import Acting
from bench.learner.actor import Actor, stacked
from bench.learner.distributions import distribution_for
from bench.learner.network import Stack
from bench.learner.normalisation import RunningMeanStd

REPLICAS, INPUTS = 3, 5
SPACES = {
    "discrete": (spaces.Discrete(4), "gaussian"),
    "one action": (spaces.Discrete(1), "gaussian"),
    "box": (spaces.Box(-1, 1, (2,)), "gaussian"),
    "sde": (spaces.Box(-1, 1, (2,)), "sde"),
}


def actor(kind: str, hidden: tuple[int, ...], scaled: bool) -> Actor:
    distribution = distribution_for(*SPACES[kind])
    outputs, extra = distribution.sizes(SPACES[kind][0], (INPUTS, *hidden)[-1])
    stack = Stack(REPLICAS, INPUTS, hidden, outputs, extra=extra)
    stack.flat.copy_(torch.from_numpy(np.random.default_rng(1).normal(0, 0.5, stack.flat.shape)))
    scale = RunningMeanStd(REPLICAS, INPUTS) if scaled else None
    if scale is not None:
        seen = torch.from_numpy(np.random.default_rng(2).normal(3, 2, (REPLICAS, INPUTS, 50))).float()
        scale.update_rows(range(REPLICAS), seen, torch.ones(REPLICAS, 50, dtype=torch.bool))
    return Actor(stack, distribution, scale)


@pytest.mark.parametrize("engine", ["kernel", "torch"])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("hidden", [(), (7,), (64, 64)])
@pytest.mark.parametrize("kind", SPACES)
def test_acting_is_passing_and_sampling(kind: str, hidden: tuple[int, ...], scaled: bool, engine: Engine) -> None:
    """Outputs and actions are, bit for bit, those of the policy as a whole, and the first columns take its mode."""
    chosen, n_envs, steps, likeliest = actor(kind, hidden, scaled), 7, 4, 3
    streams = [np.random.default_rng(replica) for replica in range(REPLICAS)]
    with torch.no_grad(), computing_with(engine):
        acting, noise = Acting(chosen, n_envs), chosen.noise(streams, steps, n_envs)
        acts = acting.room(steps)
        acts.observations[:] = np.random.default_rng(3).normal(1, 2, acts.observations.shape)
        for step in range(steps):
            acting.act(acts, step, noise[step], likeliest if step % 2 else 0)
        for step in range(steps):
            policy = chosen.policy(stacked(acts.observations[step], REPLICAS))
            outputs, _ = chosen.outputs(chosen.seen(stacked(acts.observations[step], REPLICAS)))
            expected = policy.sample(noise[step])
            if step % 2:
                expected[:, :, :likeliest] = policy.mode()[:, :, :likeliest]
            assert torch.equal(acts.outputs[step], outputs)
            assert torch.equal(acts.actions[step], expected)


@pytest.mark.parametrize("engine", ["kernel", "torch"])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("kind", SPACES)
def test_columns_that_have_ended_change_nothing_of_the_others(kind: str, scaled: bool, engine: Engine) -> None:
    """More and more columns end, of one replica all, at last of all: the others' outputs and actions are the same."""
    chosen, n_envs, likeliest = actor(kind, (7, 20), scaled), 9, 4
    rng = np.random.default_rng(4)
    masks = [np.arange(REPLICAS * n_envs) % 9 < 9]
    masks += [masks[0] & (rng.random(REPLICAS * n_envs) < 0.7)]
    masks += [masks[1] & (np.arange(REPLICAS * n_envs) // n_envs != 1)]
    masks += [masks[2] & (np.arange(REPLICAS * n_envs) % n_envs >= likeliest), masks[0] & False]
    assert [int(mask.sum()) for mask in masks] == sorted({int(mask.sum()) for mask in masks}, reverse=True)
    streams = [np.random.default_rng(replica) for replica in range(REPLICAS)]
    with torch.no_grad(), computing_with(engine):
        noise = chosen.noise(streams, len(masks), n_envs)
        all_act, some_act = Acting(chosen, n_envs), Acting(chosen, n_envs)
        everywhere, found = all_act.room(len(masks)), some_act.room(len(masks))
        everywhere.observations[:] = found.observations[:] = rng.normal(1, 2, found.observations.shape)
        for step, live in enumerate(masks):
            all_act.act(everywhere, step, noise[step], likeliest)
            some_act.act(found, step, noise[step], likeliest, live)
            here = torch.from_numpy(live.reshape(REPLICAS, 1, n_envs))
            for one, other in ((found.outputs, everywhere.outputs), (found.actions, everywhere.actions)):
                assert torch.equal(torch.where(here, one[step], 0), torch.where(here, other[step], 0))
                assert bool(one[step].isfinite().all())


def test_equal_logits_and_those_that_are_no_numbers_choose_as_torch_does() -> None:
    """The first of the largest is the likeliest; a number that is none comes before all others."""
    chosen = actor("discrete", (), scaled=False)
    head = chosen.stack.weights[0]
    head.zero_()
    chosen.stack.weights[1].copy_(
        torch.tensor([[1.0, 2.0, 2.0, 0.0], [0.0, torch.nan, 5.0, torch.nan], [-torch.inf, -torch.inf, -3.0, -4.0]])[
            :, :, None
        ]
    )
    with torch.no_grad():
        acting = Acting(chosen, 2)
        acts = acting.room(1)
        acts.observations[:] = 1
        acting.act(acts, 0, torch.full((REPLICAS, 1, 2), 0.5), likeliest=2)
    assert acts.actions[0, :, 0].tolist() == [[1, 1], [1, 1], [2, 2]]
