"""Replicas of one stack with numbers of their own: each has the bytes it has alone, in a cell with its numbers."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import bench
from bench.arms.numbers import KEYS, Numbers, with_settings
from bench.config.build import written
from bench.config.schema import Config
from bench.errors import UserError
from bench.learner import PolicyGradient
from bench.tasks.registry import environments, make
from bench.tasks.vec_env import BatchedVecEnv

Settings = Mapping[str, Any]

SMALL = ("hidden=[16,16]", "update.epochs=2", "critic.epochs=2")
EPISODES = (*SMALL, "budget=500", "task.time_limit=20", "group.groups=2", "group.size=3")
SEGMENTS = (*SMALL, "budget=480", "task.time_limit=25", "collect=segments", "collect.n_envs=4", "collect.n_steps=40")
EXAM = (*SMALL, "task=weekly_exam", "budget=1600", "group.groups=1", "group.size=2")
CASES: dict[str, tuple[str, ...]] = {
    "discrete, episodes": ("task=cartpole", *EPISODES, "critic.target=gae"),
    "discrete, segments": ("task=cartpole", *SEGMENTS, "critic.target=gae", "truncation=bootstrap", "grad_clip=joint"),
    "shared layers": ("task=cartpole", *SEGMENTS, "truncation=bootstrap", "grad_clip=joint", "critic.network=shared"),
    "box, episodes": ("task=pendulum", *EPISODES),  # with both normalisers
    "box, segments": ("task=pendulum", *SEGMENTS, "norm_obs=true", "norm_reward=true", "ent_coef=0.01"),
    "state-dependent noise": ("task=pendulum", *SEGMENTS, "exploration=sde", "exploration.sample_freq=8"),
    "schedules": ("task=cartpole", *EPISODES, "learning_rate_schedule=linear", "clip_range_schedule=linear"),
    "a penalty": ("task=cartpole", *EPISODES, "update=kl_penalty"),
    "a reference": ("task=cartpole", *EPISODES, "reference=initial", "reference.target=0.001"),
    "a reference in the loss": (
        *("task=cartpole", *EPISODES, "reference=initial", "reference.kind=k3", "reference.placement=loss"),
    ),
    "outcomes": ("task=cartpole", *EPISODES, "baseline=grpo", "advantage=monte_carlo", "group.credit=outcome"),
    "comparisons": ("task=cartpole", *EPISODES, "baseline=group", "advantage=monte_carlo", "group.scale=rank"),
    "comparisons of outcomes": (
        *("task=cartpole", *EPISODES, "baseline=group", "advantage=monte_carlo", "group.scale=rank"),
        "group.credit=outcome",
    ),
    "n steps": ("task=cartpole", *EPISODES, "baseline=batch_mean", "advantage=nstep"),
    "vine": (*EXAM, "baseline=vine", "advantage=monte_carlo", "vine.every=5"),
}
# By replica; one is silent, and so has the numbers of the cell.
OWN: Sequence[Settings] = (
    {},
    {"learning_rate": 0.02, "gamma": 0.9, "gae_lambda": 0.5, "critic.learning_rate": 0.003},
    {"clip_range": 0.05, "critic.gae_lambda": 0.3, "max_grad_norm": None, "critic.max_grad_norm": 0.5, "gamma": 0.97},
    {
        "ent_coef": 0.05,
        "max_grad_norm": 0.1,
        "critic.max_grad_norm": 0.2,
        "critic.vf_coef": 0.3,
        "kl_coef": 0.3,
        "kl_target": 0.0001,
    },
    {"reference.coef": 0.4, "reference.target": 0.01, "critic.max_grad_norm": None, "gamma": 0.5},
)
SEEDS = (3, 0, 3, 8, 0)  # two seeds are there twice


def model(config: Config, seeds: Sequence[int], settings: Sequence[Settings] | None) -> PolicyGradient:
    env = BatchedVecEnv(environments(make(config.task), seeds, config.n_envs))
    made = PolicyGradient("MlpPolicy", env, config)  # the seeds are those of the environments
    if settings is not None:
        made.give_numbers(settings)
    return made.learn(log_interval=None)


def bytes_of(trained: PolicyGradient, replica: int) -> list[bytes]:
    """Weights, moments, normalisers, coefficients and the number of updates of a replica."""
    parts = trained.policy.weights().values()
    coefficients = np.array([trained.kl_coef[replica], trained.reference_coef[replica], trained.updates[replica]])
    return [*(tensor[replica].numpy().tobytes() for part in parts for tensor in part.values()), coefficients.tobytes()]


@pytest.mark.parametrize("case", CASES)
def test_a_replica_is_the_same_alone_in_a_cell_with_its_numbers(case: str) -> None:
    settings = [{key: value for key, value in each.items() if key != "gamma" or case != "vine"} for each in OWN]
    if case == "shared layers":  # which have one rate
        rates = [each.get("learning_rate", bench.compose([]).learning_rate) for each in settings]
        settings = [{**each, "critic.learning_rate": rate} for each, rate in zip(settings, rates, strict=True)]
    if "comparisons" in case:
        temperatures = (0.0, 0.5, 2.0, 1e-300, 30.0)
        settings = [{**each, "group.temperature": t} for each, t in zip(settings, temperatures, strict=True)]
    together = model(bench.compose(CASES[case]), SEEDS, settings)
    found = [bytes_of(together, replica) for replica in range(len(SEEDS))]
    assert together.updates[0] >= 2
    for replica, own in enumerate(settings):
        config = bench.compose([*CASES[case], *(f"{key}={written(value)}" for key, value in own.items())])
        assert bytes_of(model(config, [SEEDS[replica]], None), 0) == found[replica]
    assert len({each[0] for each in found}) == len(SEEDS)  # the same seed with other numbers learns something else


@pytest.mark.parametrize("case", ["discrete, episodes", "discrete, segments", "box, episodes", "box, segments"])
def test_and_among_320_others(case: str) -> None:
    config = bench.compose([*CASES[case], "hidden=[8]", f"budget={320 if 'segments' in case else 240}"])
    rng = np.random.default_rng(0)
    others = [
        {"learning_rate": 10 ** rng.uniform(-4, -1), "gamma": rng.uniform(0.8, 1), "clip_range": rng.uniform(0.05, 0.5)}
        for _ in range(320)
    ]
    settings, seeds = [*others[:100], *OWN[1:4], *others[100:]], [*range(100), 3, 3, 3, *range(100, 320)]
    together = model(config, seeds, settings)
    for number in range(3):
        alone = model(config, [3], [OWN[1 + number]])
        assert bytes_of(together, 100 + number) == bytes_of(alone, 0)


def test_every_number_tells() -> None:
    """Each key of `KEYS` changes what is learned somewhere: none is forgotten on its way."""
    changed = {
        "learning_rate": 0.01, "critic.learning_rate": 0.1, "clip_range": 0.01, "ent_coef": 0.1, "critic.vf_coef": 0.1,
        "gamma": 0.9, "gae_lambda": 0.3, "critic.gae_lambda": 0.3, "kl_coef": 30.0, "kl_target": 1e-7,
        "reference.coef": 3.0, "reference.target": 10.0, "max_grad_norm": 0.01, "critic.max_grad_norm": 0.01,
        "group.temperature": 3.0,
    }  # fmt: skip
    assert set(changed) == set(KEYS)
    told = set[str]()
    for case in ("discrete, episodes", "a penalty", "a reference", "comparisons"):
        config = bench.compose([*CASES[case], "critic.target=gae", "learning_rate=0.01"])
        allowed = [key for key in changed if key != "group.temperature" or case == "comparisons"]
        settings = [{}, *({key: changed[key]} for key in allowed)]
        trained = model(config, [0] * len(settings), settings)
        states = [b"".join(bytes_of(trained, replica)) for replica in range(len(settings))]
        told |= {key for key, state in zip(allowed, states[1:], strict=True) if state != states[0]}
    assert told | {"learning_rate"} == set(KEYS)


def test_a_plug_in_is_asked_about_each_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target of one's own that reads the discount has it right for every replica."""
    from bench import plugin

    asked: list[tuple[float, int]] = []

    def target(batch: Any, arm: Any) -> torch.Tensor:
        asked.append((arm.gamma, batch.rewards.shape[1]))
        later = torch.zeros_like(batch.rewards)
        later[:-1] = batch.rewards[1:]
        return torch.as_tensor(batch.rewards + arm.gamma * later)

    loaded = plugin.load

    def load(key: str, name: Any) -> Any:
        return type("Own", (), {"function": staticmethod(target)}) if key == "advantage" else loaded(key, name)

    monkeypatch.setattr(plugin, "load", load)
    config = bench.compose(["task=cartpole", *EPISODES, "advantage=monte_carlo"])
    own = dataclasses.replace(config, advantage=dataclasses.replace(config.advantage, name="plugin", plugin="m:own"))
    settings: list[Settings] = [{"gamma": 0.9}, {}, {"gamma": 0.9}]

    def trained(seeds: Sequence[int], numbers: Sequence[Settings]) -> PolicyGradient:
        env = BatchedVecEnv(environments(make(own.task), seeds, own.n_envs))
        made = PolicyGradient("MlpPolicy", env, own, seeds)
        made.numbers = Numbers.of([dataclasses.replace(own, **each) for each in numbers])
        return made.learn(log_interval=None)

    together = trained([0, 1, 2], settings)
    assert set(asked) == {(0.9, 2), (0.99, 1)}
    for replica in range(3):
        assert bytes_of(trained([replica], [settings[replica]]), 0)[0] == bytes_of(together, replica)[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"update.epochs": 3}, "update.epochs=3 is no number that replicas of one stack may differ in"),
        ({"learning_rat": 0.1}, "did you mean 'learning_rate'"),
        ({"gamma": 1.5}, "gamma=1.5: must lie in"),
        ({"learning_rate": "fast"}, "learning_rate=fast: must be a number"),
        ({"clip_range": 0.0}, "clip_range=0.0: must be greater than 0"),
        ({"critic.learning_rate": float("nan")}, "critic.learning_rate=nan: must be finite"),
    ],
)
def test_what_cannot_differ_is_one_clear_error(settings: Settings, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        with_settings(bench.compose(["task=cartpole"]), settings)


def test_one_mapping_for_each_replica_and_before_it_learns() -> None:
    config = bench.compose(["task=cartpole", *EPISODES])
    trained = model(config, [0, 1], None)
    with pytest.raises(UserError, match="has begun to learn"):
        trained.give_numbers([{}, {}])
    with pytest.raises(UserError, match="3 mappings for 2 replicas"):
        trained.give_numbers([{}, {}, {}])
