"""∇log π(a | s) of a table of logits or of a network, and the inner products of such gradients.

Both are ψ(s, a) = Σ_b (1{a = b} − π(b | s)) ∇ℓ(s, b), where ∇ℓ(s, b) is the gradient of one logit. A gradient that is a
sum of these is kept as the coefficients of the ∇ℓ, (T, S, A): its length needs their inner products only. Those of a
table are 1 for a logit with itself and 0 else. Those of a network are sums over layers of the inner products of what a
layer sees, times those of what comes back to it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.kernel import arrays, functions
from bench.lab.exact.process import Process
from bench.lab.policies import NetworkPolicy, Policy
from bench.tasks.base import Array

Rows = tuple[int, Array]  # a step, and the flat states (n,) of interest there


class Scores(ABC):
    """The gradients ∇ℓ of all logits of a process's policy."""

    process: Process

    @property
    @abstractmethod
    def overlap(self) -> bool:
        """Whether gradients of different steps' logits have inner products other than 0."""

    @abstractmethod
    def products(self, left: Rows, right: Rows) -> Array | None:
        """Return the inner products of logits' gradients (n, A, m, A); None where all are 0."""

    @cached_property
    def memory(self) -> dict[Any, Any]:
        """What was computed from these gradients and serves several estimators."""
        return {}

    @cached_property
    def lengths(self) -> Array:
        """‖∇log π(a | s)‖², (T, S, A)."""
        own, policy = self.own(), self.process.policy
        crossed = (own * policy[:, :, None, :]).sum(-1)  # ∇ℓ(b) · Σ_c π(c) ∇ℓ(c)
        diagonal = np.stack([own[..., action, action] for action in range(policy.shape[2])], -1)
        mean = (policy * crossed).sum(-1, keepdims=True)
        squared: Array = (diagonal - 2 * crossed + mean).clip(min=0)
        return squared

    @abstractmethod
    def own(self) -> Array:
        """Return the inner products of the logits' gradients of one state, (T, S, A, A)."""

    @abstractmethod
    def step_gradients(self, coefficients: Array) -> Array:
        """Return Σ_{s,b} coefficient · ∇ℓ of every step, for coefficients (K, T, S, A): (K, T, P)."""

    def gradient(self, coefficients: Array) -> Array:
        """Return Σ coefficient · ∇ℓ over all steps, for coefficients (K, T, S, A): (K, P)."""
        gradient: Array = self.step_gradients(coefficients).sum(1)
        return gradient


@dataclass(frozen=True)
class LogitScores(Scores):
    """Of a table of logits, whose parameters are the logits themselves."""

    process: Process

    @property
    def overlap(self) -> bool:
        """See `Scores.overlap`."""
        return self.process.horizon is None

    def products(self, left: Rows, right: Rows) -> Array | None:
        """See `Scores.products`."""
        if left[0] != right[0]:
            return None
        same = (left[1][:, None] == right[1]).astype(np.float64)
        products: Array = same[:, None, :, None] * np.eye(self.process.shape[2])[:, None, :]
        return products

    def own(self) -> Array:
        """See `Scores.own`."""
        return np.broadcast_to(np.eye(self.process.shape[2]), (*self.process.shape, self.process.shape[2]))

    def step_gradients(self, coefficients: Array) -> Array:
        """See `Scores.step_gradients`."""
        count, steps, *states = coefficients.shape
        by_step = np.zeros((count, steps, steps, *states))
        by_step[:, np.arange(steps), np.arange(steps)] = coefficients
        return by_step.reshape(count, steps, -1)

    def gradient(self, coefficients: Array) -> Array:
        """See `Scores.gradient`."""
        return coefficients.reshape(len(coefficients), -1)


@dataclass(frozen=True)
class _Layer:
    """What a layer sees in every state, (T, S, inputs + 1) with a 1 for the bias, and what comes back to it.

    That is the derivative of every logit by what the layer puts out, before its tanh: (T, S, A, outputs).
    """

    seen: Array
    returned: Array


