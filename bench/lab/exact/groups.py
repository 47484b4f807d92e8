"""The policy gradient of a batch whose baseline comes from the batch itself: mean and variance, exactly.

A batch has M groups of G episodes; those of a group begin in the same state, or all begin independently. Given their
start state, episodes are independent, Ψ = Σ_t wᵗ ψ_t has the mean 0, and c is R less its mean.

*Outcomes.* Leave-one-out, ĝ = 1/G Σ_i Ψ_i (R_i − mean of the others), is a U-statistic with the kernel
h(i, j) = ½ (Ψ_i − Ψ_j)(R_i − R_j). So its covariance has the trace (4(G − 2) ζ₁ + 2 ζ₂)/(G(G − 1)) (Hoeffding, 1948),

    4 ζ₁ = E‖Ψ c‖² − ‖g‖²,    2 ζ₂ = E‖Ψ c‖² + E‖Ψ‖² Var R,    g = E ΨR.

*Targets, step by step.* The kernel is ½ Σ_t wᵗ (ψ_it − ψ_jt)(G_it − G_jt); with c_t = G_t − E G_t

    4 ζ₁ = E‖Σ_t wᵗ ψ_t c_t‖² − ‖g‖²,    2 ζ₂ = E‖Σ_t wᵗ ψ_t c_t‖² + Σ_t w²ᵗ E‖ψ_t‖² Var G_t + Z − ‖g‖²,
    Z = Σ_{t,u} wᵗ⁺ᵘ E[ψ_t c_u] · E[ψ_u c_t].

The mean of all members, the own one too, gives 1 − 1/G times both.

*The batch's mean* of all targets, Ȳ, is subtracted everywhere; episodes have equally many steps. With η = E Ȳ,
U = Σ_t wᵗ ψ_t (G_t − η) and y = Y − η, the gradient is the mean of U_i − Ψ_i ȳ, whose moments follow from those of
single episodes: E‖Ψ‖² yʲ, E U·Ψ yʲ, E Ψy.
"""

from dataclasses import dataclass

import numpy as np

from bench.errors import UserError
from bench.kernel import arrays
from bench.lab.exact.gradients import (
    KindGradient,
    expected_gradient,
    kind_gradients,
    second_moments,
    variance_of_groups,
)
from bench.lab.exact.linear import Sums
from bench.lab.exact.process import Process
from bench.lab.exact.scores import Scores
from bench.lab.exact.targets import TargetMoments
from bench.lab.exact.whole import Whole, whole_moments, whole_returns, with_targets
from bench.tasks.base import Array


@dataclass(frozen=True)
class Batch:
    """M `groups` of `size` episodes each; the members of a group begin in the same state, unless `independent`."""

    groups: int
    size: int
    independent: bool = False

    def __post_init__(self) -> None:
        if self.groups < 1 or self.size < 2:
            raise UserError(f"groups={self.groups}, size={self.size}: at least one group of at least 2 is needed")
        if self.independent and self.groups != 1:
            raise UserError(f"groups={self.groups} with independent starts: they make one group; give groups=1")


@dataclass(frozen=True)
class BatchGradient:
    """The gradient of a batch: its expectation (P,) and the trace of its covariance.

    `by_kind` has the moments of what one episode of a kind (brother) adds to the sum over the batch.
    """

    expected: Array
    variance: float
    by_kind: dict[str, KindGradient]


@dataclass(frozen=True)
class _Pairs:
    """What a comparison of pairs needs, given each of K start states of which an episode has one.

    mean     g, (K, P)
    first    E‖Σ_t wᵗ ψ_t c_t‖², (K,)
    lone     Σ_t w²ᵗ E‖ψ_t‖² Var G_t, (K,): what the other member's luck adds
    further  Z − ‖g‖², (K,), or one number where starts are independent
    """

    mean: Array
    first: Array
    lone: Array
    further: Array | float


