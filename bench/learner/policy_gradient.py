"""The learner: a Stable-Baselines3 `OnPolicyAlgorithm` whose replicas (seeds) train in lockstep."""

import io
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback, ProgressBarCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor

from bench import compose
from bench.arms.kl_coef import adapted, controlled
from bench.config.build import build
from bench.config.schema import Arm, Config, TaskConfig
from bench.errors import UserError
from bench.learner import checkpoint as saving
from bench.learner.actor import Actor
from bench.learner.device import check_device
from bench.learner.normalisation import vec_normalize
from bench.learner.policy import StackedPolicy
from bench.learner.reference import Hold, reference_policy
from bench.learner.rollout import Array, Collector, Rollout
from bench.learner.spaces import space_from_json
from bench.learner.update import Diagnostics, Network, Rates, Update, prepare
from bench.learner.vine import VineStreams, restored_values
from bench.seeding import stream
from bench.tasks.batched import BatchedEnv
from bench.tasks.registry import GYMNASIUM_TASKS, environments, make
from bench.tasks.vec_env import BatchedVecEnv


class PolicyGradient(OnPolicyAlgorithm):
    """All arms of the suite: baseline × advantage × update on S replicas that share nothing but the arithmetic.

    Each replica has its own weights, optimiser state, environments and random streams, all derived from its seed;
    `num_timesteps`, budgets and schedules count steps per replica. A replica that has used its budget, or whose loss
    is not finite, leaves the stack; the others go on.

    :param policy: "MlpPolicy"
    :param env: a `BatchedVecEnv` with `len(seeds)` replicas, or the id of a task (then `seeds` decides)
    :param arm: the arm's settings; None: those of `bench.compose()`
    :param seeds: a count or the seeds themselves
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": StackedPolicy}
    policy: StackedPolicy  # type: ignore[assignment]  # SB3 expects its own; only these methods use it
    env: VecEnv | None

    def __init__(
        self,
        policy: str = "MlpPolicy",
        env: GymEnv | str | None = None,
        arm: Arm | None = None,
        seeds: int | Sequence[int] = 1,
        seed_pool: str = "main",
        device: str = "cpu",
        verbose: int = 0,
        tensorboard_log: str | None = None,
        _init_setup_model: bool = True,
    ) -> None:
        task = compose([f"task={GYMNASIUM_TASKS.get(env, env)}"]) if isinstance(env, str) else None
        self.arm = arm or task or compose()
        self.seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
        self.seed_pool = seed_pool
        self.active = list(range(len(self.seeds)))
        self.env_steps = [0] * len(self.seeds)
        self.updates = [0] * len(self.seeds)
        self.failures: dict[int, str] = {}  # replica → cause
        self.kl_coef = np.full(len(self.seeds), self.arm.kl_coef)  # of update=kl_penalty, adapted to each replica
        self.reference_coef = np.full(len(self.seeds), self.arm.reference.coef)
        check_device(device)  # SB3 would fall back to the CPU silently
        named = arm if isinstance(arm, Config) else task
        self.task_name = None if named is None else named.task.name
        self._checkpoint: Mapping[str, Any] | None = None  # what the next `learn` goes on from
        self.latest: list[dict[str, float]] = []  # diagnostics of the last update, one entry per active replica
        super().__init__(
            policy,
            self._batched(task.task) if task else env,  # type: ignore[arg-type]  # SB3 takes None when loading
            learning_rate=self.arm.learning_rate,
            n_steps=self.arm.collect.n_steps or 0,
            gamma=self.arm.gamma,
            gae_lambda=self.arm.gae_lambda,
            ent_coef=self.arm.ent_coef,
            vf_coef=self.arm.critic.vf_coef,
            max_grad_norm=math.inf if self.arm.max_grad_norm is None else self.arm.max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            device=device,
            verbose=verbose,
            tensorboard_log=tensorboard_log,
            monitor_wrapper=False,
            supported_action_spaces=None,
            _init_setup_model=False,
        )
        if _init_setup_model:
            self._setup_model()

    def _batched(self, task: TaskConfig) -> BatchedVecEnv:
        return BatchedVecEnv(environments(make(task), self.seeds, self.arm.n_envs, self.seed_pool))

    def _setup_model(self) -> None:
        """Build the stacked policy; SB3's buffer and global seeding have no place here."""
        self._setup_lr_schedule()
        self.rollout_buffer = None  # type: ignore[assignment]  # `Rollout` takes its place
        self.policy = StackedPolicy(
            self.observation_space,
            self.action_space,
            self.seeds,
            self.arm.hidden,
            self.arm.has_critic,
            self.seed_pool,
            self.device,
            self.arm.norm_obs,
            self.arm.n_envs if self.arm.norm_reward else None,
            self.arm.actor_hidden,
            self.arm.exploration,
        )
        self._minibatch_streams = [stream(seed, "minibatch", pool=self.seed_pool) for seed in self.seeds]
        self._action_streams = [stream(seed, "action", pool=self.seed_pool) for seed in self.seeds]
        self._vine_streams = VineStreams(
            [stream(seed, "vine", 0, pool=self.seed_pool) for seed in self.seeds],
            [stream(seed, "vine", 1, pool=self.seed_pool) for seed in self.seeds],
        )
        self._reference: Actor | None = None
        self._collector: Collector | None = None
        self._rollout: Rollout | None = None

    @property
    def collector(self) -> Collector:
        """What steps the environments of the active replicas. Raises `UserError` for an unsuitable environment."""
        if self._collector is None:
            if not isinstance(self.env, BatchedVecEnv):
                raise UserError("env must be a BatchedVecEnv or the id of a task; see bench.tasks")
            if self.env.batched.seeds != self.seeds:
                raise UserError(f"the environment's seeds {self.env.batched.seeds} are not the learner's {self.seeds}")
            collector = Collector(self.env.batched, self._action_streams)
            self._collector = (
                collector if self.active == list(range(len(self.seeds))) else collector.select(self.active)
            )
        return self._collector

    @property
    def resumable(self) -> bool:
        """Whether `get_checkpoint` holds all there is: the state of other packages' environments is out of reach."""
        return isinstance(self.env, BatchedVecEnv) and isinstance(self.env.batched, BatchedEnv)

    def batch_limit(self) -> int:
        """The most steps one batch can take of a replica: a batch that might not fit the budget is not started."""
        return self.arm.batch_limit(self.collector.env.task.horizon)

    def learn(
        self,
        total_timesteps: int | None = None,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "PolicyGradient",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> "PolicyGradient":
        """Train every replica for `total_timesteps` steps (None: the arm's budget)."""
        total = self.arm.budget if total_timesteps is None else total_timesteps
        if reset_num_timesteps:
            self.env_steps = [0] * len(self.seeds)
        if reset_num_timesteps or self._last_obs is None:  # SB3 is about to reset the environments
            self._collector = None
            if self.policy.reward_scale is not None:
                self.policy.reward_scale.running.zero_()
        self.active = [replica for replica in range(len(self.seeds)) if replica not in self.failures]
        if self._collector is not None and self._collector.env.seeds != tuple(self.seeds[r] for r in self.active):
            self._collector = None  # some had used an earlier budget before the others
        # Small stacked products use one core well, get slower on more, and keep their bits on any machine.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            super().learn(total, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
        finally:
            torch.set_num_threads(threads)
        return self

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        if progress_bar:
            given = callback if isinstance(callback, list) else [] if callback is None else [callback]
            callback = [ConvertCallback(one) if not isinstance(one, BaseCallback) else one for one in given]
            callback = [*callback, _ProgressBar()]
        return super()._init_callback(callback)

    def collect_rollouts(  # type: ignore[override]  # the buffer SB3 passes does not exist here
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: None, n_rollout_steps: int
    ) -> bool:
        """Collect one batch of every active replica; False when none has budget left or a callback says stop."""
        self._retire([r for r in self.active if self.env_steps[r] + self.batch_limit() > self._total_timesteps])
        if not self.active:
            return False
        callback.on_rollout_start()
        on_step = self._stepper(callback)
        actor = self._acting()
        with torch.no_grad():
            if self.arm.collect.name == "segments":
                rollout = self.collector.segments(actor, n_rollout_steps, on_step)
            else:
                share = self.arm.group.size if self.arm.group.start == "shared" else 1
                every = self.arm.vine.every if self.arm.baseline.name == "vine" else None
                rollout = self.collector.whole_episodes(actor, share, on_step, every)
                if rollout is not None and every is not None:
                    rollout = self._with_restored_values(rollout, actor)
        if rollout is None:
            return False
        self._rollout = rollout
        for replica, steps in zip(self.active, rollout.env_steps, strict=True):
            self.env_steps[replica] += steps
        self.num_timesteps = min(self.env_steps[replica] for replica in self.active)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _with_restored_values(self, rollout: Rollout, actor: Actor) -> Rollout:
        """The rollout with the values of the states it passed through, whose episodes count as steps."""
        values, steps = restored_values(
            self.collector.env.task,
            actor,
            rollout.snapshots,
            self.arm.vine.rollouts,
            self.arm.gamma,
            self._vine_streams.select(self.active),
        )
        padded = torch.zeros_like(rollout.rewards)
        padded[: len(values)] = values
        return replace(rollout, snapshots=[], restored=padded, extra_steps=steps)

    def _stepper(self, callback: BaseCallback) -> Callable[[Array, Array, Array, list[dict[str, Any]]], bool]:
        """Tell SB3's callbacks of every step, in the names they look for."""

        def on_step(actions: Array, rewards: Array, dones: Array, infos: list[dict[str, Any]]) -> bool:
            self.num_timesteps += self.arm.n_envs
            callback.update_locals({"actions": actions, "rewards": rewards, "dones": dones, "infos": infos})
            return bool(callback.on_step())

        return on_step

    def _retire(self, replicas: Sequence[int]) -> None:
        """Take replicas out of the stack: zero gradients would still move them through Adam's momentum."""
        if not replicas:
            return
        rows = [row for row, replica in enumerate(self.active) if replica not in replicas]
        if rows:  # the last to leave may go on later, in the episodes they are in
            self._collector = self.collector.select(rows)
        self.active = [self.active[row] for row in rows]

    def _hold(self) -> Hold | None:
        """The references of the active replicas, and the weight of each."""
        if self._reference is None:
            self._reference = reference_policy(self)
        if self._reference is None:
            return None
        return Hold(
            self._reference if len(self.active) == len(self.seeds) else self._reference.select(self.active),
            self._column(self.reference_coef[self.active, None]),
        )

    def _column(self, values: Array) -> Tensor:
        """One number per active replica, (S, 1), as the networks' device takes it."""
        return torch.from_numpy(values).float().to(self.device)

    def _acting(self) -> Actor:
        acting = self.policy.acting()
        return acting if len(self.active) == len(self.seeds) else acting.select(self.active)

    def _network_of(self, network: Network) -> Network:
        """The active replicas' part: the network itself while all are active, else a copy."""
        return network if len(self.active) == len(self.seeds) else network.select(self.active)

    def train(self) -> None:
        """One update on the batch just collected."""
        assert self._rollout is not None  # learn() collects first
        rollout = self._rollout.to(self.device)
        with torch.no_grad():
            actor = self._network_of(self.policy.actor)
            critic = None if self.policy.critic is None else self._network_of(self.policy.critic)
            acting = replace(self._acting(), stack=actor.stack)
            scaled = self._scaled_rewards(rollout)
            hold = self._hold()
            samples, diagnostics = prepare(scaled, acting, critic.stack if critic else None, self.arm, hold)
            streams = [self._minibatch_streams[replica] for replica in self.active]
            diagnostics |= Update(acting, actor, critic, self.arm, streams, self._rates()).run(samples)
            diagnostics = {name: values.cpu() for name, values in diagnostics.items()}
            self._take_in(rollout)
            if actor is not self.policy.actor:
                self.policy.actor.restore(self.active, actor)
                if critic is not None and self.policy.critic is not None:
                    self.policy.critic.restore(self.active, critic)
        if hold is not None:
            diagnostics["train/reference_coef"] = hold.coef[:, 0].cpu()
            if self.arm.reference.target is not None:
                moved = diagnostics["train/reference_kl"].numpy()
                self.reference_coef[self.active] *= controlled(moved, self.arm.reference.target)
        if self.arm.update.name == "kl_penalty":
            diagnostics["train/kl_coef"] = torch.from_numpy(self.kl_coef[self.active])
            self.kl_coef[self.active] *= adapted(diagnostics["train/kl"].numpy(), self.arm.kl_target)
        for replica in self.active:
            self.updates[replica] += 1
        self._n_updates += 1
        self._rollout = None
        self.latest = self._rows(rollout, diagnostics)
        self._retire_failed(diagnostics)

    def _scaled_rewards(self, rollout: Rollout) -> Rollout:
        """The rollout with the rewards the learner sees; the episodes it reports keep the task's own."""
        if self.policy.reward_scale is None:
            return rollout
        done = rollout.terminated | rollout.truncated
        gamma = self.arm.gamma
        return replace(
            rollout, rewards=self.policy.reward_scale(self.active, rollout.rewards, done, rollout.live, gamma)
        )

    def _take_in(self, rollout: Rollout) -> None:
        """Let the scale of observations follow what was seen, now that nothing depends on the old one."""
        if self.policy.moments is None:
            return
        length = len(rollout.rewards)
        moments = self.policy.moments.select(self.active)
        observations = rollout.observations[:, :, :length].flatten(2)
        moments.update(observations, rollout.live.transpose(0, 1).flatten(1))
        self.policy.moments.restore(self.active, moments)

    def _rates(self) -> Rates:
        """Learning rates and clip range of each active replica at its own share of the budget."""
        used = np.array([[self.env_steps[replica] / self._total_timesteps] for replica in self.active])
        left = np.clip(1 - used, 0, 1)

        def scheduled(value: float, schedule: str) -> Array:
            return np.full_like(left, value) if schedule == "constant" else value * left

        arm = self.arm
        return Rates(
            actor=scheduled(arm.learning_rate, arm.learning_rate_schedule),
            critic=scheduled(arm.critic.learning_rate, arm.learning_rate_schedule),
            clip_range=self._column(scheduled(arm.clip_range, arm.clip_range_schedule)),
            kl_coef=self._column(self.kl_coef[self.active, None]),
            reference_coef=self._column(self.reference_coef[self.active, None]),
        )

    def _rows(self, rollout: Rollout, diagnostics: Diagnostics) -> list[dict[str, float]]:
        """The diagnostics of this update, one row per active replica; also for SB3's logger, averaged."""
        columns = {name: values.tolist() for name, values in diagnostics.items()}
        rows = []
        for row, (replica, episodes) in enumerate(zip(self.active, rollout.episodes, strict=True)):
            entry: dict[str, float] = {
                "seed": self.seeds[replica],
                "step": self.env_steps[replica],
                "update": self.updates[replica],
                "rollout/ep_rew_mean": float(np.mean([r for r, _ in episodes])) if episodes else math.nan,
                "rollout/ep_len_mean": float(np.mean([n for _, n in episodes])) if episodes else math.nan,
            }
            rows.append(entry | {name: values[row] for name, values in columns.items()})
        if self._logger is not None:
            for name in rows[0]:
                if "/" in name:
                    present = [r[name] for r in rows if not math.isnan(r[name])]
                    self.logger.record(name, float(np.mean(present)) if present else math.nan)
            self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        return rows

    def _retire_failed(self, diagnostics: Diagnostics) -> None:
        """Freeze replicas whose losses or weights are no longer finite; their neighbours never notice."""
        losses = [values for name, values in diagnostics.items() if name.endswith("_loss")]
        finite = torch.stack(losses).isfinite().all(0).tolist()
        networks = [n for n in (self.policy.actor, self.policy.critic) if n is not None]
        failed = [
            replica
            for row, replica in enumerate(self.active)
            if not finite[row] or not all(bool(n.stack.flat[replica].isfinite().all()) for n in networks)
        ]
        for replica in failed:
            self.failures[replica] = f"the loss was not finite in update {self.updates[replica]}"
        self._retire(failed)

    def dump_logs(self, iteration: int = 0) -> None:
        """Write SB3's log; its own episode buffer would pool all replicas."""
        if self._logger is None or not self.env_steps:
            return
        self.logger.record("time/iterations", iteration, exclude="tensorboard")
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(step=self.num_timesteps)

    def replica(self, index: int) -> PPO:
        """One replica as a stock SB3 `PPO`, which saves, loads, evaluates and goes on learning by itself.

        An arm without a critic gets a value head of zeros (see `StackedPolicy.replica_state`). An arm that normalises
        has learned from what its scales make of observations and rewards: wrap this model's environments with
        `replica_normalisation(index, venv)`.
        """
        arm = self.arm
        with torch.random.fork_rng():
            model = PPO(
                "MlpPolicy",
                None,  # type: ignore[arg-type]  # SB3 allows it when the model is set up later
                learning_rate=arm.learning_rate,
                gamma=arm.gamma,
                gae_lambda=arm.gae_lambda,
                clip_range=arm.clip_range,
                ent_coef=arm.ent_coef,
                vf_coef=arm.critic.vf_coef,
                max_grad_norm=math.inf if arm.max_grad_norm is None else arm.max_grad_norm,
                use_sde=arm.exploration.name == "sde",
                sde_sample_freq=arm.exploration.sample_freq or -1,
                device=self.device,
                _init_setup_model=False,
                policy_kwargs={
                    "net_arch": {"pi": list(arm.actor_hidden), "vf": list(arm.hidden)},
                    "activation_fn": torch.nn.Tanh,
                },
            )
            model.observation_space, model.action_space, model.n_envs = self.observation_space, self.action_space, 1
            model._setup_model()
            model.policy.load_state_dict(self.policy.replica_state(index))
            if model.use_sde:
                model.policy.reset_noise()  # drawn from the σ it was built with
        model.num_timesteps = self.env_steps[index]
        return model

    def replica_normalisation(self, index: int, venv: VecEnv) -> VecNormalize:
        """`venv` as one replica saw its environments: SB3's `VecNormalize` with that seed's scales, frozen.

        Set its `training` to True to go on learning, and its `norm_reward` to False to see the task's own rewards. An
        arm that normalises nothing gets a wrapper that changes nothing.
        """
        return vec_normalize(venv, index, self.policy.moments, self.policy.reward_scale, self.arm.gamma)

    def save(self, path: str | Path | io.BufferedIOBase, exclude: Any = None, include: Any = None) -> None:  # noqa: ARG002
        """Write weights and JSON; nothing in the file is executed when it is loaded. SB3's filters do not apply."""
        saving.save(self, path)

    def networks(self) -> dict[str, Network]:
        """The stacked networks by name; no critic in an arm without one."""
        networks = {"actor": self.policy.actor, "critic": self.policy.critic}
        return {name: network for name, network in networks.items() if network is not None}

    def random_streams(self) -> dict[str, list[np.random.Generator]]:
        """The learner's own streams by purpose, one generator per replica; the environments have theirs."""
        vine = {"vine action": list(self._vine_streams.action), "vine dynamics": list(self._vine_streams.dynamics)}
        return {"action": self._action_streams, "minibatch": self._minibatch_streams, **vine}

    def get_checkpoint(self) -> dict[str, Any]:
        """Everything a run needs to go on bit for bit: plain numbers, lists and tensors only."""
        return saving.checkpoint(self)

    def resume(
        self, checkpoint: Mapping[str, Any], total_timesteps: int | None = None, callback: MaybeCallback = None
    ) -> "PolicyGradient":
        """Go on from `get_checkpoint` until every replica has used `total_timesteps` steps, its earlier ones included.

        The model must have the arm, seeds and environments of the one that was saved. The numbers are those of a run
        that was never interrupted, bit for bit. Raises `UserError` for environments whose state is out of reach.
        """
        self._checkpoint = checkpoint
        return self.learn(total_timesteps, callback, log_interval=None)  # type: ignore[arg-type]  # SB3 allows None

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        total, callback = super()._setup_learn(*args, **kwargs)
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is not None:  # only now: SB3 has just reset environments and counters
            saving.restore(self, checkpoint)
        return total, callback

    def activate(self, replicas: Sequence[int]) -> None:
        """Let these replicas be the stack that trains; their environments are as they were built."""
        self.active, self._collector = list(replicas), None

    @classmethod
    def load(  # type: ignore[override]  # SB3's further options belong to its cloudpickled format
        cls, path: str | Path | io.BufferedIOBase, env: GymEnv | None = None, device: str = "cpu"
    ) -> "PolicyGradient":
        """What `save` wrote, ready to predict, and to learn once it has an environment. Raises `UserError`."""
        data, weights = saving.read(path)
        arm = build(Arm, data["arm"])
        _refuse_unknown_plugins(arm, path)
        model = cls(
            arm=arm,
            seeds=data["seeds"],
            seed_pool=data["seed_pool"],
            device=device,
            _init_setup_model=False,
        )
        model.observation_space = space_from_json(data["observation_space"])
        model.action_space = space_from_json(data["action_space"])
        model.n_envs = len(model.seeds) * model.arm.n_envs
        model._setup_model()
        if env is not None:
            model.set_env(env)
        saving.load_weights(model, weights)
        model.env_steps, model.updates = data["env_steps"], data["updates"]
        model.kl_coef, model.reference_coef = np.array(data["kl_coef"]), np.array(data["reference_coef"])
        model.task_name = data["task"]
        model.num_timesteps = min(model.env_steps)
        return model


def _refuse_unknown_plugins(arm: Arm, path: object) -> None:
    """Loading imports nothing that a file names: a plug-in must have been imported before. Raises `UserError`."""
    for factor in (arm.baseline, arm.advantage, arm.update):
        module = (factor.plugin or "").partition(":")[0]
        if module and module not in sys.modules:
            raise UserError(f"{path} uses the plug-in {factor.plugin}: import {module} before loading it")


class _ProgressBar(ProgressBarCallback):
    """SB3's adds up the steps of all environments, while the total is that of one seed."""

    def _on_training_start(self) -> None:
        super()._on_training_start()
        self.begun = self.model.num_timesteps

    def _on_step(self) -> bool:
        self.pbar.update(self.num_timesteps - self.begun - self.pbar.n)
        return True
