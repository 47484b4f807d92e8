"""Measuring at the level of advantages: what every variant says at fixed states and actions, against the truth."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from torch import Tensor

from bench.lab.advantages import Errors, Estimates, Truth, control_coefficient, error_estimates, errors
from bench.lab.anchors import Anchors, Layout, anchors_at, chunks, continuations, visited_steps, with_companions
from bench.lab.decomposition import decompose
from bench.lab.estimators import Batches, Variant, reference_of, scores
from bench.lab.policies import NetworkPolicy
from bench.lab.rows import Measured, Reference
from bench.lab.setup import Progress, Setup
from bench.lab.simulate import Episodes
from bench.lab.solved import Solved
from bench.lab.statistics import Estimate
from bench.lab.truth import RolledOutValues, exact_truth, mean_returns, until_precise
from bench.tasks.base import Array
from bench.tasks.exact import ExactTask

POOL = 16  # episodes for each of the anchors at one time step, which are chosen from them

Samples = tuple[int, Array]  # the index of a variant in the plan, and its estimates X (M, J, K, L) at the anchors


def measure_advantages(setup: Setup, solved: Solved | None, measured: Measured, progress: Progress) -> list[int]:
    """Add every variant's errors and, where the policy is a network, the parts of their variance.

    What is exact in a `solved` world is computed, the rest is sampled.

    Return the time steps at which something was sampled.
    """
    known = _exact(setup, solved, measured)
    progress(0.1)
    asked = [number for number in range(len(setup.plan.variants)) if number not in known]
    if not asked:
        return []
    settings = setup.settings
    pool = setup.process.from_start(setup.stream("pool"), POOL * settings.anchors)
    anchors = [
        anchors_at(setup.policy, pool, step, settings.anchors, settings.actions, setup.stream("anchors", index))
        for index, step in enumerate(visited_steps(pool, settings.times))
    ]
    truths = _truths(setup, anchors, measured)
    progress(0.2)
    estimates: dict[int, list[Estimates]] = {number: [] for number in asked}
    for index, at in enumerate(anchors):
        for number, found in _estimates(setup, at, index, pool.length, asked):
            estimates[number].append(found)
        progress(0.2 + 0.3 * (index + 1) / len(anchors))
    _add_errors(setup, anchors, truths, estimates, known, measured)
    _add_parts(setup, anchors, estimates, measured)
    return [at.step for at in anchors]


def _exact(setup: Setup, solved: Solved | None, measured: Measured) -> dict[int, dict[str, Estimate]]:
    """Add what is exact; return the quantities by the number of the variant."""
    if solved is None:
        return {}
    measured.note(truth_precision=0.0)
    known = {}
    for number, variant in enumerate(setup.plan.variants):
        said = solved.said(variant)
        if said is None:
            continue
        known[number] = solved.errors(said)
        if variant.is_compared and isinstance(setup.policy, NetworkPolicy):
            measured.add(variant, solved.parts(said), level="step", episodes=setup.layout.n_envs)
    for number, quantities in known.items():
        variant = setup.plan.variants[number]
        reference = _reference(setup, variant, known)
        measured.add(variant, quantities, reference, level="advantage", episodes=setup.layout.n_envs)
    return known


def _reference(setup: Setup, variant: Variant, known: Mapping[int, Mapping[str, Estimate]]) -> Reference | None:
    """Return what a variant is compared with, where that is exact; None where it is not."""
    variants = setup.plan.variants
    other = reference_of(variant, variants)
    number = None if other is None else variants.index(other)
    return Reference(variants[number], known[number]) if number is not None and number in known else None


def _add_errors(
    setup: Setup,
    anchors: Sequence[Anchors],
    truths: Sequence[Truth],
    estimates: Mapping[int, Sequence[Estimates]],
    known: Mapping[int, Mapping[str, Estimate]],
    measured: Measured,
) -> None:
    """Add the errors of every variant that was asked, and by how much they differ from those of its reference.

    A reference that was asked, too, was asked about the same states.
    """
    variants = setup.plan.variants
    errors_of = {number: _errors(said, truths, anchors) for number, said in estimates.items()}
    size = float(
        np.mean([(at.weights * np.square(of.q_values)).sum(1).mean() for at, of in zip(anchors, truths, strict=True)])
    )
    for number, mine in errors_of.items():
        variant, count = variants[number], len(mine[0].variance)
        reference, other = _reference(setup, variant, known), reference_of(variant, variants)
        if reference is None and other is not None:
            theirs = [each.first(count) for each in errors_of[variants.index(other)]]
            reference = Reference(other, _averaged(theirs, anchors, size))
        averages = _averaged(mine, anchors, size)
        measured.add(variant, averages, reference, level="advantage", episodes=setup.layout.n_envs)
        measured.add_states(variant, Errors.concatenate(mine), [at.take(slice(0, count)) for at in anchors])


def _errors(said: Sequence[Estimates], truths: Sequence[Truth], anchors: Sequence[Anchors]) -> list[Errors]:
    """Return a variant's errors in the states of each time step: in all of them, or in those with companions."""
    count = len(said[0].mean)
    few = [
        (each, truth.first(count), at.weights[:count]) for each, truth, at in zip(said, truths, anchors, strict=True)
    ]
    coefficient = control_coefficient([(each, weights) for each, _, weights in few])
    return [errors(each, truth, weights, anchors[0].drawn, coefficient) for each, truth, weights in few]


