"""What the learner steps: all environments of a block of seeds, with the random streams that belong to each of them."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from bench.seeding import streams
from bench.tasks.base import Array, Task

# What is beyond is infinite to the learner, which computes in single precision.
LARGEST = float(np.finfo(np.float32).max)
_FAR = 1e15  # nothing below it comes near


class TaskFault(Exception):
    """What a task did that no task may do, in one line: the seed that met it fails, the others go on."""


@dataclass(frozen=True)
class Transition:
    """What a step of C columns tells. `observation` is that of the true successor, before any restart.

    observation (O, C) float32; reward (C,) float64; terminated and truncated (C,) bool, never both: a step that
    terminates at the time limit is terminated. (Gymnasium's TimeLimit raises both flags there; what follows a terminal
    state is worth nothing either way, and SB3's `TimeLimit.truncated` is exclusive as here.)
    """

    observation: Array
    reward: Array
    terminated: Array
    truncated: Array
    extras: dict[str, Array]


class Environments(ABC):
    """S replicas (seeds) × N environments of a task in lockstep; column = replica · N + environment.

    Every environment draws its starts from a stream of its own and every replica its noise from another, so a replica
    meets the same starts and the same noise alone, beside others and in any order. Nothing restarts by itself.
    `elapsed` (C,) counts the steps since a column's last restart.

    A number that is not finite in single precision (a reward, an observation, an extra) is a fault of the task, and so
    is whatever else somebody else's environment gives that cannot be used. `faults` holds each replica's first one, by
    its number among the replicas that there were at first. From then on the columns of that replica end with every
    step, with zeros for rewards and observations: whoever steps must look there, and drop the replica.

    `evaluation` is a place on the evaluation grid, or one for each replica: it gives the streams of that evaluation
    instead of the training's (stream keys: place, 0, environment for starts; place, 1 for noise).
    """

    def __init__(
        self,
        task: Task,
        seeds: Sequence[int],
        n_envs: int,
        pool: str = "main",
        evaluation: int | Sequence[int] | None = None,
    ) -> None:
        self.task = task
        self.n_envs = n_envs
        self.pool = pool
        self.places = [evaluation] * len(seeds) if isinstance(evaluation, int) else evaluation
        self.replicas: Sequence[int] = range(len(seeds))
        self.elapsed: Array = np.zeros(len(seeds) * n_envs, dtype=np.int64)
        self.faults: dict[int, str] = {}
        self._begun = np.zeros(len(seeds) * n_envs, dtype=np.bool_)  # columns that have been restarted ever
        self.seed(seeds)

    def seed(self, seeds: Sequence[int]) -> None:
        """Put the streams at the beginning of those of `seeds`, one seed per replica. States stay as they are."""
        if len(seeds) * self.n_envs != self.n_columns:
            raise ValueError(f"{len(seeds)} seeds for {self.n_columns} columns of {self.n_envs} environments each")
        self.seeds = tuple(seeds)
        envs, each = range(self.n_envs), np.repeat(seeds, self.n_envs).tolist()
        if self.places is None:
            self._reset = streams(each, "reset", [(env,) for _ in seeds for env in envs], self.pool)
            self._dynamics = streams(seeds, "dynamics", [()] * len(seeds), self.pool)
        else:
            starts = [(place, 0, env) for place in self.places for env in envs]
            self._reset = streams(each, "evaluation", starts, self.pool)
            self._dynamics = streams(seeds, "evaluation", [(place, 1) for place in self.places], self.pool)

    @property
    def n_columns(self) -> int:
        """C = replicas × environments."""
        return self.elapsed.size

    @property
    def observation(self) -> Array:
        """The observations of the current states, (O, C) float32; a fresh array."""
        seen = self._observe()
        if not self.faults and moderate(seen):
            return seen
        self._note_infinite("observation", seen, self._begun)
        return np.where(self._faulty(), np.float32(0), seen)

    @abstractmethod
    def _observe(self) -> Array:
        """The observations as the task gives them, (O, C) float32; a fresh array."""

    def restart(self, columns: Any = None, share: int = 1) -> None:
        """Start new episodes in `columns` (indices or a mask; all when None), one draw from each column's own stream.

        With `share` = k > 1, each run of k consecutive environments gets copies of the state its first one draws: the
        same question in the same state. Raises ValueError where `columns` splits such a run.
        """
        chosen = np.arange(self.n_columns)
        if columns is not None:
            chosen = chosen[columns]
        self._restart(chosen, share)
        self._begun[chosen] = True

    @abstractmethod
    def _restart(self, columns: Array, share: int) -> None:
        """Start new episodes in the columns with these indices; see `restart`."""

    def step(self, actions: Array, live: Array | None = None) -> Transition:
        """One step of every column; actions (C,) integers or (A, C) floats.

        Columns outside the mask `live` (C,) wait: they keep their state and get reward 0 and both flags False. A
        replica of which nothing is live draws no noise. Raises ValueError for actions outside the task's space.
        """
        transition = self._step(actions, live)
        usual = not self.faults and moderate(transition.observation) and moderate(transition.reward)
        if usual and all(map(moderate, transition.extras.values())):
            return transition
        numbers = {"observation": transition.observation, "reward": transition.reward, **transition.extras}
        live = np.ones(self.n_columns, dtype=np.bool_) if live is None else live
        for name, values in numbers.items():
            self._note_infinite(name, np.atleast_2d(values), live)
        faulty = self._faulty()
        self._rest(faulty)
        return Transition(
            np.where(faulty, np.float32(0), transition.observation),
            np.where(faulty, 0.0, transition.reward),
            np.where(faulty, live, transition.terminated),
            transition.truncated & ~faulty,
            {name: np.where(faulty, 0.0, values) for name, values in transition.extras.items()},
        )

    @abstractmethod
    def _step(self, actions: Array, live: Array | None) -> Transition:
        """One step as the task takes it; see `step`."""

    def _rest(self, faulty: Array) -> None:  # noqa: B027 - some hold no states
        """Leave the columns of replicas that have met a fault (a mask) in a state that can go on being stepped."""

    def close(self) -> None:  # noqa: B027 - most have nothing to release
        """Release what the environments hold."""

    def note(self, column: int, fault: str) -> None:
        """Keep what went wrong in a column as its replica's fault, unless it has one."""
        row = column // self.n_envs
        place = "training" if self.places is None else "evaluation"
        self.faults.setdefault(self.replicas[row], f"{fault} in {place}")

    def _note_infinite(self, name: str, values: Array, columns: Array) -> None:
        """Note the values (rows, C) of these columns (a mask) that the learner cannot take."""
        with np.errstate(invalid="ignore"):
            unfit = ~(np.abs(values) <= LARGEST)
        for column in np.flatnonzero(unfit.any(axis=0) & columns):
            value = values[unfit[:, column], column][0]
            self.note(int(column), fault_text(str(self.task), f"the {name} is {value}", int(self.elapsed[column])))

    def _faulty(self) -> Array:
        """The columns of replicas that have met a fault, a mask (C,)."""
        return np.repeat([replica in self.faults for replica in self.replicas], self.n_envs)

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Everything `set_state` needs, as plain lists and numbers (JSON, or `torch.load` with `weights_only`)."""

    @abstractmethod
    def set_state(self, saved: Mapping[str, Any]) -> None:
        """Go on, bit for bit, from where `get_state` was called. Raises ValueError for another number of columns."""

    def select(self, replicas: Sequence[int]) -> Self:
        """The environments of only these replicas (indices, in this order), for when others have used their budget.

        States are copied, streams are shared: drawing from one draws from the other.
        """
        selected = copy.copy(self)
        columns = (np.asarray(replicas)[:, None] * self.n_envs + np.arange(self.n_envs)).ravel()
        selected.seeds = tuple(self.seeds[replica] for replica in replicas)
        selected.replicas = tuple(self.replicas[replica] for replica in replicas)
        selected.places = None if self.places is None else [self.places[replica] for replica in replicas]
        selected._reset = [self._reset[column] for column in columns]
        selected._dynamics = [self._dynamics[replica] for replica in replicas]
        selected.elapsed, selected._begun = self.elapsed[columns], self._begun[columns]
        selected._keep(columns)
        return selected

    @abstractmethod
    def _keep(self, columns: Array) -> None:
        """Replace what is held per column by a copy of these columns."""


def fault_text(task: str, what: str, step: int) -> str:
    """Return the line that names a fault: the task, what is wrong, and after how many steps of an episode."""
    return f"{task}: {what} at {f'step {step} of an episode' if step else 'the start of an episode'}"


def moderate(values: Array) -> bool:
    """Whether no value comes near what the learner cannot take. It takes two microseconds."""
    return bool(np.abs(values).max(initial=0) < _FAR)