def compared_outcomes(
    process: Process, scores: Scores, batch: Batch, *, leave_one_out: bool = False, state_gamma: float = 1.0
) -> BatchGradient:
    """Return the gradient of groups whose whole returns are compared (`group.credit=outcome`, `group.scale=none`).

    Args:
        process: the policy in its world.
        scores: ∇log π, by logits or by a network's parameters.
        batch: its groups.
        leave_one_out: whether a return is compared with the mean of the others, or with that of all.
        state_gamma: w; 1 is what programs estimate.
    """
    plain = whole_returns(process, scores, 0.0, state_gamma)
    offset = shared(process, plain.first, batch)
    own = whole_returns(process, scores, offset, state_gamma)
    spread = shared(process, own.second, batch)
    return _compared(process, batch, leave_one_out, _Pairs(own.mean, own.twice, own.length * spread, 0.0))


def compared_targets(
    process: Process,
    scores: Scores,
    target: TargetMoments,
    batch: Batch,
    *,
    leave_one_out: bool = False,
    state_gamma: float = 1.0,
) -> BatchGradient:
    """Return the gradient of groups whose targets are compared step by step (`credit=reward_to_go`, `scale=none`).

    With independent starts it is that of `baseline=time_mean`. For arguments see `compared_outcomes`; `target` has the
    moments of what is compared.

    Raises:
        UserError: in a world without a step axis, where members end at different steps.
    """
    need_steps(process, "comparing members step by step")
    occupancy = process.occupancy()
    given_state = process.over_actions(target.mean), process.over_actions(target.second)
    mean, second = ((occupancy * moment).sum(-1) for moment in given_state)  # of G_t, (K, T)
    offset = shared(process, mean, batch)
    spread = shared(process, second, batch) - np.square(offset)
    fixed = np.broadcast_to(offset[..., None], occupancy.shape)
    first = second_moments(process, scores, target, fixed, state_gamma)
    squared = arrays.powers(state_gamma * state_gamma, process.shape[0])
    length = (occupancy * process.over_actions(scores.lengths)).sum(-1)  # E‖ψ_t‖², (K, T)
    lone = (squared * length * spread).sum(-1)
    gradient = expected_gradient(process, scores, target.mean, state_gamma)
    further = _further(process, scores, target, batch, state_gamma)
    return _compared(process, batch, leave_one_out, _Pairs(gradient, first, lone, further))


def shared(process: Process, numbers: Array, batch: Batch) -> Array:
    """Return moments (K, …) as the members of a group share them: given their start, or over all starts."""
    if not batch.independent:
        return numbers
    return np.broadcast_to(process.starts.mean(numbers), numbers.shape)


def _further(
    process: Process, scores: Scores, target: TargetMoments, batch: Batch, state_gamma: float
) -> Array | float:
    """Return Z − ‖g‖² of a group, (K,), or one number where starts are independent."""
    if not scores.overlap:  # Z = Σ_t w²ᵗ ‖g_t‖², and no two steps share a logit
        return 0.0
    ahead = Sums.of_targets(target).expected()  # E[G_u | s_t, a_t], (T, S, A, U); of an earlier u, what is left of it
    steps, weights = len(ahead), arrays.powers(state_gamma, process.shape[0])
    apart = process.policy[..., None] * (ahead - process.over_actions(ahead)[:, :, None])
    occupancy = process.occupancy()
    if batch.independent:
        occupancy = process.starts.mean(occupancy)[None]
    found = []
    for visited in occupancy:
        by_step = scores.step_gradients((visited[..., None, None] * apart).transpose(3, 0, 1, 2))  # (U, T, P)
        weighted = by_step * weights[None, :, None]
        crossed = sum((weighted[u, t] * weighted[t, u]).sum() for t in range(steps) for u in range(steps))
        gradient = weighted[np.arange(steps), np.arange(steps)].sum(0)
        found.append(crossed - np.square(gradient).sum())
    return found[0] if batch.independent else np.array(found)


def _compared(process: Process, batch: Batch, leave_one_out: bool, pairs: _Pairs) -> BatchGradient:
    """Put a U-statistic of pairs together."""
    starts, size = process.starts, batch.size
    scale = 1.0 if leave_one_out else 1 - 1 / size
    by_kind = kind_gradients(starts, scale * pairs.mean, scale * scale * (pairs.first + pairs.lone / (size - 1)))
    mean, first, lone = pairs.mean, pairs.first, pairs.lone
    if batch.independent:
        mean, first, lone = (starts.mean(each)[None] for each in (mean, first, lone))
    squared = np.square(mean).sum(-1)
    within = ((size - 2) * (first - squared) + first + lone + pairs.further) / (size * (size - 1))
    variance = float(within[0]) if batch.independent else variance_of_groups(starts, mean, within, batch.groups)
    expected = scale * starts.mean(pairs.mean)
    return BatchGradient(expected, scale * scale * variance, by_kind)


