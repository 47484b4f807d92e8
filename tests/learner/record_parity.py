"""Record the learning curves of `study=parity` for `test_parity_curves.py`: 8 million steps, about an hour on one core.

From the repository's root:

    python -m bench study=parity
    python tests/learner/record_parity.py results

What the results lack stays as it was recorded: after a change of our learner, `algorithm=policy_gradient` is enough.

A curve is the mean return of a seed's evaluation episodes at each point of the grid, in the task's units.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from analysis import load

RECORD = Path(__file__).with_name("parity.json")


def main(results: str) -> None:
    records = load.read(["parity"], results)
    unfinished = records.runs[records.runs["status"] != "done"]
    if len(unfinished):
        raise SystemExit(f"not done: {unfinished[['task', 'arm', 'seed', 'status']].to_string(index=False)}")
    known = json.loads(RECORD.read_text())
    curves: dict[str, Any] = known["curves"]
    for (task, mode, arm), part in records.evaluations.groupby(["task", "mode", "arm"], sort=True, observed=True):
        wide = part.groupby(["seed", "step"])["return"].mean().unstack("step")
        entry = curves.setdefault(str(task), {"steps": [int(step) for step in wide.columns]})
        entry.setdefault(str(mode), {})[str(arm)] = np.round(wide.to_numpy(float), 3).tolist()
    made: dict[str, Any] = known["made"]
    for block in records.blocks:
        made[f"{block['task']} {block['arm']}"] = {
            "commit": block["git"]["commit"],
            "versions": block["versions"],
            "cpu": block["host"]["cpu"],
            "hash": block["hash"],
        }
    text = json.dumps({"made": made, "curves": curves}, indent=1)
    RECORD.write_text(_rows_on_one_line(text) + "\n")
    print(f"wrote {RECORD}")


def _rows_on_one_line(text: str) -> str:
    """Innermost lists on one line each: a line per seed reads and compares better than one per number."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        stripped = line.strip()
        lines[-1:] = (
            [lines[-1] + (" " if lines[-1].endswith(",") else "") + stripped] if inside else [*lines[-1:], line]
        )
        inside = line.endswith("[") or (inside and not stripped.startswith("]"))
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "results")
