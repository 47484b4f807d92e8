"""The process that reads the runs of a W&B project: `python -m bench.records.pull_process`.

Its leader, `analysis.load.pull`, passes the project; see `bench.records.wandb_process`. It says how many runs there
are, then each of them as W&B has it, or why it could not be read.
"""

import concurrent.futures
import threading
from typing import Any

from bench.errors import first_line
from bench.records.wandb_process import Leader

PATIENCE = 0.5  # of the time that the leader waits without another run: how long one may take


def _read(run: Any) -> dict[str, Any]:
    """A run as W&B has it."""
    return {
        "name": run.id,
        "task": run.job_type or "",
        "arm": run.group or "",
        "config": dict(run.config),
        "summary": dict(run.summary),
        "history": [dict(row) for row in run.scan_history(use_cache=False)],
    }


def _within(seconds: float, run: Any) -> dict[str, Any]:
    """What is read of a run, or why it is not, after so many seconds at most: W&B's client itself waits for ever."""
    found: concurrent.futures.Future[dict[str, Any]] = concurrent.futures.Future()

    def read() -> None:
        try:
            found.set_result(_read(run))
        except Exception as error:  # whatever wandb raises
            found.set_exception(error)

    threading.Thread(target=read, daemon=True).start()
    try:
        return found.result(seconds)
    except concurrent.futures.TimeoutError:
        return {"name": run.id, "unread": f"no answer within {seconds:g} seconds"}
    except Exception as error:  # whatever wandb raises
        return {"name": run.id, "unread": " ".join(str(error).split()) or type(error).__name__}


def main() -> None:
    """Say what the project has."""
    leader = Leader()
    ((source, seconds),) = leader.orders
    try:
        import wandb

        runs = wandb.Api(timeout=max(1, int(seconds * PATIENCE))).runs(source, lazy=False)
        leader.say(total=len(runs))
        for run in runs:
            leader.say(run=_within(seconds * PATIENCE, run))
            if leader.gone.is_set():
                break
        leader.say(done=True)
    except Exception as error:  # no key, no connection; no such project: whatever wandb raises
        leader.say(trouble=first_line(error))
    leader.leave()


if __name__ == "__main__":
    main()
