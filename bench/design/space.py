"""Which settings are tried: draws from the distributions of `study.tuning.space`, the same on each call.

Random draws are common to all arms and tasks, so that arms differ in what they are and not in what they were given; an
arm takes those of the keys it reads. Optuna begins with the same draws and then proposes from the scores of the arm's
own earlier settings.
"""

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.config.schema import Tuning
from bench.errors import UserError, unknown

Values = Mapping[str, Any]  # key -> value: a setting
DIGITS = 3  # of a drawn number: enough to tell settings apart, few enough to be copied by hand
_KINDS = ("uniform", "log_uniform", "choice")
_PHASES = ("seeds", "seed_pool", "name")  # keys that tuning sets itself


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
            return self.rounded(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
        return self.rounded(low + share * (high - low))

    def rounded(self, value: float) -> float:
        """To `DIGITS` significant digits, inside the bounds."""
        low, high = map(float, self.arguments)
        return min(max(float(f"{value:.{DIGITS}g}"), low), high)

    def __str__(self) -> str:
        return f"{self.kind} [{', '.join(map(str, self.arguments))}]"


def space(tuning: Tuning, study: str) -> dict[str, Distribution]:
    """The distribution of every key that is tuned. Raises `UserError` where the section says anything else."""
    where = f"study {study}: study.tuning"
    for key in ("settings", "seeds", "startup"):
        if getattr(tuning, key) < 1:
            raise UserError(f"{where}.{key}={getattr(tuning, key)}: must be at least 1")
    if not tuning.space:
        raise UserError(f"{where}.space: name at least one key and its distribution")
    return {key: _distribution(given, f"{where}.space.{key}", key) for key, given in tuning.space.items()}


def _distribution(given: Any, where: str, key: str) -> Distribution:
    if key in _PHASES:
        raise UserError(f"{where}: tuning sets {key} itself")
    if not isinstance(given, Mapping) or len(given) != 1:
        raise UserError(f"{where}={given}: write one of {', '.join(f'{kind}: [...]' for kind in _KINDS)}")
    ((kind, arguments),) = given.items()
    if kind not in _KINDS:
        raise unknown(f"distribution of {where}", kind, _KINDS)
    if not isinstance(arguments, Sequence) or isinstance(arguments, str) or not arguments:
        raise UserError(f"{where}.{kind}={arguments}: must be a list")
    if kind == "choice":
        return Distribution(kind, tuple(arguments))
    numbers = [float(each) for each in arguments if isinstance(each, int | float) and not isinstance(each, bool)]
    least = 0.0 if kind == "log_uniform" else -math.inf
    if len(numbers) != len(arguments) or len(numbers) != 2 or not least < numbers[0] < numbers[1] < math.inf:
        positive = ", above 0" if kind == "log_uniform" else ""
        raise UserError(f"{where}.{kind}={list(arguments)}: must be two rising numbers{positive}")
    return Distribution(kind, tuple(numbers))


def draw(tuning: Tuning, space: Mapping[str, Distribution], number: int) -> dict[str, Any]:
    """The `number`-th random setting: it depends on the design's seed and each key's name, and on nothing else.

    More settings leave the first ones as they are, and another key leaves the draws of the others.
    """
    return {key: each.at(_share(tuning.design, key, number)) for key, each in space.items()}


def _share(design: int, *names: object) -> float:
    """A uniform number in [0, 1)."""
    return float(np.random.Generator(np.random.PCG64(_sequence(design, *names))).random())


def _sequence(design: int, *names: object) -> np.random.SeedSequence:
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return np.random.SeedSequence([design, *np.frombuffer(digest, np.uint32).tolist()])


def suggest(
    tuning: Tuning, space: Mapping[str, Distribution], tried: Sequence[tuple[Values, float]], number: int
) -> dict[str, Any]:
    """Optuna's `number`-th setting (TPE) of an arm, from those `tried` before; a NaN score is a failure.

    A function of its arguments: Optuna keeps nothing between two calls, so records on disk are all there is to resume.

    Raises:
        UserError: where Optuna is not installed.
    """
    optuna = _optuna()
    kinds = {
        key: optuna.distributions.CategoricalDistribution(each.arguments)
        if each.kind == "choice"
        else optuna.distributions.FloatDistribution(*each.arguments, log=each.kind == "log_uniform")
        for key, each in space.items()
    }
    seed = int(_sequence(tuning.design, "optuna", number).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=tuning.startup, multivariate=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    states = optuna.trial.TrialState
    for values, score in tried:
        outcome = {"state": states.FAIL} if math.isnan(score) else {"value": score}
        study.add_trial(optuna.trial.create_trial(params=dict(values), distributions=kinds, **outcome))
    found = study.ask(kinds).params
    return {key: value if space[key].kind == "choice" else space[key].rounded(value) for key, value in found.items()}


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UserError(
            "study.tuning.sampler=optuna needs a package more: pip install 'policy-gradient-bench[tuning]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
