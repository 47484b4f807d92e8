"""Exam question: one question, one answer, one score. Its gradients have closed forms."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from bench.tasks.base import Array, Step
from bench.tasks.exact import ExactTask, Model, Policy, gradient_variance


class Setting(NamedTuple):
    """Who is asked, what can be answered, and what it scores, in points."""

    students: tuple[str, ...]
    difficulties: tuple[str, ...]
    answers: tuple[str, ...]
    points: Array  # (student, difficulty, answer), on average
    luck: Array  # by answer: the standard deviation of the Gaussian luck; scores are not clipped


# By difficulty and answer: what an answer adds to a student's usual points. Everything counts double for the younger
# brother, who has more to gain. A gamble is now and then brilliant, on average not the best, and by far the noisiest.
_EFFECT = np.array([[-5.0, 15.0, 10.0, 10.0], [-10.0, 0.0, 10.0, 5.0]])
_USUAL, _ROOM = np.array([75.0, 30.0]), np.array([1.0, 2.0])  # by brother

SETTINGS = {
    "four": Setting(
        ("elder", "younger"),
        ("easy", "hard"),
        ("guess", "recall", "reason", "gamble"),
        _USUAL[:, None, None] + _ROOM[:, None, None] * _EFFECT,
        np.array([8.0, 8.0, 8.0, 30.0]),
    ),
    "two": Setting(("student",), ("plain",), ("wrong", "right"), np.array([[[0.0, 100.0]]]), np.zeros(2)),
}


@dataclass(frozen=True)
class ExamQuestion(ExactTask):
    """A contextual bandit: a student is asked a question, answers, and the episode ends; reward = points / 100.

    `answers="four"`: either brother, an easy or a hard question, all four contexts equally likely, four answers.
    `answers="two"`: one context, a right answer for 1 and a wrong one for 0, no luck; with p = P(right), J = p.

    State (3, C): answered (0 or 1), student, difficulty. Observation: one-hot over the contexts, zeros once answered.
    """

    answers: Literal["four", "two"] = "four"

    time_limit = None

    @property
    def horizon(self) -> int:
        """One answer."""
        return 1

    @property
    def setting(self) -> Setting:
        """Who is asked what."""
        return SETTINGS[self.answers]

    @property
    def _contexts(self) -> tuple[int, int]:
        return len(self.setting.students), len(self.setting.difficulties)

    @cached_property
    def observation_space(self) -> spaces.Box:
        """One number per context, (contexts,)."""
        return spaces.Box(0.0, 1.0, (int(np.prod(self._contexts)),))

    @cached_property
    def action_space(self) -> spaces.Discrete:
        """One action per answer."""
        return spaces.Discrete(len(self.setting.answers))

    def start(self, rng: np.random.Generator, n: int) -> Array:
        """States (3, n): every context equally likely."""
        state = np.zeros((3, n))
        for row, count in enumerate(self._contexts, start=1):
            state[row] = rng.integers(count, size=n)
        return state

    def noise(self, rng: np.random.Generator, n: int) -> Array:
        """A standard Gaussian for luck, (1, n)."""
        return rng.standard_normal((1, n))

    def step(self, state: Array, action: Array, noise: Array) -> Step:
        """Answer: the points of the context and the answer, and luck."""
        student, difficulty = state[1:].astype(np.intp)
        points = self.setting.points[student, difficulty, action] + self.setting.luck[action] * noise[0]
        successor = state.copy()
        successor[0] = 1
        return Step(successor, points / 100, np.ones(state.shape[1], dtype=np.bool_), {})

    def observe(self, state: Array) -> Array:
        """Which context it is, one-hot: (contexts, C) float32."""
        answered, student, difficulty = state
        context = student * self._contexts[1] + difficulty
        here: Array = np.arange(self.observation_space.shape[0])[:, None] == context
        seen: Array = here & (answered == 0)
        return seen.astype(np.float32)

    def describe(
        self, state: Array, action: Any = None, reward: float | None = None, extras: Mapping[str, float] | None = None
    ) -> str:
        """Who is asked what, the answer, and what it brought."""
        _, student, difficulty = state.astype(int)
        line = f"{self.setting.students[student]}  {self.setting.difficulties[difficulty]} question"
        if action is None:
            return line
        return f"{line}  {self.setting.answers[int(action)]:6}  {self.earned(reward, extras)}"

    def kind(self, state: Array) -> Array:
        """Which student: (C,) positions in `model.starts`."""
        student: Array = state[1].astype(np.intp)
        return student

    @cached_property
    def model(self) -> Model:
        """Its exact model: states unfold into student × difficulty, and one step ends the episode."""
        students, difficulties = self._contexts
        n_states, n_answers = students * difficulties, len(self.setting.answers)
        reward = self.setting.points.reshape(n_states, n_answers) / 100
        spread = self.setting.luck / 100
        of_student = np.repeat(np.eye(students), difficulties, axis=1) / difficulties
        return Model(
            transition=np.zeros((n_answers, n_states, n_states)),
            reward=reward,
            reward_variance=np.broadcast_to(spread * spread, reward.shape),
            reward_to=np.zeros((n_answers, n_states, n_states)),
            square_to=np.zeros((n_answers, n_states, n_states)),
            horizon=1,
            shape=(students, difficulties),
            starts=dict(zip(self.setting.students, of_student, strict=True)),
        )

    def context_variance(self, policy: Policy, baseline: npt.ArrayLike = 0.0) -> Array:
        """The one-sample gradient's variance in each context, (student, difficulty).

        The trace of Cov((R - b) ∇log π(a | context)), ∇ by the context's logits; `baseline` b broadcasts to the result.
        """
        table, shape = self.policy_table(policy), self.model.shape
        return np.array(
            [gradient_variance(self.model, table, baseline, start=context) for context in np.eye(int(np.prod(shape)))]
        ).reshape(shape)
