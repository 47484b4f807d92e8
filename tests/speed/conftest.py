"""Results as processes would come to them, made by hand."""

from bench.speed.plan import Job, Result
from bench.speed.workload import Measurement, Workload


def took(seconds: float, env_steps: int = 1000, **further) -> Measurement:
    return Measurement(env_steps, seconds, **further)


def result(name: str, *measurements: Measurement, part: str = "workload", seeds: int = 1, process: float = 0) -> Result:
    return Result(Job(part, name, 0, (Workload(tuple(range(seeds)), 1000),)), measurements, process)


def cells(row: str) -> list[str]:
    """The entries of a row of a table."""
    return [cell.strip() for cell in row.strip("|").split("|")]
