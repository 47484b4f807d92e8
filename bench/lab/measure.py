"""Measuring policies: which estimator says what, how far off, and why."""

import torch

from bench.lab.advantage_level import measure_advantages
from bench.lab.gradient_level import measure_gradients
from bench.lab.plan import Plan
from bench.lab.policies import NetworkPolicy
from bench.lab.rows import Measured
from bench.lab.settings import Settings
from bench.lab.setup import Progress, Pulse, Setup
from bench.lab.sizing import PANELS, Cost, chosen, pilot, reached
from bench.lab.solved import Solved
from bench.lab.stages import Stage

PILOT = 0.2  # share of the work, roughly


def measure(plan: Plan, settings: Settings, stage: Stage, progress: Progress = lambda _: None) -> Measured:
    """Measure one policy at the level of advantages, and if it is a network, at that of gradients.

    With a `precision`, a pilot measurement says how many states and batches that takes. The same settings give the same
    quantities.

    Args:
        plan: the variants, and the arm that trained the policy.
        settings: those of the stage's task.
        stage: the policy, and the critic it was trained beside.
        progress: is told the share of the work that is done.

    Raises:
        UserError: where the truth is not known as precisely as the settings want, a precision would cost more than
            they allow, or a critic is missing.
    """
    if settings.precision is not None and (small := pilot(plan, settings)) is not None:
        first, cost, _ = _measure(*small, stage, lambda done: progress(PILOT * done))
        label = f"{plan.config.task.name} {stage.name} of seed {stage.seed}"
        settings = chosen(settings, first.quantities, cost, label)
    measured, _, steps = _measure(plan, settings, stage, lambda done: progress(PILOT + (1 - PILOT) * done))
    measured.note(
        score=stage.score,
        learned=stage.learned,
        env_steps=stage.env_steps,
        anchors=settings.anchors,
        batches=settings.batches,
        steps=steps,
        **{f"{level}_precision": reached(measured.quantities, level) for level in PANELS},
    )
    return measured


def _measure(plan: Plan, settings: Settings, stage: Stage, progress: Progress) -> tuple[Measured, Cost, int]:
    """Measure with as many states and batches as the settings say, and say what it cost, and all steps it took."""
    pulse = Pulse(progress)
    setup, measured = Setup(plan, settings, stage, pulse), Measured(stage.seed)
    with torch.no_grad():
        solved = Solved.of(setup)
        steps = measure_advantages(setup, solved, measured, pulse)
        advantages = setup.process.steps
        if isinstance(stage.policy, NetworkPolicy):
            measure_gradients(setup, solved, stage.policy, steps, measured, pulse)
    batches = setup.process.steps - advantages
    pulse(1.0)
    cost = Cost(advantages / settings.anchors, batches / settings.batches)
    return measured, cost, advantages + batches + setup.truths.steps + setup.company.steps
