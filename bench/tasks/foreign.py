"""Any Gymnasium id as a task, through an SB3 `VecEnv`: slower, and without what needs the state itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import spaces

from bench.errors import UserError, nearest
from bench.tasks.base import Array, Step, Task
from bench.tasks.environments import Environments, Transition

if TYPE_CHECKING:  # imports torch, which takes seconds
    from stable_baselines3.common.vec_env import VecEnv


@dataclass(frozen=True)
class GymTask(Task):
    """The environment of a Gymnasium id; `time_limit` None means the id's own.

    It is a task without a state of its own: `bench.tasks.environments` steps it, `start`, `step` and `observe` refuse.

    Raises `UserError` for an id that does not exist or whose spaces are not supported: observations must be a flat Box,
    actions Discrete from 0 or a flat Box.
    """

    id: str
    time_limit: int | None = None

    def __post_init__(self) -> None:
        try:
            spec = gymnasium.spec(self.id)
        except gymnasium.error.Error:
            raise UserError(f"unknown Gymnasium id '{self.id}'{nearest(self.id, gymnasium.registry)}") from None
        if self.time_limit is None:
            object.__setattr__(self, "time_limit", spec.max_episode_steps)

    @property
    def restorable(self) -> bool:
        """Its state lies in somebody else's environment."""
        return False

    def make(self) -> "gymnasium.Env[Any, Any]":
        """One such environment. Raises `UserError` where it needs a package that is not installed."""
        try:
            return gymnasium.make(self.id, max_episode_steps=self.time_limit)
        except gymnasium.error.DependencyNotInstalled as error:
            raise UserError(f"task.id={self.id}: {error}") from None

    def start(self, rng: np.random.Generator, n: int) -> Array:  # noqa: ARG002
        """Raises `UserError`."""
        self._refuse()

    def step(self, state: Array, action: Array, noise: Array) -> Step:  # noqa: ARG002
        """Raises `UserError`."""
        self._refuse()

    def observe(self, state: Array) -> Array:  # noqa: ARG002
        """Raises `UserError`."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UserError(f"{self}: the state of such an environment is out of reach; use a task of this package")

    @cached_property
    def _spaces(self) -> tuple[spaces.Box, spaces.Discrete | spaces.Box]:
        env = self.make()
        observation, action = env.observation_space, env.action_space
        env.close()
        if not isinstance(observation, spaces.Box) or len(observation.shape) != 1:
            raise UserError(f"task.id={self.id}: observations are {observation}; must be a flat Box")
        if isinstance(action, spaces.Discrete) and action.start == 0:
            return observation, action
        if isinstance(action, spaces.Box) and len(action.shape) == 1:
            return observation, action
        raise UserError(f"task.id={self.id}: actions are {action}; must be Discrete from 0 or a flat Box")

    @property
    def observation_space(self) -> spaces.Box:
        """The environment's own."""
        return self._spaces[0]

    @property
    def action_space(self) -> spaces.Discrete | spaces.Box:
        """The environment's own."""
        return self._spaces[1]


class ForeignEnv(Environments):
    """An SB3 `VecEnv` of S · N environments with the interface of `Environments`, as far as it goes.

    Every episode is seeded from its column's stream, for its start and its noise. Columns that wait are stepped on
    unseen, since a `VecEnv` steps all. States cannot be shared or restored; `select` goes on using the same `VecEnv`.
    """

    def __init__(
        self,
        venv: "VecEnv",
        task: Task,
        seeds: Sequence[int],
        n_envs: int,
        pool: str = "main",
        evaluation: int | None = None,
    ) -> None:
        super().__init__(task, seeds, n_envs, pool, evaluation)
        self._venv = venv
        self._columns = np.arange(self.n_columns)  # ours, among those of the VecEnv
        self._actions = np.stack([venv.action_space.sample() for _ in range(venv.num_envs)])  # of columns not ours
        self._observation: Array = np.full((*task.observation_space.shape, self.n_columns), np.nan, dtype=np.float32)

    @property
    def observation(self) -> Array:
        """The observations of the current states, (O, C) float32; a fresh array."""
        return self._observation.copy()

    def restart(self, columns: Any = None, share: int = 1) -> None:
        """See `Environments.restart`. Raises `UserError` for `share` > 1."""
        if share > 1:
            raise UserError(f"group.start=shared with {self.task}: its state cannot be copied; use independent")
        chosen = np.arange(self.n_columns)
        for column in chosen if columns is None else chosen[columns]:
            seed = int(self._reset[column].integers(2**31))
            ((observation, _),) = self._venv.env_method("reset", seed=seed, indices=[int(self._columns[column])])
            self._observation[:, column] = observation
            self.elapsed[column] = 0

    def step(self, actions: Array, live: Array | None = None) -> Transition:
        """See `Environments.step`."""
        live = np.ones(self.n_columns, dtype=np.bool_) if live is None else live
        self._actions[self._columns] = np.asarray(actions).T
        observations, rewards, dones, infos = self._venv.step(self._actions)
        infos = [infos[column] for column in self._columns]
        following = np.asarray(observations)[self._columns].T.astype(np.float32)
        done = dones[self._columns] & live
        for column in np.flatnonzero(done):
            following[:, column] = infos[column]["terminal_observation"]
        truncated = done & np.array([info.get("TimeLimit.truncated", False) for info in infos])
        self._observation = np.where(live, following, self._observation)
        self.elapsed += live
        reward = np.where(live, rewards[self._columns], 0.0).astype(np.float64)
        return Transition(self.observation, reward, done & ~truncated, truncated, {})

    def get_state(self) -> dict[str, Any]:
        """Empty: the state of such an environment is out of reach."""
        return {}

    def set_state(self, saved: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Raises `UserError`: see `get_state`."""
        raise UserError(f"{self.task} cannot be restored: the state of such an environment is out of reach; start anew")

    def _keep(self, columns: Array) -> None:
        self._columns = self._columns[columns]
        self._observation = self._observation[:, columns]
