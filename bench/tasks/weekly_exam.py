"""Weekly exam: two brothers plan their studies for sixteen weeks, with an exam at the end of each."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from gymnasium import spaces

from bench.tasks.base import Array, Step
from bench.tasks.exact import ExactTask, Model

WEEKS = 16
MAX_LEVEL = 10
MAX_FATIGUE = 4
BROTHERS = ("elder", "younger")
START_LEVEL = np.array([8.0, 2.0])  # by brother
LEARNING = np.array([1.0, 1.0, 1.0, 0.3, 0.0])  # factor on a plan's gain, by the fatigue before the week
SICK = np.array([0.03, 0.03, 0.03, 0.15, 0.33])  # P(sick during the exam), by the fatigue after the week

# Points, 0 to 100 by intent; scores are not clipped.
BASE, PER_LEVEL, PER_FATIGUE, SICK_DAY = 35.0, 5.0, -6.0, -30.0
LUCK = 8.0  # standard deviation of the Gaussian luck of an exam


class Plan(NamedTuple):
    """What a week's study plan does."""

    name: str
    gain: float  # P(level + 1) when rested
    forget: float  # P(level - 1), given no gain
    tires: int  # change of fatigue …
    tires_more: float  # … and the chance of one more
    bonus: float = 0.0  # points on this week's exam


PLANS = (
    Plan("rest", gain=0.0, forget=0.25, tires=-2, tires_more=0.0),
    Plan("study", gain=0.5, forget=0.05, tires=0, tires_more=0.2),
    Plan("tutor", gain=0.7, forget=0.05, tires=0, tires_more=0.6),
    Plan("cram", gain=0.25, forget=0.15, tires=1, tires_more=0.7, bonus=15.0),
)


class _Effects:
    """The plans as arrays, by plan; `gain` and `loss`, the chances of a level up or down, by plan and fatigue."""

    def __init__(self, plans: tuple[Plan, ...]) -> None:
        self.gain = np.outer([plan.gain for plan in plans], LEARNING)
        self.loss = np.array([[plan.forget] for plan in plans]) * (1 - self.gain)
        self.tires = np.array([plan.tires for plan in plans])
        self.tires_more = np.array([plan.tires_more for plan in plans])
        self.bonus = np.array([plan.bonus for plan in plans])


