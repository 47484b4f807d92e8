"""One column of a task as a Gymnasium environment, for every tool that speaks Gymnasium."""

from typing import Any

import gymnasium
import numpy as np

from bench.tasks.base import Array, Task


class ColumnEnv(gymnasium.Env[Array, Any]):
    """A task as a Gymnasium `Env`: one state, Gymnasium's own seeding, and no time limit.

    `state` (D, 1) may be read and written. The time limit is Gymnasium's `TimeLimit`, which `gymnasium.make` adds. With
    `render_mode="ansi"`, `render` gives the last step in one line.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - Gymnasium's declaration

    def __init__(self, task: Task, render_mode: str | None = None) -> None:
        self.task, self.render_mode = task, render_mode
        self.observation_space, self.action_space = task.observation_space, task.action_space
        self.state: Array = np.empty(0)
        self._line = ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start an episode: observation (O,), empty info."""
        super().reset(seed=seed, options=options)
        self.state = self.task.start(self.np_random, 1)
        self._describe()
        return self.task.observe(self.state)[:, 0], {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One step: observation (O,), reward, terminated, False, and the task's extras as info."""
        outcome = self.task.step(self.state, np.asarray(action)[..., None], self.task.noise(self.np_random, 1))
        self.state = outcome.state
        reward, extras = float(outcome.reward[0]), {name: float(values[0]) for name, values in outcome.extras.items()}
        self._describe(action, reward, extras)
        return self.task.observe(self.state)[:, 0], reward, bool(outcome.terminated[0]), False, extras

    def _describe(self, *outcome: Any) -> None:
        if self.render_mode == "ansi":
            self._line = self.task.describe(self.state[:, 0], *outcome)

    def render(self) -> Any:
        """The last step in one line; None without a render mode."""
        return self._line if self.render_mode == "ansi" else None
