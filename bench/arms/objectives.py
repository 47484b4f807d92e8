"""Policy objectives, per sample and to be maximised; ρ = π(a|s) / π_old(a|s)."""

from typing import Literal

import torch
from torch import Tensor

Kind = Literal["vanilla", "unclipped", "clip"]


def surrogate(
    kind: Kind,
    log_prob: Tensor,
    log_prob_old: Tensor,
    advantage: Tensor,
    *,
    clip_range: float | Tensor | None = None,
) -> Tensor:
    """The per-sample objective; its gradient with respect to `log_prob` is what the arms differ in.

        vanilla     log π · A                                      (Williams 1992)
        unclipped   ρ A
        clip        min(ρ A, clip(ρ, 1 − ε, 1 + ε) A)              (arXiv 1707.06347, eq. 7)

    At π = π_old all have the same gradient. Shapes: any, alike; `clip_range` (ε) broadcasts.
    Raises ValueError for an unknown kind and for a clip without its range.
    """
    if kind == "vanilla":
        return log_prob * advantage
    ratio = (log_prob - log_prob_old).exp()
    if kind == "unclipped":
        return ratio * advantage
    if kind == "clip":
        if clip_range is None:
            raise ValueError("kind='clip' needs clip_range")
        low, high = torch.as_tensor(1 - clip_range), torch.as_tensor(1 + clip_range)
        return torch.min(ratio * advantage, ratio.clamp(low, high) * advantage)
    raise ValueError(f"unknown kind '{kind}': allowed are vanilla, unclipped, clip")
