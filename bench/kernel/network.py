"""The passes of S stacked networks: hidden tanh layers, then a linear head. By the kernel, or by torch.

Tensors are (S, numbers, B), feature by feature as in the learner; they may be views in any order. Parameters are
(S, P), each row W1, b1, W2, b2, …, and at last the head's; what lies behind them in a row is left alone.
"""

import ctypes
import functools
import itertools
from collections.abc import Sequence
from ctypes import c_int64
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.kernel.engine import by_kernel
from bench.kernel.functions import SUFFIX, call

MAX_DEPTH = 16


@dataclass(frozen=True)
class Passes:
    """The forward and the backward pass of networks of one shape, for any number of replicas and samples.

    What `forward` returns besides the outputs is for `backward` and `features`, of the same engine.
    """

    inputs: int
    hidden: tuple[int, ...]
    outputs: int

    def __post_init__(self) -> None:
        if len(self.hidden) > MAX_DEPTH or min(self.inputs, self.outputs, *self.hidden) < 1:
            raise ValueError(f"{self}: at most {MAX_DEPTH} hidden layers, and one number at least everywhere")

    def forward(self, flat: Tensor, inputs: Tensor) -> tuple[Tensor, Any]:
        """Return outputs (S, outputs, B) for parameters (S, P) and inputs (S, inputs, B), and what `backward` reads."""
        if not by_kernel():
            return self._torch.forward(flat, inputs)
        replicas, samples = len(inputs), inputs.shape[2]
        out = inputs.new_empty(replicas, self.outputs, samples)
        saved = inputs.new_empty(replicas * samples * self.saved_numbers(inputs.dtype))
        call(
            "forward", inputs, replicas, samples, flat.stride(0), *self.shape,
            flat, inputs, strides_of(inputs), saved, out, strides_of(out), self._work(inputs),
        )  # fmt: skip
        return out, saved

    def backward(self, flat: Tensor, inputs: Tensor, saved: Any, d_outputs: Tensor, grad: Tensor) -> None:
        """Write the gradient of the parameters into grad (S, P), given that by the outputs (S, outputs, B)."""
        if not by_kernel():
            self._torch.backward(flat, inputs, saved, d_outputs, grad)
            return
        call(
            "backward", inputs, len(inputs), inputs.shape[2], flat.stride(0), *self.shape,
            flat, inputs, strides_of(inputs), saved, d_outputs, strides_of(d_outputs), grad, self._work(inputs),
        )  # fmt: skip

    def features(self, inputs: Tensor, saved: Any) -> Tensor:
        """Return the activations of the last hidden layer, (S, width, B): the inputs where there is none."""
        if not self.hidden:
            return inputs
        if not by_kernel():
            last: Tensor = saved[-1]
            return last
        lanes, samples = 64 // saved.element_size(), inputs.shape[2]
        widths = [-(-width // lanes) * lanes for width in self.hidden]
        layer = saved.view(len(inputs), -1)[:, samples * sum(widths[:-1]) :].unflatten(1, (samples, widths[-1]))
        features: Tensor = layer[:, :, : self.hidden[-1]].transpose(1, 2)
        return features

    @functools.cached_property
    def _torch(self) -> "TorchPasses":
        return TorchPasses(self.inputs, self.hidden, self.outputs)

    @functools.cached_property
    def shape(self) -> tuple[Any, ...]:
        """Depth, inputs, widths and outputs, as the kernel takes them."""
        widths = (c_int64 * max(1, len(self.hidden)))(*self.hidden)
        return len(self.hidden), self.inputs, widths, self.outputs

    def saved_numbers(self, dtype: torch.dtype) -> int:
        """How many numbers a pass saves of each sample."""
        return self._sizes[dtype][0]

    def work_numbers(self, dtype: torch.dtype) -> int:
        """How many numbers of working memory a pass needs."""
        return self._sizes[dtype][1]

    @functools.cached_property
    def _sizes(self) -> dict[torch.dtype, tuple[int, int]]:
        depth, _, widths, _ = self.shape
        return {
            like.dtype: (call("hidden_size", like, 1, depth, widths), call("workspace", like, *self.shape))
            for like in (torch.empty(0, dtype=dtype) for dtype in SUFFIX)
        }

    def _work(self, like: Tensor) -> Tensor:
        return like.new_empty(self.work_numbers(like.dtype))


@dataclass(frozen=True)
class TorchPasses:
    """The passes by torch's batched products, on any device."""

    inputs: int
    hidden: tuple[int, ...]
    outputs: int

    def forward(self, flat: Tensor, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the outputs, and the activations of every hidden layer."""
        *hidden, (weight, bias) = self.layers(flat)
        activations: list[Tensor] = []
        for layer_weight, layer_bias in hidden:
            below = activations[-1] if activations else inputs
            activations.append(torch.baddbmm(layer_bias, layer_weight, below).tanh_())
        return torch.baddbmm(bias, weight, activations[-1] if activations else inputs), activations

    def backward(self, flat: Tensor, inputs: Tensor, saved: Sequence[Tensor], d_outputs: Tensor, grad: Tensor) -> None:
        """Write the gradient of the parameters, layer by layer from the head down."""
        below = [inputs, *saved]
        layers, gradients = self.layers(flat), self.layers(grad)
        for layer in reversed(range(len(layers))):
            d_weight, d_bias = gradients[layer]
            d_weight.copy_(torch.bmm(d_outputs, below[layer].transpose(1, 2)))
            d_bias.copy_(d_outputs.sum(2, keepdim=True))
            if layer > 0:
                d_outputs = torch.bmm(layers[layer][0].transpose(1, 2), d_outputs) * (1 - below[layer].square())

    def layers(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return weights (S, out, in) and biases (S, out, 1) of every layer, as views of parameters (S, P)."""
        found, start = [], 0
        for ins, outs in itertools.pairwise((self.inputs, *self.hidden, self.outputs)):
            middle, end = start + outs * ins, start + outs * (ins + 1)
            found.append((flat[:, start:middle].unflatten(1, (outs, ins)), flat[:, middle:end].unsqueeze(2)))
            start = end
        return found


def strides_of(tensor: Tensor) -> "ctypes.Array[c_int64]":
    """Return the strides of replica, number and sample, as the kernel takes them."""
    return (c_int64 * 3)(*tensor.stride())
