"""`python -m bench speed`: this suite and its peers, side by side."""

from collections.abc import Sequence

from bench.speed import command


def main(words: Sequence[str]) -> int:
    """Measure what the words ask for; the exit code. Raises `UserError`."""
    return command.main(words)
