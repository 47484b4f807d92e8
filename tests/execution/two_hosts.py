"""A process that trains a cell as another machine would: `python -m tests.execution.two_hosts HOST STALE_AFTER WORDS`.

Its host has another name, and it counts a process of another host as dead after STALE_AFTER seconds without a touch.
"""

import sys

import bench
from bench.execution import execute
from bench.records import lease, provenance, training


def main() -> None:
    host, stale_after, *words = sys.argv[1:]
    provenance._host_id = lambda: host
    lease.STALE_AFTER, lease.HEARTBEAT = float(stale_after), float(stale_after) / 4
    training.CHECKPOINT_SHARE = 1e9  # after every update
    print("begun", flush=True)
    print(execute.train_missing(bench.compose(words)), flush=True)


if __name__ == "__main__":
    main()
