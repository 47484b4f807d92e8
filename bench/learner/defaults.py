"""What a model is made of where its user names a task instead of giving environments, or gives no arm."""

from collections.abc import Sequence

from stable_baselines3.common.type_aliases import GymEnv

from bench.config.schema import Arm, Config
from bench.tasks.registry import GYMNASIUM_TASKS, environments, make
from bench.tasks.vec_env import BatchedVecEnv


def completed(
    env: GymEnv | str | None, arm: Arm | None, seeds: Sequence[int], seed_pool: str
) -> tuple[Arm, str | None, GymEnv | None]:
    """Return the arm, the task's name where it is known, and the environments.

    `env` may be a task's name or Gymnasium id, for its environments, one block of columns per seed. Without `arm`, the
    settings are those of `bench.compose()` on that task. Raises `UserError` for a task there is not.
    """
    if not isinstance(env, str):
        return arm or _composed(), arm.task.name if isinstance(arm, Config) else None, env
    config = _composed(f"task={GYMNASIUM_TASKS.get(env, env)}")
    arm = arm or config
    task = arm.task if isinstance(arm, Config) else config.task
    venv = BatchedVecEnv(environments(make(config.task), seeds, arm.n_envs, seed_pool))
    return arm, task.name, venv


def _composed(*overrides: str) -> Config:
    from bench.cells.composition import compose  # imports Hydra, which takes a third of a second

    return compose(overrides)
