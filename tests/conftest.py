"""What all tests share."""

import gc

import torch

torch.set_num_threads(1)  # as in training: more threads only make these small products slower


def pytest_collection_finish() -> None:
    """Leave what importing and collecting made, most of all objects there will be, out of every garbage collection."""
    gc.freeze()
