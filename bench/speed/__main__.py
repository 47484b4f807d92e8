"""The process a measurement gets to itself: `python -m bench.speed REQUEST`, called by `bench.speed.programs.spawn`."""

import dataclasses
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable

from bench.speed.programs import PROGRAMS
from bench.speed.workload import Measurement, Workload


def work(request: str) -> None:
    """Measure, and print the measurements as the last line."""
    data = json.loads(request)
    if data["core"] is not None:
        os.sched_setaffinity(0, {data["core"]})
    module, _, function = PROGRAMS[data["program"]].measure.partition(".")
    # Only the libraries of this program: importing them is a part of what is measured.
    measure = getattr(importlib.import_module(f"bench.speed.{module}"), function)
    results = [_measure(measure, Workload(**{**given, "seeds": tuple(given["seeds"])})) for given in data["workloads"]]
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps([dataclasses.asdict(dataclasses.replace(result, peak_memory=memory)) for result in results]))


def _measure(measure: Callable[[Workload], Measurement], workload: Workload) -> Measurement:
    wall, cpu = time.perf_counter(), time.process_time()
    measured = measure(workload)
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    return dataclasses.replace(measured, cpu_share=share)


work(sys.argv[1])
