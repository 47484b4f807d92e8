"""What `run.json` may say: the shape of every entry of a record, so that whoever has read one need not look again."""

from collections.abc import Mapping
from typing import Any

from bench.records.files import shown
from bench.records.shapes import (
    Shape,
    anything,
    listed,
    mapped,
    matching,
    misfit,
    name,
    number,
    optional,
    pair,
    plain,
    prose,
    section,
    whole,
)  # fmt: skip

_STATUSES = ("running", "done", "failed")  # of a block, and of a seed
_STATUS = matching("|".join(_STATUSES))
_HASH = matching("[0-9a-f]{8}")
_SEED = matching("0|[1-9][0-9]{0,9}")
_SETTING = matching("0|[1-9][0-9]{0,3}")
DESIGN = "design"  # entry of a block of a design of settings
_DESIGN = section(
    {
        "name": name,
        "stratum": name,
        "weight": number,
        "plan": mapped(anything),
        "settings": mapped(mapped(number), _SETTING),
    }
)
_POINT = section({"true_score": number, "cheating": number}, {"coef": number})
_EXACT = section({"learned": _POINT}, {"reference": _POINT, "optimum": listed(_POINT)})
_PAIR = pair(number)  # a metric from each half of the episodes
_OUTCOME = section(
    {"status": _STATUS},
    {
        **dict.fromkeys(("env_steps", "updates", "unused_budget"), optional(whole)),
        **dict.fromkeys(("largest_kl", "explained_variance", "drawdown"), optional(number)),
        "cause": optional(prose),
        "first_above_random": optional(whole),
        "halves": optional(mapped(_PAIR)),
    },
)
_ALWAYS: Mapping[str, Shape] = {"study": name, "task": name, "hash": _HASH, "factors": mapped(plain), "status": _STATUS}
_TRAINED: Mapping[str, Shape] = {  # what the record of a trained block has
    **_ALWAYS,
    "arm": name,
    "budget": whole,
    "score": section({"random": number, "reference": number}),
}
_MEASURED: Mapping[str, Shape] = {**_ALWAYS, "stage": name}  # what that of a measured stage has
_FURTHER: Mapping[str, Shape] = {  # what a record may have
    "checksums": mapped(matching("[0-9a-f]{64}"), matching(r"[a-z]+\.[a-z]+")),
    "command": optional(prose),
    "converted_from": whole,
    DESIGN: _DESIGN,
    "engine": optional(section({"name": name})),
    "exact_values": optional(mapped(_EXACT, _SEED)),
    "git": section({"commit": optional(name)}),
    "host": section({"id": name}),
    "kinds": mapped(section({"random": number, "reference": number})),
    "left_out": mapped(prose),
    "notes": mapped(plain),
    "overrides": listed(prose),
    "parameters": mapped(whole),
    "process": optional(name),
    "resumed": listed(mapped(anything)),
    "truth": name,
    "versions": mapped(name),
    **dict.fromkeys(("threads", "peak_memory_bytes"), whole),
    **dict.fromkeys(("wall_seconds", "cpu_seconds"), number),
    **dict.fromkeys(("seconds_per_update", "steps_per_second"), optional(number)),
    **dict.fromkeys(("seed_pool", "started", "finished"), name),
}


def wrong_with(record: Mapping[str, Any], *, measured: bool) -> str:
    """Return what is wrong with the entries of a record, of a `measured` or a trained block; empty where nothing is."""
    seeds = record.get("seeds")
    if not isinstance(seeds, dict):
        return f"'seeds' is {shown(seeds)}"
    if not seeds:
        return "it has no seeds"
    for seed, outcome in seeds.items():
        if not _SEED(seed) or not _OUTCOME(outcome):
            return f"seed {shown(seed)} is {ascii(outcome)[:200]}"
    return misfit(record, _MEASURED if measured else _TRAINED, _FURTHER)
