"""The passes of S stacked networks, by the kernel: hidden tanh layers, then a linear head."""

import ctypes
import functools
from collections.abc import Sequence
from ctypes import c_int64, c_void_p
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.kernel.functions import SUFFIX
from bench.kernel.library import library

MAX_DEPTH = 16


@dataclass(frozen=True)
class Passes:
    """The forward and the backward pass of networks of one shape, for any number of replicas and samples.

    Tensors are (S, numbers, B), feature by feature as in the learner; they may be views in any order.
    """

    inputs: int
    hidden: tuple[int, ...]
    outputs: int

    def __post_init__(self) -> None:
        if len(self.hidden) > MAX_DEPTH or min(self.inputs, self.outputs, *self.hidden) < 1:
            raise ValueError(f"{self}: at most {MAX_DEPTH} hidden layers, and one number at least everywhere")

    def forward(self, flat: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs (S, outputs, B) for parameters (S, P) and inputs (S, inputs, B), and what `backward` reads."""
        replicas, samples = len(inputs), inputs.shape[2]
        out = inputs.new_empty(replicas, self.outputs, samples)
        saved = inputs.new_empty(replicas * int(self._call("hidden_size", inputs, samples, *self._hidden)))
        self._call(
            "forward", inputs, replicas, samples, flat.stride(0), *self._shape,
            flat, inputs, _strides(inputs), saved, out, _strides(out), self._work(inputs.dtype),
        )  # fmt: skip
        return out, saved

    def backward(self, flat: Tensor, inputs: Tensor, saved: Tensor, d_outputs: Tensor, grad: Tensor) -> None:
        """Write the gradient of the parameters into grad (S, P), given that by the outputs (S, outputs, B)."""
        self._call(
            "backward", inputs, len(inputs), inputs.shape[2], flat.stride(0), *self._shape,
            flat, inputs, _strides(inputs), saved, d_outputs, _strides(d_outputs), grad, self._work(inputs.dtype),
        )  # fmt: skip

    def features(self, saved: Tensor, replicas: int, samples: int) -> Tensor:
        """Return the activations of the last hidden layer, (S, width, B), a view of what `forward` saved."""
        lanes = 64 // saved.element_size()
        widths = [-(-width // lanes) * lanes for width in self.hidden]
        layer = saved.view(replicas, -1)[:, samples * sum(widths[:-1]) :].unflatten(1, (samples, widths[-1]))
        features: Tensor = layer[:, :, : self.hidden[-1]].transpose(1, 2)
        return features

    @functools.cached_property
    def _widths(self) -> "ctypes.Array[c_int64]":
        return (c_int64 * max(1, len(self.hidden)))(*self.hidden)

    @property
    def _hidden(self) -> tuple[object, ...]:
        return len(self.hidden), self._widths

    @property
    def _shape(self) -> tuple[object, ...]:
        return len(self.hidden), self.inputs, self._widths, self.outputs

    def _work(self, dtype: torch.dtype) -> Tensor:
        like = torch.empty(0, dtype=dtype)
        return like.new_empty(int(self._call("workspace", like, *self._shape)))

    def _call(self, name: str, like: Tensor, *arguments: object) -> int:
        """Call a function of the kernel for the type of `like`."""
        function = getattr(library(), f"{name}_{SUFFIX[like.dtype]}")
        function.restype = c_int64
        result: int = function(*(_plain(argument) for argument in arguments))
        return result


def _plain(argument: object) -> object:
    if isinstance(argument, Tensor):
        return c_void_p(argument.data_ptr())
    return c_int64(argument) if isinstance(argument, int) else argument


def _strides(tensor: Tensor) -> "ctypes.Array[c_int64]":
    """Return the strides of replica, number and sample, as the kernel takes them."""
    strides: Sequence[int] = tensor.stride()
    return (c_int64 * 3)(*strides)
