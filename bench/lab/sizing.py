"""How many states and batches a policy needs, so that estimators are told apart as precisely as was asked for."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.errors import UserError
from bench.lab.plan import Plan
from bench.lab.rows import Row
from bench.lab.settings import Settings

# By level, the quantities whose differences must be known: those of the bias-variance plane, and of the cosines.
PANELS: Mapping[str, Sequence[str]] = {"advantage": ("relative_bias", "relative_variance"), "gradient": ("cosine",)}
CRITIC = "critic"
ROUNDING = 1e-9  # an error below it is none


@dataclass(frozen=True)
class Cost:
    """The environment steps that a state per time step and a batch cost.

    The truths have a budget of their own, and how many companions there are is a setting: neither counts.
    """

    per_anchor: float
    per_batch: float

    def of(self, anchors: float, batches: float) -> float:
        """Return the steps of a measurement of this size."""
        return self.per_anchor * anchors + self.per_batch * batches


def pilot(plan: Plan, settings: Settings) -> tuple[Plan, Settings] | None:
    """Return what is measured to learn the sizes: targets under the critic, in the least numbers of states and batches.

    None where there is no such target.
    """
    targets = [each for each in plan.variants if each.is_usual and each.arm.baseline.name == CRITIC]
    few = tuple(each for each in targets if each.critic == targets[0].critic)
    if not few:
        return None
    return replace(plan, variants=few, sizes=()), replace(settings, batch_multiples=(1,))


def reached(rows: Iterable[Row], level: str) -> float:
    """Return the largest standard error of the paired differences of a level's panel, as a share of the largest effect.

    A panel compares the targets under the critic. Of several quantities of a panel the worst; infinite where there
    is no effect, 0 where all is exact, NaN where shares are not known.
    """
    worst = 0.0
    found = [
        row for row in rows if row["level"] == level and row["difference"] is not None and row["baseline"] == CRITIC
    ]
    batch = min((row["episodes"] for row in found), default=None)
    for name in PANELS[level]:
        panel = [row for row in found if row["quantity"] == name and row["episodes"] == batch]
        finite = [row for row in panel if math.isfinite(row["difference"]) and math.isfinite(row["difference_error"])]
        if panel and not finite:
            return math.nan
        effect = max((abs(row["difference"]) for row in finite), default=0.0)
        error = max((row["difference_error"] for row in finite), default=0.0)
        if error > ROUNDING:
            worst = max(worst, error / effect if effect > 0 else math.inf)
    return worst


def chosen(settings: Settings, rows: Sequence[Row], cost: Cost, label: str) -> Settings:
    """Return the settings with as many states and batches as their precision needs, from the rows of a `pilot`.

    An error falls with the root of the number of observations.

    Raises:
        UserError: where that would cost more steps than `max_steps`, unless the settings report a shortfall: then it is
            as many as that allows.
    """
    assert settings.precision is not None
    shares = [reached(rows, level) / settings.precision for level in PANELS]
    factors = [share * share if share > 1 else 1.0 for share in shares]
    anchors, batches = settings.anchors * factors[0], settings.batches * factors[1]
    needed, most, step = cost.of(anchors, batches), settings.max_steps, max(settings.batch_multiples)
    if needed <= most:
        return replace(settings, anchors=math.ceil(anchors), batches=step * math.ceil(batches / step))
    if settings.shortfall == "refuse":
        known = f"about {needed:.2g}" if math.isfinite(needed) else "more than can be told"
        raise UserError(
            f"precision={settings.precision}: {label} needs {known} environment steps, and max_steps={most}; raise "
            f"max_steps or precision, or use shortfall=report, which goes as far as max_steps allows"
        )
    anchors, batches = _affordable(settings, cost, anchors, batches)
    return replace(settings, anchors=math.floor(anchors), batches=step * math.floor(batches / step))


def _affordable(settings: Settings, cost: Cost, anchors: float, batches: float) -> tuple[float, float]:
    """Return the sizes at which either half of what is left of `max_steps` goes to states and to batches.

    Neither is larger than it need be, nor smaller than it is at least.
    """
    left = settings.max_steps
    for_anchors = min(anchors * cost.per_anchor, max(left / 2, left - batches * cost.per_batch))
    more = for_anchors / cost.per_anchor if cost.per_anchor else anchors
    for_batches = left - for_anchors
    others = for_batches / cost.per_batch if cost.per_batch else batches
    return max(float(settings.anchors), min(anchors, more)), max(float(settings.batches), min(batches, others))
