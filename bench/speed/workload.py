"""What a program is measured on, PPO on CartPole-v1 or something that differs little from it, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass

N_ENVS, N_STEPS, EPOCHS, HIDDEN, LEARNING_RATE = 8, 128, 10, 64, 3e-4  # the same for every program
BATCH = N_ENVS * N_STEPS
LEARNING_STEPS = 51_200  # of a seed, from which on it is judged whether a program learns


@dataclass(frozen=True)
class Workload:
    """What is trained: `steps` for each seed after one iteration of warming up."""

    seeds: tuple[int, ...]
    steps: int
    minibatch: int = 256
    task: str = "CartPole-v1"
    epochs: int = EPOCHS
    gae_lambda: float = 0.95
    arm: str = "ppo"  # of `bench.speed.lockstep.ARMS`, or of `bench.speed.critic`
    learning_rate: float = LEARNING_RATE
    hidden: int = HIDDEN


@dataclass(frozen=True)
class Measurement:
    """What came of it; None for what a program does not tell."""

    env_steps: int  # of all seeds together
    seconds: float
    rollout_seconds: float | None = None
    update_seconds: float | None = None
    mean_return: float | None = None  # at the end, over seeds and episodes; of runs of `LEARNING_STEPS` and more
    spent: Mapping[str, float] | None = None  # seconds by what they were spent on, of `bench.speed.recorded`
    counted: Mapping[str, int] | None = None  # numbers and bytes, of `bench.speed.critic`
    peak_memory: int = 0  # bytes of the process
    cpu_share: float = 1.0  # of the time, in which the process had its core

    @property
    def seconds_per_step(self) -> float:
        """The inverse of the speed."""
        return self.seconds / self.env_steps

    @property
    def steps_per_second(self) -> float:
        """Steps of all seeds together by the clock on the wall."""
        return self.env_steps / self.seconds
