"""Measuring at the level of gradients: what a batch's policy gradient is, against the true one."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from bench.kernel import arrays
from bench.kernel.functions import mean_over
from bench.lab.anchors import Layout
from bench.lab.decomposition import total
from bench.lab.estimators import Batches, Variant, gradients, scores, with_gradients
from bench.lab.exact.groups import BatchGradient
from bench.lab.fairness import is_told_from_zero, kind_quantities
from bench.lab.policies import NetworkPolicy
from bench.lab.rows import Measured
from bench.lab.setup import Progress, Setup
from bench.lab.solved import Solved, judged, kinds
from bench.lab.statistics import ABSOLUTE, Estimate, Quantity, Vectors, gradient_estimates
from bench.lab.true_gradient import RolledOutGradient, exact_gradients, exact_kind_shares
from bench.lab.truth import WORST_TRUTH, restored_values, until_precise
from bench.tasks.base import Array, Task
from bench.tasks.exact import ExactTask

FEW = 64  # batches that the whole variance of single steps is measured on: it holds their parts to account, no more
CERTAIN = 1e-4  # the smallest p of 9,999 flips: samples without rare actions have it, others one time in ten thousand
UNDISCOUNTED = "undiscounted"  # the weights that everybody's update has: for larger batches, the only ones
TrueGradient = Mapping[str, Vectors]  # in m blocks, by the weighting of the states


def measure_gradients(
    setup: Setup,
    solved: Solved | None,
    policy: NetworkPolicy,
    steps: Sequence[int],
    measured: Measured,
    progress: Progress,
) -> None:
    """Add what variants' gradients are worth, and the whole variance of the terms of some time steps.

    What is exact in a `solved` world is computed, the rest is sampled: of every variant, the cosine.
    """
    truth, told = _true_gradient(setup, policy, measured)
    progress(0.65)
    batches_by_start = {layout.independent: _collected(setup, layout) for layout in setup.layouts}
    lacking_by_start = {independent: _lacks_actions(policy, of) for independent, of in batches_by_start.items()}
    few_by_start = {independent: batches.first(FEW) for independent, batches in batches_by_start.items()}
    scores_by_start = {
        independent: _step_scores(policy, batches, steps) for independent, batches in few_by_start.items()
    }
    found: dict[tuple[bool, str, int], list[tuple[Variant, dict[str, Estimate]]]] = {}
    single: dict[int, BatchGradient] = {}
    variants = with_gradients(setup.plan.variants, outcomes=_has_kinds(policy.task))
    for number, variant in enumerate(variants):
        batches = batches_by_start[variant.independent]
        began = time.perf_counter()
        advantages = batches.advantages(variant)
        of_batches = gradients(policy, batches.episodes, advantages)
        _add_cost(measured, variant, batches, time.perf_counter() - began)
        if solved is not None and solved.knows(variant.arm):
            single[number] = solved.gradient(variant, batches.n_envs)
        for multiple in setup.settings.batch_multiples if variant.is_compared else (1,):
            larger, exact = of_batches, None
            if multiple > 1:
                larger = _larger(policy, variant, batches, advantages, of_batches, multiple)
            if solved is not None and number in single:
                exact = solved.larger(variant, single[number], multiple)
            vectors = Vectors(larger.numpy())
            for weights in truth if multiple == 1 else (UNDISCOUNTED,):
                lacking = lacking_by_start[variant.independent]
                estimates = _judged(vectors, truth[weights], exact, told=told, lacking=lacking)
                compared = found.setdefault((variant.independent, weights, batches.n_envs * multiple), [])
                compared.append((variant, estimates))
        if variant.is_compared and number not in single:
            _add_totals(
                measured,
                variant,
                few_by_start[variant.independent],
                advantages[:, :FEW].numpy(),
                scores_by_start[variant.independent],
            )
        progress(0.65 + 0.3 * (number + 1) / len(variants))
    for (_, weights, episodes), compared in found.items():
        measured.add_compared(compared, level="gradient", weights=weights, episodes=episodes)
    _add_kinds(setup, policy, variants, single, batches_by_start, measured)
    _add_group_sizes(setup, solved, policy, truth, told, measured)


def _true_gradient(setup: Setup, policy: NetworkPolicy, measured: Measured) -> tuple[TrueGradient, bool]:
    """Return the true gradient, and whether it is told from zero; how precise it is goes to the notes."""
    precision = 0.0
    if isinstance(policy.task, ExactTask):
        found = exact_gradients(policy.task, policy, setup.process.gamma)
        found = {weights: gradient / setup.stage.reward_scale for weights, gradient in found.items()}
    else:
        critic, stream = setup.critics.get("learned"), partial(setup.stream, "gradient_truth")
        rolled = RolledOutGradient(setup.truths, policy, critic, setup.layout.n_envs, stream)
        precision = until_precise(rolled, setup.settings)
        found = rolled.truth()
    measured.note(true_gradient_precision=precision)
    return {weights: Vectors(blocks) for weights, blocks in found.items()}, precision <= WORST_TRUTH


def _lacks_actions(policy: NetworkPolicy, batches: Batches) -> bool:
    """Return whether these batches lack the rare actions of an almost deterministic policy.

    The mean of ∇log π is 0. It is told from zero where the actions that balance it were never drawn.
    """
    length, count = batches.episodes.live.shape[0], batches.episodes.live.shape[1] // batches.n_envs
    every_step = torch.ones(length, count, batches.n_envs, dtype=torch.float64)
    found = gradients(policy, batches.episodes, every_step).numpy()
    return is_told_from_zero(arrays.matrix_product(found, found.T), CERTAIN)


def _judged(
    gradients: Vectors, truth: Vectors, exact: BatchGradient | None, *, told: bool, lacking: bool
) -> dict[str, Estimate]:
    """Return an estimator's quantities: from its gradients, or exact ones in their place where these are known.

    What is relative to the truth is unknown where that is not `told` from 0. Where the sample is `lacking` rare
    actions, from which the gradient and its variance come, only the cosine is known: it is about two batches, and most
    batches have no such action.
    """
    found = gradient_estimates(gradients, truth)
    if exact is not None:
        return found | judged(exact, truth.rows[0])

    def is_known(name: str) -> bool:
        return name == "cosine" or (not lacking and (told or name in ABSOLUTE))

    return {name: each if is_known(name) else each.unknown for name, each in found.items()}


def _collected(setup: Setup, layout: Layout) -> Batches:
    """Collect batches as training does, with restored states where a variant needs them."""
    rng = setup.stream("batches", int(layout.independent))
    batches = _rolled_out(setup, layout, rng)
    if setup.vine is None or layout.independent:
        return batches
    every, rollouts = setup.vine.every, setup.vine.rollouts
    values, steps = restored_values(setup.process, batches.episodes, every, rollouts, rng)
    return replace(batches, restored=values, restored_steps=steps)


def _rolled_out(setup: Setup, layout: Layout, rng: np.random.Generator) -> Batches:
    size = 1 if layout.independent else layout.size
    groups = setup.settings.batches * layout.n_envs // size
    return Batches.of(setup.process.from_start(rng, groups, size), layout.n_envs, setup.critics)


def _step_scores(policy: NetworkPolicy, batches: Batches, steps: Sequence[int]) -> dict[int, Array]:
    """Return ∇log π of every episode at those of the time steps that three batches reach, (S · N, P).

    The total variance has no error from fewer.
    """
    episodes = batches.episodes
    return {
        step: scores(policy, episodes.states[step], episodes.actions[:, step]).float().numpy()
        for step in steps
        if step < episodes.length and batches.live(step).any(1).sum() >= 3
    }


def _add_cost(measured: Measured, variant: Variant, batches: Batches, seconds: float) -> None:
    """Add what one batch of a variant costs."""
    count = batches.episodes.live.shape[1] // batches.n_envs
    steps = batches.episodes.steps + (batches.restored_steps if variant.restores else 0)
    measured.add_cost(variant, batches.n_envs, steps / count, seconds / count)


def _larger(
    policy: NetworkPolicy, variant: Variant, batches: Batches, advantages: Tensor, found: Tensor, multiple: int
) -> Tensor:
    """Return the gradients of batches of `multiple` times as many episodes, from those `found` of single batches.

    Where the advantages change with the batch, they are computed anew.
    """
    count = len(found) // multiple
    used = np.arange(count * multiple * batches.n_envs)
    larger = batches.take(used, batches.n_envs * multiple)
    same = advantages[:, : count * multiple].reshape(len(advantages), count, -1)
    anew = larger.advantages(variant)
    if not torch.allclose(anew, same, rtol=1e-9, atol=1e-12):
        return gradients(policy, larger.episodes, anew)
    return mean_over(found[: count * multiple].unflatten(0, (count, multiple)), 1)


def _add_totals(
    measured: Measured, variant: Variant, batches: Batches, advantages: Array, scores_by_step: Mapping[int, Array]
) -> None:
    """Add the whole variance of single steps, without resets: what its parts must add up to."""
    for step, scores_there in scores_by_step.items():
        whole = total(advantages[step], batches.live(step), scores_there)
        measured.add(variant, {"total": whole}, level="step", step=step, episodes=batches.n_envs)


def _has_kinds(task: Task) -> bool:
    """Return whether several kinds of episodes (brothers) are learned from."""
    return isinstance(task, ExactTask) and len(task.model.starts) > 1


def _add_kinds(
    setup: Setup,
    policy: NetworkPolicy,
    variants: Sequence[Variant],
    known: Mapping[int, BatchGradient],
    batches_by_start: Mapping[bool, Batches],
    measured: Measured,
) -> None:
    """Add of each kind of episode (brother) its share of what is learned, and its share of the noise."""
    task = policy.task
    if not _has_kinds(task):
        return
    assert isinstance(task, ExactTask)
    true = exact_kind_shares(task, policy, setup.process.gamma)
    scores_by_start = {independent: _episode_scores(policy, of) for independent, of in batches_by_start.items()}
    for number, variant in enumerate(variants):
        if variant.arm.advantage.name != "monte_carlo":  # fairness is a matter of the baseline
            continue
        batches = batches_by_start[variant.independent]
        shares: Mapping[str, Mapping[str, Quantity | Estimate]]
        if number in known:
            shares = kinds(known[number])
        else:
            batch = np.repeat(np.arange(setup.settings.batches), batches.n_envs)
            kind = task.kind(batches.episodes.states[0])
            each = batches.advantages(variant).flatten(1).unsqueeze(2)
            found, own = gradients(policy, batches.episodes, each).numpy(), scores_by_start[variant.independent]
            shares = kind_quantities(found, own, batch, kind, list(task.model.starts))
        for name, quantities in shares.items():
            exact = {"true_share": Quantity.of(true[name], 0.0, 0)}
            measured.add(variant, {**quantities, **exact}, level="kind", kind=name, episodes=batches.n_envs)


def _episode_scores(policy: NetworkPolicy, batches: Batches) -> Array:
    """Return the sum of ∇log π over the steps of every episode, (E, P)."""
    live = torch.from_numpy(batches.episodes.live.astype(np.float64)).unsqueeze(2)
    found: Array = gradients(policy, batches.episodes, live).numpy()
    return found


def _add_group_sizes(
    setup: Setup,
    solved: Solved | None,
    policy: NetworkPolicy,
    truth: TrueGradient,
    told: bool,
    measured: Measured,
) -> None:
    """Compare groups of several sizes, all in batches of as many episodes."""
    sizes = sorted({variant.arm.group.size for variant in setup.plan.sizes})
    for size in sizes:
        layout = Layout(sizes[-1] // size, size, independent=False)
        batches = _rolled_out(setup, layout, setup.stream("sizes", size))
        lacking = _lacks_actions(policy, batches)
        mine = [variant for variant in setup.plan.sizes if variant.arm.group.size == size]
        found = [Vectors(gradients(policy, batches.episodes, batches.advantages(each)).numpy()) for each in mine]
        exact = [_of_size(solved, each, layout.n_envs) for each in mine]
        for weights, target in truth.items():
            judged_there = [
                _judged(own, target, known, told=told, lacking=lacking) for own, known in zip(found, exact, strict=True)
            ]
            compared = list(zip(mine, judged_there, strict=True))
            measured.add_compared(compared, level="size", weights=weights, episodes=layout.n_envs)


def _of_size(solved: Solved | None, variant: Variant, n_envs: int) -> BatchGradient | None:
    """Return the exact gradient of a batch of so many episodes in groups of the variant's size."""
    if solved is None or not solved.knows(variant.arm):
        return None
    return solved.gradient(variant, n_envs)
