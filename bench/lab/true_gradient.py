"""The true policy gradient: exact where the world is solved, else the mean of many independent batches."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from bench.arms.returns import monte_carlo_return
from bench.kernel import arrays
from bench.lab.anchors import COLUMN_STEPS
from bench.lab.estimators import gradients
from bench.lab.policies import Critic, NetworkPolicy, table_of
from bench.lab.simulate import Episodes, RewardProcess
from bench.lab.truth import Stream, relative_error
from bench.tasks.base import Array
from bench.tasks.exact import ExactTask, policy_gradient, shares

MOST_BLOCKS = 128  # of the true gradient that are kept apart, to tell its error; a power of two


def exact_gradients(task: ExactTask, policy: NetworkPolicy, gamma: float) -> dict[str, Array]:
    """Return the exact policy gradient of a solved world by the network's parameters, (1, P), for either weighting.

    `discounted` weights the states by γ^t, as the gradient of the discounted return from the start does;
    `undiscounted` does not, which is what training's code aims at.
    """
    table = table_of(task, policy)
    by_logits = {
        "discounted": policy_gradient(task.model, table, gamma),
        "undiscounted": policy_gradient(task.model, table, gamma, state_gamma=1.0),
    }
    return {name: through_network(policy, task.states(), logits) for name, logits in by_logits.items()}


def exact_kind_shares(task: ExactTask, policy: NetworkPolicy, gamma: float) -> dict[str, float]:
    """Return each kind of episode's share of ‖∇J of that kind‖ by the network's parameters, states unweighted."""
    table, states = table_of(task, policy), task.states()
    by_logits = {
        kind: policy_gradient(task.model, table, gamma, state_gamma=1.0, start=kind) for kind in task.model.starts
    }
    return shares({kind: arrays.norm(through_network(policy, states, of)) for kind, of in by_logits.items()})


def through_network(policy: NetworkPolicy, states: Array, by_logits: Array) -> Array:
    """Apply the chain rule to a gradient by the logits (…, A) of states (D, n).

    The gradient by the parameters is (1, P), float64.
    """
    network = policy.actor.stack.like(policy.actor.stack.flat.double())
    seen = policy.actor.seen(torch.from_numpy(policy.task.observe(states)).unsqueeze(0)).double()
    _, saved = network.forward(seen)
    network.backward(torch.from_numpy(by_logits.reshape(-1, by_logits.shape[-1]).T.copy()).unsqueeze(0), saved)
    gradient: Array = network.grad[:, : network.used].numpy()
    return gradient


class RolledOutGradient:
    """The true gradient as the mean of ever more independent blocks: Monte Carlo less a fixed critic, unbiased.

    Beyond `MOST_BLOCKS` blocks, neighbours are merged: memory and the products of all pairs stay bounded, and their
    spread still tells the error.
    """

    def __init__(
        self, process: RewardProcess, policy: NetworkPolicy, critic: Critic | None, n_envs: int, stream: Stream
    ) -> None:
        self.process, self.policy, self.critic, self.n_envs, self.stream = process, policy, critic, n_envs, stream
        self.steps, self.rounds = 0, 0
        self._merged = 1  # blocks of `n_envs` episodes in one that is kept
        self._blocks: dict[str, Tensor] = {}

    def add(self, count: int) -> None:
        """Roll out `count` more blocks of `n_envs` episodes: a power of two, and at least as many as there are."""
        process, policy = self.process, self.policy
        added = torch.zeros(len(_WEIGHTS), count // self._merged, policy.actor.stack.used, dtype=torch.float64)
        rng = self.stream(self.rounds)
        self.rounds += 1
        horizon = process.horizon(process.task.time_limit or 0)
        chunk = max(1, COLUMN_STEPS // (self.n_envs * (horizon or process.task.horizon or 1)))
        for start in range(0, count, chunk):
            blocks = min(chunk, count - start)
            episodes = process.from_start(rng, blocks * self.n_envs, time_limit=horizon)
            self.steps += episodes.steps
            credit = self._credit(episodes).unflatten(1, (blocks, self.n_envs))
            index = torch.arange(start, start + blocks) // self._merged
            for row, weigh in enumerate(_WEIGHTS.values()):
                found = gradients(policy, episodes, credit, weigh(process.gamma, episodes.length))
                added[row].index_add_(0, index, found / self._merged)
        self._keep(added)

    def _credit(self, episodes: Episodes) -> Tensor:
        """What every step is credited with, (T, C)."""
        limit = self.process.task.time_limit
        ended = episodes.terminated | episodes.truncated
        targets = monte_carlo_return(episodes.rewards, ended, episodes.truncated, self.process.gamma).numpy()
        if self.critic is not None:
            targets = targets - episodes.values(self.critic)[:-1]
        counted = np.arange(episodes.length) < (limit or episodes.length)  # training sees no step beyond its limit
        return torch.from_numpy(np.where(episodes.live, targets, 0.0) * counted[:, None])

    def _keep(self, added: Tensor) -> None:
        for name, rows in zip(_WEIGHTS, added, strict=True):
            self._blocks[name] = torch.cat([self._blocks[name], rows]) if name in self._blocks else rows
        while len(next(iter(self._blocks.values()))) > MOST_BLOCKS:
            self._blocks = {name: rows.unflatten(0, (-1, 2)).mean(1) for name, rows in self._blocks.items()}
            self._merged *= 2

    def truth(self) -> dict[str, Array]:
        """Return the blocks so far, (m, P) by weighting."""
        return {name: rows.numpy() for name, rows in self._blocks.items()}

    def precision(self) -> float:
        """Return the gradient's standard error as a share of its length; the worse of the two weightings."""
        worst = 0.0
        for blocks in self.truth().values():
            mean = blocks.mean(0)
            noise = float(np.square(blocks - mean).sum() / (len(blocks) - 1) / len(blocks))
            worst = max(worst, relative_error(noise, float(np.square(mean).sum()) - noise))
        return worst


_WEIGHTS: Mapping[str, Callable[[float, int], Array | None]] = {
    "discounted": arrays.powers,
    "undiscounted": lambda _gamma, _length: None,
}
