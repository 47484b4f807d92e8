"""`device=cuda` on a GPU: its numbers are the CPU's up to rounding. Where there is no GPU, see `test_device`."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch

import bench
from bench.arms.objectives import KINDS
from bench.config.schema import Config
from bench.kernel.engine import computing_with
from bench.learner import PolicyGradient
from bench.learner.checkpoint import load_actor, read_checkpoint
from bench.learner.train import train
from bench.tasks.batched import BatchedEnv
from bench.tasks.vec_env import BatchedVecEnv
from tests.learner.probes import ADVANTAGES, BASELINES, COLLECTS, UPDATES, DelayedChoice, Notes, combined
from tests.learner.test_device import ARMS, SEGMENTS, parameters, trained, untrained
from tests.learner.test_every_arm import SETTINGS, legal, small
from tests.learner.test_one_kernel_step import DISTRIBUTIONS, NORMS, Kind, arm_of, check, problem

GPU = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

SCALED = ("norm_obs=true", "norm_reward=true")
SAVED = ARMS | {"kl": [*SEGMENTS, *SCALED, "update=kl_penalty", "reference=initial"]}
COMBINATIONS = [
    (baseline, advantage, UPDATES[(row + column) % len(UPDATES)], collect)
    for row, baseline in enumerate(BASELINES)
    for column, advantage in enumerate(ADVANTAGES)
    for collect in COLLECTS
    if legal(baseline, advantage, collect)
]


def check_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Weights after a few updates: Adam's steps magnify the rounding of gradients that are nearly zero."""
    assert found.device.type == GPU or expected.device.type == GPU
    torch.testing.assert_close(found.cpu(), expected.cpu(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
@pytest.mark.parametrize("objective", KINDS)
def test_a_step_is_the_cpus(objective: str, kind: Kind) -> None:
    """From the same samples, up to the rounding of each type; single precision is compared with double, too."""
    for norm, clip in zip(NORMS, ("none", "separate", "joint"), strict=True):
        arm, samples = arm_of(objective, norm, clip), problem(kind).weighted("episode")
        expected = problem(kind).step("torch", torch.float64, arm, samples)
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 5e-6)):
            check(problem(kind).step("torch", dtype, arm, samples, device=GPU), expected, tolerance)


@pytest.mark.parametrize("overrides", ARMS.values(), ids=ARMS)
def test_it_learns_like_the_cpu(overrides: list[str]) -> None:
    """Several updates of several seeds, which stop training one after the other where episodes are collected."""
    here, there = (
        trained([*overrides, "update.epochs=1", "critic.epochs=1"], device, seeds=3) for device in ("cpu", GPU)
    )
    assert here.env_steps == there.env_steps
    for expected, found in zip(parameters(here), parameters(there), strict=True):
        assert found.device.type == GPU
        check_close(found, expected)
    assert [row.keys() for row in here.latest] == [row.keys() for row in there.latest]


@pytest.mark.parametrize(("baseline", "advantage", "update", "collect"), COMBINATIONS)
def test_every_arm_takes_its_first_update(baseline: str, advantage: str, update: str, collect: str) -> None:
    config = small(combined(baseline, advantage, update, collect, *SETTINGS))
    here, there = (first_update(config, device) for device in ("cpu", GPU))
    assert there.updates == [1, 1]
    assert there.failures == {}
    assert [row["step"] for row in here.latest] == [row["step"] for row in there.latest]
    for expected, found in zip(parameters(here), parameters(there), strict=True):
        check_close(found, expected)


def first_update(config: Config, device: str) -> PolicyGradient:
    env = BatchedVecEnv(BatchedEnv(DelayedChoice(), (0, 1), config.n_envs))
    model = PolicyGradient(env=env, arm=config, seeds=(0, 1), device=device, engine="torch")
    return model.learn(model.batch_limit())


@pytest.mark.parametrize(("first", "second"), [("cpu", GPU), (GPU, "cpu"), (GPU, GPU)])
@pytest.mark.parametrize("name", ["kl", "sde"])
def test_a_run_goes_on_elsewhere(name: str, first: str, second: str) -> None:
    """A checkpoint's numbers arrive as they are; a run that goes on elsewhere ends near one that did not move."""
    overrides = [*SAVED[name], "update.epochs=1", "critic.epochs=1"]
    half, whole = untrained(overrides, first, 3).learn(512), untrained(overrides, first, 3).learn(1024)
    file = io.BytesIO()
    torch.save(half.get_checkpoint(), file)
    file.seek(0)
    checkpoint = read_checkpoint(file)
    arrived = untrained(overrides, second, 3).resume(checkpoint, 512)  # the budget is used: nothing is learned
    for before, after in zip(parameters(half), parameters(arrived), strict=True):
        assert after.device.type == second
        assert torch.equal(before.cpu(), after.cpu())
    on = untrained(overrides, second, 3).resume(checkpoint, 1024)
    assert on.env_steps == whole.env_steps
    for expected, found in zip(parameters(whole), parameters(on), strict=True):
        torch.testing.assert_close(found.cpu(), expected.cpu(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["kl", "sde", "gaussian"])
def test_a_saved_model_acts_alike_on_both(name: str, tmp_path: Path) -> None:
    """The model itself, a stock PPO of one seed, and an actor without the algorithm."""
    model = trained(SAVED[name], GPU, seeds=3)
    model.save(tmp_path / "policy.zip")
    here, there = (
        PolicyGradient.load(tmp_path / "policy.zip", device=device, engine="torch") for device in ("cpu", GPU)
    )
    space = model.observation_space
    seen = np.stack([space.sample() for _ in range(6)]).clip(-2, 2)  # two for each seed
    expected, _ = here.predict(seen, deterministic=True)
    for acting in (model, there):
        actions, _ = acting.predict(seen, deterministic=True)
        np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-6)
    for each in (here, there):
        each.predict(seen, deterministic=False)
    columns = torch.from_numpy(seen).view(3, 2, -1).transpose(1, 2)
    actors = [load_actor(tmp_path / "policy.zip", model.seeds, device) for device in ("cpu", GPU)]
    with torch.no_grad(), computing_with("torch"):
        modes = [actor.policy(columns).mode().cpu() for actor in actors]
    torch.testing.assert_close(*modes, rtol=1e-5, atol=1e-6)
    stock = there.replica(1)
    assert stock.device.type == GPU
    stock.predict(seen[2:4], deterministic=True)


@pytest.mark.parametrize("overrides", [ARMS["reference"], SAVED["kl"]], ids=["episodes", "segments"])
def test_a_block_with_its_evaluations(overrides: list[str]) -> None:
    """What an observer is told is the CPU's in form, and in what does not depend on rounding."""
    config = bench.compose([*overrides, "engine=torch", "seeds=2", "evaluation.points=3", "evaluation.episodes=2"])
    here, there = Notes(), Notes()
    train(config, config.seeds, here)
    train(dataclasses.replace(config, device="cuda"), config.seeds, there)
    assert [row.keys() for row in there.updates] == [row.keys() for row in here.updates]
    assert [(row["seed"], row["step"]) for row in there.updates] == [(row["seed"], row["step"]) for row in here.updates]
    assert len(there.evaluations) == len(here.evaluations) > 0
    first = [row["return"] for row in there.evaluations if row["step"] == 0]
    assert first == [row["return"] for row in here.evaluations if row["step"] == 0]
