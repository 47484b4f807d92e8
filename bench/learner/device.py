"""Where the arithmetic happens; environments and random numbers are NumPy's on any device."""

import torch

from bench.errors import UserError


def check_device(device: str) -> None:
    """Refuse a device that is not there. Raises `UserError`."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device={device}: torch {torch.__version__} finds no such device here; use device=cpu")
