"""Elementary functions of tensors, computed by the kernel: the same bits on every machine, whatever torch does.

Shapes: any. Types: float32 and float64, on the CPU. Errors are stated in bench/kernel/source/elementary.h.
"""

from collections.abc import Callable
from ctypes import c_int64, c_void_p

import torch
from torch import Tensor

from bench.kernel.library import library

SUFFIX = {torch.float32: "f32", torch.float64: "f64"}


def exp(x: Tensor) -> Tensor:
    """Return eˣ."""
    return _mapped("exp", x)


def log(x: Tensor) -> Tensor:
    """Return the natural logarithm: −inf at 0, NaN below."""
    return _mapped("log", x)


def expm1(x: Tensor) -> Tensor:
    """Return eˣ − 1, exact near 0."""
    return _mapped("expm1", x)


def tanh(x: Tensor) -> Tensor:
    """Return the hyperbolic tangent."""
    return _mapped("tanh", x)


def sqrt(x: Tensor) -> Tensor:
    """Return the square root, rounded correctly."""
    return _mapped("sqrt", x)


def log_softmax(logits: Tensor, dim: int) -> Tensor:
    """Return the logarithm of the softmax over one axis, which has one number at least."""
    dim %= logits.ndim
    x = logits.contiguous()
    y = torch.empty_like(x)
    outer, inner = x.shape[:dim].numel(), x.shape[dim + 1 :].numel()
    sizes = (c_int64(outer), c_int64(x.shape[dim]), c_int64(inner))
    _function("log_softmax", x)(*sizes, c_void_p(x.data_ptr()), c_void_p(y.data_ptr()))
    return y


def softmax(logits: Tensor, dim: int) -> Tensor:
    """Return the softmax over one axis, which has one number at least."""
    return exp(log_softmax(logits, dim))


def _mapped(name: str, x: Tensor) -> Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    _function(name, x)(c_int64(x.numel()), c_void_p(x.data_ptr()), c_void_p(y.data_ptr()))
    return y


def _function(name: str, x: Tensor) -> Callable[..., object]:
    if x.device.type != "cpu":
        raise ValueError(f"the kernel computes on the CPU, not on {x.device}")
    function: Callable[..., object] = getattr(library(), f"{name}_{SUFFIX[x.dtype]}")
    return function
