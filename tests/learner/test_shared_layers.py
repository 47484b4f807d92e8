"""Actor and critic on the same hidden layers: one loss, its gradient, its limit, and what becomes of it elsewhere."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from torch import Tensor

import bench
from bench.cells.grids import Cell
from bench.config.schema import Arm, Config
from bench.errors import UserError
from bench.execution import dry_run
from bench.kernel.engine import Engine, computing_with
from bench.learner import PolicyGradient
from bench.learner.actor import Actor
from bench.learner.distributions import Categorical, Distribution
from bench.learner.minibatches import Samples
from bench.learner.network import Stack
from bench.learner.optimiser import Adam
from bench.learner.policy import ActorCritic
from bench.learner.rates import Rates
from bench.learner.shared_layers import both_heads, take_apart, value_network
from bench.learner.train import train
from bench.learner.train_state import TrainState
from bench.learner.update import Update
from bench.tasks.base import Task
from bench.tasks.cartpole import CartPole
from tests.learner.probes import Matching, Notes, learner, settings
from tests.learner.test_network import reference_pass
from tests.learner.test_update import INPUTS, REPLICAS, SHAPES, Noisy, ragged, random, torchs
from tests.test_studies import cells, one_update

HIDDEN = (5, 32)  # the last is that of `SHAPES`
ENGINES: tuple[Engine, ...] = ("kernel", "torch")
SHARED = ("critic.network=shared", "grad_clip=joint")
ONCE = ("update.epochs=1", "update.minibatches=1", "critic.epochs=1", "critic.minibatches=1", "max_grad_norm=null")


def stacks(kind: type[Distribution] = Categorical, dtype: torch.dtype = torch.float64) -> tuple[Stack, Stack]:
    """An actor and a head on it, with random parameters."""
    generator = torch.Generator().manual_seed(5)
    actor = Stack(REPLICAS, INPUTS, HIDDEN, 2, extra=SHAPES[kind][1], dtype=dtype)
    head = Stack(REPLICAS, HIDDEN[-1], (), 1, dtype=dtype)
    for stack in (actor, head):
        stack.flat.copy_(random(generator, *stack.flat.shape) / 3)
    return actor, head


def states(*given: Stack) -> list[TrainState]:
    return [TrainState(stack, Adam(stack.flat)) for stack in given]


def updated(networks: ActorCritic, arm: Arm, samples: Samples, engine: Engine) -> dict[str, Tensor]:
    """Take the steps of an update."""
    like = networks.actor.stack.flat
    rows = [torch.tensor([row], dtype=like.dtype).T for row in ([0.1, 0.2, 0.3], [0.5, 1.0, 2.0], [0.3, 0.2, 0.1])]
    rates = Rates(np.full((REPLICAS, 1), 0.01), np.full((REPLICAS, 1), 0.01), *rows)
    cast = {
        name: value.to(like.dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in vars(samples).items()
    }
    with computing_with(engine):
        return Update(networks, arm, rates, [np.random.default_rng(r) for r in range(REPLICAS)]).run(Samples(**cast))


@pytest.mark.parametrize("engine", ENGINES)
def test_both_heads_say_what_each_says_alone(engine: Engine) -> None:
    """To the bit by the kernel, whose outputs are computed one by one."""
    actor, head = stacks(dtype=torch.float32)
    observations = random(torch.Generator().manual_seed(3), REPLICAS, INPUTS, 9).float()
    with computing_with(engine):
        outputs, saved = both_heads(actor, head).forward(observations)
        policy, kept = actor.forward(observations)
        of_head, _ = head.forward(actor.features(kept))
        values, _ = value_network(actor, head).forward(observations)
        features = both_heads(actor, head).features(saved)
    for found, expected in ((outputs[:, :2], policy), (outputs[:, 2:], values), (outputs[:, 2:], of_head)):
        torch.testing.assert_close(found, expected, rtol=0, atol=0 if engine == "kernel" else 1e-6)
    assert features.shape == (REPLICAS, HIDDEN[-1], 9)


@pytest.mark.parametrize("kind", SHAPES)
def test_a_gradient_taken_apart_lies_where_its_parameters_do(kind: type[Distribution]) -> None:
    actor, head = stacks(kind)
    extras = actor.extras.clone()
    actor.grad.fill_(-1.0)
    take_apart(both_heads(actor, head).flat, actor, head)
    assert torch.equal(head.grad, head.flat)
    network = actor.used - actor.extra
    assert torch.equal(actor.grad[:, :network], actor.flat[:, :network])
    assert torch.equal(actor.grad[:, network:], torch.full_like(extras, -1.0))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("vf_coef", [0.0, 0.7])
def test_the_gradient_is_that_of_the_joint_loss(kind: type[Distribution], vf_coef: float, engine: Engine) -> None:
    """Policy loss + vf_coef · mean (V − target)² − ent_coef · entropy (arXiv 1707.06347, eq. 9), by autograd."""
    arm = settings("update=clip", *SHARED, *ONCE, f"critic.vf_coef={vf_coef}", "ent_coef=0.3", "advantage_norm=none")
    actor, head = stacks(kind)
    flat, weights = (each.flat.clone().requires_grad_() for each in (actor, head))
    samples = ragged(kind, torch.Generator().manual_seed(1))
    updated(ActorCritic(Actor(actor, kind, None), *states(actor, head), True), arm, samples, engine)

    with computing_with("torch"):
        outputs, features = reference_pass(actor, flat, samples.observations)
    values = torch.einsum("sf,sfb->sb", weights[:, :-1], features) + weights[:, -1:]
    if kind is Noisy:  # no gradient flows through the features of the noise
        outputs = torch.cat([outputs, features.detach()], 1)
    policy = torchs(kind, outputs, flat[:, actor.used - actor.extra :])
    actions = samples.actions[:, 0] if kind is Categorical else samples.actions.transpose(1, 2)
    ratio, clip = (policy.log_prob(actions) - samples.log_prob).exp(), torch.tensor([[0.1], [0.2], [0.3]]).double()
    objective = torch.minimum(ratio * samples.advantage, ratio.clamp(1 - clip, 1 + clip) * samples.advantage)
    assert samples.target is not None
    loss = -(samples.weight * objective).sum() - 0.3 * (samples.share * policy.entropy()).sum()
    loss = loss + vf_coef * (samples.share * (values - samples.target).square()).sum()
    for stack, expected in zip((actor, head), torch.autograd.grad(loss, (flat, weights)), strict=True):
        torch.testing.assert_close(stack.grad, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gradient_by_hand(engine: Engine) -> None:
    """One unit that is 0 and has a slope of 1, logits of 0, V = ½; one sample x = 1 of action 0 with advantage 1.

    −ρÂ has the slopes (−½, ½) by the logits, ½(V − 0)² has ½ by V; with heads (2, 0) and 3 the unit has −½·2 + ½·3 = ½.
    """
    actor, head = (Stack(REPLICAS, 1, hidden, outs, dtype=torch.float64) for hidden, outs in (((1,), 2), ((), 1)))
    actor.flat.copy_(torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0, 0.0]))  # W, b, W and b of the policy's head
    head.flat.copy_(torch.tensor([3.0, 0.5]))
    one, half = torch.ones(REPLICAS, 1, dtype=torch.float64), torch.full((REPLICAS, 1), 0.5, dtype=torch.float64)
    zeros = torch.zeros(REPLICAS, 2, 1, dtype=torch.float64)
    choice = torch.zeros(REPLICAS, 1, 1, dtype=torch.int64)
    samples = Samples(one[:, None], zeros, zeros[:, :0, 0], choice, half.log(), one, 0 * one, one, one, one)
    arm = settings("update=unclipped", *SHARED, *ONCE, "critic.vf_coef=0.5", "advantage_norm=none")
    updated(ActorCritic(Actor(actor, Categorical, None), *states(actor, head), True), arm, samples, engine)
    expected = torch.tensor([0.5, 0.5, 0.0, 0.0, -0.5, 0.5], dtype=torch.float64).expand(REPLICAS, -1)
    torch.testing.assert_close(actor.grad, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(head.grad[0], torch.tensor([0.0, 0.5], dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("overrides", [(), ("max_grad_norm=0.05",), ("update=kl_penalty", "ent_coef=0.3")], ids=str)
def test_without_a_weight_the_actor_takes_the_steps_it_takes_alone(
    kind: type[Distribution], overrides: tuple[str, ...], dtype: torch.dtype
) -> None:
    """With vf_coef = 0, by the kernel to the bit: weights and both moments; and the head stays where it is."""
    schedule = ("update.epochs=3", "update.minibatches=2", "critic.epochs=3", "critic.minibatches=2")
    samples, found = ragged(kind, torch.Generator().manual_seed(1)), []
    for shared in (True, False):
        actor, head = stacks(kind, dtype)
        critic = head if shared else Stack(REPLICAS, INPUTS, (7,), 1, dtype=dtype)
        trained = ActorCritic(Actor(actor, kind, None), *states(actor, critic), shared)
        before = critic.flat.clone()
        given = SHARED if shared else ("grad_clip=separate",)
        arm = settings("update=clip", *schedule, *given, "critic.vf_coef=0", *overrides)
        diagnostics = updated(trained, arm, samples, "kernel")
        assert torch.equal(critic.flat, before)
        adam = trained.actor.adam
        found.append(
            [actor.flat, adam.first, adam.second, diagnostics["train/actor_grad_norm"], diagnostics["train/kl"]]
        )
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert not torch.equal(found[0][0], stacks(kind, dtype)[0].flat)


def arm(*overrides: str) -> Config:
    """Full returns under the name of gae, so that an arm with a critic learns nothing from it."""
    given = ("hidden=[16,16]", "baseline=none", "advantage=gae", "gae_lambda=1", "group.groups=2", "group.size=4")
    return settings(*given, "update.epochs=2", "critic.epochs=2", "gamma=0.9", "learning_rate=0.01", *overrides)


@pytest.mark.parametrize("task", [Matching(steps=3), CartPole(20)], ids=lambda task: type(task).__name__)
def test_whole_training_without_a_weight_is_that_of_separate_networks(task: Task) -> None:
    """An arm whose advantages read no value: with vf_coef = 0 the actor's bits are those beside a critic of its own.

    With a weight they are others: the layers learn what values need, too.
    """
    found = []
    for overrides in ([*SHARED, "critic.vf_coef=0"], ["critic.vf_coef=0.5"], [*SHARED, "critic.vf_coef=0.5"]):
        model = learner(task, arm(*overrides), [0, 3])
        model.learn(4 * model.batch_limit())
        assert min(model.updates) >= 3
        found.append(model.policy.actor.stack.flat)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_an_arm_that_no_configuration_would_allow_harms_nothing() -> None:
    """Made by hand: the joint loss has the schedule of the policy; without layers, none is shared."""
    legal = arm(*SHARED)
    other = dataclasses.replace(legal, critic=dataclasses.replace(legal.critic, epochs=1, minibatches=3))
    found = []
    for config in (legal, other):
        model = learner(Matching(steps=3), config, [0])
        found.append(model.learn(2 * model.batch_limit()).policy.actor.stack.flat)
    assert torch.equal(*found)
    linear = dataclasses.replace(legal, policy="linear")
    assert not linear.shares_layers
    model = learner(Matching(steps=3), linear, [0])
    assert model.learn(2 * model.batch_limit()).updates == [2]


def small(*overrides: str, seeds: int = 2) -> PolicyGradient:
    config = bench.compose(["preset=ppo", *SHARED, "hidden=[16,8]", "collect.n_steps=32", *overrides])
    return PolicyGradient(env=config.task.name, arm=config, seeds=seeds).learn(768, log_interval=None)


def test_the_critic_has_a_head_of_its_own_alone() -> None:
    """And it begins as Stable-Baselines3's value heads do: orthogonal with gain 1, here one row of norm 1."""
    model = small()
    assert model.policy.actor.stack.flat.shape == (2, 4 * 16 + 16 + 16 * 8 + 8 + 8 * 2 + 2)
    assert model.policy.critic is not None
    assert model.policy.critic.stack.flat.shape == (2, 8 + 1)
    fresh = PolicyGradient(env="cartpole", arm=model.arm, seeds=2).policy
    assert fresh.critic is not None
    assert fresh.critic.stack.weights[0].norm(dim=2).flatten().tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
    assert not model.policy.critic.stack.flat.equal(fresh.critic.stack.flat)


