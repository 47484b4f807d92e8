"""The learner: a Stable-Baselines3 `OnPolicyAlgorithm` whose replicas (seeds) train in lockstep.

One iteration, in `learn`, `collect_rollouts` and `train`:

    collect    `bench.learner.rollout`      a batch of every active replica, with the policies as they are
    estimate   `bench.learner.estimation`   its advantages and targets, by the functions of `bench.arms`
    update     `bench.learner.update`       epochs of minibatches on them
    evaluate   `bench.learner.train`        a callback, told of a batch before the update: it judges what collected it
"""

import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from torch import Tensor

from bench.arms.numbers import Numbers, Settings, with_settings
from bench.arms.reference import adapted, controlled
from bench.errors import RunWarning, UserError
from bench.kernel.engine import computing_with
from bench.learner import checkpoint as saving
from bench.learner.actor import Actor
from bench.learner.callbacks import taken
from bench.learner.defaults import whole_steps
from bench.learner.device import one_thread
from bench.learner.diagnostics import Diagnostics, log_means, training_rows, without_log_folder
from bench.learner.estimation import estimate
from bench.learner.model import StackedModel
from bench.learner.policy import StackedPolicy
from bench.learner.rates import Rates
from bench.learner.reference import FrozenReference, reference_actor
from bench.learner.rollout import Array, Collector, Rollout, collect
from bench.learner.update import Update
from bench.learner.vine import VineStreams
from bench.seeding import Purpose, stream
from bench.tasks.batched import BatchedEnv
from bench.tasks.vec_env import BatchedVecEnv


