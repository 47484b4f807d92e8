"""A learner that takes no time, whose scores are drawn from a known distribution for each arm."""

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from bench.config.schema import Config
from bench.observer import Observer
from tests.fake_learner import FakeLearner, FakeTrained


class DrawnLearner(FakeLearner):
    """Final scores on the normalised scale: by arm, mean and standard deviation of normal noise; the start is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.arms: dict[str, tuple[float, float]] = {}
        self.failing: dict[str, set[int]] = {}

    def __call__(
        self, config: Config, seeds: Sequence[int], observer: Observer, checkpoint: BinaryIO | None = None
    ) -> FakeTrained:
        assert checkpoint is None  # none is written
        self.calls.append(tuple(seeds))
        self.before()
        low, high = config.task.score.random, config.task.score.reference
        mean, sd = self.arms.get(config.arm_name, (0.8, 0.0))
        ends = {seed: mean + sd * self.noise(config.arm_name, seed) for seed in seeds}
        for step, share in ((0, 0.0), (config.budget // 2, 0.5), (config.budget, 1.0)):
            for seed in seeds:
                value = low + (high - low) * share * ends[seed]
                observer.on_evaluation(
                    [
                        {"seed": seed, "step": step, "mode": mode, "episode": 0, "return": value, "length": 16}
                        for mode in ("deterministic", "stochastic")
                    ]
                )
                observer.on_update([{"seed": seed, "step": step + 1, "update": step, "train/kl": 0.0}])
            observer.on_progress(step / config.budget, 0.0)
            self.after_progress()
        failing = self.failing.get(config.arm_name, set())
        return FakeTrained(seeds, {seed: "loss is nan" for seed in seeds if seed in failing})

    @staticmethod
    def noise(arm: str, seed: int) -> float:
        """Standard normal noise of a run."""
        return float(np.random.default_rng([seed, *arm.encode()]).standard_normal())