@dataclass(frozen=True)
class WeeklyExam(ExactTask):
    """One episode is one brother's sixteen weeks; the plan of this week changes the later ones.

    State (4, C): week (0 to 16), level (0 to 10), fatigue (0 to 4), brother (0 elder, 1 younger), of which each is
    equally likely. Observation: the same, scaled to [0, 1]. Actions: the `PLANS`. A week moves level and fatigue, the
    exam follows on the new ones; reward = points / 100. Terminates by itself after the last week.
    """

    observation_space = spaces.Box(0.0, 1.0, (4,))
    time_limit = None

    @property
    def horizon(self) -> int:
        """Every episode lasts this many weeks."""
        return WEEKS

    @property
    def action_space(self) -> spaces.Discrete:
        """One action per plan."""
        return spaces.Discrete(len(self.plans))

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans to choose from, in the order of the actions."""
        return PLANS

    @cached_property
    def _effects(self) -> _Effects:
        return _Effects(self.plans)

    def start(self, rng: np.random.Generator, n: int) -> Array:
        """States (4, n): week 0, rested, either brother at his own level."""
        brother = rng.integers(len(BROTHERS), size=n)
        state = np.zeros((4, n))
        state[1], state[3] = START_LEVEL[brother], brother
        return state

    def noise(self, rng: np.random.Generator, n: int) -> Array:
        """Uniforms for fatigue, level and sickness, then a standard Gaussian for luck: (4, n)."""
        noise = np.empty((4, n))
        rng.random(out=noise[:3])
        rng.standard_normal(out=noise[3])
        return noise

    def step(self, state: Array, action: Array, noise: Array) -> Step:
        """One week: fatigue and level move, each by its own chance, then the exam."""
        week, level, fatigue, brother = state
        tires_draw, level_draw, sick_draw, luck = noise
        effects, tiredness = self._effects, fatigue.astype(np.intp)
        gain = effects.gain[action, tiredness]
        # +1 below `gain`, -1 in the next stretch of length `loss`: one uniform decides both.
        change = 2.0 * (level_draw < gain) - (level_draw < gain + effects.loss[action, tiredness])
        more = tires_draw < effects.tires_more[action]
        successor = np.empty_like(state)
        successor[0] = week + 1
        successor[1] = level = np.clip(level + change, 0, MAX_LEVEL)
        successor[2] = fatigue = np.clip(fatigue + effects.tires[action] + more, 0, MAX_FATIGUE)
        successor[3] = brother
        sick = sick_draw < SICK[fatigue.astype(np.intp)]
        points = (
            BASE + PER_LEVEL * level + PER_FATIGUE * fatigue + SICK_DAY * sick + effects.bonus[action] + LUCK * luck
        )
        return Step(successor, points / 100, successor[0] >= WEEKS, {})

    def observe(self, state: Array) -> Array:
        """Week / 16, level / 10, fatigue / 4, brother: (4, C) float32."""
        return (state * _SCALE).astype(np.float32)

    def kind(self, state: Array) -> Array:
        """Which brother: (C,) positions in `model.starts`."""
        brother: Array = state[3].astype(np.intp)
        return brother

    @cached_property
    def model(self) -> Model:
        """Its exact model: states unfold into level × fatigue × brother, the step is the week."""
        shape = (MAX_LEVEL + 1, MAX_FATIGUE + 1, len(BROTHERS))
        n_states, n_plans = int(np.prod(shape)), len(self.plans)
        level_moves, fatigue_moves = self._moves()
        transition = np.einsum("afkl,afg,bc->akfblgc", level_moves, fatigue_moves, np.eye(len(BROTHERS)))
        transition = transition.reshape(n_plans, n_states, n_states)
        level, fatigue, _ = np.indices(shape).reshape(3, n_states)
        well = BASE + PER_LEVEL * level + PER_FATIGUE * fatigue + self._effects.bonus[:, None]
        points = well + SICK_DAY * SICK[fatigue]
        square = points**2 + SICK_DAY**2 * SICK[fatigue] * (1 - SICK[fatigue]) + LUCK**2
        reward = np.einsum("ast,at->sa", transition, points)
        starts = {name: np.zeros(shape) for name in BROTHERS}
        for brother, start in enumerate(starts.values()):
            start[int(START_LEVEL[brother]), 0, brother] = 1.0
        return Model(
            transition=transition,
            reward=reward / 100,
            reward_variance=(np.einsum("ast,at->sa", transition, square) - reward**2) / 100**2,
            reward_to=np.broadcast_to(points[:, None] / 100, transition.shape),
            horizon=WEEKS,
            shape=shape,
            starts={name: start.ravel() for name, start in starts.items()},
        )

    def _moves(self) -> tuple[Array, Array]:
        """P(level' | plan, fatigue, level), axes in this order with level' last, and P(fatigue' | plan, fatigue)."""
        effects = self._effects
        chances = {1: effects.gain, -1: effects.loss, 0: 1 - effects.gain - effects.loss}
        level = sum(np.multiply.outer(chance, _shift(MAX_LEVEL + 1, change)) for change, chance in chances.items())
        fatigue = np.stack(
            [
                (1 - plan.tires_more) * _shift(MAX_FATIGUE + 1, plan.tires)
                + plan.tires_more * _shift(MAX_FATIGUE + 1, plan.tires + 1)
                for plan in self.plans
            ]
        )
        return np.asarray(level), fatigue


_SCALE = 1 / np.array([[WEEKS], [MAX_LEVEL], [MAX_FATIGUE], [1]])


def _shift(size: int, change: int) -> Array:
    """The (size, size) matrix that moves every value by `change`, stopping at either end."""
    return np.eye(size)[np.clip(np.arange(size) + change, 0, size - 1)]
