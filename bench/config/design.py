"""A design of settings: how many, of what space, and which run of a block has which of them.

Settings are points of a scrambled Sobol sequence (Sobol 1967; Owen 1995), the same for all arms and tasks: an arm takes
those of the space's numbers that it reads. Structural keys do not vary within a block: their values are the strata,
each with a sequence of its own, so that the settings of two strata are independent draws.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.config.schema import RUNS_OF_SEED, Design
from bench.errors import UserError, unknown

KEYS = (  # the numbers of an arm that runs of one block may differ in
    "learning_rate", "critic.learning_rate", "clip_range", "ent_coef", "critic.vf_coef", "gamma", "gae_lambda",
    "critic.gae_lambda", "kl_coef", "kl_target", "reference.coef", "reference.target", "max_grad_norm",
    "critic.max_grad_norm", "group.temperature",
)  # fmt: skip
Values = Mapping[str, Any]  # key -> value: a setting

MOST_SETTINGS = 1000  # of a stratum; its place among the strata, times this, is the number of its first setting
MOST_STRATA = RUNS_OF_SEED // MOST_SETTINGS
ALL = "all"  # the stratum of a design without strata
DIGITS = 3  # of a drawn number: enough to tell settings apart, few enough to be copied by hand
KINDS = ("uniform", "log_uniform", "choice")


def run_number(setting: int, seed: int) -> int:
    """What stands where ordinary blocks have the seed: 10,000 times the seed, and the number of the setting."""
    return RUNS_OF_SEED * seed + setting


def setting_of(run: int) -> int:
    """The setting of a run: 1,000 times the place of its stratum, and its number among the stratum's settings."""
    return run % RUNS_OF_SEED


def seed_of(run: int) -> int:
    """The seed that the random streams of a run are those of."""
    return run // RUNS_OF_SEED


