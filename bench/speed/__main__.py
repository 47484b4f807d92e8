"""The process a measurement gets to itself: `python -m bench.speed REQUEST`, called by `bench.speed.programs.spawn`."""

import sys

from bench.speed.programs import work

work(sys.argv[1])