class PolicyGradient(StackedModel):
    """All arms of the suite: baseline × advantage × update on S replicas that share nothing but the arithmetic.

    Each replica has its own weights, optimiser state, environments and random streams, all derived from its seed;
    `num_timesteps`, budgets and schedules count steps per replica. A replica that has used its budget, or whose loss
    is not finite, leaves the stack; the others go on.

    :param policy: "MlpPolicy"
    :param env: the id of a task or of Gymnasium, an environment, of which every seed gets copies, a `DummyVecEnv`, or a
        `BatchedVecEnv` of these seeds; see `bench.learner.defaults`
    :param arm: the arm's settings; None: those of `bench.compose()`
    :param seeds: a count or the seeds themselves; None: those of `env` if it has some, else one
    :param device: "cpu" or "auto", the same; "cuda" with the engine torch
    :param engine: "kernel", or "torch", which computes where there is no kernel, and on other devices
    :param settings: settings of the arm by Stable-Baselines3's names; see `bench.learner.sb3_settings`

    Raises:
        UserError: in one line for whatever cannot be, or means nothing here.
    """

    def _setup_model(self) -> None:
        """Build the stacked policy; SB3's buffer and global seeding have no place here."""
        self._setup_lr_schedule()
        self.policy = StackedPolicy(
            self.observation_space, self.action_space, self.arm, self.seeds, self.seed_pool, self.device, self.engine
        )
        self._streams = {
            "action": self._streams_of("action"),
            "minibatch": self._streams_of("minibatch"),
            "vine action": self._streams_of("vine", 0),
            "vine dynamics": self._streams_of("vine", 1),
        }
        self._reference: Actor | None = None
        self._rollout: Rollout | None = None

    def _streams_of(self, purpose: Purpose, *keys: int) -> list[np.random.Generator]:
        return [stream(seed, purpose, *keys, pool=self.seed_pool) for seed in self.seeds]

    def learn(
        self,
        total_timesteps: int | None = None,
        callback: MaybeCallback = None,
        log_interval: int | None = 1,
        tb_log_name: str = "PolicyGradient",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> "PolicyGradient":
        """Train every replica for `total_timesteps` steps (None: the arm's budget); from a checkpoint, see `resume`.

        Where less than half of them was used, since another batch might not fit, that is a `RunWarning`, unless
        `log_interval` is None.

        Raises:
            UserError: where not one batch fits, no seed is left that has not failed, or there is no environment.
        """
        total = self.arm.budget if total_timesteps is None else whole_steps(total_timesteps)
        if checkpoint is None:
            self._refuse_idleness(total, reset_num_timesteps)
        self._make_ready(reset_num_timesteps)
        before = list(self.env_steps)
        with one_thread(), computing_with(self.engine), without_log_folder(self):
            total_timesteps, callback = self._setup_learn(
                total, callback, reset_num_timesteps, tb_log_name, progress_bar
            )
            if checkpoint is not None:  # only now: SB3 has just reset environments and counters
                self._restore(checkpoint)
            callback.on_training_start(locals(), globals())
            iteration = 0
            while self.num_timesteps < total_timesteps and self.collect_rollouts(callback):
                iteration += 1
                self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
                if log_interval is not None and iteration % log_interval == 0:
                    self.dump_logs(iteration)
                self.train()
            callback.on_training_end()
        if log_interval is not None and not self.active:
            self._warn_of_idleness(total, before)
        return self

    def resume(
        self, checkpoint: Mapping[str, Any], total_timesteps: int | None = None, callback: MaybeCallback = None
    ) -> "PolicyGradient":
        """Go on from `get_checkpoint` until every replica has used `total_timesteps` steps, its earlier ones included.

        The model must have the arm, seeds and environments of the one that was saved. The numbers are those of a run
        that was never interrupted, bit for bit. Raises `UserError` for environments whose state is out of reach.
        """
        return self.learn(total_timesteps, callback, log_interval=None, checkpoint=checkpoint)

    def collect_rollouts(self, callback: BaseCallback) -> bool:  # type: ignore[override]  # SB3's takes a buffer
        """Collect one batch of every active replica; False when none has budget left or a callback says stop."""
        self._retire([r for r in self.active if self.env_steps[r] + self.batch_limit() > self._total_timesteps])
        if not self.active:
            return False
        callback.on_rollout_start()

        def on_step(seen: dict[str, Any]) -> bool:
            """Tell SB3's callbacks of every step, in the names they look for."""
            self.num_timesteps += self.arm.n_envs
            callback.update_locals(seen)
            if not callback.on_step():
                return False
            if self.ep_info_buffer is not None:
                ended = np.flatnonzero(seen["dones"]).tolist()
                self.ep_info_buffer.extend(seen["infos"][column]["episode"] for column in ended)
            return True

        with torch.no_grad():
            vine = VineStreams(*(self._active_streams(f"vine {use}") for use in ("action", "dynamics")))
            acting = self.policy.acting(self.active)
            rollout = collect(self.collector, acting, self.arm, self._own_numbers(), on_step, vine)
        if rollout is None:
            return False
        self._rollout = rollout
        for replica, steps in zip(self.active, rollout.env_steps, strict=True):
            self.env_steps[replica] += steps
        self.num_timesteps = min(self.env_steps[replica] for replica in self.active)
        faults = self.collector.env.faults
        self.failures |= {replica: faults[replica] for replica in self.active if replica in faults}
        callback.update_locals(locals())
        callback.on_rollout_end()
        self._leave_out([replica for replica in self.active if replica in self.failures])
        return bool(self.active)

    def _leave_out(self, failed: Sequence[int]) -> None:
        """Take replicas whose task failed out of the stack and out of the batch: nothing is learned from it."""
        if failed and self._rollout is not None:
            self._rollout = self._rollout.select([row for row, r in enumerate(self.active) if r not in failed])
            self._retire(failed)

    def train(self) -> None:
        """Estimate what the actions of the batch just collected are worth, and update the weights."""
        if self._rollout is None:
            raise UserError("train(): no batch has been collected since the last; learn does both")
        rollout, self._rollout = self._rollout.to(self.device), None
        with torch.no_grad():
            networks = self.policy.select(self.active)
            scaled = self._with_scaled_rewards(rollout)
            samples, diagnostics = estimate(
                scaled,
                networks.acting,
                networks.values(),
                self.arm,
                self._frozen_reference(),
                self._own_numbers(),
                self._comparators(),
            )
            streams = self._active_streams("minibatch")
            rates = self._rates()
            diagnostics |= Update(networks, self.arm, rates, streams).run(samples)
            self.policy.restore(self.active, networks)
            self._update_scale(rollout)  # only now that nothing depends on the old one
        diagnostics = {name: values.cpu() for name, values in diagnostics.items()}
        self._adapt_coefficients(diagnostics)
        for replica in self.active:
            self.updates[replica] += 1
        self._n_updates += 1
        self._log(rollout, diagnostics, rates)
        self._retire_failed(diagnostics)

    def _active_streams(self, name: str) -> list[np.random.Generator]:
        return [self._streams[name][replica] for replica in self.active]

    def _comparators(self) -> list[np.random.Generator] | None:
        """Return what decides the errors of comparisons in this update; None where all comparisons are right.

        Each update has streams of its own, so that a checkpoint need not hold any.
        """
        if not self._own_numbers()["group.temperature"].any():
            return None
        return [
            stream(self.seeds[replica], "comparator", self.updates[replica], pool=self.seed_pool)
            for replica in self.active
        ]

    def _rates(self) -> Rates:
        """Return learning rates and clip range of each active replica at its own share of the budget."""
        used = np.array([[self.env_steps[replica] / self._total_timesteps] for replica in self.active])
        kl_coef, reference_coef = self._column(self.kl_coef), self._column(self.reference_coef)
        return Rates.of(self.arm, self._own_numbers(), np.clip(1 - used, 0, 1), kl_coef, reference_coef)

    def give_numbers(self, settings: Sequence[Settings], names: Sequence[int] | None = None) -> None:
        """Give each replica numbers of its own: where its mapping is silent, those of the model's arm.

        A replica then has the bytes it would have alone in an arm with its numbers. The keys are those of
        `bench.arms.numbers.KEYS`, dotted as on the command line, such as `critic.learning_rate`. Rows of training call
        the replicas by their `names`, where these are given, in place of their seeds, which may then be alike.

        Raises:
            UserError: unless there is one mapping for each replica, for another key, for a number that the arm may not
                have, and for a model that has begun to learn.
        """
        if len(settings) != len(self.seeds):
            raise UserError(f"settings: {len(settings)} mappings for {len(self.seeds)} replicas: give one for each")
        if any(self.updates):
            raise UserError("settings: the model has begun to learn; give its replicas their numbers before")
        self.numbers = Numbers.of([with_settings(self.arm, each) for each in settings])
        self.names = self.policy.names = self.seeds if names is None else tuple(names)
        self.kl_coef = self.numbers["kl_coef"][:, 0].copy()
        self.reference_coef = self.numbers["reference.coef"][:, 0].copy()

    def _own_numbers(self) -> Numbers:
        """Return the numbers of the active replicas."""
        return self.numbers if len(self.active) == len(self.seeds) else self.numbers.select(self.active)

    def _column(self, values: Array) -> Tensor:
        """Return the active replicas' numbers, (S, 1), as the networks' device takes them."""
        return torch.from_numpy(values[self.active, None]).float().to(self.device)

    def _frozen_reference(self) -> FrozenReference | None:
        actor = self.reference_actor()
        if actor is None:
            return None
        own = actor if len(self.active) == len(self.seeds) else actor.select(self.active)
        return FrozenReference(own, self._column(self.reference_coef))

    def reference_actor(self) -> Actor | None:
        """Return the frozen policy that each replica is held to; None in an arm without. Raises `UserError`."""
        if self._reference is None:
            self._reference = reference_actor(self.arm.reference, self.policy, self.task_name)
        return self._reference

    def _with_scaled_rewards(self, rollout: Rollout) -> Rollout:
        """Return the rollout with the rewards the learner sees; the episodes it reports keep the task's own."""
        scale = self.policy.reward_scale
        if scale is None:
            return rollout
        done = rollout.terminated | rollout.truncated
        gamma = self._own_numbers().column("gamma", rollout.rewards)
        return replace(rollout, rewards=scale(self.active, rollout.rewards, done, rollout.live, gamma))

    def _update_scale(self, rollout: Rollout) -> None:
        """Let the scale of observations follow what was seen."""
        if self.policy.obs_rms is not None:
            observations = rollout.observations[:, :, : len(rollout.rewards)].flatten(2)
            live = rollout.live.transpose(0, 1).flatten(1)
            self.policy.obs_rms.update_rows(self.active, observations, live)

    def _adapt_coefficients(self, diagnostics: Diagnostics) -> None:
        """Log the weights β of divergences, and let them follow what each replica's were."""
        if self.arm.reference.name != "none":
            diagnostics["train/reference_coef"] = torch.from_numpy(self.reference_coef[self.active]).float()
            moved, target = diagnostics["train/reference_kl"].numpy(), self._own_numbers()["reference.target"][:, 0]
            self.reference_coef[self.active] *= np.where(np.isnan(target), 1, controlled(moved, target))
        if self.arm.update.name == "kl_penalty":
            diagnostics["train/kl_coef"] = torch.from_numpy(self.kl_coef[self.active])
            targets = self._own_numbers()["kl_target"][:, 0]
            self.kl_coef[self.active] *= adapted(diagnostics["train/kl"].numpy(), targets)

    def _log(self, rollout: Rollout, diagnostics: Diagnostics, rates: Rates) -> None:
        """Keep the rows of this update, and give SB3's logger their means."""
        counters = [
            {"seed": self.names[replica], "step": self.env_steps[replica], "update": self.updates[replica]}
            for replica in self.active
        ]
        self.latest = training_rows(counters, rollout.episodes, diagnostics)
        if self._logger is not None:
            log_means(self.logger, self.latest)
            self.logger.record("train/learning_rate", float(rates.actor.mean()))
            self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def dump_logs(self, iteration: int = 0) -> None:
        """Write SB3's log; its own episode buffer would pool all replicas. Steps are those of one seed."""
        if self._rollout is not None:
            log_means(self.logger, training_rows([{}] * len(self.active), self._rollout.episodes, {}))
        seconds = max((time.time_ns() - self.start_time) / 1e9, sys.float_info.epsilon)
        if iteration > 0:
            self.logger.record("time/iterations", iteration, exclude="tensorboard")
        self.logger.record("time/fps", int((self.num_timesteps - self._num_timesteps_at_start) / seconds))
        self.logger.record("time/time_elapsed", int(seconds), exclude="tensorboard")
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(step=self.num_timesteps)

    @property
    def collector(self) -> Collector:
        """What steps the environments of the active replicas. Raises `UserError` where there are none."""
        if self._collector is None:
            collector = Collector(self._batched, self._streams["action"])
            self._collector = collector if len(self.active) == len(self.seeds) else collector.select(self.active)
        return self._collector

    @property
    def resumable(self) -> bool:
        """Whether `get_checkpoint` holds all there is: the state of other packages' environments is out of reach."""
        return isinstance(self.env, BatchedVecEnv) and isinstance(self.env.batched, BatchedEnv)

    def batch_limit(self) -> int:
        """Return the most steps one batch can take of a replica: one that might not fit the budget is not started."""
        return self.arm.batch_limit(self._batched.task.horizon)

    def _refuse_idleness(self, total: int, reset_num_timesteps: bool) -> None:
        """Refuse to learn where nothing would be learned. Raises `UserError`."""
        alive = [replica for replica in range(len(self.seeds)) if replica not in self.failures]
        if not alive:
            replica, cause = next(iter(self.failures.items()))
            raise UserError(f"no seed is left to learn: seed {self.seeds[replica]} failed ({cause})")
        used = [0 if reset_num_timesteps else self.env_steps[replica] for replica in alive]
        end = total if reset_num_timesteps else self.num_timesteps + total
        if min(used) + self.batch_limit() > end:
            raise UserError(
                f"total_timesteps={total}: not one batch fits, which takes up to {self.batch_limit()} steps of each "
                f"seed ({self.arm.n_envs} environments); give at least {total + min(used) + self.batch_limit() - end}, "
                f"or smaller batches"
            )

    def _warn_of_idleness(self, total: int, before: Sequence[int]) -> None:
        """Say where most of a budget was not used: a callback has not stopped the training, and no seed failed."""
        used = max(now - then for now, then in zip(self.env_steps, before, strict=True))
        if 2 * used < total and not self.failures:
            limit = self.batch_limit()
            warnings.warn(
                f"learn({total}): {used} steps were used; a batch takes up to {limit} steps of each seed and is not "
                f"begun where it might not fit; give several times {limit}, or collect segments (n_steps=…)",
                RunWarning,
                stacklevel=3,
            )

    def _make_ready(self, reset_num_timesteps: bool) -> None:
        """Let all replicas train that have not failed, from a new start or where they are."""
        if reset_num_timesteps:
            self.env_steps = [0] * len(self.seeds)
        if reset_num_timesteps or self._last_obs is None:  # SB3 is about to reset the environments
            self._collector = None
            if self.policy.reward_scale is not None:
                self.policy.reward_scale.running.zero_()
        self.active = [replica for replica in range(len(self.seeds)) if replica not in self.failures]
        if self._collector is not None and self._collector.env.seeds != tuple(self.seeds[r] for r in self.active):
            self._collector = None  # some had used an earlier budget before the others

    def _retire(self, replicas: Sequence[int]) -> None:
        """Take replicas out of the stack: zero gradients would still move them through Adam's momentum."""
        if not replicas:
            return
        rows = [row for row, replica in enumerate(self.active) if replica not in replicas]
        if rows:  # the last to leave may go on later, in the episodes they are in
            self._collector = self.collector.select(rows)
        self.active = [self.active[row] for row in rows]

    def _retire_failed(self, diagnostics: Diagnostics) -> None:
        """Freeze replicas whose losses or weights are no longer finite; their neighbours never notice."""
        losses = [values for name, values in diagnostics.items() if name.endswith("_loss")]
        finite = torch.stack(losses).isfinite().all(0).tolist()
        networks = self.policy.networks().values()
        failed = [
            replica
            for row, replica in enumerate(self.active)
            if not finite[row] or not all(bool(network.stack.flat[replica].isfinite().all()) for network in networks)
        ]
        for replica in failed:
            self.failures.setdefault(replica, f"the loss was not finite in update {self.updates[replica]}")
        self._retire(failed)

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        return super()._init_callback(taken(callback, progress_bar))

    def get_checkpoint(self) -> dict[str, Any]:
        """Return everything a run needs to go on bit for bit: plain numbers, lists and tensors only."""
        return {
            "format": saving.CHECKPOINT_FORMAT,
            "weights": self.policy.weights(),
            "num_timesteps": self.num_timesteps,
            "env_steps": list(self.env_steps),
            "updates": list(self.updates),
            "active": list(self.active),
            "failures": dict(self.failures),
            "kl_coef": self.kl_coef.tolist(),
            "reference_coef": self.reference_coef.tolist(),
            "streams": {
                name: [generator.bit_generator.state for generator in generators]
                for name, generators in self._streams.items()
            },
            "collector": self.collector.get_state() if self.active else None,
        }

    def _restore(self, saved: Mapping[str, Any]) -> None:
        """Take the state that `get_checkpoint` returned. Raises `DamagedCheckpoint` where it is another model's."""
        with saving.restoring(saved):
            self.policy.load_weights(saved["weights"])
            self.num_timesteps = saved["num_timesteps"]
            self.env_steps, self.updates = list(saved["env_steps"]), list(saved["updates"])
            self.failures = dict(saved["failures"])
            self.kl_coef, self.reference_coef = np.array(saved["kl_coef"]), np.array(saved["reference_coef"])
            self.active, self._collector = list(saved["active"]), None
            for name, generators in self._streams.items():
                for generator, position in zip(generators, saved["streams"][name], strict=True):
                    generator.bit_generator.state = position
            if saved["collector"] is not None:
                self.collector.set_state(saved["collector"])
