"""The first screen's words: what a study asks, and what it answers in three sentences with numbers."""

from collections.abc import Sequence

import pandas as pd

from analysis.claims.effects import Effect
from analysis.load import Records, measures
from analysis.load.labels import WIDEST_LEVEL
from analysis.tables.final_scores import count_text
from analysis.tables.formats import interval_of, interval_text, number_text
from bench.config.names import bounded
from bench.verdicts.row import JudgedRow, in_order

MODE = "stochastic"  # what is trained; claims are judged on it
FACTORS = 2  # that a sentence each is about
LEVELS = 2  # of a factor in its sentence, those with the largest effects
TASKS = 4  # that sentences name
CALLED = {
    "advantage": "return target",
    "gae_lambda": "λ",
    "gamma": "γ",
    "update.epochs": "number of epochs",
    "group.size": "group's size",
    "reference.coef": "β",
    "update": "objective",
}
SYMBOLS = ("gae_lambda", "gamma", "reference.coef")
UNIT = (
    "Effects are differences of the normalised final score (0 random, 1 reference) over arms that differ in nothing "
    "else, paired by seed; their intervals hold all at once with a probability of 95 %."
)
_SAID = {"td0": "TD(0)", "nstep": "n-step", "gae": "GAE", "monte_carlo": "Monte Carlo", "none": "none"}


def question(records: Records, found: Sequence[Effect]) -> str:
    """What the study asks: what its factors change, and where; "" where no factor has several levels."""
    tasks = listed([str(task) for task in records.runs["task"].unique()][:TASKS])
    asked = []
    for factor in list(dict.fromkeys(each.factor for each in found))[:FACTORS]:
        mine = [each for each in found if each.factor == factor]
        levels = dict.fromkeys(level for each in mine for level in (each.against, each.level))
        few = [said(level) for level in levels][:6]
        the = "" if factor in SYMBOLS else "the "
        asked.append(f"{the}{called(factor)} ({', '.join(few)}{', …' if len(levels) > len(few) else ''})")
    if not asked:
        return ""
    return f"What does {asked[0]} change{''.join(f', and what {each}' for each in asked[1:])}, on {tasks}?"


def sentences(
    records: Records, estimates: pd.DataFrame, rows: Sequence[JudgedRow], found: Sequence[Effect]
) -> tuple[str, ...]:
    """The answer: who stands where, and what the factors did, or what became of claims where few factors vary."""
    told = sentences_of(found)
    claims = [_verdicts(rows)] if rows and len(told) < FACTORS else []
    return (_standing(records, estimates), *told, *claims)


def sentences_of(found: Sequence[Effect]) -> list[str]:
    """A sentence for each of the first factors: what its levels did beside one of them, and on which tasks."""
    factors = list(dict.fromkeys(each.factor for each in found))[:FACTORS]
    return [_factor_sentence([each for each in found if each.factor == factor]) for factor in factors]


def called(factor: str) -> str:
    """A factor's name in a sentence."""
    return CALLED.get(factor, factor.replace("_", " "))


def said(level: str) -> str:
    """A level in a sentence."""
    return _SAID.get(level, bounded(level, WIDEST_LEVEL).removesuffix(".0").replace("_", " "))


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])


def _factor_sentence(found: Sequence[Effect]) -> str:
    """What other levels of a factor change, beside one of them: the largest effects, the rest as a number."""
    sizes = pd.Series([abs(each.effect) for each in found]).groupby([each.level for each in found]).max()
    largest = [str(level) for level in sizes.sort_values(ascending=False).index][:LEVELS]
    parts = [_level([each for each in found if each.level == level]) for level in largest]
    further = len(sizes) - len(parts)
    more = f"; {further} more {'level' if further == 1 else 'levels'} below" if further > 0 else ""
    factor = found[0].factor
    name = called(factor) if factor in SYMBOLS else called(factor)[:1].upper() + called(factor)[1:]
    return f"{name}: {'; '.join(parts)}{more}."


def _level(found: Sequence[Effect]) -> str:
    """`TD(0) ends lower than GAE on cartpole (−0.16 [−0.29, −0.04]); no difference is shown on acrobot`."""
    told = []
    for way, sign in (("lower", -1), ("higher", 1)):
        clear = [f"{each.task} ({_signed(each)})" for each in found if each.is_clear and each.effect * sign > 0]
        told += [f"{way} than {said(found[0].against)} on {listed(clear[:TASKS])}"] if clear else []
    unclear = [each for each in found if not each.is_clear]
    if not told:
        shown = f" ({_signed(unclear[0])})" if len(unclear) == 1 else ""
        return (
            f"no difference is shown between {said(found[0].level)} and {said(found[0].against)} "
            f"on {listed([each.task for each in unclear][:TASKS])}{shown}"
        )
    alike = f", with no difference shown on {listed([each.task for each in unclear][:TASKS])}" if unclear else ""
    return f"{said(found[0].level)} ends {' and '.join(told)}{alike}"


def _signed(effect: Effect) -> str:
    """`−0.38 [−0.62, −0.14]`, of normalised scores."""
    sign = "+" if effect.effect > 0 else ""
    low, high = (number_text(each, 2 if abs(each) >= 0.005 else 3) for each in (effect.low, effect.high))
    return f"{sign}{number_text(effect.effect, 2)} [{low}, {high}]"


def _standing(records: Records, estimates: pd.DataFrame) -> str:
    """Which arm has the highest mean on each task, and what it is ahead of."""
    labels = [measure.label for measure in measures(records.runs)]
    places = {label: _place(label, estimates) for label in labels}
    told = [place for place in places.values() if place][:TASKS]
    unranked = [label for label, place in places.items() if not place]
    if not told:
        return f"No arms are ranked on {listed(unranked[:TASKS])}: none stands beside another that collects alike."
    further = len(labels) - len(unranked) - len(told)
    told += [f"no arms are ranked on {listed(unranked[:TASKS])}"] if unranked else []
    return f"Highest final score: {'; '.join(told)}{f'; {further} more below' if further > 0 else ''}."


def _place(label: str, estimates: pd.DataFrame) -> str:
    """Who is highest on a task; "" where several arms have scores and none of them is ranked."""
    rows = estimates[(estimates["task"] == label) & (estimates["mode"] == MODE)]
    scored, highest = rows[rows["n"] > 0], rows[rows["mark"] == "highest"]
    if scored.empty:
        return f"no run has a score on {label}"
    if highest.empty:
        if len(scored) > 1:
            return ""
        row = scored.iloc[0]
        return f"on {label} {row['arm']} with {interval_text(interval_of(row, 'mean'), 2)}, n={count_text(row)}"
    row = highest.iloc[0]
    ranked = int(rows["mark"].isin(["tied", "behind"]).sum())
    ahead = int((rows["mark"] == "behind").sum())
    score = f"{interval_text(interval_of(row, 'mean'), 2)}, n={count_text(row)}"
    return f"on {label} {row['arm']} with {score}, ahead of {ahead} of {ranked} other arms"


def _verdicts(rows: Sequence[JudgedRow]) -> str:
    found = [row.verdict for row in rows]
    counts = ", ".join(f"{found.count(word)} {word}" for word in in_order(found))
    return f"Of {len(found)} {'row' if len(found) == 1 else 'rows'} of claim and task: {counts}."
