"""Measuring one policy: which estimator says what, how far off, and why."""

import torch

from bench.lab.advantage_level import measure_advantages
from bench.lab.gradient_level import measure_gradients
from bench.lab.plan import Plan
from bench.lab.policies import NetworkPolicy
from bench.lab.rows import Measured
from bench.lab.settings import Settings
from bench.lab.setup import Progress, Setup
from bench.lab.stages import Stage


def measure(plan: Plan, settings: Settings, stage: Stage, progress: Progress = lambda _: None) -> Measured:
    """Measure one stage at the level of advantages, and if its policy is a network, at that of gradients.

    The same settings give the same quantities.

    Args:
        plan: the variants, and the arm that trained the policy.
        settings: those of the stage's task.
        stage: the policy, and the critic it was trained beside.
        progress: is told the share of the work that is done.

    Raises:
        UserError: where the truth is not known as precisely as the settings want, or a critic is missing.
    """
    setup, measured = Setup(plan, settings, stage), Measured()
    with torch.no_grad():
        steps = measure_advantages(setup, measured, progress)
        if isinstance(stage.policy, NetworkPolicy):
            measure_gradients(setup, stage.policy, steps, measured, progress)
    progress(1.0)
    return measured