def _averaged(found: Sequence[Errors], anchors: Sequence[Anchors], size: float) -> dict[str, Estimate]:
    strata = np.repeat([at.step for at in anchors], len(found[0].variance))
    return error_estimates(Errors.concatenate(found), strata, size)


def _add_parts(
    setup: Setup, anchors: Sequence[Anchors], estimates: Mapping[int, Sequence[Estimates]], measured: Measured
) -> None:
    """Add where every variant's variance comes from at single steps, where the policy has a gradient."""
    score_of_step = _scores(setup, anchors)
    for number, said in estimates.items() if score_of_step else ():
        variant = setup.plan.variants[number]
        for each, at in zip(said, anchors, strict=True) if variant.is_compared else ():
            count = len(each.mean)
            parts = decompose(each, score_of_step[at.step][:count], at.weights[:count], at.drawn)
            measured.add(variant, parts, level="step", step=at.step, episodes=setup.layout.n_envs)


def _truths(setup: Setup, anchors: Sequence[Anchors], measured: Measured) -> list[Truth]:
    """Return the true values at all anchors; how precise they are goes to the notes."""
    if setup.solved is not None and isinstance(setup.policy.task, ExactTask):
        if not setup.settings.exact:
            measured.note(truth_precision=0.0)
        return [exact_truth(setup.policy.task, setup.solved, at) for at in anchors]
    rolled = RolledOutValues(setup.truths, anchors, partial(setup.stream, "truth"))
    reached = until_precise(rolled, setup.settings)
    measured.note(truth_precision=reached)
    return rolled.truth()


def _scores(setup: Setup, anchors: Sequence[Anchors]) -> dict[int, Array]:
    """Return ∇log π of every state and action by time step, (M, J, P); nothing for a policy without a gradient."""
    if not isinstance(setup.policy, NetworkPolicy):
        return {}
    found = {}
    for at in anchors:
        states = np.repeat(at.states, at.shape[1], axis=1)
        found[at.step] = scores(setup.policy, states, at.actions.flatten(1)).numpy().reshape(*at.shape, -1)
    return found


def _estimates(
    setup: Setup, anchors: Anchors, index: int, longest: int, asked: Collection[int]
) -> Iterator[tuple[int, Estimates]]:
    """Ask variants, by their numbers, about several futures of the anchors at the time step with this index.

    Their full returns are the control variate where the truth is their expectation.
    """
    futures = setup.settings.futures
    after = continuations(setup.process, anchors, futures, setup.stream("futures", index))
    returns = after.returns(setup.process.gamma).reshape(*anchors.shape, futures)
    known = returns if setup.process.truth == "time_limited" else None
    for number, samples in _samples(setup, anchors, after, index, longest, asked):
        count = len(samples)
        yield number, Estimates.of(samples, None if known is None else known[:count])


