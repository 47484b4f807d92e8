"""`python -m analysis`, and the console script `policy-gradient-analysis`."""

import sys

from analysis.cli import main


def script() -> int:
    """Run the command line of this process and return its exit code."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(script())
