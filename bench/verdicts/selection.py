"""Which arms a claim is about, by their factors, and whether two arms differ in no more than it names."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from bench.verdicts.hypotheses import CONSTANT, Claim

POOL = "seed_pool"  # the key of a cell and of a claim
MAIN: Final = "main"  # the usual pool of seeds
# Arms that differ in these saw other data or other returns: a difference between them has more than one cause.
SHARED_FACTORS = ("algorithm", "collect", "truncation", "budget", "seed_pool")

Factors = Mapping[str, Any]


class HasFactors(Protocol):
    """An arm on a task: what it is called, and its factors."""

    @property
    def label(self) -> str:
        """What no other arm of its task is called."""

    @property
    def factors(self) -> Factors:
        """The values of its factors, and its `name`."""


A = TypeVar("A", bound=HasFactors)


def chosen(claim: Claim, arms: Sequence[A]) -> list[A] | str:
    """The arms of one task that a claim is about, one or two; why there are none where its selectors do not fit so."""
    pools = dict.fromkeys(arm.factors.get(POOL, MAIN) for arm in arms)
    if arms and claim.seed_pool not in pools:
        return f"no runs on {POOL}={claim.seed_pool}, which judges it (these are on {', '.join(pools)})"
    of_pool = [arm for arm in arms if arm.factors.get(POOL, MAIN) == claim.seed_pool]
    mine = [arm for arm in of_pool if selects(claim.among, arm.factors)]
    selectors = [selector for selector in (claim.arm, claim.against) if CONSTANT not in selector]
    found = [(_text(selector), [arm for arm in mine if selects(selector, arm.factors)]) for selector in selectors]
    if absent := [f"{text}: {_why_missing(own)}" for text, own in found if len(own) != 1]:
        return "; ".join(absent)
    both = [own[0] for _, own in found]
    if len(both) == 2 and both[0].label == both[1].label:
        return f"{' and '.join(text for text, _ in found)} are one arm, {both[0].label}"
    named = {*claim.arm, *claim.against, "name"}
    if len(both) == 2 and (reason := confounded(both[0].factors, both[1].factors, named)):
        return reason
    return both


def _text(selector: Factors) -> str:
    return ", ".join(f"{factor}={value}" for factor, value in selector.items())


def _why_missing(found: Sequence[HasFactors]) -> str:
    return f"several arms ({', '.join(arm.label for arm in found)})" if found else "not run"


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
