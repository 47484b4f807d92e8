"""What a learner is to Stable-Baselines3's users beside its training: made, set, copied, saved, loaded.

Where what they do means nothing here, a `UserError` says so in one line, or an `AttributeError` for what is only read.
docs/sb3.md lists what works, what is refused and what differs.
"""

import io
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import get_system_info
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from bench.arms.numbers import Numbers, Settings, differing
from bench.config.schema import Arm
from bench.errors import UserError
from bench.kernel.engine import Engine
from bench.learner import checkpoint as saving
from bench.learner import export
from bench.learner.defaults import checked_policy, completed, refuse_other_spaces
from bench.learner.device import checked_device
from bench.learner.diagnostics import TrainingRow
from bench.learner.policy import StackedPolicy
from bench.learner.rollout import Collector
from bench.learner.sb3_settings import ARGUMENTS
from bench.tasks.environments import Environments
from bench.tasks.spaces import shown
from bench.tasks.vec_env import BatchedVecEnv


class StackedModel(OnPolicyAlgorithm):
    """The policies of S replicas (seeds) as one algorithm of Stable-Baselines3's, which `PolicyGradient` trains."""

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": StackedPolicy}
    policy: StackedPolicy  # type: ignore[assignment]  # SB3 expects its own; only these methods use it
    env: VecEnv | None

    def __init__(
        self,
        policy: str = "MlpPolicy",
        env: GymEnv | str | None = None,
        arm: Arm | None = None,
        seeds: int | Sequence[int] | None = None,
        seed_pool: str = "main",
        device: torch.device | str = "cpu",
        verbose: int = 0,
        tensorboard_log: str | None = None,
        engine: Engine = "kernel",
        stats_window_size: int = 100,
        _init_setup_model: bool = True,
        **settings: Any,
    ) -> None:
        device = checked_device(device, engine)  # SB3 would fall back to the CPU silently
        self.engine: Engine = engine
        made = completed(env, arm, seeds, seed_pool, settings)
        self.arm, self.task_name, self.seeds, self.seed_pool = made.arm, made.task, made.seeds, seed_pool
        self.names: tuple[int, ...] = self.seeds  # what rows of training call each replica
        self.active = list(range(len(self.seeds)))  # the replicas that train, in order
        self.env_steps = [0] * len(self.seeds)
        self.updates = [0] * len(self.seeds)
        self.failures: dict[int, str] = {}  # replica → cause
        self.numbers = Numbers.of([self.arm] * len(self.seeds))  # of each replica
        self.kl_coef = self.numbers["kl_coef"][:, 0].copy()  # of update=kl_penalty, adapted to each replica
        self.reference_coef = self.numbers["reference.coef"][:, 0].copy()
        self.latest: list[TrainingRow] = []  # of the last update, one row per active replica
        super().__init__(
            checked_policy(policy),
            made.env,  # type: ignore[arg-type]  # SB3 takes None when loading
            learning_rate=self.arm.learning_rate,
            n_steps=self.arm.collect.n_steps or 0,
            gamma=self.arm.gamma,
            gae_lambda=self.arm.gae_lambda,
            ent_coef=self.arm.ent_coef,
            vf_coef=self.arm.critic.vf_coef,
            max_grad_norm=math.inf if self.arm.max_grad_norm is None else self.arm.max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            stats_window_size=stats_window_size,
            device=device,
            verbose=verbose,
            tensorboard_log=tensorboard_log,
            monitor_wrapper=False,
            supported_action_spaces=None,
            _init_setup_model=False,
        )
        self._train_in(made.env)
        if _init_setup_model:
            self._setup_model()

    def _train_in(self, env: BatchedVecEnv | None) -> None:
        """Begin anew in these environments, whose streams are this model's from now on."""
        if isinstance(self.env, BatchedVecEnv):
            self.env.learner_seeds = None
        self.env = env
        self._collector: Collector | None = None
        if env is not None:
            env.learner_seeds = self.seeds

    @abstractmethod
    def give_numbers(self, settings: Sequence[Settings], names: Sequence[int] | None = None) -> None:
        """Give each replica numbers of its own."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to change what only a new arm can change. Raises `UserError`."""
        made = "_collector" in vars(self) and (name != "lr_schedule" or name in vars(self))  # SB3 sets them once
        if made and name in {*ARGUMENTS, "lr_schedule"} - {"n_envs"}:
            given = "learning_rate" if name == "lr_schedule" else name
            raise UserError(
                f"model.{name} cannot be set: the model follows its arm; give {given}=… to the constructor or to load"
            )
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # to the type checker nothing changes

        def __getattr__(self, name: str) -> Any:
            """Say what became of what algorithms of Stable-Baselines3 have. Raises AttributeError."""
            if name == "rollout_buffer":
                raise AttributeError("rollout_buffer: there is none; model.latest has the numbers of the last update")
            if name in ARGUMENTS:
                raise AttributeError(f"model.{name}: see model.arm; {ARGUMENTS[name].here.replace('`', '')}")
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made from: not the log, whose files are open, nor what is derived from the arm."""
        return {name: value for name, value in vars(self).items() if name != "_logger"} | {
            "_reference": None,
            "_custom_logger": False,
        }

    def set_random_seed(self, seed: int | None = None) -> None:
        """Do nothing for None, as SB3; everything random follows from `seeds`. Raises `UserError`."""
        if seed is not None:
            raise UserError(
                f"set_random_seed({seed}): all that is random follows from the model's seeds {list(self.seeds)}; "
                f"give seeds=[{seed}] when it is made"
            )

    @property
    def _batched(self) -> Environments:
        """The environments of all replicas. Raises `UserError`."""
        if not isinstance(self.env, BatchedVecEnv):
            raise UserError("the model has no environments; give env to the constructor, to load or to set_env")
        return self.env.batched

    def set_env(self, env: GymEnv | str, force_reset: bool = True) -> None:
        """Train in other environments from now on; they are given as in the constructor.

        Raises:
            UserError: for what cannot be used, and with `force_reset=False` for anything but the model's own; for
                other spaces it is a ValueError too.
        """
        if env is self.env:
            self._last_obs = None if force_reset else self._last_obs
            return
        if not force_reset:
            raise UserError("force_reset=False: other environments can only begin anew")
        made = completed(env, self.arm, self.seeds, self.seed_pool, {}, repeated=True)
        if made.env is None:
            raise UserError("set_env(None): a model keeps its environments until it is given others")
        refuse_other_spaces(made.env, self.observation_space, self.action_space)
        self._last_obs = None
        self._train_in(made.env)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        """Name what `get_parameters` returns and `set_parameters` takes: networks, optimisers, scales."""
        policy = self.policy
        there = {
            "policy.critic_optimizer": policy.critic,
            "policy.obs_rms": policy.obs_rms,
            "policy.reward_scale": policy.reward_scale,
        }
        return ["policy", "policy.optimizer", *(name for name, part in there.items() if part is not None)], []

    def set_parameters(
        self,
        load_path_or_dict: Any,
        exact_match: bool = True,
        device: torch.device | str = "auto",
    ) -> None:
        """Take the parameters of a saved model, or those that `get_parameters` returned.

        Raises:
            UserError: for a file that is none, or of other networks.
            ValueError, RuntimeError: of Stable-Baselines3, for a mapping with other parameters.
        """
        if isinstance(load_path_or_dict, Mapping):
            super().set_parameters(dict(load_path_or_dict), exact_match, device)
            return
        saved, weights = saving.read(load_path_or_dict)
        if saved.seeds != self.seeds:
            raise UserError(f"{load_path_or_dict}: its seeds are {list(saved.seeds)}, the model's {list(self.seeds)}")
        with saving.loading(load_path_or_dict):
            self.policy.load_weights(weights)

    def _place(self, index: int) -> int:
        """Return a replica's index. Raises `UserError` where there is none."""
        if isinstance(index, bool) or not isinstance(index, int | np.integer) or not 0 <= index < len(self.seeds):
            raise UserError(
                f"replica {index}: must be from 0 to {len(self.seeds) - 1}; the seeds are {list(self.seeds)}"
            )
        return int(index)

    def replica(self, index: int) -> PPO:
        """Return one replica as a stock SB3 `PPO`, which saves, loads, evaluates and goes on learning by itself.

        An arm without a critic gets a value head of zeros (see `export.replica_state`). An arm that normalises has
        learned from what its scales make of observations and rewards: wrap this model's environments with
        `replica_normalisation(index, venv)`.
        """
        place = self._place(index)
        return export.stock_ppo(self.policy, place, self.numbers.arms[place], self.env_steps[place], self.device)

    def replica_normalisation(self, index: int, venv: VecEnv) -> VecNormalize:
        """Return `venv` as one replica saw its environments: SB3's `VecNormalize` with that seed's scales, frozen.

        Set its `training` to True to go on learning, and its `norm_reward` to False to see the task's own rewards. An
        arm that normalises nothing gets a wrapper that changes nothing.
        """
        place = self._place(index)
        return export.vec_normalize(self.policy, place, venv, self.numbers.arms[place].gamma)

    def save(self, path: str | Path | io.BufferedIOBase, exclude: Any = None, include: Any = None) -> None:
        """Write weights and JSON; nothing in the file is executed when it is loaded.

        Raises:
            UserError: for `exclude` and `include`: nothing can be left out or added.
            OSError: where the file cannot be written.
        """
        for name, filtered in (("exclude", exclude), ("include", include)):
            if filtered:
                raise UserError(f"{name}={shown(filtered)}: a saved model is always whole, and holds no attributes")
        model = saving.SavedModel(
            arm=self.arm,
            seeds=self.seeds,
            seed_pool=self.seed_pool,
            env_steps=self.env_steps,
            updates=self.updates,
            kl_coef=self.kl_coef.tolist(),
            reference_coef=self.reference_coef.tolist(),
            task=self.task_name,
            observation_space=self.observation_space,
            action_space=self.action_space,
            **self._own_settings(),
        )
        saving.write(path, model, self.policy.weights())

    def _own_settings(self) -> dict[str, Any]:
        """Return the names and the numbers of replicas; nothing where all have those of the arm."""
        if self.names == self.seeds and all(arm == self.arm for arm in self.numbers.arms):
            return {}
        return {"names": self.names, "settings": [differing(arm, self.arm) for arm in self.numbers.arms]}

    @classmethod
    def load(
        cls,
        path: str | Path | io.BufferedIOBase,
        env: GymEnv | str | None = None,
        device: torch.device | str = "cpu",
        custom_objects: Mapping[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        *,
        engine: Engine = "kernel",
        verbose: int = 0,
        tensorboard_log: str | None = None,
        **settings: Any,
    ) -> Self:
        """Return what `save` wrote, ready to predict, and to learn once it has environments.

        `env` and `settings` are as in the constructor; settings change how it learns on, and not its networks.

        Raises:
            UserError: for a file that is none, and in one line for what cannot be; for environments of other spaces it
                is a ValueError too.
        """
        _refuse_options(custom_objects, force_reset, settings.get("seed"))
        if print_system_info:
            get_system_info()
        saved, weights = saving.read(path)
        made = completed(env, saved.arm, saved.seeds, saved.seed_pool, settings, repeated=bool(saved.settings))
        saving.refuse_other_networks(made.arm, saved.arm)
        model = cls(
            arm=made.arm,
            seeds=len(saved.seeds),
            seed_pool=saved.seed_pool,
            device=device,
            verbose=verbose,
            tensorboard_log=tensorboard_log,
            engine=engine,
            _init_setup_model=False,
        )
        model.seeds = model.names = made.seeds
        model.observation_space, model.action_space = saved.observation_space, saved.action_space
        model.n_envs = len(model.seeds) * model.arm.n_envs
        if made.env is not None:
            refuse_other_spaces(made.env, model.observation_space, model.action_space)
        with saving.loading(path):
            model._setup_model()
            model.policy.load_weights(weights)
        scale = model.policy.reward_scale
        if scale is not None and scale.running.shape[1] != model.arm.n_envs:  # its environments begin anew
            scale.running = scale.running.new_zeros(len(model.seeds), model.arm.n_envs)
        model._train_in(made.env)
        if saved.settings:
            with saving.loading(path):
                model.give_numbers(saved.settings, saved.names)
        model.env_steps, model.updates = list(saved.env_steps), list(saved.updates)
        model.kl_coef, model.reference_coef = np.array(saved.kl_coef), np.array(saved.reference_coef)
        model.task_name = saved.task
        model.num_timesteps = min(model.env_steps)
        return model


def _refuse_options(custom_objects: Mapping[str, Any] | None, force_reset: bool, seed: object) -> None:
    """Refuse what SB3's `load` takes and means nothing here. Raises `UserError`."""
    if custom_objects:
        raise UserError("custom_objects: nothing in the file is unpickled; give settings as load(…, learning_rate=…)")
    if not force_reset:
        raise UserError("force_reset=False: a file holds no environments, so they begin anew")
    if seed is not None:
        raise UserError(f"seed={shown(seed)}: the seeds of a saved model are its own")
