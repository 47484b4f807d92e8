"""Everything that is measured about one policy: which estimator says what, how far off, and why."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import UserError
from bench.lab import decomposition
from bench.lab.advantages import Estimates, Truth, error_figures, errors
from bench.lab.anchors import Anchors, Layout, anchors_at, continuations, in_parts, nested, visited_steps
from bench.lab.estimators import Judged, Variant, gradients, scores
from bench.lab.policies import Critic, NetworkPolicy, TableCritic
from bench.lab.settings import NO_CRITIC, Plan, Settings
from bench.lab.simulate import Episodes, simulate, starts
from bench.lab.stages import Stage
from bench.lab.statistics import Figure, Products, gradient_figures, kind_figures
from bench.lab.truth import (
    RolledOut,
    RolledOutGradient,
    World,
    exact_gradients,
    exact_kind_shares,
    exact_truth,
    mean_returns,
    restored_values,
    solution,
    until_precise,
)
from bench.tasks.base import Array
from bench.tasks.exact import ExactTask, Solution

Row = dict[str, Any]
Progress = Callable[[float], None]
STREAMS = ("pool", "anchors", "truth", "futures", "companions", "batches", "sizes", "gradient_truth", "critic_error")
TRUTH_FIRST = 32  # futures, and blocks of batches, before the first look at the precision


@dataclass
class Measured:
    """Rows of figures, of states, and of costs; `notes` holds the truth's precision."""

    figures: list[Row] = field(default_factory=list)
    states: list[Row] = field(default_factory=list)
    costs: list[Row] = field(default_factory=list)
    notes: dict[str, float] = field(default_factory=dict)

    def add(self, variant: Variant, figures: Mapping[str, Figure], **where: Any) -> None:
        """One row per figure."""
        for name, figure in figures.items():
            numbers = {"value": figure.value, "error": figure.error, "low": figure.low, "high": figure.high}
            self.figures.append(described(variant) | _WHERE | where | {"quantity": name} | numbers)


_WHERE: Row = {"level": "", "weights": "", "episodes": None, "step": None, "kind": ""}


def described(variant: Variant) -> Row:
    """A variant in columns; None where it reads no such setting."""
    arm = variant.arm
    return {
        "baseline": arm.baseline.name,
        "advantage": arm.advantage.name,
        "critic": variant.critic,
        "gae_lambda": arm.gae_lambda if arm.advantage.name == "gae" else None,
        "n_step": arm.n_step if arm.advantage.name == "nstep" else None,
        "group_size": arm.group.size if arm.group_baseline else None,
        "credit": arm.group.credit if arm.group_baseline else "",
    }


