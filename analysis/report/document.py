"""What a report says, in order; `analysis.report.page` and `markdown` below decide how it looks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from analysis.claims import comparisons
from analysis.claims.comparisons import Compared
from analysis.claims.effects import Effect
from analysis.claims.metrics import run_metrics
from analysis.claims.verdicts import Judged, judge
from analysis.figures.gallery import Material
from analysis.load import MODES, STATUSES, Records, measures
from analysis.report import answer
from analysis.tables import formats, references
from analysis.tables.comparisons import claims_table, control_table
from analysis.tables.costs import cost_table, costs_of_runs, critic_table
from analysis.tables.final_scores import aggregate_table, comparison_table, count_text
from analysis.tables.formats import Table, interval_text
from analysis.tables.learning import closing_table, learning_table
from bench.config.names import bounded
from bench.errors import shortened
from bench.verdicts.hypotheses import ClaimsFile
from bench.verdicts.judge import ALPHA
from bench.verdicts.row import JudgedRow, in_order

NAMED_TIES = 4  # in a sentence; the table of final scores marks them all
LONGEST = 1000  # letters of what a record says in its own words
MOST_TROUBLES = 200  # runs of a kind that are named: of thousands, runs.csv has the others
MODE = "stochastic"  # what is trained; claims are judged on it
RANKS = (
    "Whether an arm is ahead is said by intervals of paired differences, with a family-wise error of at most "
    f"{ALPHA:.0%} over all pairs of arms of all tasks and modes."
)
# Second views of what other figures show: large, so `report.md` names them, the page alone shows them, and
# `results/.gitignore` leaves them out.
FIRST_FIGURES = ("learning_curves_stochastic", "forest")  # on the first screen
SECOND_VIEWS = (
    *(f"{name}_{mode}" for name in ("learning_curves", "final_scores") for mode in MODES if mode != MODE),
    "learning_curves_by_time",
    "spaghetti",
)


@dataclass(frozen=True)
class Part:
    """A heading with what follows it: sentences, a list, tables, figures by name.

    Attributes:
        small: sentences that explain, in small type.
        folded: whether a page shows it when its heading is clicked, and does not print it.
        of_page: whether the page alone shows it, and `report.md` says only that it is there.
    """

    heading: str
    sentences: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[str, ...] = ()
    small: tuple[str, ...] = ()
    folded: bool = False
    of_page: bool = False

    @property
    def anchor(self) -> str:
        """Its heading as the target of a link, as GitHub makes it of a heading in Markdown."""
        return re.sub(r"[^\w\- ]", "", self.heading.lower()).replace(" ", "-")


@dataclass(frozen=True)
class Verdicts:
    """What was judged: by claims file, the claims that the studies read can decide; and the arms beside the control.

    `undecided` are the claims of files of which these studies can decide none, since they have fewer seeds than asked.
    """

    claims: tuple[tuple[ClaimsFile, tuple[Judged, ...]], ...]
    compared: tuple[Compared, ...]
    undecided: tuple[Judged, ...] = ()

    @classmethod
    def of(cls, records: Records, claims_files: Sequence[ClaimsFile], everything: Records | None = None) -> "Verdicts":
        """What these studies give.

        Args:
            records: whose arms are held against the control.
            claims_files: whose claims are judged.
            everything: the runs of all pools of seeds, which claims choose from; None where `records` has them.
        """
        found = []
        for file in claims_files:
            judged = judge(file, records)
            if everything is not None and everything is not records:
                judged = _completed(judged, judge(file, everything))
            found.append((file, tuple(each for each in judged if _is_relevant(each, records))))
        compared = comparisons.against_control(records) if len(records.runs) else []
        telling = tuple((file, judged) for file, judged in found if not _cannot_decide(judged))
        others = [claim for _, judged in found if _cannot_decide(judged) for claim in judged]
        return cls(telling, tuple(compared), tuple(others))

    @property
    def judged(self) -> list[Judged]:
        """The claims of all files."""
        return [claim for _, found in self.claims for claim in found]

    @property
    def rows(self) -> list[JudgedRow]:
        """The rows of all claims."""
        return [row for claim in self.judged for row in claim.rows]

    @property
    def families(self) -> dict[str, list[JudgedRow]]:
        """The rows by the title of their claims file; those of arms beside the control where there is no claim."""
        if self.claims:
            return {file.title: [row for claim in found for row in claim.rows] for file, found in self.claims}
        return {"Beside the control": [each.row for each in self.compared]} if self.compared else {}


@dataclass(frozen=True)
class Document:
    """A report: its title, its parts, the answer first, and what stands below its figures, by name."""

    title: str
    parts: tuple[Part, ...]
    captions: Mapping[str, str] = field(default_factory=dict)

    @property
    def answer(self) -> tuple[str, ...]:
        """What it comes to, in sentences."""
        first = self.parts[0]
        return (*first.small[:1], *first.sentences, *first.items)

    def after(self, heading: str, parts: Sequence[Part]) -> "Document":
        """With further parts behind the one of this heading."""
        place = [part.heading for part in self.parts].index(heading) + 1
        return replace(self, parts=(*self.parts[:place], *parts, *self.parts[place:]))


def _cannot_decide(judged: Sequence[Judged]) -> bool:
    """Whether every row has fewer pairs than its claim asks for, or none at all."""
    return all(row.pairs < row.asked for claim in judged for row in claim.rows if len(row.looks) < 2)


def compose(
    records: Records,
    estimates: pd.DataFrame,
    material: Material,
    verdicts: Verdicts,
    found: Sequence[Effect],
    figures: Sequence[str],
    too_large: Sequence[str],
) -> Document:
    """The report of a study.

    Args:
        records: the study.
        estimates: of the final scores of all its arms.
        material: the arms that are shown.
        verdicts: what was judged.
        found: what its factors do.
        figures: names of the figures there are.
        too_large: names of figures with too many panels for a report.
    """
    chosen = material.records
    metrics = run_metrics(chosen)
    aggregates, costs = aggregate_table(chosen.runs), costs_of_runs(chosen.runs)
    scores = comparison_table(material.estimates, note=material.note)
    first = tuple(name for name in FIRST_FIGURES if name in figures)
    others = tuple(name for name in figures if name not in (*first, *SECOND_VIEWS))
    second = tuple(name for name in figures if name in SECOND_VIEWS)
    how = how_measured(records)
    ranks = (RANKS,) if (estimates["mark"] != "").any() else ()
    standing = tuple(_standing(measure.label, material.estimates) for measure in measures(chosen.runs))
    parts = [
        _answer(records, estimates, material, verdicts, found, first),
        *_claims(verdicts, records),
        Part("Final scores", how, standing, (scores, *_present(aggregates)), small=ranks),
        *_control(verdicts, material),
        *_closing(material, metrics, costs),
        *_referenced(chosen),
        Part("Speed and stability", tables=(learning_table(metrics),)),
        *([Part("More figures", figures=others)] if others else []),
        *([Part("Second views", _on_demand(records.name, too_large), figures=second, folded=True)] if second else []),
        *_troubles(records),
        Part("Cost", tables=(cost_table(costs), *_present(critic_table(chosen.runs))), folded=True),
        Part("How it was made", items=tuple(_provenance(records)), folded=True),
    ]
    if not records.laboratory.empty:  # it is about estimators, and what they train to is in the closing table
        aside = ("TD, GAE and Monte Carlo", "Final scores", f"Against {records.control}", "Speed and stability", "Cost")
        parts = [replace(part, of_page=part.heading in aside) for part in parts]
    return Document(records.title, tuple(parts))


def _present(*found: Table | None) -> tuple[Table, ...]:
    """The tables there are."""
    return tuple(table for table in found if table is not None)


def _answer(
    records: Records,
    estimates: pd.DataFrame,
    material: Material,
    verdicts: Verdicts,
    found: Sequence[Effect],
    first: tuple[str, ...],
) -> Part:
    """The question, the answer in three sentences, how many runs there are, and the figures that show it."""
    question = answer.question(material.records, found)
    told = answer.sentences(material.records, estimates, verdicts.rows, found)
    csv_files = ["comparison.csv", *(["control.csv"] if verdicts.compared else []), "costs.csv", "runs.csv"]
    left_out = f"Tables and figures show {material.note}; every arm is in {answer.listed(csv_files)}."
    runs = [summary(records.runs), *([left_out] if material.note else [])]
    undecided = [_undecided(verdicts.undecided)] if verdicts.undecided else []
    small = (" ".join([*runs, *undecided]), *([answer.UNIT] if found else []))
    return Part("In short", ((question,) if question else ()) + told, figures=first, small=small)


def _undecided(claims: Sequence[Judged]) -> str:
    """One line for all claims that a study has too few seeds for."""
    rows = [row for claim in claims for row in claim.rows]
    pairs, asked = max(row.pairs for row in rows), max(row.asked for row in rows)
    planned = ", ".join(dict.fromkeys(f"study={claim.claim.studies[0]}" for claim in claims))
    return (
        f"It cannot decide the {_count(len(claims), 'claim')} that {'is' if len(claims) == 1 else 'are'} about its "
        f"arms, with {pairs} of the {asked} seeds asked for: {planned} can."
    )


def how_measured(records: Records) -> tuple[str, ...]:
    """Whether scores are exact or means of episodes; nothing where no run has exact returns."""
    if not records.exact | records.partly_exact:
        return ()
    episodes = sorted({int(number) for number in records.evaluations["episodes"].unique()} - {0})
    of_episodes = f"means of {answer.listed([str(number) for number in episodes])} episodes"
    said = []
    exact, partly = (answer.listed(sorted(tasks)) for tasks in (records.exact, records.partly_exact))
    if records.exact:
        others = f"; elsewhere, {of_episodes}" if set(records.runs["task"]) - records.exact else ""
        said.append(
            f"Scores on {exact} are exact: the expected return of each policy, without noise of evaluations{others}."
        )
    if records.partly_exact:
        said.append(f"Only some blocks of {partly} have exact returns, so their scores are {of_episodes}.")
    return tuple(said)


def _verdicts(verdicts: Verdicts) -> list[str]:
    """How often each verdict was given, over the rows of claims."""
    found = [row.verdict for row in verdicts.rows]
    counts = ", ".join(f"{found.count(word)} {word}" for word in in_order(found))
    claims = f"{_count(len(verdicts.judged), 'claim')} in {_count(len(found), 'row')} of claim and task"
    return [f"Claims: {claims}: {counts}."] if found else []


def _standing(task: str, estimates: pd.DataFrame) -> str:
    """Which arm has the highest mean on a task, and what it is ahead of; no rank where seeds are too few for one."""
    rows = estimates[(estimates["task"] == task) & (estimates["mode"] == MODE)]
    scored = rows[rows["n"] > 0]
    if scored.empty:
        return f"{task}: no run has a score."
    highest = rows[rows["mark"] == "highest"]
    row = scored.iloc[0] if highest.empty else highest.iloc[0]
    score = f"{interval_text(formats.interval_of(row, 'mean'), 2)}, n={count_text(row)}"
    if highest.empty and len(scored) == 1:
        return f"{task}: {row['arm']} has {score}{_apart(rows)}."
    if highest.empty:
        return f"{task}: {_count(len(scored), 'arm')} with a score and no rank: it takes two arms with two seeds each."
    return f"{task}: {row['arm']} has the highest mean, {score}; {_beside(rows)}{_apart(rows)}."


def _beside(rows: pd.DataFrame) -> str:
    """How the arm with the highest mean of a task stands to the others that have a rank."""
    tied, behind = (rows.loc[rows["mark"] == mark, "arm"] for mark in ("tied", "behind"))
    if tied.empty:
        return "ahead of every other arm" + (" that has a rank" if (rows["mark"] == "").any() else "")
    further = len(tied) - NAMED_TIES
    said = "not told apart from " + ", ".join(tied[:NAMED_TIES]) + (f" and {further} more" if further > 0 else "")
    return said if behind.empty else f"{said}; ahead of {_count(len(behind), 'other arm')}"


def _apart(rows: pd.DataFrame) -> str:
    """How many arms have no run to be compared, or a single one."""
    without, single = int((rows["n"] == 0).sum()), int((rows["n"] == 1).sum())
    said = f"; {_count(without, 'arm')} without a score" if without else ""
    return said + (f"; {_count(single, 'arm')} with one seed" if single and len(rows) > 1 else "")


def summary(runs: pd.DataFrame) -> str:
    """One sentence: how many runs there are of how many planned, and what became of the others."""
    counts = runs["status"].value_counts()
    others = [f"{counts[status]} {status}" for status in STATUSES if status != "done" and status in counts]
    missing = f" ({', '.join(others)})" if others else ""
    arms, tasks = runs["arm"].nunique(), [str(task) for task in runs["task"].unique()]
    return (
        f"{counts.get('done', 0)} of {len(runs)} runs are done{missing}: {_count(arms, 'arm')} on "
        f"{_count(len(tasks), 'task')} ({', '.join(tasks)})."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _claims(verdicts: Verdicts, records: Records) -> list[Part]:
    """A table per claims file that this study says anything about."""
    if not verdicts.claims:
        return []
    sentences = [f"{file.path.name}: {_origin(file, found)}." for file, found in verdicts.claims]
    tables = tuple(claims_table(found, file.title) for file, found in verdicts.claims)
    return [Part("Claims", (*sentences, *how_measured(records)), tables=tables)]


def _completed(judged: Sequence[Judged], others: Sequence[Judged]) -> list[Judged]:
    """Claims with the rows of other runs for the tasks of which these runs say nothing."""
    known = {(claim.name, row.task): row for claim in judged for row in claim.rows if row.word is not None}
    return [
        Judged(other.name, other.claim, tuple(known.get((other.name, row.task), row) for row in other.rows))
        for other in others
    ]


def _is_relevant(judged: Judged, records: Records) -> bool:
    """Whether a claim was planned for a study read here, or something can be said about it all the same."""
    planned = judged.claim.studies[0] in records.name.split("+")
    return planned or any(row.word is not None for row in judged.rows)


def _origin(file: ClaimsFile, judged: Sequence[Judged]) -> str:
    """The commit of a claims file, how many rows its family has, and how many of those judged were planned."""
    rows = [row for claim in judged for row in claim.rows if row.word is not None]
    commit = f"commit {file.commit[:12]}" if file.commit else "no commit of it is known"
    family = f"a family of {_count(file.rows, 'row')}"
    told = {"": "at an unknown time, so they may have been written after the runs"}
    counts = [
        f"{sum(row.planned == kind for row in rows)} {told.get(kind, kind)}"
        for kind in dict.fromkeys(row.planned for row in rows)
    ]
    further = sum(len(claim.tasks) for claim in file.claims.values()) - sum(len(claim.rows) for claim in judged)
    absent = [f"{_count(further, 'row')} not of this study"] if further else []
    return "; ".join([commit, family, *([f"of {len(rows)} judged here, {', '.join(counts)}"] if rows else []), *absent])


def _closing(material: Material, metrics: pd.DataFrame, costs: pd.DataFrame) -> list[Part]:
    found = closing_table(metrics, material.estimates, costs, material.records.laboratory.means)
    return [Part("TD, GAE and Monte Carlo", tables=(found,))] if found else []


def _referenced(records: Records) -> list[Part]:
    """Arms of a world that can be solved beside the best their reference allows."""
    found = references.table(references.exact_values(records))
    return [Part("Held to a reference", tables=(found,))] if found else []


def compose_laboratory(records: Records, verdicts: Verdicts, measured: Sequence[Part]) -> Document:
    """The report of a study that measured estimators and trained nothing: `measured` is what it found."""
    found = records.laboratory
    stages = f"{_count(len(found.notes), 'stage')} of training measured on {_count(len(found.tasks), 'task')}"
    parts = [
        Part("In short", (f"{stages} ({', '.join(found.tasks)}).",), tuple(_verdicts(verdicts))),
        *_claims(verdicts, records),
        *measured,
        *_troubles(records),
        Part("How it was made", items=tuple(_provenance(records))),
    ]
    return Document(records.title, tuple(parts))


def compose_designs(records: Records, readings: Sequence[Part], figures: Sequence[str]) -> Document:
    """The report of a study with designs of settings: `readings` are what each is read for."""
    own = f"Own numbers: {summary(records.runs)}"
    parts = [
        *readings,
        Part("Figures", figures=tuple(figures)),
        *_troubles(records),
        Part("How it was made", (own,) if len(records.runs) else (), items=tuple(_provenance(records))),
    ]
    return Document(records.title, tuple(parts))


def of_control(verdicts: Verdicts, material: Material) -> Table | None:
    """The arms that are shown beside the control; None where none is held against one."""
    shown = [each for each in verdicts.compared if each.row.arm in material.styles]
    return control_table(shown, str(material.records.control), material.note) if shown else None


def _control(verdicts: Verdicts, material: Material) -> list[Part]:
    table = of_control(verdicts, material)
    return [] if table is None else [Part(f"Against {material.records.control}", tables=(table,))]


def _on_demand(study: str, too_large: Sequence[str]) -> tuple[str, ...]:
    if not too_large:
        return ()
    return (f"Too many panels for a report; on demand: python -m analysis study={study} figures={','.join(too_large)}",)


def _troubles(records: Records) -> list[Part]:
    """What failed, could not be read or was never made, by name; nothing where all is well."""
    failed = records.runs[records.runs["cause"].notna()]
    items = [
        f"{task}, {arm}, seed {seed}: {bounded(str(cause), LONGEST)}"
        for task, arm, seed, cause in failed[["task", "arm", "seed", "cause"]].itertuples(index=False)
    ]
    items = shortened(items, MOST_TROUBLES, " that failed; runs.csv has them all")
    items += shortened([f"not usable: {problem}" for problem in records.problems], MOST_TROUBLES, " not usable")
    absent = records.runs[records.runs["status"].isin(["missing", "unfinished"])]
    found = [
        f"{task}, {arm}: {status}, {'seed' if len(seeds) == 1 else 'seeds'} {_ranges(sorted(seeds))}"
        for (task, arm, status), seeds in absent.groupby(["task", "arm", "status"], sort=False)["seed"]
    ]
    items += shortened(found, MOST_TROUBLES, " missing or unfinished; runs.csv has them all")
    return [Part("What failed or is missing", items=tuple(items))] if items else []


def _ranges(numbers: Sequence[int]) -> str:
    """`0–9, 12`."""
    starts = [place for place, number in enumerate(numbers) if not place or number != numbers[place - 1] + 1]
    parts = [numbers[start:end] for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True)]
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}–{part[-1]}" for part in parts)


def _provenance(records: Records) -> list[str]:
    """Commands, commits, versions and machines of the runs, each once."""
    blocks = [*records.blocks, *records.measurements]
    lines = [
        ("Commands", [str(block.get("command") or "") for block in blocks]),
        ("Commits", [_commit(block.get("git") or {}) for block in blocks]),
        ("Versions", [_pairs(block.get("versions") or {}) for block in blocks]),
        ("Machines", [_pairs(block.get("host") or {}) for block in blocks]),
    ]
    tables = [table for table in (records.runs, records.settings) if len(table)]
    steps = sum(table["env_steps"].astype(float).sum() for table in tables)
    hours = sum(table["cpu_seconds"].astype(float).sum() for table in tables) / 3600
    found = [
        f"{name}: {'; '.join(shortened(sorted({bounded(each, LONGEST) for each in own} - {''}))) or 'not recorded'}"
        for name, own in lines
    ]
    if tables:
        found += [*_without_diagnostics(records), f"In all: {steps:,.0f} environment steps, {hours:.2f} CPU hours"]
    if records.measurements:
        measuring = sum(float(record.get("cpu_seconds") or 0) for record in records.measurements) / 3600
        found.append(f"Measuring: {measuring:.2f} CPU hours")
    return found


def _without_diagnostics(records: Records) -> list[str]:
    """How many runs have no row per update: those of results that came without."""
    keys = ["task", "hash", "seed"]
    done = records.runs[records.runs["status"] == "done"]
    run, known = (
        {*table[keys].drop_duplicates().itertuples(index=False, name=None)} for table in (done, records.training)
    )
    number = len(run - known)
    return [f"Without diagnostics of their updates: {_count(number, 'run')}"] if number else []


def _commit(git: Mapping[str, object]) -> str:
    return f"{str(git.get('commit') or '')[:12]}{' with uncommitted changes' if git.get('dirty') else ''}"


def _pairs(mapping: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in mapping.items())


def markdown(document: Document) -> str:
    """`report.md`; figures are links to files beside it, second views and what is of the page are named alone.

    What stands below several figures, such as one of every task, is told below the first.
    """
    parts = [f"# {formats.markdown_text(document.title)}"]
    shown = [part for part in document.parts if not part.of_page]
    of_page = [formats.markdown_text(part.heading) for part in document.parts if part.of_page]
    for place, part in enumerate(shown):
        parts.append(f"## {formats.markdown_text(part.heading)}")
        parts += [formats.markdown_text(sentence) for sentence in (*part.sentences, *part.small)]
        if part.items:
            parts.append("\n".join(f"- {formats.markdown_text(item)}" for item in part.items))
        parts += [formats.markdown(table).rstrip("\n") for table in part.tables]
        for name in part.figures:
            if name not in SECOND_VIEWS:
                told = formats.markdown_text(document.captions.get(name, ""))
                parts += [f"![{name.replace('_', ' ')}]({name}.svg)", *([told] if told and told not in parts else [])]
        if second := [f"`{name}`" for name in part.figures if name in SECOND_VIEWS]:
            parts.append(f"Second views, in index.html and as files once the report is written: {', '.join(second)}.")
        if not place and len(shown) > 1:
            links = [f"[{formats.markdown_text(each.heading)}](#{each.anchor})" for each in shown[1:]]
            parts.append(f"Contents: {' · '.join(links)}")
            parts += [f"In index.html alone, and in CSV files: {', '.join(of_page)}."] if of_page else []
    return "\n\n".join(parts) + "\n"
