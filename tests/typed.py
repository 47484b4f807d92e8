"""What a user is told about a command line."""

import pytest

import bench
from bench.errors import UserError


def told(words: list[str]) -> str:
    """The one line with which a cell is refused."""
    with pytest.raises(UserError) as refused:
        bench.compose(words)
    line = str(refused.value)
    assert line.isprintable()
    return line