def _samples(
    setup: Setup, anchors: Anchors, after: Episodes, index: int, longest: int, asked: Collection[int]
) -> Iterator[Samples]:
    """Ask every variant about the futures `after` the anchors, each behind the past of its own anchor."""
    futures = setup.settings.futures
    past = anchors.prefix.take(np.repeat(np.arange(anchors.shape[0]), anchors.shape[1] * futures))
    own = after.after(past, anchors.step)
    yield from _alone(setup, anchors, own, asked)
    yield from _in_company(setup, anchors, own, longest, setup.stream("companions", index), asked)


def _alone(setup: Setup, anchors: Anchors, own: Episodes, asked: Collection[int]) -> Iterator[Samples]:
    """Ask the variants that read no other episode about batches of one."""
    batches = Batches.of(own, 1, setup.critics)
    shape = (*anchors.shape, setup.settings.futures, 1)
    for number in asked:
        variant = setup.plan.variants[number]
        if variant.alone:
            yield number, _at(anchors, batches.advantages(variant), shape)


def _in_company(
    setup: Setup,
    anchors: Anchors,
    own: Episodes,
    longest: int,
    rng: np.random.Generator,
    asked: Collection[int],
) -> Iterator[Samples]:
    """Ask the others about every future in several batches of fresh companions, whose episodes last up to `longest`.

    Companions cost many more steps than the futures do, so that only the first states get them. A group's baseline
    reads no other group.
    """
    settings = setup.settings
    anchors = anchors.take(slice(0, settings.accompanied))
    each = anchors.shape[1] * settings.futures
    gathered: dict[int, list[Array]] = {}
    longest = max(own.length, longest)  # companions may outlive what is left of the own episodes by far
    for chunk in chunks(anchors.shape[0], each * settings.companions * setup.layout.n_envs, longest):
        some, mine = anchors.take(chunk), own.take(np.arange(chunk.start * each, chunk.stop * each))
        shape = (*some.shape, settings.futures, settings.companions)
        for layout, numbers in _by_layout(setup, asked):
            batches = _with_companions(setup, some, mine, layout, rng)
            for number in numbers:
                variant = setup.plan.variants[number]
                gathered.setdefault(number, []).append(_at(some, batches.advantages(variant), shape))
    for number, found in gathered.items():
        yield number, np.concatenate(found)


def _by_layout(setup: Setup, asked: Collection[int]) -> list[tuple[Layout, list[int]]]:
    """Return the layouts of companions, with the numbers of the variants that are asked in each."""
    found: dict[Layout, list[int]] = {}
    for number in asked:
        variant = setup.plan.variants[number]
        if not variant.alone:
            layout = replace(setup.layout, independent=variant.independent)
            if variant.arm.group_baseline and not variant.independent:
                layout = replace(layout, groups=1)
            found.setdefault(layout, []).append(number)
    return list(found.items())


def _with_companions(
    setup: Setup, anchors: Anchors, own: Episodes, layout: Layout, rng: np.random.Generator
) -> Batches:
    """Return batches around the own episodes, with the values that a variant may need to restore."""
    count = setup.settings.companions
    batches = with_companions(setup.company, anchors, own, count, layout, setup.critics, rng)
    if setup.vine is None or layout.independent:
        return batches
    # Of the states that would be restored, only the last one up to the anchors is asked about.
    step = anchors.step // setup.vine.every * setup.vine.every
    states = batches.episodes.states[step][:, :: batches.n_envs]
    values = np.zeros(batches.episodes.rewards.shape)
    values[step, :: batches.n_envs], _ = mean_returns(setup.company, states, step, setup.vine.rollouts, rng)
    return replace(batches, restored=values)


def _at(anchors: Anchors, advantages: Tensor, shape: tuple[int, ...]) -> Array:
    """Return the advantages (T, S, N) of the first members at the anchors' time step, in another shape.

    They are copied, since a view would keep every step.
    """
    return advantages[anchors.step, :, 0].numpy().reshape(shape).copy()
