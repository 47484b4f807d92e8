"""Which of two engines computes a number: the kernel, or torch and NumPy.

The kernel gives the same bits on every machine. torch computes where there is no kernel, on other devices, and in
tests, which compare the two; its bits belong to one machine. `bench.kernel.functions`, `arrays` and `network` ask here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from bench.kernel.library import digest, library, variant, variants

Engine = Literal["kernel", "torch"]

_chosen: ContextVar[Engine | None] = ContextVar("engine", default=None)


@contextmanager
def computing_with(name: Engine) -> Iterator[None]:
    """Compute with this engine for a while. Raises `UserError` for a kernel that cannot be had."""
    if name == "kernel":
        library()
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def by_kernel() -> bool:
    """Return whether the kernel computes: where nobody has chosen, wherever it was made for this machine."""
    chosen = _chosen.get()
    return bool(variants()) if chosen is None else chosen == "kernel"


def description() -> dict[str, str] | None:
    """Return what computes, for a record: the engine and what it is made of. None where nobody has chosen one."""
    chosen = _chosen.get()
    if chosen == "kernel":
        return {"name": chosen, "sources": digest()[:16], "library": variant()}
    return None if chosen is None else {"name": chosen}