def batch_mean(
    process: Process, scores: Scores, target: TargetMoments, batch: Batch, *, state_gamma: float = 1.0
) -> BatchGradient:
    """Return the gradient under `baseline=batch_mean`: all targets less the mean over the batch's steps and episodes.

    For arguments see `compared_targets`.

    Raises:
        UserError: in a world without a step axis, where that mean is a ratio of two sums.
    """
    need_steps(process, "the mean over a batch's steps")
    starts = process.starts
    sums = Sums.of_targets(target).mean()
    level = float(starts.mean(process.at(0, sums.expected()[0])[starts.states, 0]))  # η
    fixed = np.full((len(starts.states), *process.shape[:2]), level)
    second = second_moments(process, scores, target, fixed, state_gamma)  # E‖U‖²
    mean = expected_gradient(process, scores, target.mean, state_gamma)
    own = whole_moments(process, scores, sums, level, state_gamma)
    product, length = with_targets(process, scores, target, sums, level, state_gamma)  # E U·Ψy and E U·Ψ
    groups, size = (1, 1) if batch.independent else (batch.groups, batch.size)
    if batch.independent:
        groups = batch.size
    return _around_the_mean(process, groups, size, _Around(mean, second, own, product, length))


@dataclass(frozen=True)
class _Around:
    """Moments of U and of Ψ and y, given each start state: E U (K, P), E‖U‖², E U·Ψy and E U·Ψ (K,)."""

    mean: Array
    second: Array
    own: Whole
    product: Array
    length: Array


def _around_the_mean(process: Process, groups: int, size: int, of: _Around) -> BatchGradient:
    """Return the moments of the mean of U_i − Ψ_i ȳ over N = groups · size episodes.

    Since E[Ψ | start] = 0 and E y = 0, of the products of several episodes only those remain in which every Ψ meets
    itself, its own y or its own U, and every y one of its own group.
    """
    average, own, n = process.starts.mean, of.own, groups * size
    together, apart = size - 1, n - size  # how many others are in the own group, and in other groups
    kappa, gradient = average(own.mean), average(of.mean)
    squared = float(np.square(kappa).sum())

    # E‖Ψ_i ȳ‖² n² given the start state: y_j y_l of the own episode, of the own group, of another group.
    others = together * own.second + together * (size - 2) * np.square(own.first)
    elsewhere = apart * average(own.second) + apart * together * average(np.square(own.first))
    alone = own.twice + 2 * together * own.once * own.first + own.length * (others + elsewhere)
    crossed = of.product + together * of.length * own.first  # E U_i · Ψ_i ȳ n

    # E‖Ψ̄ ȳ‖², E Ū · Ψ̄ ȳ, E‖Ū‖².
    pairs = 2 * (together * average(np.square(own.mean).sum(1)) + apart * squared)
    of_product = (average(alone) + pairs) / (n * n * n)
    mixed = together * average((own.mean * of.mean).sum(1)) + apart * float((kappa * gradient).sum())
    of_both = (average(crossed) + mixed) / (n * n)
    first = (average(of.second) + together * average(np.square(of.mean).sum(1)) + apart * np.square(gradient).sum()) / n

    expected = gradient - kappa / n
    variance = float(first - 2 * of_both + of_product - np.square(expected).sum())
    one = of.second - 2 * crossed / n + alone / (n * n)
    return BatchGradient(expected, variance, kind_gradients(process.starts, of.mean - own.mean / n, one))


def need_steps(process: Process, what: str) -> None:
    """Raise `UserError` in a world without a step axis."""
    if process.horizon is None:
        raise UserError(
            f"{type(process.task).__name__}: {what} is not exact where only chance ends an episode, since episodes "
            f"have different lengths; sample it with `python -m bench lab`"
        )
