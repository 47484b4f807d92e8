"""The policy that is examined, with all that both levels of measuring need of it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from bench.config.schema import Vine
from bench.errors import UserError
from bench.lab.anchors import Layout
from bench.lab.estimators import NO_CRITIC
from bench.lab.plan import Plan
from bench.lab.policies import Critic, Policy, TableCritic
from bench.lab.settings import Settings
from bench.lab.simulate import RewardProcess
from bench.lab.stages import Stage
from bench.lab.truth import solution
from bench.tasks.base import Array
from bench.tasks.exact import ExactTask, Solution

Progress = Callable[[float], None]


class Pulse:
    """Tells the share of the work that is done, and again and again the last one: only there is a run interrupted."""

    def __init__(self, progress: Progress = lambda _: None) -> None:
        self._progress, self._share = progress, 0.0

    def __call__(self, share: float) -> None:
        """Tell a share."""
        self._share = share
        self._progress(share)

    def beat(self) -> None:
        """Tell the last one again."""
        self._progress(self._share)


PURPOSES = ("pool", "anchors", "truth", "futures", "companions", "batches", "sizes", "gradient_truth", "critic_error")


@dataclass(frozen=True)
class Setup:
    """One policy, to be measured as planned. Every purpose has a stream of random numbers of its own."""

    plan: Plan
    settings: Settings
    stage: Stage
    pulse: Pulse = field(default_factory=Pulse)

    @property
    def policy(self) -> Policy:
        """The stage's policy."""
        return self.stage.policy

    @cached_property
    def process(self) -> RewardProcess:
        """The policy in its task."""
        config = self.plan.config
        return RewardProcess(self.policy, config.gamma, self.plan.truth, self.stage.reward_scale, beat=self.pulse.beat)

    @cached_property
    def company(self) -> RewardProcess:
        """The same for the companions of futures, whose steps are counted apart."""
        return replace(self.process, taken=[])

    @cached_property
    def truths(self) -> RewardProcess:
        """The same for the true values and the true gradient, whose steps are bounded by settings of their own."""
        return replace(self.process, taken=[])

    def stream(self, purpose: str, *keys: int) -> np.random.Generator:
        """Return the random numbers of a purpose."""
        sequence = np.random.SeedSequence(self.stage.seed, spawn_key=(PURPOSES.index(purpose), *keys))
        return np.random.default_rng(sequence)

    @property
    def layout(self) -> Layout:
        """The batch of the arm that trained the policy."""
        group = self.plan.config.group
        return Layout(group.groups, group.size, independent=False)

    @property
    def layouts(self) -> list[Layout]:
        """The layouts of all variants' batches."""
        kinds = sorted({variant.independent for variant in self.plan.variants})
        return [replace(self.layout, independent=kind) for kind in kinds]

    @property
    def vine(self) -> Vine | None:
        """Which states baseline=vine restores, None where no variant has that baseline; all restore the same ones."""
        return next((variant.arm.vine for variant in self.plan.variants if variant.restores), None)

    @cached_property
    def solved(self) -> Solution | None:
        """The exact values, on the scale of the rewards that are measured; None where there are none."""
        if not isinstance(self.policy.task, ExactTask):
            return None
        found = solution(self.policy.task, self.policy, self.process.gamma)
        scale = self.stage.reward_scale
        return replace(found, value=found.value / scale, q_values=found.q_values / scale)

    @cached_property
    def critics(self) -> dict[str, Critic]:
        """The variants' critics, by name. Raises `UserError` where a learned one is asked for and is not there."""
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
            spread = spread_of_values(self.policy.task, self.solved)
            error = self.stream("critic_error").standard_normal(value.shape) * spread
            found["error"] = TableCritic(self.policy.task, value + self.settings.critic_error * error)
        return {name: critic for name, critic in found.items() if name in asked}


def spread_of_values(task: ExactTask, solved: Solution) -> float:
    """Return the standard deviation of V over the states that the policy visits."""
    visits = task.visits(solved.policy)
    share = visits / visits.sum()
    value: Array = solved.value
    return float(np.sqrt((share * np.square(value - (share * value).sum())).sum()))