@dataclass(frozen=True)
class NetworkScores(Scores):
    """Of a network with tanh layers and a linear head, by all its parameters, in double precision."""

    process: Process
    policy: NetworkPolicy

    @property
    def overlap(self) -> bool:
        """See `Scores.overlap`."""
        return self.process.shape[0] > 1 or self.process.horizon is None

    @cached_property
    def layers(self) -> list[_Layer]:
        """The layers, from the first to the head."""
        process, actor = self.process, self.policy.actor
        weights = [weight[0].double() for weight in actor.stack.weights]
        observations = self.policy.task.observe(process.task.states())
        inputs = actor.seen(torch.from_numpy(observations).unsqueeze(0))[0].double()
        seen = [inputs]
        for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            seen.append(functions.tanh(_product(weight, seen[-1]) + bias))
        actions, count = process.shape[2], inputs.shape[1]
        returned = torch.eye(actions, dtype=torch.float64).unsqueeze(2).expand(-1, -1, count)  # (A, outputs, states)
        found = []
        for place in reversed(range(len(seen))):
            found.append(_Layer(self._seen(seen[place]), self._returned(returned)))
            if place:
                back = _product(weights[2 * place].T, returned.transpose(0, 1).reshape(returned.shape[1], -1))
                slope = 1 - seen[place].square()
                returned = back.unflatten(1, (actions, count)).transpose(0, 1) * slope
        return found[::-1]

    def _seen(self, values: Tensor) -> Array:
        with_bias = np.concatenate([values.numpy(), np.ones((1, values.shape[1]))])
        return np.ascontiguousarray(with_bias.T).reshape(*self.process.shape[:2], -1)

    def _returned(self, values: Tensor) -> Array:
        return np.ascontiguousarray(values.numpy().transpose(2, 0, 1)).reshape(*self.process.shape, -1)

    def products(self, left: Rows, right: Rows) -> Array | None:
        """See `Scores.products`."""
        actions, (n, m) = self.process.shape[2], (len(left[1]), len(right[1]))
        total = np.zeros((n, actions, m, actions))
        for layer in self.layers:
            of_seen = arrays.matrix_product(layer.seen[left], layer.seen[right].T)
            returned = [layer.returned[rows].reshape(-1, layer.returned.shape[3]) for rows in (left, right)]
            of_returned = arrays.matrix_product(returned[0], returned[1].T).reshape(n, actions, m, actions)
            total += of_seen[:, None, :, None] * of_returned
        return total

    def own(self) -> Array:
        """See `Scores.own`."""
        actions = self.process.shape[2]
        total = np.zeros((*self.process.shape, actions))
        for layer in self.layers:
            of_seen = np.square(layer.seen).sum(-1)
            of_returned = (layer.returned[:, :, :, None] * layer.returned[:, :, None]).sum(-1)
            total += of_seen[:, :, None, None] * of_returned
        return total

    def step_gradients(self, coefficients: Array) -> Array:
        """See `Scores.step_gradients`; the parameters are in the order of `Stack.flat`."""
        return np.stack([[self._at(step, at) for step, at in enumerate(each)] for each in coefficients])

    def _at(self, step: int, coefficients: Array) -> Array:
        """Return Σ_{s,b} coefficient · ∇ℓ(s, b) of one step, for coefficients (S, A): (P,)."""
        parts, used = [], np.flatnonzero(coefficients.any(1))
        for layer in self.layers:
            returned = (coefficients[used, :, None] * layer.returned[step, used]).sum(1)  # (S, outputs)
            by_weight = arrays.matrix_product(returned.T, layer.seen[step, used])  # (outputs, inputs + 1)
            parts += [by_weight[:, :-1].ravel(), by_weight[:, -1]]
        return np.concatenate(parts)


def _product(left: Tensor, right: Tensor) -> Tensor:
    return torch.from_numpy(arrays.matrix_product(left.numpy(), right.numpy()))


def scores_of(process: Process, policy: Policy | None = None) -> Scores:
    """Return the gradients by the parameters of the network behind a process, where `policy` is one.

    Else they are those by the logits of the process's table.
    """
    return NetworkScores(process, policy) if isinstance(policy, NetworkPolicy) else LogitScores(process)


def squared_lengths(scores: Scores, coefficients: Array) -> Array:
    """Return ‖Σ_b c(s, b) ∇ℓ(s, b)‖² in each state, for coefficients (…, T, S, A): (…, T, S)."""
    crossed = (scores.own() * coefficients[..., None, :]).sum(-1)
    squared: Array = (crossed * coefficients).sum(-1).clip(min=0)
    return squared


def centred(process: Process, numbers: Array) -> Array:
    """Return E_a[(1{a = b} − π(b)) x(a)] = π(b) (x(b) − x̄), coefficients of ∇ℓ, for numbers (…, T, S, A)."""
    mean = (process.policy * numbers).sum(-1, keepdims=True)
    coefficients: Array = process.policy * (numbers - mean)
    return coefficients