@dataclass(frozen=True)
class Distribution:
    """Of one key: `uniform` or `log_uniform` between two bounds, or one of the options of a `choice`."""

    kind: str
    arguments: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """The quantile of `share` in [0, 1)."""
        if self.kind == "choice":
            return self.arguments[int(share * len(self.arguments))]
        low, high = self.arguments
        if self.kind == "log_uniform":
            return self._rounded(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
        return self._rounded(low + share * (high - low))

    def _rounded(self, value: float) -> float:
        """To `DIGITS` significant digits, inside the bounds."""
        low, high = self.arguments
        return float(min(max(float(f"{value:.{DIGITS}g}"), low), high))

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Its bounds, or all its options: where these are legal, everything between them is."""
        return self.arguments

    @property
    def written(self) -> dict[str, list[Any]]:
        """As YAML has it."""
        return {self.kind: list(self.arguments)}

    def __str__(self) -> str:
        return f"{self.kind} [{', '.join(f'{each:g}' for each in self.arguments)}]"


def distributions(design: Design) -> dict[str, Distribution]:
    """The distribution of every key, sorted by key. Raises `UserError` where the section says anything else."""
    if not design.space:
        raise UserError(f"design {design.name}: design.space is empty; name at least one key and its distribution")
    return {key: _distribution(design.space[key], f"design.space.{key}") for key in sorted(design.space)}


def _distribution(given: Any, where: str) -> Distribution:
    if not isinstance(given, Mapping) or len(given) != 1:
        raise UserError(f"{where}={given}: write one of {', '.join(f'{kind}: [...]' for kind in KINDS)}")
    ((kind, arguments),) = given.items()
    if kind not in KINDS:
        raise unknown(f"distribution of {where}", str(kind), KINDS)
    if not isinstance(arguments, Sequence) or isinstance(arguments, str) or not arguments:
        raise UserError(f"{where}.{kind}={arguments}: must be a list of numbers")
    numbers = [float(each) for each in arguments if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) != len(arguments) or not all(map(math.isfinite, numbers)):
        raise UserError(f"{where}.{kind}={list(arguments)}: must be a list of finite numbers")
    if kind == "choice":
        if len(set(numbers)) < max(2, len(numbers)):
            raise UserError(f"{where}.choice={list(arguments)}: must be at least two numbers, each named once")
        return Distribution(kind, tuple(numbers))
    least = 0.0 if kind == "log_uniform" else -math.inf
    if len(numbers) != 2 or not least < numbers[0] < numbers[1]:
        positive = ", above 0" if kind == "log_uniform" else ""
        raise UserError(f"{where}.{kind}={list(arguments)}: must be two rising numbers{positive}")
    return Distribution(kind, tuple(numbers))


@dataclass(frozen=True)
class Stratum:
    """One structure that arms are given: its place among the strata, its weight in means over the space, its keys."""

    name: str
    place: int
    weight: float
    keys: Mapping[str, Any]

    def settings(self, count: int) -> range:
        """The numbers of its first settings."""
        first = MOST_SETTINGS * self.place
        return range(first, first + count)


def strata(design: Design) -> list[Stratum]:
    """The strata of a design in their order; one without keys where it names none. Raises `UserError`."""
    given = design.strata or {ALL: {}}
    if len(given) > MOST_STRATA:
        raise UserError(f"design {design.name}: {len(given)} strata; at most {MOST_STRATA} are allowed")
    return [_stratum(name, place, section) for place, (name, section) in enumerate(given.items())]


def _stratum(name: str, place: int, section: Any) -> Stratum:
    where = f"design.strata.{name}"
    if not isinstance(section, Mapping):
        raise UserError(f"{where}={section}: write {{weight: 1, keys: {{KEY: VALUE}}}}")
    for key in section.keys() - {"weight", "keys"}:
        raise unknown(f"key of {where}", str(key), ("weight", "keys"))
    weight, keys = section.get("weight", 1.0), section.get("keys", {})
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight < math.inf:
        raise UserError(f"{where}.weight={weight}: must be a number greater than 0")
    if not isinstance(keys, Mapping):
        raise UserError(f"{where}.keys={keys}: must be a mapping of keys to values")
    return Stratum(str(name), place, float(weight), keys)


def in_stratum(design: Design, stratum: Stratum, values: Mapping[int, Values]) -> Design:
    """The design as a cell of one stratum has it, with the numbers that its arm takes from each setting."""
    written = {key: each.written for key, each in distributions(design).items()}
    own = {str(setting): dict(own) for setting, own in values.items()}
    return dataclasses.replace(design, space=written, stratum=stratum.name, place=stratum.place, drawn=own)


def points(design: Design, stratum: Stratum) -> dict[int, dict[str, Any]]:
    """The settings of a stratum by their numbers: the value of every key of the space.

    Raises:
        UserError: where two of them are the same.
    """
    space = distributions(design)
    shares = _sobol(design.settings, len(space), (design.scramble, stratum.place))
    found = {
        setting: {key: each.at(share) for (key, each), share in zip(space.items(), row, strict=True)}
        for setting, row in zip(stratum.settings(design.settings), shares, strict=True)
    }
    different = len({tuple(values.values()) for values in found.values()})
    if different < len(found):
        raise UserError(
            f"design.settings={design.settings}: only {different} of them differ to {DIGITS} digits; use fewer "
            f"settings, or a larger space"
        )
    return found


def _sobol(count: int, dimensions: int, scramble: Iterable[int]) -> list[list[float]]:
    """The first points of a scrambled Sobol sequence, (count, dimensions), in [0, 1)."""
    import numpy as np
    from scipy.stats import qmc  # takes a second

    engine = qmc.Sobol(dimensions, scramble=True, seed=np.random.default_rng(list(scramble)))
    # Whole powers of two are what the sequence is balanced in; fewer of their points are the same points.
    shares: list[list[float]] = engine.random_base2(max(0, (count - 1).bit_length()))[:count].tolist()
    return shares


def identity(design: Design) -> dict[str, Any]:
    """What of a design makes a cell another one: all that the values of a setting follow from."""
    if design.stratum is None:
        return dataclasses.asdict(design)
    return {"scramble": design.scramble, "place": design.place, "space": dict(design.space)}


def plan_of(design: Design) -> dict[str, Any]:
    """What a study keeps of a design: everything that must stay, and how many settings there are."""
    return {
        "name": design.name,
        "settings": design.settings,
        "judged": design.judged,
        "scramble": design.scramble,
        "space": {key: each.written for key, each in distributions(design).items()},
        "strata": {each.name: {"weight": each.weight, "keys": dict(each.keys)} for each in strata(design)},
    }


def changed(planned: Mapping[str, Any], design: Mapping[str, Any]) -> str:
    """What of a design is not what was planned, in words; empty where only the number of settings is another one."""
    for key in ("scramble", "space", "strata"):
        before, now = planned.get(key), design[key]
        if before == now and (not isinstance(now, Mapping) or list(before) == list(now)):  # strata have places
            continue
        if not isinstance(before, Mapping) or not isinstance(now, Mapping):
            return f"{key} was {before} and is {now}"
        for name in [*before, *now]:
            if before.get(name) != now.get(name):
                return f"{key}.{name} was {before.get(name, 'not there')} and is {now.get(name, 'not there')}"
        return f"the order of its {key} was {', '.join(before)} and is {', '.join(now)}"
    return ""


def of_block(design: Design, runs: Iterable[int]) -> dict[str, Any]:
    """What a record says of the design that its runs belong to: the plan, their stratum, the numbers of settings."""
    settings = dict.fromkeys(str(setting_of(run)) for run in runs)
    weight = next(each.weight for each in strata(design) if each.name == design.stratum)
    values = {setting: dict(design.drawn[setting]) for setting in settings}
    common = {"name": design.name, "stratum": design.stratum, "weight": weight, "plan": plan_of(design)}
    return {**common, "settings": values}
