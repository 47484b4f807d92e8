"""Policies in their environments by the kernel: one call a step, while the parameters do not change."""

import ctypes
from collections.abc import Sequence
from ctypes import c_int64, c_void_p
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bench.kernel.functions import SUFFIX, call
from bench.kernel.library import library
from bench.kernel.network import Passes

Array = npt.NDArray[Any]
CATEGORICAL, GAUSSIAN = 0, 1  # as in bench/kernel/source/steps.h


class Actions(ctypes.Structure):
    """`Actions` of bench/kernel/source/actions.h."""

    _fields_: ClassVar = [
        *[(name, c_int64) for name in ("replicas", "samples", "depth", "inputs", "outputs")],
        ("widths", c_void_p),
        *[(name, c_int64) for name in ("distribution", "likeliest", "replica", "number", "sample")],
        *[(name, c_void_p) for name in ("packed", "std", "x", "noise", "out", "choices", "actions")],
        *[(name, c_void_p) for name in ("columns", "counts", "work")],
    ]


class ActionCalls:
    """The outputs of S networks for B samples each, and the actions chosen of them, call after call.

    `distribution` says how: CATEGORICAL from logits (S, A, B) and uniform numbers (S, 1, B), GAUSSIAN from means
    (S, K, B), standard deviations `std` (S, K) and normal numbers (S, K, B).
    """

    def __init__(
        self, passes: Passes, flat: Tensor, samples: int, distribution: int, std: Tensor | None = None
    ) -> None:
        replicas = len(flat)
        depth, inputs, widths, outputs = passes.shape
        self._discrete = distribution == CATEGORICAL
        self._packed = flat.new_zeros(replicas, call("packed_size", flat, *passes.shape))
        call("pack", flat, replicas, flat.stride(0), *passes.shape, flat, self._packed)
        self._std = None if std is None else std.contiguous()
        self._given = Actions(
            replicas=replicas, samples=samples, depth=depth, inputs=inputs, outputs=outputs,
            widths=ctypes.addressof(widths), distribution=distribution, packed=self._packed.data_ptr(),
            std=None if self._std is None else self._std.data_ptr(),
        )  # fmt: skip
        self._at = ctypes.addressof(self._given)
        self._work = flat.new_empty(call("choose_actions_work", flat, self._at))
        self._given.work = self._work.data_ptr()
        self._function = getattr(library(), f"choose_actions_{SUFFIX[flat.dtype]}")

    def restrict(self, live: Array) -> None:
        """Work from now on only on the samples of the mask `live` (S, B); what the others are given is not written."""
        rows, columns = np.nonzero(live)
        self._columns = np.ascontiguousarray(columns)
        self._counts = np.bincount(rows, minlength=len(live))
        self._given.counts, self._given.columns = self._counts.ctypes.data, self._columns.ctypes.data

    def __call__(
        self, inputs: int, strides: Sequence[int], noise: int, out: int, actions: int, likeliest: int = 0
    ) -> None:
        """Read and write memory at these addresses, which the caller keeps: nothing of it is checked.

        Args:
            inputs: of numbers (S, inputs, B) of the parameters' type.
            strides: theirs, in numbers.
            noise: (S, 1 or K, B).
            out: (S, outputs, B), to be written.
            actions: (S, 1, B) int64 or (S, K, B), to be written.
            likeliest: how many of each replica's first samples are given the likeliest action.
        """
        given = self._given
        given.x, given.noise, given.out, given.likeliest = inputs, noise, out, likeliest
        given.replica, given.number, given.sample = strides
        if self._discrete:
            given.choices = actions
        else:
            given.actions = actions
        self._function(self._at)
