"""Which arms a claim is about, by their factors, and whether two arms differ in no more than it names."""

from collections.abc import Collection, Mapping
from typing import Any

# Arms that differ in these saw other data or other returns: a difference between them has more than one cause.
SHARED_FACTORS = ("algorithm", "collect", "truncation", "budget", "seed_pool")

Factors = Mapping[str, Any]


def selects(selector: Factors, factors: Factors) -> bool:
    """Whether an arm's factors have a selector's values: of a list, one of them; null stands for one it has not."""
    for name, value in selector.items():
        wanted = value if isinstance(value, list) else [value]
        level = factors.get(name)
        if not any(_same(level, each) for each in wanted):
            return False
    return True


def _same(level: Any, wanted: Any) -> bool:
    if isinstance(level, list | tuple | dict):  # as tables have them
        level = str(list(level) if isinstance(level, tuple) else level)
    return bool(level == wanted)


def not_comparable(factors: Factors, control: Factors, besides: Collection[str] = ()) -> str:
    """Why an arm is a reference line beside another, not comparable with it; "" where it is comparable.

    `besides` names factors that the comparison is about, which may therefore differ.
    """
    for name in SHARED_FACTORS:
        one, other = factors.get(name), control.get(name)
        if name not in besides and one is not None and other is not None and one != other:
            return f"reference line: {name}={one}, the control's is {other}"
    return ""


def confounded(factors: Factors, other: Factors, named: Collection[str]) -> str:
    """Why a difference between two arms has more than one cause; "" where it has only those that are named.

    A factor that one of the arms does not have (a critic's settings without a critic) comes with one that is named.
    """
    if reason := not_comparable(factors, other, named):
        return reason
    differing = [
        f"{name} ({factors[name]}, {other[name]})"
        for name in factors
        if name not in named and factors[name] is not None and other.get(name) is not None
        if factors[name] != other[name]
    ]
    return f"the arms also differ in {', '.join(differing)}" if differing else ""
