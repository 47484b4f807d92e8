"""What is logged of an update: numbers per replica, under Stable-Baselines3's names where it has one."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from torch import Tensor

from bench.arms.advantage import (
    Batch,
    dead_group_fraction,
    lone_survivor_fraction,
    replica_sum,
    wrong_comparison_fraction,
)
from bench.config.schema import REFERENCE_CLIP_RANGE, Arm
from bench.kernel.functions import expm1, sqrt, sum_over
from bench.learner.actor import Actor
from bench.learner.minibatches import Samples

Diagnostics = dict[str, Tensor]  # name → one number per replica, (S,)
TrainingRow = dict[str, float]


def rollout_diagnostics(batch: Batch, advantages: Tensor, targets: Tensor | None, arm: Arm) -> Diagnostics:
    """Return what advantages and targets look like."""
    steps, longest = replica_sum(batch.live), batch.live.any(2).sum(0)
    mean = replica_sum(advantages) / steps
    diagnostics = {
        "train/advantage_mean": mean,
        "train/advantage_rms": sqrt(replica_sum(advantages.square()) / steps),
        "rollout/live_share": steps / (longest * batch.live.shape[2]),
    }
    if arm.group_baseline:
        diagnostics["train/dead_groups"] = dead_group_fraction(batch, arm)
        diagnostics["train/lone_survivors"] = lone_survivor_fraction(batch, arm)
    if batch.uniform is not None:
        diagnostics["train/wrong_comparisons"] = wrong_comparison_fraction(batch, arm)
    if targets is not None and batch.values is not None:
        diagnostics["train/explained_variance"] = explained_variance(batch.values, targets, batch.live)
    return diagnostics


def explained_variance(values: Tensor, targets: Tensor, live: Tensor) -> Tensor:
    """Return 1 − Var(target − V) / Var(target) per replica (S,); NaN where the targets do not vary."""
    steps = replica_sum(live)

    def variance(x: Tensor) -> Tensor:
        mean = replica_sum(torch.where(live, x, 0.0)) / steps
        centred = x - mean.view(1, -1, 1)  # E[x²] − E[x]² cancels where values are large and nearly equal
        return replica_sum(torch.where(live, centred, 0.0).square()) / steps

    total = variance(targets)
    return torch.where(total > 0, 1 - variance(targets - values) / total, torch.nan)


def epoch_diagnostics(
    minibatches: Sequence[Samples], steps: Sequence[Mapping[str, Tensor]], filled: Tensor
) -> Diagnostics:
    """Return means over an epoch's minibatches; `steps` are what each step began with, see `bench.learner.update`.

    `filled` (S, minibatches) is 0 for those that are empty. They are computed at once: many small operations cost more
    than their arithmetic.
    """
    seen = {name: torch.stack([step[name] for step in steps], 1) for name in steps[0]}  # (S, minibatches, B)
    share, weight = (torch.stack([getattr(m, name) for m in minibatches], 1) for name in ("share", "weight"))

    def mean(values: Tensor, weights: Tensor = share) -> Tensor:
        return sum_over(sum_over(weights * values, 2) * filled, 1) / sum_over(filled, 1)

    diagnostics: Diagnostics = {}
    if "objective" in seen:
        ratio_less_one = expm1(seen["log_ratio"])
        diagnostics |= {
            "train/policy_gradient_loss": -mean(seen["objective"], weight),
            "train/entropy_loss": -mean(seen["entropy"]),
            "train/approx_kl": mean(ratio_less_one - seen["log_ratio"]),
            "train/clip_fraction": mean(ratio_less_one.abs() > REFERENCE_CLIP_RANGE),
        }
    if "error" in seen:
        diagnostics["train/value_loss"] = mean(seen["error"].square())
    return diagnostics


def policy_change(actor: Actor, samples: Samples) -> Diagnostics:
    """Return KL(old ‖ new) and the clip fraction over the whole batch: comparable for every arm."""
    outputs, _ = actor.outputs(samples.observations)
    old, new = samples.old_policy(actor), actor.distribution(outputs, actor.stack.extras)
    change = expm1(new.log_prob(samples.actions) - samples.log_prob).abs()
    return {
        "train/kl": sum_over(samples.share * old.kl(new), 1),
        "train/final_clip_fraction": sum_over(samples.share * (change > REFERENCE_CLIP_RANGE), 1),
    }


def training_rows(
    counters: Sequence[Mapping[str, int]], episodes: Sequence[Sequence[tuple[float, int]]], diagnostics: Diagnostics
) -> list[TrainingRow]:
    """Return one row per replica: its counters, the mean return and length of the episodes that ended, diagnostics."""
    columns = {name: values.tolist() for name, values in diagnostics.items()}
    return [
        {
            **counted,
            "rollout/ep_rew_mean": float(np.mean([total for total, _ in ended])) if ended else math.nan,
            "rollout/ep_len_mean": float(np.mean([length for _, length in ended])) if ended else math.nan,
            **{name: values[row] for name, values in columns.items()},
        }
        for row, (counted, ended) in enumerate(zip(counters, episodes, strict=True))
    ]


def log_means(logger: Logger, rows: Sequence[TrainingRow]) -> None:
    """Give SB3's logger the means over replicas, without those that have no such number."""
    for name in rows[0]:
        if "/" in name:
            present = [row[name] for row in rows if not math.isnan(row[name])]
            logger.record(name, float(np.mean(present)) if present else math.nan)


@contextmanager
def without_log_folder(model: BaseAlgorithm) -> Iterator[None]:
    """Let a model that logs nowhere learn without a folder for its logs.

    SB3 makes one below that of temporary files all the same, and leaves it there.
    """
    given = model._custom_logger
    if not given and not model.verbose and model.tensorboard_log is None:
        model.set_logger(Logger(None, []))
    try:
        yield
    finally:
        model._custom_logger = given
