"""`python -m analysis`, and the console script `policy-gradient-analysis`."""

import sys
from collections.abc import Sequence

from bench.interruption import let_go, run_command


def script() -> int:
    """Run the command line of this process and return its exit code."""
    code = run_command(_main, sys.argv[1:])
    let_go()
    return code


def _main(words: Sequence[str]) -> int:
    from analysis.cli import main  # pandas and Matplotlib take seconds, in which a signal may come

    return main(words)


if __name__ == "__main__":
    sys.exit(script())
