"""PPO in parity mode beside Stable-Baselines3's: areas under learning curves recorded by `record_parity.py`."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from bench.cells.planning import plan_studies
from bench.config import peer_settings as library
from bench.config.schema import Config
from bench.learner.train import train
from bench.paths import CONF
from bench.records.metrics import area_under_curve
from tests.learner.probes import Notes

RECORDED = json.loads(Path(__file__).with_name("parity.json").read_text())["curves"]
OURS, THEIRS = "ppo", "sb3_ppo"
MARGIN = 0.1  # of the area under SB3's curve
ALPHA = 0.05


def areas(task: str, mode: str, arm: str) -> np.ndarray:
    """(seeds,): the mean height of each seed's learning curve."""
    return area_under_curve(RECORDED[task]["steps"], RECORDED[task][mode][arm])


def study(*overrides: str) -> list[Config]:
    def load(given: list[str]) -> DictConfig:
        return compose("config", overrides=given, return_hydra_config=True)

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return [cell.config for cell in plan_studies(["study=parity", *overrides], load)]


def paired_tost(differences: np.ndarray, margin: float) -> float:
    """The larger p of two one-sided paired t-tests against −margin and margin (Schuirmann 1987), by scipy."""
    above = scipy.stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(differences, margin, alternative="less").pvalue
    return float(max(above, below))


def welch_tost(first: Sequence[float], second: Sequence[float], margin: float) -> float:
    """The same question asked of independent samples, by scipy: the seeds of the two programs are paired by nothing."""
    above = scipy.stats.ttest_ind(np.add(first, margin), second, equal_var=False, alternative="greater").pvalue
    below = scipy.stats.ttest_ind(np.subtract(first, margin), second, equal_var=False, alternative="less").pvalue
    return float(max(above, below))


@pytest.mark.parametrize("mode", ["stochastic", "deterministic"])
@pytest.mark.parametrize("task", ["cartpole", "pendulum"])
def test_areas_under_learning_curves_are_equivalent_to_sb3s(task: str, mode: str) -> None:
    """TOST on the area under the learning curve, 20 seeds each, margin 10 % of SB3's area."""
    ours, theirs = areas(task, mode, OURS), areas(task, mode, THEIRS)
    assert len(ours) == len(theirs) == 20
    margin = MARGIN * abs(float(theirs.mean()))
    assert paired_tost(ours - theirs, margin) < ALPHA
    assert welch_tost(ours.tolist(), theirs.tolist(), margin) < ALPHA


@pytest.mark.parametrize("task", ["cartpole", "pendulum"])
def test_both_learned(task: str) -> None:
    """Two programs that learn nothing would be equivalent, too."""
    random, solved = {"cartpole": (22.2, 400), "pendulum": (-1237, -400)}[task]
    for arm in (OURS, THEIRS):
        final = np.array(RECORDED[task]["deterministic"][arm])[:, -2:].mean()
        assert final > solved > random


def test_the_study_varies_the_learner_only() -> None:
    for task in ("cartpole", "pendulum"):
        ours, theirs = (cell for cell in study() if cell.task.name == task)
        assert (ours.arm_name, theirs.arm_name) == (OURS, THEIRS)
        assert theirs.algorithm.parameters == library.matched(ours)
        assert theirs.algorithm.n_envs == ours.n_envs
        for key in ("budget", "evaluation", "task", "seeds", "seed_pool", "norm_obs", "norm_reward"):
            assert getattr(ours, key) == getattr(theirs, key)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["cartpole", "pendulum"])
def test_our_side_still_learns_as_recorded(task: str) -> None:
    """Two seeds again give the recorded curves, on any processor."""
    (config,) = study("algorithm=policy_gradient", f"task={task}", "seeds=2")
    notes = Notes()
    train(config, config.seeds, notes)
    for mode in ("stochastic", "deterministic"):
        for seed in config.seeds:
            rows = [row for row in notes.evaluations if (row["seed"], row["mode"]) == (seed, mode)]
            steps = sorted({row["step"] for row in rows})
            assert steps == RECORDED[task]["steps"]
            curve = [np.mean([row["return"] for row in rows if row["step"] == step]) for step in steps]
            assert curve == pytest.approx(RECORDED[task][mode][OURS][seed], abs=6e-4)  # rounded to three digits
