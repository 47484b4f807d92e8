"""Policy objectives, per sample and to be maximised; ρ = π(a|s) / π_old(a|s)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from bench import plugin

if TYPE_CHECKING:
    from bench.config import Update

Kind = Literal["vanilla", "unclipped", "clip", "clip_without_min", "kl_penalty"]
KINDS: tuple[Kind, ...] = ("vanilla", "unclipped", "clip", "clip_without_min", "kl_penalty")


def surrogate(
    kind: Kind,
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
    if kind == "vanilla":
        return log_prob * advantage
    log_ratio = log_prob - log_prob_old
    ratio = log_ratio.exp()
    if kind == "unclipped":
        return ratio * advantage
    if kind == "kl_penalty":
        return ratio * advantage - _given("kl_coef", kl_coef, kind) * (ratio - 1 - log_ratio if kl is None else kl)
    if kind not in KINDS:
        raise ValueError(f"unknown kind '{kind}': allowed are {', '.join(KINDS)}")
    epsilon = _given("clip_range", clip_range, kind)
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon) * advantage
    return clipped if kind == "clip_without_min" else torch.min(ratio * advantage, clipped)


def objective_of(update: Update) -> Callable[..., Tensor]:
    """The objective of an arm as a function of (log_prob, log_prob_old, advantage, *, clip_range, kl_coef, kl)."""
    if update.name == "plugin":
        return partial(plugin.load("update", update.plugin).function, **update.options)
    return partial(surrogate, update.name)


def _given(name: str, value: float | Tensor | None, kind: Kind) -> Tensor:
    if value is None:
        raise ValueError(f"kind='{kind}' needs {name}")
    tensor: Tensor = torch.as_tensor(value)
    return tensor
