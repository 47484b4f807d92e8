"""Gradients and their variances against all batches there are, credited by the functions that training uses."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from bench.config.parse import option
from bench.lab.exact.arms import advantages_of, gradient_of
from bench.lab.exact.parts import decompose
from bench.lab.exact.process import Process
from bench.lab.exact.scores import LogitScores
from tests.lab.conftest import arm
from tests.lab.exact.enumerated import ACTIONS, STATES, STEPS, DenseScores, Enumerated, Tiny, batches

GAMMA = 0.9
BASELINES = {
    "none": ("none", {}),
    "critic": ("critic", {}),
    "group": ("group", {}),
    "rloo": ("rloo", {"leave_one_out": True}),
    "group, outcome": ("group", {"credit": "outcome"}),
    "rloo, outcome": ("rloo", {"credit": "outcome", "leave_one_out": True}),
    "rloo, two groups": ("rloo", {"leave_one_out": True, "groups": 2, "size": 2}),
    "batch_mean": ("batch_mean", {"groups": 2, "size": 2}),
    "time_mean": ("time_mean", {"start": "independent"}),
    "outcomes, independent": ("group", {"credit": "outcome", "start": "independent"}),
    "batch_mean, independent": ("batch_mean", {"start": "independent"}),
}
TWO_GROUPS = ("rloo, two groups", "batch_mean")  # of which there are many batches
TARGETS = {
    "td0": ("td0", {}),
    "gae": ("gae", {"gae_lambda": 0.7}),
    "nstep": ("nstep", {"n_step": 2}),
    "monte_carlo": ("monte_carlo", {}),
}
CASES = [
    (baseline, target)
    for baseline in BASELINES
    for target in TARGETS
    if ("outcome" not in baseline or target == "monte_carlo") and (baseline not in TWO_GROUPS or target == "gae")
]


class Case:
    """One estimator in the tiny world, with parameters that all steps share, and by logits."""

    def __init__(self, baseline: str, target: str, weight: float) -> None:
        rng = np.random.default_rng(3)
        policy = softmax(rng.normal(size=(STEPS, STATES, ACTIONS)), -1)
        if baseline in TWO_GROUPS:
            policy[-1] = [1.0, 0.0]  # an action that is never taken, and far fewer batches
        self.process = Process.of(Tiny(), policy, GAMMA)
        self.values = rng.normal(size=(STEPS, STATES))
        self.dense = rng.normal(size=(STEPS, STATES, ACTIONS, 4))
        self.logits = np.eye(STEPS * STATES * ACTIONS).reshape(STEPS, STATES, ACTIONS, -1)
        name, of_group = BASELINES[baseline]
        advantage, settings = TARGETS[target]
        of_group = {"groups": 1, "size": 3, **of_group}
        plain = arm("exam_question", "none", "monte_carlo", f"gamma={GAMMA}")
        self.arm = replace(
            plain,
            baseline=option("baseline", name),
            advantage=option("advantage", advantage),
            group=replace(plain.group, **of_group),
            **settings,
        )
        self.weight = weight

    def enumerated(self, jacobian: np.ndarray, members: int | None = None) -> Enumerated:
        return batches(self.process, jacobian, self.arm, self.values, self.weight, members)


@pytest.mark.parametrize(("baseline", "target"), CASES)
def test_gradients_are_those_of_all_batches(baseline: str, target: str) -> None:
    weight = 1.0 if target in ("td0", "monte_carlo") and baseline != "none" else GAMMA
    case = Case(baseline, target, weight)
    every = case.enumerated(case.dense)
    assert every.chance.sum() == pytest.approx(1, abs=1e-12)
    exact = gradient_of(case.process, DenseScores(case.process, case.dense), case.arm, case.values, weight)
    np.testing.assert_allclose(exact.expected, every.expected, rtol=0, atol=1e-12)
    assert exact.variance == pytest.approx(every.variance, rel=1e-11)
    for kind, name in enumerate(case.process.starts.names):
        inside = case.process.starts.kinds[every.start] == kind
        chance = every.chance[inside] / every.chance[inside].sum()
        mean = chance @ every.one[inside]
        np.testing.assert_allclose(exact.by_kind[name].mean, mean, rtol=0, atol=1e-12)
        variance = chance @ np.square(every.one[inside] - mean).sum(1)
        assert exact.by_kind[name].variance == pytest.approx(variance, rel=1e-11)


@pytest.mark.parametrize(("baseline", "target"), [case for case in CASES if case[0] not in TWO_GROUPS])
def test_gradients_by_logits_are_those_of_all_batches(baseline: str, target: str) -> None:
    case = Case(baseline, target, GAMMA)
    every = case.enumerated(case.logits)
    exact = gradient_of(case.process, LogitScores(case.process), case.arm, case.values, GAMMA)
    np.testing.assert_allclose(exact.expected, every.expected, rtol=0, atol=1e-12)
    assert exact.variance == pytest.approx(every.variance, rel=1e-11)


@pytest.mark.parametrize(("baseline", "target"), CASES)
def test_the_four_parts_make_up_the_variance_of_one_episode(baseline: str, target: str) -> None:
    """By logits no two steps share a parameter, so that the steps' variances add up to the episode's."""
    case = Case(baseline, target, 1.0)
    every = case.enumerated(case.logits, members=1)
    mean = every.chance @ every.one
    total = every.chance @ np.square(every.one - mean).sum(1)
    parts = decompose(LogitScores(case.process), advantages_of(case.process, case.arm, case.values))
    assert parts.sum.sum() == pytest.approx(total, abs=1e-10)
    for part in (parts.future, parts.action, parts.state, parts.companions):
        assert (part > -1e-12).all()
    assert (parts.companions.max() > 1e-3) == (baseline not in ("none", "critic"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_steps_variances_are_those_of_all_episodes(target: str) -> None:
    """Step by step, with parameters that all steps share: the last step has no future but its reward's."""
    case = Case("critic", target, 1.0)
    parts = decompose(DenseScores(case.process, case.dense), advantages_of(case.process, case.arm, case.values))
    for step in range(STEPS):
        only = np.where(np.arange(STEPS)[:, None, None, None] == step, case.dense, 0.0)
        every = batches(case.process, only, replace(case.arm, group=replace(case.arm.group, groups=1, size=1)),
                        case.values, 1.0)  # fmt: skip
        assert parts.sum[step] == pytest.approx(every.variance, abs=1e-10)
