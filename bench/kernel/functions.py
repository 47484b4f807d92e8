"""Elementary functions and sums of tensors, by the kernel: the same bits on every machine, whatever torch does.

Shapes: any. Types: float32 and float64, on the CPU. Errors are stated in bench/kernel/source/elementary.h. All can be
differentiated by autograd, for plug-ins.
"""

from typing import Any

import torch
from torch import Tensor

from bench.kernel.engine import by_kernel
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
    if not by_kernel():
        return logits.log_softmax(dim)
    return _applied(_LogSoftmax, logits, dim) if _followed(logits) else _log_softmax(logits, dim)


def softmax(logits: Tensor, dim: int) -> Tensor:
    """Return the softmax over one axis, which has one number at least."""
    return exp(log_softmax(logits, dim))


def choose(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return choices (S, 1, N) by inverting the distribution of softmax(logits), (S, A, N), at uniform (S, 1, N)."""
    if not by_kernel():
        return (uniform > logits.softmax(1)[:, :-1].cumsum(1)).sum(1, keepdim=True)
    replicas, actions, count = logits.shape
    choices = torch.empty(replicas, 1, count, dtype=torch.int64)
    logits, uniform = logits.contiguous(), uniform.contiguous()
    call("choose", logits, *logits.shape, logits, uniform, choices.data_ptr(), logits.new_empty(actions * count))
    return choices


def sum_over(x: Tensor, dim: int, *, keepdim: bool = False) -> Tensor:
    """Return the sum over one axis, in an order that zeros at its end do not change."""
    if not by_kernel():
        return x.sum(dim, keepdim=keepdim)
    total = _applied(_Sum, x, dim) if _followed(x) else _sum(x, dim)
    return total if keepdim else total.squeeze(dim)


def traced(x: Tensor, ended: Tensor, factor: float | Tensor) -> Tensor:
    """Return y (T, …) with y_t = x_t + factor · y_{t+1}, and y_t = x_t where `ended`, as the last row must be.

    `factor` broadcasts to a row of x.
    """
    if by_kernel() and not _followed(x):
        y = x.contiguous().clone()
        factors = torch.as_tensor(factor, dtype=torch.float64).to(x.dtype).expand(x.shape[1:]).contiguous()
        call("traced", y, len(y), factors.numel(), factors, ended.contiguous().data_ptr(), y)
        return y
    rows = list(x.unbind())
    for t in range(len(rows) - 2, -1, -1):
        rows[t] = torch.where(ended[t], rows[t], rows[t] + factor * rows[t + 1])
    return torch.stack(rows)


def mean_over(x: Tensor, dim: int, *, keepdim: bool = False) -> Tensor:
    """Return the mean over one axis."""
    return sum_over(x, dim, keepdim=keepdim) / x.shape[dim]


def _mapped(name: str, x: Tensor) -> Tensor:
    if not by_kernel():
        result: Tensor = getattr(torch, name)(x)
        return result
    return _applied(_Mapped, x, name) if _followed(x) else _map(name, x)


def _followed(x: Tensor) -> bool:
    """Whether autograd follows what is computed of x."""
    return x.requires_grad and torch.is_grad_enabled()


def _map(name: str, x: Tensor) -> Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    call(name, x, x.numel(), x, y)
    return y


def _log_softmax(logits: Tensor, dim: int) -> Tensor:
    x = logits.contiguous()
    y = torch.empty_like(x)
    call("log_softmax", x, *_around(x, dim), x, y)
    return y


def _sum(x: Tensor, dim: int) -> Tensor:
    x = x.contiguous()
    shape = list(x.shape)
    shape[dim] = 1
    y = x.new_empty(shape)
    call("sum", x, *_around(x, dim), x, y)
    return y


def _around(x: Tensor, dim: int) -> tuple[int, int, int]:
    """The numbers of elements before an axis, on it and behind it."""
    dim %= x.ndim
    return x.shape[:dim].numel(), x.shape[dim], x.shape[dim + 1 :].numel()


def call(name: str, like: Tensor, *arguments: Any) -> Any:
    """Call a function of the kernel for the type of `like`; tensors stand for their memory.

    Raises:
        ValueError: for a tensor that is not on the CPU, and for tensors of several types.
    """
    if not like.is_cpu:
        raise ValueError(f"the kernel computes on the CPU, not on {like.device}; use engine=torch")
    given: list[Any] = []
    for each in arguments:  # in one pass: every step of a rollout comes here
        if not isinstance(each, Tensor):
            given.append(each)
        elif each.dtype == like.dtype:
            given.append(each.data_ptr())
        else:
            raise ValueError(f"the kernel computes with numbers of one type; the first tensor has {like.dtype}")
    return getattr(library(), f"{name}_{SUFFIX[like.dtype]}")(*given)


def _applied(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    result: Tensor = function.apply(*arguments)
    return result


class _Mapped(torch.autograd.Function):
    """An elementary function with its derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str) -> Tensor:
        """Compute and keep what the derivative is made of."""
        y = _map(name, x)
        ctx.name = name
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, None]:
        """Multiply by the derivative."""
        x, y = ctx.saved_tensors
        slopes = {
            "exp": lambda: y,
            "log": lambda: 1 / x,
            "expm1": lambda: y + 1,
            "tanh": lambda: 1 - y * y,
            "sqrt": lambda: 0.5 / y,
        }
        return d_y * slopes[ctx.name](), None


class _LogSoftmax(torch.autograd.Function):
    """The logarithm of the softmax with its derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        """Compute and keep the result."""
        y = _log_softmax(x, dim)
        ctx.dim = dim
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, None]:
        """Return dL/dx = dL/dy − softmax(x) Σ dL/dy."""
        (y,) = ctx.saved_tensors
        return d_y - _map("exp", y) * _sum(d_y, ctx.dim), None


class _Sum(torch.autograd.Function):
    """A sum over an axis, which stays with one element, and its derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        """Compute and keep the shape."""
        ctx.shape = x.shape
        return _sum(x, dim)

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, None]:
        """Give every number the derivative of its sum."""
        return d_y.expand(ctx.shape), None
