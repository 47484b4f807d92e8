"""A tracer that names operations whose last bits depend on the processor, its libraries or the number of threads."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import bench

PACKAGE = Path(bench.__file__).parent

# What torch may do with floating-point numbers: move them, compare them, and arithmetic that IEEE 754 defines.
MOVING = {
    "_to_copy", "alias", "cat", "clone", "copy_", "detach", "empty", "empty_like", "expand", "fill_", "flip", "full",
    "full_like", "gather", "index", "index_put_", "index_select", "lift_fresh", "new_empty", "new_zeros", "ones",
    "ones_like", "permute", "repeat", "repeat_interleave", "scalar_tensor", "select", "slice", "split",
    "split_with_sizes", "squeeze", "stack", "transpose", "unbind", "unfold", "unsqueeze", "view", "where", "zero_",
    "zeros", "zeros_like", "_local_scalar_dense", "promote_types", "unsafe_split", "sort", "scatter_add_", "t", "set_",
    "constant_pad_nd", "_unsafe_view", "is_same_size", "as_strided", "resize_", "equal", "arange",
}  # fmt: skip
COMPARING = {
    "eq", "ne", "lt", "le", "gt", "ge", "isnan", "isfinite", "isinf", "logical_and", "logical_not", "logical_or",
    "maximum", "minimum", "clamp", "clamp_", "clamp_min", "clamp_min_", "amax", "amin", "max", "min", "argmax", "sign",
    "abs", "any", "all", "allclose",
}  # fmt: skip
ARITHMETIC = {
    "add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "neg", "rsub", "reciprocal", "square",
    "cumsum",  # one number after the other
}  # fmt: skip
ALLOWED = MOVING | COMPARING | ARITHMETIC

NUMPY = (
    "sin", "cos", "exp", "exp2", "expm1",
    "log", "log2", "log10", "log1p", "power", "float_power", "tanh", "sinh", "cosh", "tan",
    "arcsin", "arccos", "arctan", "arctan2", "arcsinh", "arccosh", "arctanh", "hypot", "cbrt", "logaddexp", "dot",
    "vdot", "inner", "matmul", "tensordot", "kron", "cov", "corrcoef", "einsum", "convolve", "correlate", "polyfit",
)  # fmt: skip
LINALG = (
    "norm",
    "solve",
    "inv",
    "det",
    "qr",
    "svd",
    "eig",
    "eigh",
    "lstsq",
    "pinv",
    "matrix_power",
    "cond",
    "cholesky",
)


@contextmanager
def traced() -> Iterator[list[str]]:
    """Collect the forbidden operations of the body, each with the line of the package that it came from."""
    found: list[str] = []
    with patch.multiple(np, **{name: _named(f"numpy.{name}", getattr(np, name), found) for name in NUMPY}):
        linalg = {name: _named(f"numpy.linalg.{name}", getattr(np.linalg, name), found) for name in LINALG}
        with patch.multiple(np.linalg, **linalg), _Torch(found):
            yield found


class _Torch(TorchDispatchMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := _forbidden(func, args, kwargs or {})) is not None:
            _note(name, self._found)
        return func(*args, **(kwargs or {}))


def _forbidden(func: Any, args: Any, kwargs: Any) -> str | None:
    """The name of an operation on floating-point numbers that is not allowed."""
    if not any(isinstance(value, torch.Tensor) and value.is_floating_point() for value in (*args, *kwargs.values())):
        return None
    name = func._schema.name.removeprefix("aten::")
    if name == "pow":  # how torch writes a square
        return None if args[1] == 2 else f"torch.pow by {args[1]}"
    if name in ("add", "add_", "sub", "sub_", "rsub") and kwargs.get("alpha", 1) != 1:
        return f"torch.{name} with alpha={kwargs['alpha']}"
    return None if name in ALLOWED else f"torch.{name}"


def _named(name: str, function: Callable[..., Any], found: list[str]) -> Callable[..., Any]:
    def traced_function(*args: Any, **kwargs: Any) -> Any:
        _note(name, found)
        return function(*args, **kwargs)

    return traced_function


def _note(name: str, found: list[str]) -> None:
    """Note an operation with the innermost line of the package that led to it."""
    for frame, line in traceback.walk_stack(sys._getframe(2)):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            found.append(f"{name} in {path.relative_to(PACKAGE)}:{line}")
            return
