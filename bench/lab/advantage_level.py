"""Measuring at the level of advantages: what every variant says at fixed states and actions, against the truth."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from torch import Tensor

from bench.lab.advantages import Errors, Estimates, Truth, error_quantities, errors
from bench.lab.anchors import Anchors, Layout, anchors_at, chunks, continuations, visited_steps, with_companions
from bench.lab.decomposition import decompose
from bench.lab.estimators import Batches, scores
from bench.lab.policies import NetworkPolicy
from bench.lab.rows import Measured
from bench.lab.setup import Progress, Setup
from bench.lab.simulate import Episodes
from bench.lab.truth import RolledOutValues, exact_truth, mean_returns, until_precise
from bench.tasks.base import Array
from bench.tasks.exact import ExactTask

POOL = 16  # episodes for each of the anchors at one time step, which are chosen from them

Samples = tuple[int, Array]  # the index of a variant in the plan, and its estimates X (M, J, K, L) at the anchors


def measure_advantages(setup: Setup, measured: Measured, progress: Progress) -> list[int]:
    """Add every variant's errors and, where the policy is a network, the parts of their variance.

    Return the time steps at which they were measured.
    """
    settings, layout = setup.settings, setup.layout
    pool = setup.process.from_start(setup.stream("pool"), POOL * settings.anchors)
    anchors = [
        anchors_at(setup.policy, pool, step, settings.anchors, settings.actions, setup.stream("anchors", index))
        for index, step in enumerate(visited_steps(pool, settings.times))
    ]
    truths = _truths(setup, anchors, measured)
    progress(0.2)
    estimates: list[list[Estimates]] = [[] for _ in setup.plan.variants]
    for index, at in enumerate(anchors):
        for number, samples in _samples(setup, at, index, pool.length):
            estimates[number].append(Estimates.of(samples))
        progress(0.2 + 0.3 * (index + 1) / len(anchors))
    strata = np.repeat([at.step for at in anchors], settings.anchors)
    score_of_step = _scores(setup, anchors)
    for variant, found in zip(setup.plan.variants, estimates, strict=True):
        by_step = list(zip(found, truths, anchors, strict=True))
        together = Errors.concatenate([errors(said, truth, at.weights, at.drawn) for said, truth, at in by_step])
        measured.add(variant, error_quantities(together, strata), level="advantage", episodes=layout.n_envs)
        measured.add_states(variant, together, anchors)
        for said, _, at in by_step if score_of_step else []:
            parts = decompose(said, score_of_step[at.step], at.weights, at.drawn)
            measured.add(variant, parts, level="step", step=at.step, episodes=layout.n_envs)
    return [at.step for at in anchors]


def _truths(setup: Setup, anchors: Sequence[Anchors], measured: Measured) -> list[Truth]:
    """Return the true values at all anchors; how precise they are goes to the notes."""
    if setup.solved is not None and isinstance(setup.policy.task, ExactTask):
        measured.notes["truth_precision"] = 0.0
        return [exact_truth(setup.policy.task, setup.solved, at) for at in anchors]
    rolled = RolledOutValues(setup.process, anchors, partial(setup.stream, "truth"))
    reached = until_precise(rolled, setup.settings)
    measured.notes |= {"truth_precision": reached, "truth_steps": rolled.steps}
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


def _samples(setup: Setup, anchors: Anchors, index: int, longest: int) -> Iterator[Samples]:
    """Ask every variant about several futures of the anchors, which are those of the time step with this index."""
    futures = setup.settings.futures
    after = continuations(setup.process, anchors, futures, setup.stream("futures", index))
    past = anchors.prefix.take(np.repeat(np.arange(anchors.shape[0]), anchors.shape[1] * futures))
    own = after.after(past, anchors.step)
    yield from _alone(setup, anchors, own)
    yield from _in_company(setup, anchors, own, longest, setup.stream("companions", index))


def _alone(setup: Setup, anchors: Anchors, own: Episodes) -> Iterator[Samples]:
    """Ask the variants that read no other episode about batches of one."""
    batches = Batches.of(own, 1, setup.critics)
    shape = (*anchors.shape, setup.settings.futures, 1)
    for number, variant in enumerate(setup.plan.variants):
        if variant.alone:
            yield number, _at(anchors, batches.advantages(variant), shape)


def _in_company(
    setup: Setup, anchors: Anchors, own: Episodes, longest: int, rng: np.random.Generator
) -> Iterator[Samples]:
    """Ask the others about every future in several batches of fresh companions, whose episodes last up to `longest`."""
    settings = setup.settings
    each = anchors.shape[1] * settings.futures
    gathered: dict[int, list[Array]] = {}
    longest = max(own.length, longest)  # companions may outlive what is left of the own episodes by far
    for chunk in chunks(anchors.shape[0], each * settings.companions * setup.layout.n_envs, longest):
        some, mine = anchors.take(chunk), own.take(np.arange(chunk.start * each, chunk.stop * each))
        shape = (*some.shape, settings.futures, settings.companions)
        for layout in setup.layouts:
            asked = [
                (number, variant)
                for number, variant in enumerate(setup.plan.variants)
                if not variant.alone and variant.independent == layout.independent
            ]
            if not asked:
                continue
            batches = _with_companions(setup, some, mine, layout, rng)
            for number, variant in asked:
                gathered.setdefault(number, []).append(_at(some, batches.advantages(variant), shape))
    for number, found in gathered.items():
        yield number, np.concatenate(found)


def _with_companions(
    setup: Setup, anchors: Anchors, own: Episodes, layout: Layout, rng: np.random.Generator
) -> Batches:
    """Return batches around the own episodes, with the values that a variant may need to restore."""
    count = setup.settings.companions
    batches = with_companions(setup.process, anchors, own, count, layout, setup.critics, rng)
    if setup.vine is None or layout.independent:
        return batches
    # Of the states that would be restored, only the last one up to the anchors is asked about.
    step = anchors.step // setup.vine.every * setup.vine.every
    states = batches.episodes.states[step][:, :: batches.n_envs]
    values = np.zeros(batches.episodes.rewards.shape)
    values[step, :: batches.n_envs], _ = mean_returns(setup.process, states, step, setup.vine.rollouts, rng)
    return replace(batches, restored=values)


def _at(anchors: Anchors, advantages: Tensor, shape: tuple[int, ...]) -> Array:
    """Return the advantages (T, S, N) of the first members at the anchors' time step, in another shape.

    They are copied, since a view would keep every step.
    """
    return advantages[anchors.step, :, 0].numpy().reshape(shape).copy()
