"""What a seed's numbers may depend on: in segments on nothing but the seed, in episodes on its block."""

import dataclasses
import hashlib
import subprocess
import sys

import pytest
import torch

import bench
from bench.learner import PolicyGradient
from bench.learner.export import replica_state
from bench.learner.train import TrainedBlock, train
from tests.learner.probes import Notes

SEED = 7
NEIGHBOURS = {
    "alone": (SEED,),
    "beside nine": (0, 1, 2, 3, SEED, 5, 6, 4, 8, 9),
    "in another order": (9, 8, 5, 6, 4, 3, 2, 1, 0, SEED),
}

SEGMENTS = (
    "collect=segments", "collect.n_envs=4", "collect.n_steps=40", "budget=480", "update.epochs=2", "critic.epochs=2",
    "hidden=[32,32]", "evaluation.points=2", "evaluation.episodes=3", "gamma=0.9",
)  # fmt: skip
TASKS = {  # with limits that end episodes within the batch
    "cartpole": ("task=cartpole", "task.time_limit=25"),
    "pendulum": ("task=pendulum", "task.time_limit=30", "norm_obs=false", "norm_reward=false"),
    "mountain_car_continuous": (
        "task=mountain_car_continuous", "task.time_limit=30", "norm_obs=false", "norm_reward=false",
    ),
}  # fmt: skip
ARMS = {
    "critic": ("truncation=bootstrap",),
    "critic that only bootstraps": ("baseline=none", "advantage=td0"),
    "batch mean, n steps": ("baseline=batch_mean", "advantage=nstep"),
    "mean_std": ("advantage_norm=mean_std",),
    "both normalisers": ("norm_obs=true", "norm_reward=true", "truncation=bootstrap"),
    "kl penalty": ("update=kl_penalty", "update.epochs=2"),
    "joint, entropy": ("grad_clip=joint", "ent_coef=0.01"),
}
NOISE = {  # of continuous actions
    "noise held for 7 steps": ("exploration=sde", "exploration.sample_freq=7", "ent_coef=0.01"),
    "noise held for a batch": ("exploration=sde", "exploration.log_std_init=-1", "norm_obs=true", "grad_clip=joint"),
    "noise of raw observations": ("exploration=sde", "policy=linear", "update=kl_penalty"),
}
ARMS |= NOISE
FAST = [
    *[(task, "critic") for task in TASKS],
    ("cartpole", "batch mean, n steps"),
    ("pendulum", "joint, entropy"),
    ("pendulum", "both normalisers"),
    ("pendulum", "noise held for 7 steps"),
    ("mountain_car_continuous", "noise held for a batch"),
]
CASES = [
    *FAST,
    *[
        pytest.param(task, arm, marks=pytest.mark.slow)
        for task in ("cartpole", "pendulum")
        for arm in ARMS
        if (task, arm) not in FAST and (task != "cartpole" or arm not in NOISE)
    ],
]


def block(seeds: tuple[int, ...], *overrides: str) -> tuple[TrainedBlock, Notes]:
    config, notes = dataclasses.replace(bench.compose(overrides), seeds=seeds), Notes()
    return train(config, seeds, notes), notes


def of(seed: int, block: tuple[TrainedBlock, Notes]) -> tuple[list[object], list[object], dict[str, torch.Tensor]]:
    """A seed's evaluations, its diagnostics but those that are NaN, and its final weights."""
    trained, notes = block
    index = trained.model.seeds.index(seed)
    evaluations = [row for row in notes.evaluations if row["seed"] == seed]
    updates = [{k: v for k, v in row.items() if v == v} for row in notes.updates if row["seed"] == seed]
    return evaluations, updates, replica_state(trained.model.policy, index)


@pytest.mark.parametrize(("task", "arm"), CASES)
def test_in_segments_a_seed_is_the_same_alone_beside_nine_others_and_in_another_order(task: str, arm: str) -> None:
    found = {name: of(SEED, block(seeds, *TASKS[task], *SEGMENTS, *ARMS[arm])) for name, seeds in NEIGHBOURS.items()}
    evaluations, updates, weights = found.pop("alone")
    assert len(evaluations) == 3 * 2 * 3  # grid steps, modes, episodes
    assert len({row["return"] for row in evaluations}) > 1  # type: ignore[index]
    assert len(updates) == 3
    for name, (other_evaluations, other_updates, other_weights) in found.items():
        assert other_evaluations == evaluations, name
        assert other_updates == updates, name
        assert all(torch.equal(other_weights[key], value) for key, value in weights.items()), name


EPISODES = (
    "task.time_limit=25", "group.groups=2", "group.size=3", "update.epochs=2", "critic.epochs=2", "hidden=[32,32]",
    "evaluation.points=2", "evaluation.episodes=3", "budget=600",
)  # fmt: skip
IN_EPISODES = {
    "cartpole": ("task=cartpole", *EPISODES),
    "pendulum": ("task=pendulum", *EPISODES),  # with both normalisers
    "groups": ("task=cartpole", "baseline=grpo", "advantage=monte_carlo", *EPISODES),
}


def digest(*overrides: str) -> str:
    """Of everything a block of three seeds reports and learns."""
    trained, notes = block((3, 0, 11), *overrides)
    weights = [replica_state(trained.model.policy, replica) for replica in range(3)]
    numbers = [tensor.double().tolist() for state in weights for tensor in state.values()]
    return hashlib.sha256(repr((notes.evaluations, notes.updates, numbers)).encode()).hexdigest()


@pytest.mark.parametrize("case", IN_EPISODES)
def test_in_episodes_the_same_block_gives_the_same_bits(case: str) -> None:
    assert digest(*IN_EPISODES[case]) == digest(*IN_EPISODES[case])


@pytest.mark.slow
def test_the_same_block_gives_the_same_bits_in_another_process() -> None:
    program = (
        "import torch; torch.set_num_threads(1)\n"
        "from tests.learner.test_isolation import IN_EPISODES, digest\n"
        "print(*(digest(*overrides) for overrides in IN_EPISODES.values()))"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert there == [digest(*overrides) for overrides in IN_EPISODES.values()]


def test_the_first_weights_do_not_depend_on_the_number_of_threads() -> None:
    """In a notebook torch has several threads, on the command line one: the same seed is the same run in both."""
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            model = PolicyGradient(env="CartPole-v1", seeds=3)
            found.append(model.policy.actor.stack.flat.clone())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
