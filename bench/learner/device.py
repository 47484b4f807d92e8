"""Where the arithmetic happens; environments and random numbers are NumPy's on any device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import torch

from bench.errors import UserError, unknown
from bench.kernel.engine import Engine
from bench.kernel.library import library

ENGINES = get_args(Engine)


def check_device(device: str, engine: Engine) -> None:
    """Refuse a device that is not there, or that the engine cannot compute on. Raises `UserError`."""
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if engine == "kernel":
        if device != "cpu":
            raise UserError(f"device={device} with engine=kernel: the kernel computes on the CPU; use engine=torch")
        library()
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device={device}: torch {torch.__version__} finds no such device here; use device=cpu")


def checked_device(device: torch.device | str, engine: Engine) -> str:
    """Return a device by its name; "auto" is the CPU, where small networks train fastest. Raises `UserError`."""
    name = "cpu" if str(device) == "auto" else str(device)
    check_device(name, engine)
    return name


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: small stacked products get slower on more, and so they keep their bits on any machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
