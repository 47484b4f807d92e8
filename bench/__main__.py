"""`python -m bench`, and the console script `policy-gradient-bench`."""

import sys

from bench.commands.main import main
from bench.interruption import let_go


def script() -> int:
    """Run the command line of this process and return its exit code."""
    code = main(sys.argv[1:])
    let_go()
    return code


if __name__ == "__main__":
    sys.exit(script())
