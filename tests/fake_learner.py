"""A learner that takes no time, for faults that need many runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bench.config.schema import Config
from bench.errors import DamagedCheckpoint
from bench.observer import Observer, SeedOutcome


class FakeTrained:
    def __init__(self, seeds: Sequence[int], causes: dict[int, str]) -> None:
        self.outcomes = {
            seed: SeedOutcome("failed" if seed in causes else "done", causes.get(seed), 90, 2, 10) for seed in seeds
        }
        self.parameters = {"actor": 7, "critic": 5}

    def save_policy(self, path: Path) -> None:
        path.write_bytes(b"policy")

    def save_checkpoint(self, path: Path) -> None:
        path.write_bytes(b"checkpoint")


class FakeLearner:
    """Numbers that depend on the seed (and `offset`) only; `calls` are the seeds it was asked to train."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []
        self.begun_at: list[int] = []  # the index of each call's first evaluation: 0, or that of its checkpoint
        self.causes: dict[int, str] = {}
        self.offset = 0
        self.solves = False  # whether it reports exact returns, too
        self.before: Callable[[], object] = lambda: None
        self.after_progress: Callable[[], object] = lambda: None

    def __call__(
        self, config: Config, seeds: Sequence[int], observer: Observer, checkpoint: BinaryIO | None = None
    ) -> FakeTrained:
        self.calls.append(tuple(seeds))
        self.before()
        done = 0 if checkpoint is None else self._read(checkpoint)
        self.begun_at.append(done)
        streams = {seed: np.random.default_rng(seed + self.offset) for seed in seeds}
        for index, step in enumerate((0, config.budget // 2, config.budget)):
            if index < done:
                for rng in streams.values():
                    rng.random(2), rng.random(2), rng.random()
                continue
            observer.on_checkpoint(lambda file, index=index: file.write(bytes([index])))
            for seed, rng in streams.items():
                observer.on_evaluation(
                    [
                        {"seed": seed, "step": step, "mode": mode, "episode": episode, "return": value, "length": 16}
                        for mode in ("deterministic", "stochastic")
                        for episode, value in enumerate(rng.random(2))
                    ]
                )
                if self.solves:
                    row = {"seed": seed, "step": step, "exact_return": seed + index / 3}
                    observer.on_exact_returns([row | {"mode": mode} for mode in ("deterministic", "stochastic")])
                observer.on_update(
                    [{"seed": seed, "step": step + 1, "update": step, "train/kl": rng.random(), "train/bad": np.nan}]
                )
            observer.on_progress(step / config.budget, float(step))
            self.after_progress()
        return FakeTrained(seeds, self.causes)

    @staticmethod
    def _read(checkpoint: BinaryIO) -> int:
        content = checkpoint.read()
        if len(content) != 1 or content[0] > 2:
            raise DamagedCheckpoint("not one of the fake learner's")
        return content[0]
