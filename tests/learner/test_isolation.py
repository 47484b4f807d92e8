"""A seed's numbers depend on nothing but the seed: not on who trains beside it."""

import dataclasses

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
    assert check_neighbours(*TASKS[task], *SEGMENTS, *ARMS[arm]) == 3


def check_neighbours(*overrides: str) -> int:
    """Compare all that a seed reports and learns, alone and beside others; the number of its updates."""
    found = {name: of(SEED, block(seeds, *overrides)) for name, seeds in NEIGHBOURS.items()}
    evaluations, updates, weights = found.pop("alone")
    assert len(evaluations) == 3 * 2 * 3  # grid steps, modes, episodes
    assert len({row["return"] for row in evaluations}) > 1  # type: ignore[index]
    for name, (other_evaluations, other_updates, other_weights) in found.items():
        assert other_evaluations == evaluations, name
        assert other_updates == updates, name
        assert all(torch.equal(other_weights[key], value) for key, value in weights.items()), name
    return len(updates)


EPISODES = (
    "task.time_limit=25", "group.groups=2", "group.size=3", "update.epochs=2", "critic.epochs=2", "hidden=[32,32]",
    "evaluation.points=2", "evaluation.episodes=3", "budget=600",
)  # fmt: skip
OF_EPISODES = {  # of other lengths for each seed
    "cartpole": ("task=cartpole", *EPISODES),
    "pendulum": ("task=pendulum", *EPISODES),  # with both normalisers
    "groups": ("task=cartpole", "baseline=grpo", "advantage=monte_carlo", *EPISODES),
    "odd widths": ("task=cartpole", *EPISODES, "hidden=[7,5]", "update.minibatches=3", "critic.minibatches=2"),
    "process": ("task=cartpole", "baseline=grpo", "advantage=monte_carlo", "group.credit=process", *EPISODES),
    "time_mean": ("task=cartpole", "baseline=time_mean", "advantage=monte_carlo", *EPISODES, "group.groups=1"),
    "batch_mean": ("task=cartpole", "baseline=batch_mean", "advantage=nstep", "aggregate=episode", *EPISODES),
    "vine": ("task=cartpole", "baseline=vine", "advantage=gae", *EPISODES, "task.time_limit=9", "budget=2000",
             "vine.every=3", "group.groups=1", "group.size=2"),
    "vine of a noisy world": ("task=weekly_exam", "baseline=vine", "advantage=monte_carlo", *EPISODES,
                              "sample_solved=true", "task.time_limit=null", "budget=2000", "group.groups=1",
                              "group.size=2"),
    "reference": ("task=cartpole", "reference=initial", "update=kl_penalty", *EPISODES),
    "longer than a chunk of noise": ("task=cartpole", *EPISODES, "task.time_limit=150", "budget=3000",
                                     "learning_rate=0.01"),
    "noise held for a rollout": ("task=mountain_car_continuous", "exploration=sde", *EPISODES, "norm_obs=true"),
}  # fmt: skip


@pytest.mark.parametrize("case", OF_EPISODES)
def test_in_episodes_too(case: str) -> None:
    assert check_neighbours(*OF_EPISODES[case]) >= 2


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