class Laboratory:
    """Measures one stage. The same settings give the same figures; streams are separate for every purpose."""

    def __init__(self, plan: Plan, settings: Settings, stage: Stage, progress: Progress = lambda _: None) -> None:
        self.plan, self.settings, self.stage, self.progress = plan, settings, stage, progress
        self.measured = Measured()
        self.policy = stage.policy
        config = plan.config
        self.world = World(stage.policy, config.gamma, plan.kind, stage.reward_scale)
        self.layout = Layout(config.group.groups, config.group.size, independent=False)
        self.longest = 1  # episode of those from which anchors are taken

    def run(self) -> Measured:
        """Everything."""
        with torch.no_grad():
            self._advantage_level()
            if isinstance(self.policy, NetworkPolicy):
                self._gradient_level(self.policy)
        self.progress(1.0)
        return self.measured

    def stream(self, purpose: str, *keys: int) -> np.random.Generator:
        """The random numbers of a purpose."""
        sequence = np.random.SeedSequence(self.settings.seed, spawn_key=(STREAMS.index(purpose), *keys))
        return np.random.default_rng(sequence)

    @cached_property
    def solved(self) -> Solution | None:
        """The exact values, on the scale of the rewards that are measured; None where there are none."""
        if not isinstance(self.policy.task, ExactTask):
            return None
        found = solution(self.policy.task, self.policy, self.world.gamma)
        scale = self.stage.reward_scale
        return replace(found, value=found.value / scale, q_values=found.q_values / scale)

    @cached_property
    def critics(self) -> dict[str, Critic]:
        """By name. Raises `UserError` where a learned one is asked for and there is none."""
        asked = {variant.critic for variant in self.plan.variants} - {NO_CRITIC}
        found: dict[str, Critic] = {}
        if "learned" in asked:
            if self.stage.critic is None:
                raise UserError(
                    f"critics=learned: {self.stage.name} on {self.plan.config.task.name} has no critic of its own; "
                    f"use critics=exact where the task is solved, or a policy that was trained with a critic"
                )
            found["learned"] = self.stage.critic
        if self.solved is not None and isinstance(self.policy.task, ExactTask):
            value = self.solved.value
            found["exact"] = TableCritic(self.policy.task, value)
            error = self.stream("critic_error").standard_normal(value.shape) * self._spread_of_values(value)
            found["error"] = TableCritic(self.policy.task, value + self.settings.critic_error * error)
        return {name: critic for name, critic in found.items() if name in asked}

    def _spread_of_values(self, value: Array) -> float:
        """The standard deviation of V over the states that are visited."""
        assert self.solved is not None
        assert isinstance(self.policy.task, ExactTask)
        visits = self.policy.task.visits(self.solved.policy)
        share = visits / visits.sum()
        return float(np.sqrt((share * np.square(value - (share * value).sum())).sum()))

    # Advantages

    def _advantage_level(self) -> None:
        settings = self.settings
        anchors = self._anchors()
        truths = self._truths(anchors)
        self.progress(0.2)
        found: dict[int, list[tuple[Anchors, Truth, Estimates]]] = {}
        for place, (part, truth) in enumerate(zip(anchors, truths, strict=True)):
            for index, samples in self._samples(part, place):
                found.setdefault(index, []).append((part, truth, Estimates.of(samples)))
            self.progress(0.2 + 0.3 * (place + 1) / len(anchors))
        strata = np.repeat([part.step for part in anchors], settings.anchors)
        by_step = self._scores(anchors)
        for index, parts in sorted(found.items()):
            variant = self.plan.variants[index]
            judged = [errors(estimates, truth, part.weights, part.drawn) for part, truth, estimates in parts]
            together = type(judged[0])(*(np.concatenate([getattr(e, f) for e in judged]) for f in _ERROR_FIELDS))
            self.measured.add(variant, error_figures(together, strata), level="advantage", episodes=self.layout.n_envs)
            self._keep_states(variant, together, anchors)
            for part, _, estimates in parts if by_step else []:
                figures = decomposition.decompose(estimates, by_step[part.step], part.weights, part.drawn)
                self.measured.add(variant, figures, level="step", step=part.step, episodes=self.layout.n_envs)

    def _anchors(self) -> list[Anchors]:
        settings, task = self.settings, self.policy.task
        rng = self.stream("pool")
        count = 16 * settings.anchors
        pool = simulate(
            self.policy,
            starts(task, rng, count, 1),
            np.zeros(count, dtype=np.int64),
            rng,
            reward_scale=self.stage.reward_scale,
        )
        self.longest = pool.length
        return [
            anchors_at(self.policy, pool, step, settings.anchors, settings.actions, self.stream("anchors", place))
            for place, step in enumerate(visited_steps(pool, settings.times))
        ]

    def _truths(self, anchors: Sequence[Anchors]) -> list[Truth]:
        if self.solved is not None and isinstance(self.policy.task, ExactTask):
            self.measured.notes["truth_precision"] = 0.0
            return [exact_truth(self.policy.task, self.solved, part) for part in anchors]
        rolled = RolledOut(self.world, anchors, lambda *keys: self.stream("truth", *keys))
        reached = self._until_precise(rolled.add, lambda: _precision(rolled.truth(), anchors), lambda: rolled.steps)
        self.measured.notes |= {"truth_precision": reached, "truth_steps": rolled.steps}
        return rolled.truth()

    def _until_precise(
        self, add: Callable[[int], None], precision: Callable[[], float], steps: Callable[[], int]
    ) -> float:
        settings = self.settings
        return until_precise(
            add,
            precision,
            steps,
            first=TRUTH_FIRST,
            wanted=settings.precision,
            budget=settings.truth_steps,
            refuse=settings.shortfall == "refuse",
        )

    def _samples(self, anchors: Anchors, place: int) -> Iterator[tuple[int, Array]]:
        """Each variant's estimates X (M, J, K, L) at the anchors, by its place in the plan."""
        settings, policy = self.settings, self.policy
        rng = self.stream("futures", place)
        after = continuations(policy, anchors, settings.futures, rng, reward_scale=self.stage.reward_scale)
        past = anchors.prefix.take(np.repeat(np.arange(anchors.shape[0]), anchors.shape[1] * settings.futures))
        own = after.after(past, anchors.step)
        yield from self._alone(anchors, own)
        yield from self._in_company(anchors, own, self.stream("companions", place))

    def _alone(self, anchors: Anchors, own: Episodes) -> Iterator[tuple[int, Array]]:
        """The variants that read no other episode: they are asked about a batch of one."""
        judged = Judged.of(own, 1, self.critics)
        shape = (*anchors.shape, self.settings.futures, 1)
        for index, variant in enumerate(self.plan.variants):
            if variant.alone:
                yield index, judged.advantages(variant)[anchors.step, :, 0].numpy().reshape(shape).copy()

    def _in_company(self, anchors: Anchors, own: Episodes, rng: np.random.Generator) -> Iterator[tuple[int, Array]]:
        """The variants that do, or that restore states: every future in several batches of fresh companions."""
        settings = self.settings
        each = anchors.shape[1] * settings.futures
        gathered: dict[int, list[Array]] = {}
        longest = max(own.length, self.longest)  # companions may outlive what is left of the own episodes by far
        for columns in in_parts(anchors.shape[0], each * settings.companions * self.layout.n_envs, longest):
            part, mine = anchors.take(columns), own.take(np.arange(columns.start * each, columns.stop * each))
            shape = (*part.shape, settings.futures, settings.companions)
            for layout in self._layouts():
                asked = {i: v for i, v in enumerate(self.plan.variants) if not v.alone and v.fits(layout.independent)}
                if not asked:
                    continue
                scale = self.stage.reward_scale
                batches = nested(self.policy, part, mine, settings.companions, layout, rng, reward_scale=scale)
                once = Judged.of(batches.episodes, layout.n_envs, self.critics)
                judged = once.columns(batches.columns, layout.n_envs)
                if self._vine and not layout.independent:
                    judged = replace(judged, restored=self._restored_once(part, judged, rng))
                for index, variant in asked.items():
                    samples = (
                        judged.advantages(variant)[part.step, :, 0].numpy().reshape(shape).copy()
                    )  # a view would keep every step
                    gathered.setdefault(index, []).append(samples)
        for index, found in gathered.items():
            yield index, np.concatenate(found)

    @cached_property
    def _vine(self) -> Variant | None:
        """A variant that restores states; all restore the same ones."""
        return next((variant for variant in self.plan.variants if variant.restores), None)

    def _restored_once(self, anchors: Anchors, judged: Judged, rng: np.random.Generator) -> Array:
        """Fresh values of the last state that would be restored up to the anchors, for each own episode, (T, S · N)."""
        assert self._vine is not None
        vine = self._vine.arm.vine
        step = anchors.step // vine.every * vine.every
        states = judged.episodes.states[step][:, :: judged.n_envs]
        values = np.zeros(judged.episodes.rewards.shape)
        values[step, :: judged.n_envs], _ = mean_returns(self.world, states, step, vine.rollouts, rng)
        return values

    def _layouts(self) -> list[Layout]:
        kinds = sorted({variant.independent for variant in self.plan.variants})
        return [replace(self.layout, independent=kind) for kind in kinds]

    def _scores(self, anchors: Sequence[Anchors]) -> dict[int, Array]:
        """∇log π of every state and action by time step, (M, J, P); nothing for a policy without a gradient."""
        if not isinstance(self.policy, NetworkPolicy):
            return {}
        found = {}
        for part in anchors:
            states = np.repeat(part.states, part.shape[1], axis=1)
            found[part.step] = scores(self.policy, states, part.actions.flatten(1)).numpy().reshape(*part.shape, -1)
        return found

    def _keep_states(self, variant: Variant, found: Any, anchors: Sequence[Anchors]) -> None:
        columns = {name: getattr(found, name) for name in _ERROR_FIELDS}
        steps = np.concatenate([np.full(part.shape[0], part.step) for part in anchors])
        states = np.concatenate([part.states for part in anchors], 1)
        for place, step in enumerate(steps):
            coordinates = {f"state_{row}": float(value) for row, value in enumerate(states[:, place])}
            errors = {name: float(values[place]) for name, values in columns.items()}
            self.measured.states.append(described(variant) | {"step": int(step)} | coordinates | errors)

    # Gradients

    def _gradient_level(self, policy: NetworkPolicy) -> None:
        truth = self._true_gradients(policy)
        self.progress(0.65)
        batches = {layout.independent: self._batches(layout) for layout in self._layouts()}
        steps = sorted({row["step"] for row in self.measured.figures if row["level"] == "step"})
        for place, variant in enumerate(self.plan.variants):
            judged = batches[variant.independent]
            base = self._compare(policy, variant, judged, truth)
            self._larger(policy, variant, judged, truth, base)
            self._totals(policy, variant, judged, steps)
            self.progress(0.65 + 0.3 * (place + 1) / len(self.plan.variants))
        self._kinds(policy, batches)
        self._group_sizes(policy, truth)

    def _true_gradients(self, policy: NetworkPolicy) -> dict[str, Array]:
        if isinstance(policy.task, ExactTask):
            self.measured.notes["gradient_precision"] = 0.0
            found = exact_gradients(policy.task, policy, self.world.gamma)
            return {name: gradient / self.stage.reward_scale for name, gradient in found.items()}
        critic = self.critics.get("learned")
        rolled = RolledOutGradient(
            self.world, critic, self.layout.n_envs, lambda *keys: self.stream("gradient_truth", *keys)
        )
        reached = self._until_precise(rolled.add, lambda: _gradient_precision(rolled.truth()), lambda: rolled.steps)
        self.measured.notes |= {"gradient_precision": reached, "gradient_steps": rolled.steps}
        return rolled.truth()

    def _batches(self, layout: Layout, size: int | None = None) -> Judged:
        """Batches as training collects them, with restored states where an arm needs them; or of one group size."""
        rng = self.stream("batches", int(layout.independent)) if size is None else self.stream("sizes", size)
        count = self.settings.batches * layout.n_envs
        share = 1 if layout.independent else layout.size
        begun = starts(self.policy.task, rng, count // share, share)
        episodes = simulate(
            self.policy, begun, np.zeros(count, dtype=np.int64), rng, reward_scale=self.stage.reward_scale
        )
        judged = Judged.of(episodes, layout.n_envs, self.critics)
        if self._vine and not layout.independent and size is None:
            vine = self._vine.arm.vine
            values, steps = restored_values(self.world, episodes, vine.every, vine.rollouts, rng)
            judged = replace(judged, restored=values, restored_steps=steps)
        return judged

    def _compare(self, policy: NetworkPolicy, variant: Variant, judged: Judged, truth: Mapping[str, Array]) -> Tensor:
        """The gradients of one variant against both targets; → its gradients (S, P)."""
        began = time.perf_counter()
        found = gradients(policy, judged.episodes, judged.advantages(variant))
        seconds = time.perf_counter() - began
        batches = len(found)
        steps = judged.episodes.steps + (judged.restored_steps if variant.restores else 0)
        cost = {"steps": steps / batches, "seconds": seconds / batches}
        self.measured.costs.append(described(variant) | {"episodes": judged.n_envs} | cost)
        self._record(variant, found, truth, judged.n_envs)
        return found

    def _record(self, variant: Variant, found: Tensor, truth: Mapping[str, Array], episodes: int) -> None:
        for weights, target in truth.items():
            figures = gradient_figures(Products.of(found.numpy(), target))
            self.measured.add(variant, figures, level="gradient", weights=weights, episodes=episodes)

    def _larger(
        self, policy: NetworkPolicy, variant: Variant, judged: Judged, truth: Mapping[str, Array], base: Tensor
    ) -> None:
        """Batches of several times as many episodes: recomputed where the advantages change with the batch."""
        advantages = judged.advantages(variant)
        for multiple in self.settings.batch_multiples:
            if multiple == 1:
                continue
            whole = len(base) // multiple
            used = np.arange(whole * multiple * judged.n_envs)
            larger = judged.columns(used, judged.n_envs * multiple)
            same = advantages[:, : whole * multiple].reshape(len(advantages), whole, -1)
            found = larger.advantages(variant)
            if torch.allclose(found, same, rtol=1e-9, atol=1e-12):
                merged = base[: whole * multiple].unflatten(0, (whole, multiple)).mean(1)
            else:
                merged = gradients(policy, larger.episodes, found)
            self._record(variant, merged, truth, larger.n_envs)

    def _totals(self, policy: NetworkPolicy, variant: Variant, judged: Judged, steps: Sequence[int]) -> None:
        """The whole variance of single steps, without resets: what the parts must add up to."""
        advantages = judged.advantages(variant).numpy()
        for step in steps:
            if step >= judged.episodes.length:
                continue
            live = judged.episodes.live[step].reshape(-1, judged.n_envs)
            if live.any(1).sum() < 3:
                continue
            figure = decomposition.total(advantages[step], live, self._step_scores(policy, judged, step))
            self.measured.add(variant, {"total": figure}, level="step", step=step, episodes=judged.n_envs)

    def _step_scores(self, policy: NetworkPolicy, judged: Judged, step: int) -> Array:
        """∇log π of one step of every episode, the same for all variants."""
        key = (id(judged), step)
        if key not in self._kept_scores:
            episodes = judged.episodes
            self._kept_scores[key] = scores(policy, episodes.states[step], episodes.actions[:, step]).float().numpy()
        return self._kept_scores[key]

    @cached_property
    def _kept_scores(self) -> dict[tuple[int, int], Array]:
        return {}

    def _kinds(self, policy: NetworkPolicy, batches: Mapping[bool, Judged]) -> None:
        """Of each kind of episode (brother): its share of what is learned, and its share of the noise."""
        task = policy.task
        if not isinstance(task, ExactTask) or len(task.model.starts) < 2:
            return
        true = exact_kind_shares(task, policy, self.world.gamma)
        scores_of = {independent: _episode_scores(policy, judged) for independent, judged in batches.items()}
        for variant in self.plan.variants:
            if variant.arm.advantage.name != "monte_carlo":  # fairness is a matter of the baseline
                continue
            judged = batches[variant.independent]
            batch = np.repeat(np.arange(self.settings.batches), judged.n_envs)
            kind = task.kind(judged.episodes.states[0])
            each = judged.advantages(variant).flatten(1).unsqueeze(2)
            found = gradients(policy, judged.episodes, each).numpy()
            scores = scores_of[variant.independent]
            for name, figures in kind_figures(found, scores, batch, kind, list(task.model.starts)).items():
                figures["true_share"] = Figure.of(true[name], 0.0, 0)
                self.measured.add(variant, figures, level="kind", kind=name, episodes=judged.n_envs)

    def _group_sizes(self, policy: NetworkPolicy, truth: Mapping[str, Array]) -> None:
        """Groups of several sizes, all in batches of as many episodes."""
        sizes = sorted({variant.arm.group.size for variant in self.plan.sizes})
        for size in sizes:
            layout = Layout(sizes[-1] // size, size, independent=False)
            judged = self._batches(layout, size)
            for variant in self.plan.sizes:
                if variant.arm.group.size == size:
                    found = gradients(policy, judged.episodes, judged.advantages(variant))
                    for weights, target in truth.items():
                        figures = gradient_figures(Products.of(found.numpy(), target))
                        self.measured.add(variant, figures, level="size", weights=weights, episodes=layout.n_envs)


def _episode_scores(policy: NetworkPolicy, judged: Judged) -> Array:
    """The sum of ∇log π over the steps of every episode, (E, P)."""
    live = torch.from_numpy(judged.episodes.live.astype(np.float64)).unsqueeze(2)
    found: Array = gradients(policy, judged.episodes, live).numpy()
    return found


_ERROR_FIELDS = ("squared_bias", "action_bias", "state_bias", "variance", "signal")


def _precision(truths: Sequence[Truth], anchors: Sequence[Anchors]) -> float:
    """The truth's standard error as a share of the true advantages, both root mean squares over states and actions."""
    noise, signal = 0.0, 0.0
    for truth, part in zip(truths, anchors, strict=True):
        own = errors(_nothing(truth), truth, part.weights, part.drawn)
        noise += float((part.weights * (1 - part.weights) * truth.q_error).sum())
        signal += float(own.signal.sum())
    if noise == 0:
        return 0.0
    return float(np.sqrt(noise / signal)) if signal > 0 else np.inf


def _nothing(truth: Truth) -> Estimates:
    """An estimator that says 0."""
    zero = np.zeros_like(truth.q_values)
    return Estimates(zero, zero, zero, zero)


def _gradient_precision(truth: Mapping[str, Array]) -> float:
    """The standard error of the true gradient as a share of its length; the worse of the two weightings."""
    worst = 0.0
    for blocks in truth.values():
        mean = blocks.mean(0)
        noise = float(np.square(blocks - mean).sum() / (len(blocks) - 1) / len(blocks))
        signal = float(np.square(mean).sum()) - noise
        share = 0.0 if noise == 0 else float(np.sqrt(noise / signal)) if signal > 0 else np.inf
        worst = max(worst, share)
    return worst
