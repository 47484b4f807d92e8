"""Any Gymnasium id as a task: slower, and without what needs the state itself.

Nothing that such an environment says is believed before it is looked at: `CheckedEnv` stands around each.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import spaces

from bench import plugin
from bench.errors import UserError, first_line, nearest
from bench.tasks.base import Array, Step, Task
from bench.tasks.environments import LARGEST, Environments, TaskFault, Transition, fault_text, moderate
from bench.tasks.spaces import check_actions, check_spaces, shown

API = "(observation, reward, terminated, truncated, info)"


@dataclass(frozen=True)
class GymTask(Task):
    """The environment of a Gymnasium id; `time_limit` None means the limit that the id was registered with, if any.

    `module:id` imports the module that registers the id, from Python's path or else from the current folder; not where
    only a record names it (see `bench.plugin`).

    It is a task without a state of its own: `bench.tasks.environments` steps it, `start`, `step` and `observe` refuse.

    Raises `UserError` for an id that does not exist, an environment that cannot be made, and spaces that are not
    supported: observations must be a flat Box, actions Discrete from 0 or a flat Box of floats with finite bounds.
    """

    id: str
    time_limit: int | None = None

    def __post_init__(self) -> None:
        spec = self.spec
        if self.time_limit is None:
            object.__setattr__(self, "time_limit", spec.max_episode_steps)

    @property
    def spec(self) -> "gymnasium.envs.registration.EnvSpec":
        """What the id was registered with. Raises `UserError`."""
        module, _, name = self.id.rpartition(":")
        if module:
            plugin.refuse_recorded({"task.id": self.id})
            try:
                plugin.import_module(module)
            except Exception as error:  # whatever a user's module raises while it is imported
                reason = f"{type(error).__name__}: {first_line(error)}"
                raise UserError(
                    f"task.id={self.id}: cannot import '{module}' from this folder or Python's path ({reason})"
                ) from error
        if name not in gymnasium.registry:
            where = f"task.id={self.id}: '{module}' registers no Gymnasium id" if module else "unknown Gymnasium id"
            hint = nearest(name, gymnasium.registry)
            own = "" if hint or module else "; give one of your own as module:id, such as my_envs:My-v0"
            raise UserError(f"{where} '{name}'{hint}{own}")
        spec = gymnasium.registry[name]
        if spec.entry_point is None:
            raise UserError(f"task.id={self.id}: it has only a vector environment; must be a single one")
        return spec

    @property
    def restorable(self) -> bool:
        """Its state lies in somebody else's environment."""
        return False

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"task.id={self.id}"

    def make(self, place: int = 0) -> "CheckedEnv":  # noqa: ARG002 - they are all the same
        """One such environment, without a time limit; `place` is where it stands among its seed's.

        Raises `UserError` where it cannot be made.
        """
        spec = self.spec
        silent = {"render_mode": None} if spec.kwargs.get("render_mode") is not None else {}
        try:
            env = gymnasium.make(spec.id, max_episode_steps=-1, disable_env_checker=True, **silent)
            _ = env.observation_space, env.action_space  # it must have both
        except gymnasium.error.DependencyNotInstalled as error:
            raise UserError(f"task.id={self.id}: {error}") from None
        except Exception as error:  # whatever somebody else's environment raises
            raise UserError(
                f"task.id={self.id}: cannot be made ({type(error).__name__}: {first_line(error)})"
            ) from error
        checked = CheckedEnv(env, f"task.id={self.id}")
        if env.render_mode == "human":
            checked.close()
            raise UserError(
                f"task.id={self.id}: it opens windows (render_mode=human) unless told otherwise; register it with "
                f"render_mode=None"
            )
        return checked

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
        check_spaces(self.name, observation, action)
        return observation, action  # type: ignore[return-value]  # as was just checked

    @property
    def observation_space(self) -> spaces.Box:
        """The environment's own."""
        return self._spaces[0]

    @property
    def action_space(self) -> spaces.Discrete | spaces.Box:
        """The environment's own."""
        return self._spaces[1]


class InfiniteValue(TaskFault):
    """A reward or an observation that is not finite in single precision."""


class CheckedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Somebody's environment, of which only what can be used comes through; `name` is what faults call it.

    Observations are copies: the environment may go on writing into its own. Nothing of `info` is handed on. Whatever
    else it gives or raises is a `TaskFault`.
    """

    def __init__(self, env: "gymnasium.Env[Any, Any]", name: str) -> None:
        super().__init__(env)
        self._name = name
        self._steps = 0  # of the running episode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start an episode: observation (O,), empty info. Raises `TaskFault`."""
        self._steps = 0
        try:
            given = self.env.reset(seed=seed, options=options)
        except (Exception, SystemExit) as error:  # whatever somebody else's environment raises
            raise self._raised("reset", error) from error
        if not isinstance(given, tuple) or len(given) != 2:
            raise self._fault(f"reset returned {shown(given)}; must be (observation, info)")
        return self._observation(given[0]), {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One step: observation (O,), reward, terminated, truncated, empty info. Raises `TaskFault`."""
        self._steps += 1
        try:
            given = self.env.step(np.array(action) if np.ndim(action) else action)
        except (Exception, SystemExit) as error:  # whatever somebody else's environment raises
            raise self._raised("step", error) from error
        if not isinstance(given, tuple) or len(given) != 5:
            many = f"{len(given)} values" if isinstance(given, tuple) else shown(given)
            raise self._fault(f"step returned {many}; must be five, {API}")
        observation, reward, terminated, truncated, _ = given
        flags = self._flag("terminated", terminated), self._flag("truncated", truncated)
        return self._observation(observation), self._reward(reward), *flags, {}

    def close(self) -> None:
        """Close it. What it raises then changes no number, and is nobody's business any more."""
        with contextlib.suppress(Exception):
            self.env.close()

    def _observation(self, given: Any) -> Array:
        seen, shape = _as_array(given), self.observation_space.shape
        if seen is None or seen.dtype.kind not in "biuf" or seen.shape != shape:
            of_shape = "" if seen is None or seen.shape == shape else f" of shape {seen.shape}"
            raise self._fault(f"the observation is {shown(given)}{of_shape}; must be numbers of shape {shape}")
        return seen.copy() if seen.dtype.kind == "f" and moderate(seen) else self._finite("observation", seen).copy()

    def _reward(self, given: Any) -> float:
        if isinstance(given, float) and -LARGEST <= given <= LARGEST:  # nearly always: no need of arrays
            return float(given)
        value = _as_array(given)
        if value is None or value.dtype.kind not in "biuf" or value.size != 1:
            raise self._fault(f"the reward is {shown(given)}; must be one number")
        return float(self._finite("reward", value).item())

    def _finite(self, name: str, values: Array) -> Array:
        fit = np.abs(values) <= LARGEST
        if fit.all():
            return values
        raise InfiniteValue(fault_text(self._name, f"the {name} is {values[~fit].flat[0]}", self._steps))

    def _flag(self, name: str, given: Any) -> bool:
        if given is True or given is False:
            return bool(given)
        if isinstance(given, np.ndarray) and given.ndim == 0:
            given = given.item()
        if not isinstance(given, bool | np.bool_ | int | np.integer) or given not in (0, 1):
            raise self._fault(f"{name} is {shown(given)}; must be True or False")
        return bool(given)

    def _raised(self, method: str, error: BaseException) -> TaskFault:
        return self._fault(f"{method} raised {type(error).__name__}: {first_line(error)}")

    def _fault(self, what: str) -> TaskFault:
        return TaskFault(fault_text(self._name, what, self._steps))


def _as_array(given: Any) -> Array | None:
    """What was given as an array; None where it is ragged or not numbers at all."""
    try:
        return np.asarray(given)
    except Exception:  # whatever an object of somebody else's raises
        return None


class ForeignEnv(Environments):
    """The environments of S · N columns, made from a Gymnasium id, with the interface of `Environments`.

    Every episode is seeded from its column's stream, for its start and its noise. Each environment is reset once per
    episode: a column that was restarted and not stepped since keeps its start. Columns that wait are not stepped.
    States cannot be shared or restored; `select` goes on using the same environments.
    """

    def __init__(
        self,
        task: GymTask,
        seeds: Sequence[int],
        n_envs: int,
        pool: str = "main",
        evaluation: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(task, seeds, n_envs, pool, evaluation)
        self._envs = [task.make(column % n_envs) for column in range(self.n_columns)]
        self._seen: Array = np.full((*task.observation_space.shape, self.n_columns), np.nan, dtype=np.float32)

    def seed(self, seeds: Sequence[int]) -> None:
        """See `Environments.seed`."""
        super().seed(seeds)
        self._fresh = np.zeros(self.n_columns, dtype=np.bool_)  # columns reset and not stepped since

    def _observe(self) -> Array:
        return self._seen.copy()

    def _restart(self, columns: Array, share: int) -> None:
        """See `Environments.restart`. Raises `UserError` for `share` > 1."""
        if share > 1:
            raise UserError(f"group.start=shared with {self.task}: its state cannot be copied; use independent")
        for column in columns[~(self._fresh | self._faulty())[columns]].tolist():
            try:
                seen, _ = self._envs[column].reset(seed=int(self._reset[column].integers(2**31)))
            except TaskFault as fault:
                self.note(column, str(fault))
                continue
            self._seen[:, column] = seen
            self._fresh[column] = True
        self.elapsed[columns] = 0

    def _step(self, actions: Array, live: Array | None) -> Transition:
        check_actions(self.task.action_space, actions)
        live = np.ones(self.n_columns, dtype=np.bool_) if live is None else live
        reward = np.zeros(self.n_columns)
        terminated, truncated = np.zeros((2, self.n_columns), dtype=np.bool_)
        chosen = np.asarray(actions, dtype=self.task.action_space.dtype).T
        for column in np.flatnonzero(live & ~self._faulty()).tolist():
            try:
                seen, reward[column], ended, cut, _ = self._envs[column].step(chosen[column])
            except TaskFault as fault:
                self.note(column, str(fault))
                continue
            self._seen[:, column], terminated[column], truncated[column] = seen, ended, cut
        self._fresh &= ~live
        self.elapsed += live
        if self.task.time_limit is not None:
            truncated |= live & (self.elapsed >= self.task.time_limit)
        return Transition(self._observe(), reward, terminated, truncated & ~terminated, {})

    def close(self) -> None:
        """Close every environment."""
        for env in self._envs:
            env.close()

    def get_state(self) -> dict[str, Any]:
        """Empty: the state of such an environment is out of reach."""
        return {}

    def set_state(self, saved: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Raises `UserError`: see `get_state`."""
        raise UserError(f"{self.task} cannot be restored: the state of such an environment is out of reach; start anew")

    def _keep(self, columns: Array) -> None:
        self._envs = [self._envs[column] for column in columns.tolist()]
        self._seen, self._fresh = self._seen[:, columns], self._fresh[columns]
