"""The samples of an update, and how they are cut into minibatches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bench.arms.baselines import difference, scaled
from bench.kernel.functions import sqrt, sum_over
from bench.learner.actor import Actor
from bench.learner.distributions import Distribution


@dataclass(frozen=True)
class Samples:
    """Steps of each replica, M at most; shorter replicas are padded.

    observations (S, O, M); actions (S, K, M); outputs (S, A, M) and extras (S, E) of the policy that acted, see
    `bench.learner.distributions`; everything else (S, M), and count (S, 1).
    `share` is 1 / count for a replica's `count` steps and 0 for padding, so that sums with it are means; `weight` is
    the same for means over episodes where the arm's `aggregate` says so. `log_prob_reference` is there where the loss
    has a term for a reference policy.
    """

    observations: Tensor
    outputs: Tensor
    extras: Tensor
    actions: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor | None
    share: Tensor
    weight: Tensor
    count: Tensor
    log_prob_reference: Tensor | None = None

    def old_policy(self, actor: Actor) -> Distribution:
        """Return the policy that acted, of the actor's kind."""
        return actor.distribution(self.outputs, self.extras)

    def take(self, index: Tensor, share: Tensor) -> "Samples":
        """Return the samples at `index` (S, B) with shares of their own (S, B), 0 for padding."""
        chosen = {
            name: values.gather(-1, index if values.dim() == 2 else for_features(index, values))
            for name, values in self._by_sample().items()
        }
        return replace(self, **chosen | {"share": share, "weight": share * chosen["weight"] * self.count})

    def split(self, minibatches: int) -> "list[Samples]":
        """Return the samples cut into minibatches of equal width."""
        width = self.share.shape[1] // minibatches
        pieces = {name: values.split(width, -1) for name, values in self._by_sample().items()}
        return [replace(self, **{name: cut[number] for name, cut in pieces.items()}) for number in range(minibatches)]

    def _by_sample(self) -> dict[str, Tensor]:
        """Return, by name, the tensors whose last axis is the samples'."""
        once = ("extras", "count")
        return {name: value for name, value in vars(self).items() if value is not None and name not in once}


class Minibatches:
    """A batch that is cut into minibatches: each replica gives equal shares of its own permutation.

    Advantages are normalised within each minibatch. A replica with fewer samples than minibatches leaves the last ones
    empty: `filled` (S, minibatches) is False there.
    """

    def __init__(self, samples: Samples, minibatches: int, advantage_norm: str) -> None:
        self.samples, self.minibatches, self.advantage_norm = samples, minibatches, advantage_norm
        counts = samples.count.to(torch.int64).cpu().numpy()
        sizes = counts // minibatches + (np.arange(minibatches) < counts % minibatches)  # (S, minibatches)
        self.counts, self.width = sizes.astype(np.int64), int(sizes.max())
        width = self.width
        present = np.arange(width) < sizes[:, :, None]  # (S, minibatches, width), False for padding
        self.filled = sizes > 0
        self.columns = [np.flatnonzero(columns) for columns in present]  # per replica, those that are not padding
        self.index = np.zeros((len(counts), minibatches * width), dtype=np.int64)
        self.sizes = torch.from_numpy(sizes).to(samples.share).unsqueeze(2)
        self.share = torch.from_numpy(present).to(samples.share) / self.sizes.clamp(min=1)

    def permute(self, streams: Sequence[np.random.Generator]) -> None:
        """Draw the order of one epoch from each replica's stream, into `index` (S, minibatches · width)."""
        for index, columns, stream in zip(self.index, self.columns, streams, strict=True):
            index[columns] = stream.permutation(len(columns))

    def shuffled(self, streams: Sequence[np.random.Generator]) -> list[Samples]:
        """Return the minibatches of one epoch, in an order drawn from each replica's stream."""
        if self.minibatches == 1:  # the order of a sum does not matter, and nothing need be copied
            present = self.samples.share > 0
            advantage = normalised(self.samples.advantage, present, self.samples.count, self.advantage_norm)
            return [replace(self.samples, advantage=advantage)]
        self.permute(streams)
        shuffled = self.samples.take(torch.from_numpy(self.index).to(self.share.device), self.share.flatten(1))
        advantage = shuffled.advantage.view_as(self.share)
        normal = normalised(advantage, self.share > 0, self.sizes, self.advantage_norm).flatten(1)
        return replace(shuffled, advantage=normal).split(self.minibatches)


def normalised(advantages: Tensor, present: Tensor, count: Tensor, kind: str) -> Tensor:
    """Return the advantages (…, B) of minibatches on the scale of 1.

    rms divides by the root mean square and so keeps the baseline; mean_std also subtracts the minibatch's mean, as
    Stable-Baselines3 does (ddof 1), which is one more baseline, and as there it leaves a single sample as it is.
    `present` (…, B) says which are samples and not padding, `count` (…, 1) how many.
    """
    if kind == "none":
        return advantages

    def total(values: Tensor) -> Tensor:
        return sum_over(torch.where(present, values, 0.0), -1, keepdim=True)

    exact, number = advantages.double(), count.double().clamp(min=1)
    if kind == "rms":
        return scaled(exact, sqrt(total(exact.square()) / number) + 1e-8).to(advantages)
    centred = difference(exact, total(exact) / number)
    deviation = sqrt(total(centred.square()) / (number - 1).clamp(min=1))
    return torch.where(number > 1, scaled(centred, deviation + 1e-8), exact).to(advantages)


def for_features(index: Tensor, values: Tensor) -> Tensor:
    """Return an index (S, B) for every feature of values (S, F, M)."""
    return index.unsqueeze(1).expand(-1, values.shape[1], -1)
