"""S multilayer perceptrons of one shape, trained in lockstep: one call passes all of them (see `bench.kernel.network`).

Activations are feature-major, (replica, unit, sample). A replica's bits do not depend on its neighbours, nor on how
many other samples stand in its batch.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.kernel import arrays
from bench.kernel.network import Passes

Array = npt.NDArray[Any]


class Stack:
    """Hidden tanh layers and a linear head for each of S replicas; without hidden layers, the head alone.

    `flat` (S, P) holds all parameters and `grad` (S, P) their gradients; `weights` are views of the former: W1, b1, W2,
    b2, …, with weights (S, out, in) and biases (S, out, 1). `extra` further parameters per replica (a Gaussian's log
    standard deviations) sit behind the network's: `extras` (S, extra), a view, too.
    """

    def __init__(
        self,
        replicas: int,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        *,
        extra: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        widths = (inputs, *hidden, outputs)
        layers = [((outs, ins), (outs, 1)) for ins, outs in itertools.pairwise(widths)]
        self.shapes = [shape for layer in layers for shape in layer]
        self.sizes = [rows * columns for rows, columns in self.shapes]
        self.used = sum(self.sizes) + extra
        self.inputs, self.hidden, self.outputs, self.extra = inputs, tuple(hidden), outputs, extra
        self.passes = Passes(inputs, self.hidden, outputs)
        self.bind(torch.zeros(replicas, self.used, dtype=dtype, device=device))

    def bind(self, flat: Tensor) -> None:
        """Use `flat` (S, P) as the parameters, in place."""
        self.flat, self.grad = flat, torch.zeros_like(flat)
        self.extras = flat[:, self.used - self.extra :]
        parts = flat[:, : sum(self.sizes)].split(self.sizes, 1)
        self.weights = [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made from: views of the parameters would be copied apart from them."""
        return {
            name: value for name, value in vars(self).items() if name not in ("passes", "grad", "extras", "weights")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.passes = Passes(self.inputs, self.hidden, self.outputs)
        self.bind(self.flat)

    @property
    def replicas(self) -> int:
        """S."""
        return len(self.flat)

    def like(self, flat: Tensor) -> "Stack":
        """Return a stack of networks of this shape with the parameters `flat` (replicas, P)."""
        stack = Stack(0, self.inputs, self.hidden, self.outputs, extra=self.extra, dtype=flat.dtype, device=flat.device)
        stack.bind(flat)
        return stack

    def select(self, rows: Sequence[int]) -> "Stack":
        """Return a stack with copies of these replicas only."""
        return self.like(self.flat[list(rows)])

    def initialise(self, replica: int, rng: np.random.Generator, head_gain: float) -> None:
        """Draw orthogonal weights, with gain √2 in hidden layers and `head_gain` in the head; zero biases (as SB3)."""
        gains = [math.sqrt(2)] * len(self.hidden) + [head_gain]
        for weights, (rows, columns), gain in zip(self.weights[::2], self.shapes[::2], gains, strict=True):
            weights[replica] = torch.from_numpy(gain * orthogonal(rng, rows, columns))

    def forward(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, Any]]:
        """Return the outputs (S, out, B) for inputs (S, in, B), and what `backward` and `features` need."""
        outputs, saved = self.passes.forward(self.flat, inputs)
        return outputs, (inputs, saved)

    def features(self, saved: tuple[Tensor, Any]) -> Tensor:
        """Return what the head saw in a pass: the last hidden layer, or the inputs where there is none, (S, F, B)."""
        return self.passes.features(*saved)

    def backward(self, d_outputs: Tensor, saved: tuple[Tensor, Any], d_extras: Tensor | None = None) -> None:
        """Write a loss's gradient into `grad`, given those by the outputs (S, out, B) and the extras (S, extra)."""
        if d_extras is not None:
            self.grad[:, self.used - self.extra :] = d_extras
        self.passes.backward(self.flat, *saved, d_outputs, self.grad)


def orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Draw a matrix (rows, columns) whose rows, or columns where these are fewer, are orthonormal; float64.

    Vectors of normal numbers are made orthogonal one after the other (Gram and Schmidt), each twice, which leaves no
    more than rounding errors (Giraud, Langou & Rozložník 2005). The result is distributed as that of a QR decomposition
    with a positive diagonal: uniformly (Mezzadri 2007).
    """
    vectors = rng.standard_normal((min(rows, columns), max(rows, columns)))
    for number, vector in enumerate(vectors):
        before = vectors[:number]
        for _ in range(2):
            vector -= (arrays.product(before, vector)[:, None] * before).sum(axis=0)
        vector /= arrays.norm(vector)
    return vectors if rows <= columns else vectors.T
