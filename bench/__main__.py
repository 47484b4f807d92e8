"""`python -m bench`, and the console script `policy-gradient-bench`."""

import sys

from bench.commands.main import main


def script() -> int:
    """Run the command line of this process and return its exit code."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(script())