@pytest.mark.parametrize("overrides", [(), ("task=pendulum",), ("task=pendulum", "exploration=sde")], ids=str)
def test_a_replica_is_stable_baselines3s_ppo_with_a_shared_extractor(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    model = small(*overrides)
    stock, network = model.replica(1), model.policy.select([1]).values()
    assert network is not None
    observations = torch.randn(5, model.observation_space.shape[0], generator=torch.Generator().manual_seed(0))  # type: ignore[index]
    with torch.no_grad():
        values = stock.policy.predict_values(observations)[:, 0]
        torch.testing.assert_close(values, network.forward(observations.T[None])[0][0, 0], rtol=1e-5, atol=1e-5)
        policy, _ = model.policy.select([1]).acting.stack.forward(observations.T[None])
        latent = stock.policy.pi_features_extractor(observations)
        torch.testing.assert_close(stock.policy.action_net(latent), policy[0].T, rtol=1e-5, atol=1e-5)
    assert len({id(stock.policy.pi_features_extractor), id(stock.policy.vf_features_extractor)}) == 1
    stock.save(tmp_path / "stock.zip")
    with torch.no_grad():
        again = PPO.load(tmp_path / "stock.zip", device="cpu").policy.predict_values(observations)[:, 0]
    assert torch.equal(again, values)


def test_a_saved_model_goes_on_shared_and_no_other_way(tmp_path: Path) -> None:
    model = small()
    model.save(tmp_path / "model.zip")
    loaded = PolicyGradient.load(tmp_path / "model.zip", env="cartpole")
    for name, part in model.policy.weights().items():
        assert all(torch.equal(value, loaded.policy.weights()[name][key]) for key, value in part.items())
    loaded.learn(768, log_interval=None)
    config = dataclasses.replace(model.arm, critic=dataclasses.replace(model.arm.critic, network="separate"))
    other = PolicyGradient(env="cartpole", arm=config, seeds=2)
    with pytest.raises(UserError, match="is not a saved model"):
        other.set_parameters(tmp_path / "model.zip")


def test_the_study_of_the_joint_loss_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every arm takes one update of a small network, and a dry run says what the study takes: 12 cells, 20 seeds."""
    monkeypatch.chdir(tmp_path)
    planned = cells("joint_loss")
    assert {config.arm_name for config in planned if config.shares_layers} == {
        f"shared-{weight}" for weight in (0.005, 0.05, 0.5)
    }
    said = dry_run.dry_run([Cell(config, {}) for config in planned], 2).splitlines()
    assert said[0].startswith("12 cells in ")
    assert said[-1] == f"no recorded speed on this machine yet: {20 * 6 * (100_000 + 60_000):,} environment steps"
    for config in planned:
        trained = train(one_update(config), (0,), Notes())
        assert [outcome.status for outcome in trained.outcomes.values()] == ["done"]
        assert (trained.parameters["critic"] == 32 + 1) == config.shares_layers
