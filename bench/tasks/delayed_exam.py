"""Delayed exam: one decision, paid for weeks later, and nothing but luck between."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from bench.errors import UserError
from bench.tasks.base import Array, Step
from bench.tasks.exact import ExactTask, Model

PLANS = ("play", "study")
PLAY, STUDY = range(2)
CHOICES = ("nothing yet", *PLANS)  # what a state remembers of the first week
WORTH = 1.0  # what the exam brings to who has studied, in money (points / 100)
MAX_DELAY, MAX_LUCK = 100, 10.0


@dataclass(frozen=True)
class DelayedExam(ExactTask):
    """In the first week one studies or plays; `delay` weeks later the exam pays for it.

    Playing brings `temptation` at once, having studied brings 1 at the exam, and all other plans bring nothing. Every
    week's reward also has Gaussian luck, which no plan changes: the longer the delay, the more of it lies between
    the decision and what it is worth. (The umbrella chain of bsuite, arXiv 1908.03568, is a relative.)

    State (2, C): week (0 to delay, and delay + 1 behind the end), then what was chosen: 0 nothing yet, 1 play, 2 study.
    Observation: (week / (delay + 1), has played, has studied). Actions: the `PLANS`, of which only the first counts.
    Terminates by itself after the exam, in week `delay`; with a delay of 0 that is the week of the decision.

    delay: weeks from the decision to the exam, 0 to 100
    luck: standard deviation of the luck in every week's reward, 0 to 10
    temptation: what playing brings, 0 to less than 1, so that studying is best
    hidden: whether the policy, and the critic, no longer see what was chosen (0 in both places)

    Raises `UserError` for numbers outside their ranges.
    """

    delay: int = 8
    luck: float = 0.5
    temptation: float = 0.2
    hidden: bool = False

    time_limit = None

    observation_space = spaces.Box(0.0, 1.0, (3,))
    action_space = spaces.Discrete(len(PLANS))

    def __post_init__(self) -> None:
        if not 0 <= self.delay <= MAX_DELAY:
            raise UserError(f"task.delay={self.delay}: must lie in 0 to {MAX_DELAY} weeks")
        if not 0 <= self.luck <= MAX_LUCK:
            raise UserError(f"task.luck={self.luck}: must lie in [0, {MAX_LUCK:g}] (it is a standard deviation)")
        if not 0 <= self.temptation < WORTH:
            raise UserError(f"task.temptation={self.temptation}: must lie in [0, {WORTH:g}), or playing would be best")

    @property
    def horizon(self) -> int:
        """The weeks of every episode."""
        return self.delay + 1

    def start(self, rng: np.random.Generator, n: int) -> Array:  # noqa: ARG002 - it always begins alike
        """States (2, n): the first week, nothing chosen."""
        return np.zeros((2, n))

    def noise(self, rng: np.random.Generator, n: int) -> Array:
        """A standard Gaussian for luck, (1, n)."""
        return rng.standard_normal((1, n))

    def step(self, state: Array, action: Array, noise: Array) -> Step:
        """One week."""
        week, chosen = state
        first = week == 0
        chosen = np.where(first, action + 1.0, chosen)
        played, is_exam = first & (action == PLAY), week == self.delay
        reward = self.temptation * played + WORTH * (is_exam & (chosen == 1 + STUDY)) + self.luck * noise[0]
        return Step(np.stack([week + 1, chosen]), reward, is_exam, {})

    def observe(self, state: Array) -> Array:
        """The week as a share of all, and what was chosen unless it is hidden: (3, C) float32."""
        week, chosen = state
        seen = (not self.hidden) * np.stack([chosen == 1 + PLAY, chosen == 1 + STUDY])
        return np.vstack([week / self.horizon, seen]).astype(np.float32)

    def describe(
        self, state: Array, action: Any = None, reward: float | None = None, extras: Mapping[str, float] | None = None
    ) -> str:
        """A week: what was chosen for the exam, and what the week brought."""
        week, chosen = state.astype(int)
        line = f"week {week:3} of {self.horizon}  chosen: {CHOICES[chosen]}"
        return line if action is None else f"{line}  {self.earned(reward, extras)}"

    @cached_property
    def model(self) -> Model:
        """Its exact model: states unfold into week × what was chosen, and the last week ends the episode.

        `hidden` changes what a policy sees, not what it is worth.
        """
        shape = (self.horizon, len(CHOICES))
        n_states = int(np.prod(shape))
        transition, reward = np.zeros((len(PLANS), *shape, *shape)), np.zeros((*shape, len(PLANS)))
        for plan in range(len(PLANS)):
            for week in range(self.delay):
                for chosen in range(len(CHOICES)):
                    transition[plan, week, chosen, week + 1, chosen if week else 1 + plan] = 1.0
        reward[0, :, PLAY] = self.temptation
        reward[self.delay, 1 + STUDY] += WORTH
        if self.delay == 0:
            reward[0] = [self.temptation, WORTH]
        flat = transition.reshape(len(PLANS), n_states, n_states)
        rewards = reward.reshape(n_states, len(PLANS))
        return Model(
            transition=flat,
            reward=rewards,
            reward_variance=np.full_like(rewards, self.luck * self.luck),
            reward_to=np.broadcast_to(rewards.T[:, :, None], flat.shape),
            square_to=np.broadcast_to((rewards**2 + self.luck * self.luck).T[:, :, None], flat.shape),
            horizon=None,
            shape=shape,
            starts={"exam": np.eye(n_states)[0]},
        )
