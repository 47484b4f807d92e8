"""Small cells, trained by the fake learner."""

from tests.small_cells import cell, learner

__all__ = ["cell", "learner"]
