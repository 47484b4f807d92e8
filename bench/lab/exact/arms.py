"""Which of an arm's numbers are exact in a solved world, and which function has them.

Exact is the estimator: what an episode is credited with, and the gradient of a batch of complete episodes at the policy
that acted. What comes after it is not: normalisers and clipping divide by what they find in the batch, from the second
step on the policy is no longer the one that acted, Adam divides by what it remembers of earlier gradients, and weights
by length (`aggregate`) are those of the loss.
"""

from bench.config.schema import Arm
from bench.errors import UserError
from bench.lab.exact.gradients import gradient
from bench.lab.exact.groups import Batch, BatchGradient, batch_mean, compared_outcomes, compared_targets
from bench.lab.exact.parts import Advantages
from bench.lab.exact.process import Process, Values, share_cut
from bench.lab.exact.scaled import scaled_outcomes
from bench.lab.exact.scores import Scores
from bench.lab.exact.targets import Target, target_moments
from bench.tasks.exam_question import ExamQuestion

FIXED = ("none", "critic")  # baselines that are functions of the state
COMPARED = ("group", "grpo", "rloo", "time_mean")
MOST_CUT = 1e-3  # the share of episodes that a time limit may cut before numbers without it are no longer the task's


def why_sampled(process: Process, arm: Arm) -> str | None:
    """Return why an arm's estimator has no exact moments in a world, in one clause; None where it has."""
    for applies, reason in (
        (arm.collect.name == "segments", "collect=segments cuts episodes at random"),
        (arm.advantage.name == "plugin" or arm.baseline.name == "plugin", "a plug-in is not known"),
        (arm.baseline.name == "vine", "baseline=vine looks at further episodes"),
        (arm.reference.name != "none" and arm.reference.placement == "reward", "the reference changes the rewards"),
        (arm.reference.veto is not None, "reference.veto hangs on the whole episode"),
    ):
        if applies:
            return reason
    if (cut := share_cut(process)) > MOST_CUT:
        return f"task.time_limit={process.task.time_limit} cuts a share of {cut:.2g} of all episodes"
    return _why_compared_ones_are(process, arm) if arm.baseline.name in COMPARED else _why_a_mean_is(process, arm)


def _why_a_mean_is(process: Process, arm: Arm) -> str | None:
    if arm.baseline.name == "batch_mean" and process.horizon is None:
        return "the mean over a batch's steps is a ratio where episodes have different lengths"
    return None


def _why_compared_ones_are(process: Process, arm: Arm) -> str | None:
    group, one_step = arm.group, isinstance(process.task, ExamQuestion)
    if group.credit == "process":
        return "credit=process divides by what it finds in the group"
    if group.temperature > 0:
        return f"group.temperature={group.temperature:g} draws errors of comparisons"
    if group.scale != "none" and not one_step:
        return f"scale={group.scale} is exact in the exam question only"
    if group.credit == "reward_to_go" and process.horizon is None:
        return "members end at different steps"
    return None


def why_parts_are_sampled(process: Process, arm: Arm) -> str | None:
    """Return why what an arm says of every state and action has no exact moments, in one clause; None where it has."""
    if (reason := why_sampled(process, arm)) is not None:
        return reason
    if arm.baseline.name in COMPARED and arm.group.scale != "none":
        return f"of group.scale={arm.group.scale} only the gradient is exact, not its parts"
    if arm.baseline.name in COMPARED and process.horizon is None:
        return "what a whole return had earned before a step is not known where only chance ends an episode"
    return None


def gradient_of(
    process: Process, scores: Scores, arm: Arm, critic: Values = 0.0, state_gamma: float = 1.0
) -> BatchGradient:
    """Return the gradient of one batch of an arm, as `arm.group` lays it out.

    Args:
        process: the policy in its world.
        scores: ∇log π, by logits or by a network's parameters.
        arm: baseline, advantage, group.
        critic: V, which targets bootstrap with and `baseline=critic` subtracts.
        state_gamma: weights of the steps; 1 is what programs estimate, γ the gradient of the discounted return.

    Raises:
        UserError: where it is not exact, with the reason.
    """
    _refuse(arm, why_sampled(process, arm))
    group, name = arm.group, arm.baseline.name
    target = target_moments(process, Target.of(arm), critic)
    if name in FIXED:
        found = gradient(process, scores, target, critic if name == "critic" else 0.0, state_gamma)
        groups, size = (group.groups, group.size) if group.start == "shared" else (group.groups * group.size, 1)
        return BatchGradient(found.expected, found.batch_variance(groups, size), found.by_kind)
    batch = batch_of(arm)
    if name == "batch_mean":
        return batch_mean(process, scores, target, batch, state_gamma=state_gamma)
    if group.scale != "none":
        return scaled_outcomes(
            process, scores, batch, scale=group.scale, ddof=group.ddof, leave_one_out=group.leave_one_out
        )
    if group.credit == "outcome":
        return compared_outcomes(process, scores, batch, leave_one_out=group.leave_one_out, state_gamma=state_gamma)
    return compared_targets(process, scores, target, batch, leave_one_out=group.leave_one_out, state_gamma=state_gamma)


def advantages_of(process: Process, arm: Arm, critic: Values = 0.0) -> Advantages:
    """Return what an arm says of every state and action; for arguments see `gradient_of`.

    Raises:
        UserError: where it is not exact, with the reason; see `why_parts_are_sampled`.
    """
    _refuse(arm, why_parts_are_sampled(process, arm))
    group, name = arm.group, arm.baseline.name
    target = target_moments(process, Target.of(arm), critic)
    if name in FIXED:
        return Advantages.of_state_baseline(process, target, critic if name == "critic" else 0.0)
    batch = batch_of(arm)
    if name == "batch_mean":
        return Advantages.of_batch_mean(process, target, batch)
    if group.credit == "outcome":
        return Advantages.of_compared_outcomes(process, batch, leave_one_out=group.leave_one_out)
    return Advantages.of_compared_targets(process, target, batch, leave_one_out=group.leave_one_out)


def batch_of(arm: Arm) -> Batch:
    """Return how an arm lays out its batch."""
    group = arm.group
    if group.start == "shared":
        return Batch(group.groups, group.size)
    if arm.baseline.name == "batch_mean":
        return Batch(1, group.groups * group.size, independent=True)
    return Batch(group.groups, group.size, independent=True)


def _refuse(arm: Arm, reason: str | None) -> None:
    if reason is not None:
        raise UserError(
            f"baseline={arm.baseline.name} advantage={arm.advantage.name}: {reason}; sample it with "
            f"`python -m bench lab`"
        )
