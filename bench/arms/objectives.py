"""Policy objectives, per sample and to be maximised; ρ = π(a|s) / π_old(a|s)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench import plugin
from bench.config.schema import Update
from bench.errors import UserError
from bench.kernel.functions import exp

KINDS = ("vanilla", "unclipped", "clip", "clip_without_min", "kl_penalty")  # numbered so in the kernel's steps.h


def surrogate(
    kind: str,
    log_prob: Tensor,
    log_prob_old: Tensor,
    advantage: Tensor,
    *,
    clip_range: float | Tensor | None = None,
    kl_coef: float | Tensor | None = None,
    kl: Tensor | None = None,
) -> Tensor:
    """The per-sample objective; its gradient with respect to `log_prob` is what the arms differ in.

        vanilla            log π · A                              (Williams 1992)
        unclipped          ρ A
        clip               min(ρ A, clip(ρ, 1 − ε, 1 + ε) A)      (arXiv 1707.06347, eq. 7)
        clip_without_min   clip(ρ, 1 − ε, 1 + ε) A
        kl_penalty         ρ A − β KL(π_old ‖ π)                  (arXiv 1707.06347, eq. 8)

    At π = π_old all have the same gradient. Shapes: any, alike; ε (`clip_range`) and β (`kl_coef`) broadcast. `kl` is
    the divergence of each sample's state, computed analytically; without it ρ − 1 − log ρ stands in, whose mean over
    actions of π_old it is. Raises ValueError for an unknown kind and for a missing ε or β.
    """
    return surrogate_and_slope(kind, log_prob, log_prob_old, advantage, clip_range=clip_range, kl_coef=kl_coef, kl=kl)[
        0
    ]


def surrogate_and_slope(
    kind: str,
    log_prob: Tensor,
    log_prob_old: Tensor,
    advantage: Tensor,
    *,
    clip_range: float | Tensor | None = None,
    kl_coef: float | Tensor | None = None,
    kl: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`surrogate`, and its derivative with respect to `log_prob` while a given `kl` stays as it is."""
    if kind == "vanilla":
        return log_prob * advantage, advantage
    log_ratio = log_prob - log_prob_old
    ratio = exp(log_ratio)
    unclipped = ratio * advantage  # dρ / d log π = ρ, so this is its own derivative
    if kind == "unclipped":
        return unclipped, unclipped
    if kind == "kl_penalty":
        beta = _given("kl_coef", kl_coef, kind)
        if kl is not None:
            return unclipped - beta * kl, unclipped
        return unclipped - beta * (ratio - 1 - log_ratio), unclipped - beta * (ratio - 1)
    if kind not in KINDS:
        raise ValueError(f"unknown kind '{kind}': allowed are {', '.join(KINDS)}")
    epsilon = _given("clip_range", clip_range, kind)
    within = ratio.clamp(1 - epsilon, 1 + epsilon)
    clipped = within * advantage
    if kind == "clip_without_min":
        return clipped, torch.where(ratio == within, clipped, 0.0)
    return torch.min(unclipped, clipped), torch.where(unclipped <= clipped, unclipped, 0.0)


def objective_of(update: Update) -> Callable[..., tuple[Tensor, Tensor]]:
    """The objective of an arm and its derivative by log_prob, per sample.

    A function of (log_prob, log_prob_old, advantage, *, clip_range, kl_coef, kl).
    """
    if update.name == "plugin":
        return partial(_differentiated, partial(plugin.load("update", update.plugin).function, **update.options))
    return partial(surrogate_and_slope, update.name)


def _differentiated(
    objective: Callable[..., Tensor], log_prob: Tensor, *args: Any, **given: Any
) -> tuple[Tensor, Tensor]:
    """What a plug-in computes, and what autograd makes of it. Raises `UserError` where nothing depends on log_prob."""
    with torch.enable_grad():
        leaf = log_prob.detach().requires_grad_()
        values = objective(leaf, *args, **given)
        if not values.requires_grad:
            raise UserError(
                "update.plugin returned an objective that does not depend on log_prob: nothing to learn from"
            )
        (slope,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), slope


def _given(name: str, value: float | Tensor | None, kind: str) -> Tensor:
    if value is None:
        raise ValueError(f"kind='{kind}' needs {name}")
    tensor: Tensor = torch.as_tensor(value)
    return tensor
