"""What all committed studies say: the findings of README.md, and the scoreboard of results/README.md.

Between its markers a page holds what the results give, and nothing else; what is written around them stays.
"""

import math
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis import load
from analysis.claims.readings import side_by_side
from analysis.claims.verdicts import NOT_RUN, Judged, judge, not_run
from analysis.figures.forest import forest
from analysis.figures.front import finals, front
from analysis.figures.style import Look, save
from analysis.load import Records, designed
from analysis.tables import formats
from analysis.tables.comparisons import claimed_text, row_cells
from bench.errors import UserError, counted
from bench.paths import CONF
from bench.verdicts.hypotheses import Claim, ClaimsFile
from bench.verdicts.row import JudgedRow, in_order, overall
from bench.verdicts.words import Word

STUDIES = CONF / "study"
SCOPE = (
    "The claims were written knowing the first results, which are of the main pool of seeds. So they are judged on the "
    "confirmation pool, seeds at which nobody had looked. Verdicts are confirmatory about seeds. They are not about "
    "settings, tasks or metrics, which were chosen knowing the first results. First results confirm nothing. "
    "docs/claims.md says what each claim said before, and why it changed."
)
FIRST = f"{NOT_RUN}: first results say "  # of rows that the main pool of seeds has, on which no claim is judged


@dataclass(frozen=True)
class Finding:
    """A row of the scoreboard that the front page tells: a claim on one task, in words for a newcomer."""

    file: str
    claim: str
    task: str
    words: str


FINDINGS = (
    Finding(
        "article",
        "critic_baseline_helps",
        "weekly_exam",
        "REINFORCE ends higher when a critic's value is subtracted from the return",
    ),
    Finding("article", "gae_is_faster_than_td", "cartpole", "GAE learns faster than one-step TD"),
    Finding(
        "article",
        "critic_target_matters",
        "cartpole",
        "One-step TD ends higher when its critic is trained on GAE's returns, not on one-step targets",
    ),
    Finding(
        "article",
        "clip_bounds_the_step",
        "cartpole",
        "PPO's clip makes the largest policy updates much smaller",
    ),
    Finding(
        "article",
        "cheating_pays_without_a_reference",
        "weekly_exam_cheat",
        "Where a score can be cheated, it exceeds the true one by more without a KL penalty to an honest policy",
    ),
)
UNITS: Mapping[str, str] = {  # what an effect is, by metric; scores are normalised
    "final": "final score {effect} higher",
    "area": "score over the whole training {effect} higher",
    "true_final": "true final score {effect} higher",
    "overstated": "the score is overstated by {effect} more",
    "largest_kl": "they are {effect} times smaller, as KL divergence",
}
FACTORS = ("largest_kl",)  # metrics that are judged on their logarithm, and told as a factor
FRONT = "front.svg"  # the figure of the front page, beside results/README.md
NO_STUDY = "No study is committed yet."
UNITS_SAID = (
    "A score of 0 is that of random actions, 1 is the task's reference. Brackets are intervals over pairs of runs with "
    "the same seed. They are so wide that those of all claims of a file hold together with 95 % confidence."
)
FIRST_SAID = (
    "These are **first results**, on the main pool of seeds. The claims were written knowing them, so the same claims "
    "are judged on a second pool of seeds, and nothing here is confirmed before that."
)
SECTION = """
## {title}

{block}

**What it says.** To be written.

**What it cannot say.** To be written.
"""


@dataclass(frozen=True)
class Answer:
    """A claim with the study that answered it, and some of its rows, one for each task."""

    name: str
    claim: Claim
    study: str
    rows: tuple[JudgedRow, ...]

    @property
    def verdict(self) -> str:
        """What the rows come to."""
        return overall(self.rows)

    def where(self, chosen: Callable[[JudgedRow], bool]) -> "Answer":
        """It with the chosen rows alone."""
        return replace(self, rows=tuple(filter(chosen, self.rows)))


@dataclass(frozen=True)
class Study:
    """A study that was read, with every verdict on claims that may be judged in it, by file and name."""

    records: Records
    judged: Mapping[str, Mapping[str, Judged]]


def committed(results: Path) -> list[str]:
    """Names of the studies below `results` that are under version control, sorted. Raises `UserError`."""
    command = ["git", "-C", str(results), "ls-files", "-z", "--", "."]
    try:
        files = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"results={results}: not a folder of a git checkout, so nothing in it is committed") from error
    return sorted({Path(file).parts[0] for file in files if Path(file).name in ("study.json", "lab.json")})


def read(results: Path, name: str, files: Sequence[ClaimsFile]) -> Study:
    """A study's records and what they say about the claims. Raises `UserError`."""
    records = load.read([name], results)
    if records.problems:
        raise UserError(f"{records.problems[0]}: a scoreboard needs whole studies")
    stands = _stands(records, files)

    def told(found: Judged) -> Judged:
        return replace(found, rows=tuple(stands.get((row.file, row.name, row.task), row) for row in found.rows))

    judged = {file.path.stem: {found.name: told(found) for found in judge(file, records)} for file in files}
    return Study(records, judged)


def _stands(records: Records, files: Sequence[ClaimsFile]) -> dict[tuple[str, str, str], JudgedRow]:
    """By file, claim and task, what a design of settings says: no verdict at one setting, but whether the claim stands.

    The effects are beside each other in the report of the study; one of them alone would look like a verdict.
    """
    found = {}
    for design in designed.of(records):
        for each in side_by_side(design, records, files):
            said = ", ".join(f"{row.verdict} ({name})" for name, row in each.rows.items())
            first = each.first
            found[first.file, first.name, first.task] = replace(
                first, word=None, text=f"{each.standing}: {said}", effect=math.nan, low=math.nan, high=math.nan,
                p=None, needed=None, noise=None,
            )  # fmt: skip
    return found


def answers(file: ClaimsFile, studies: Mapping[str, Study]) -> list[Answer]:
    """Every claim of a file with the first of its studies, in the order it names them, that says anything about it."""
    found = []
    for name, claim in file.claims.items():
        present = [study for study in claim.studies if study in studies]
        verdicts = {study: studies[study].judged[file.path.stem][name] for study in present}
        telling = [study for study in present if any(row.pairs for row in verdicts[study].rows)]
        study = next(iter(telling or present), claim.studies[0])
        rows = verdicts[study].rows if study in verdicts else not_run(file, name, claim)
        found.append(Answer(name, claim, study, tuple(rows)))
    return found


def summary(found: Sequence[Answer]) -> str:
    """`12 claims in 20 rows: 7 supported, 2 reversed, 11 not run`: a row is a claim on a task."""
    rows = [row for answer in found for row in answer.rows]
    claims, where = counted(len(found), "claim"), counted(len(rows), "row")
    said = f"{claims} in {where} of claim and task: {_counts(row.verdict for row in rows)}"
    first = [row.text.removeprefix(FIRST).partition(":")[0] for row in rows if row.text.startswith(FIRST)]
    return said + (f" (first results say {_counts(first)})" if first else "")


def _counts(verdicts: Iterable[str]) -> str:
    listed = list(verdicts)
    return ", ".join(f"{listed.count(kind)} {kind}" for kind in in_order(listed))


def table(found: Sequence[Answer]) -> str:
    """Claims as a Markdown table: what is claimed, and a line for every task."""
    rows: list[tuple[str, ...]] = [
        ("claim", "source", "study", "task", "verdict", "claimed", "effect", "pairs", "p", "needs", "noise")
    ]
    for answer in found:
        for place, row in enumerate(answer.rows):
            about = (*_about(answer), answer.study) if place == 0 else ("", "", "")
            verdict, *cells = map(formats.markdown_text, row_cells(row))
            verdict = verdict.removeprefix(f"{NOT_RUN}: ")
            rows.append((*about, row.task, _marked(verdict), formats.markdown_text(claimed_text(row)), *cells))
    return _markdown(rows)


def _about(answer: Answer) -> tuple[str, str]:
    return formats.markdown_text(answer.claim.statement), formats.markdown_text(answer.claim.source)


def _marked(verdict: str) -> str:
    """In bold where something was found."""
    said = verdict.startswith((Word.SUPPORTED, Word.REVERSED, Word.DIFFERENT))
    return f"**{verdict}**" if said else verdict


def _markdown(rows: Sequence[tuple[str, ...]]) -> str:
    header, *others = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ("---",) * len(header), *others])


def _effects(rows: Sequence[JudgedRow]) -> str:
    """The verdict and effect on every task; said once where nothing was judged on any, for one reason."""
    if len({row.text for row in rows}) == 1 and not any(row.pairs for row in rows):
        return rows[0].text.partition(": ")[2]
    return "; ".join(map(_effect, rows))


def _effect(row: JudgedRow) -> str:
    numbers = formats.interval_text((row.effect, row.low, row.high), 3)
    return f"{row.task}: {row.text.removeprefix(f'{NOT_RUN}: ')}" + ("" if numbers == "–" else f", {numbers}")


def board(files: Sequence[ClaimsFile], studies: Mapping[str, Study]) -> str:
    """The scoreboard: what it speaks of, then for every claims file a line, its verdicts, and what has none, folded."""
    parts = [SCOPE]
    for file in files:
        found = answers(file, studies)
        title = formats.markdown_text(file.title)
        parts.append(f"**{title}**: {summary(found)}.")
        if judged := _with_rows(found, lambda row: row.verdict != NOT_RUN):
            parts.append(table(judged))
        rest = _with_rows(found, lambda row: row.verdict == NOT_RUN)
        picture = f"\n\n![{title}: every row beside its margins]({picture_name(file)})" if _has_effects(found) else ""
        if rest:
            rows = sum(len(each.rows) for each in rest)
            title = f"{counted(rows, 'row')} not run yet, with what first results say"
            parts.append(folded(title, f"{table(rest)}{picture}"))
        elif picture:
            parts.append(picture.strip())
    return "\n\n".join(parts)


def _has_effects(found: Sequence[Answer]) -> bool:
    """Whether a forest plot of these would have a point."""
    return any(math.isfinite(row.effect) for each in found for row in each.rows)


def _with_rows(found: Sequence[Answer], chosen: Callable[[JudgedRow], bool]) -> list[Answer]:
    """The answers that have chosen rows, with these alone."""
    return [only for each in found if (only := each.where(chosen)).rows]


def folded(title: str, content: str) -> str:
    """Markdown that a reader opens; where tags are not heeded, as in an editor, it is simply there."""
    return f"<details>\n<summary>{title}</summary>\n\n{content}\n\n</details>"


def picture_name(file: ClaimsFile) -> str:
    """The file beside results/README.md that has the forest plot of a claims file."""
    return f"forest-{file.path.stem}.svg"


def pictures(files: Sequence[ClaimsFile], studies: Mapping[str, Study]) -> dict[str, bytes]:
    """By file name, the figure of the front page, and the forest plot of all rows of each claims file."""
    figures = {FRONT: front({name: study.records for name, study in studies.items()})}
    for file in files:
        found = answers(file, studies)
        if _has_effects(found):
            rows = [row for answer in found for row in answer.rows]
            figures[picture_name(file)] = forest({file.title: rows}, Look())
    return {name: save(figure, "svg", Look()) for name, figure in figures.items() if figure is not None}


def facts(name: str, study: Study, conf: Path = STUDIES) -> str:
    """What a study asked, how it was made, and the verdicts on the claims it was planned for."""
    records = study.records
    runs, blocks = records.runs, records.blocks
    commits = {str((block.get("git") or {}).get("commit") or "unknown")[:12] for block in blocks}
    commands = [f"`{block['command']}`" for block in blocks if block.get("command")]
    done = int((runs["status"] == "done").sum())
    of_settings = f", and {len(records.settings):,} runs of a design of settings" if len(records.settings) else ""
    lines = [
        question(name, conf),
        f"- command: {_listed(commands)}",
        f"- {runs[['task', 'hash']].drop_duplicates().shape[0]} cells on {_listed(runs['task'])}; "
        f"{runs['seed'].nunique()} seeds; {done} of {len(runs)} runs done{of_settings}, "
        f"{sum(each['env_steps'].astype(float).sum() for each in (runs, records.settings)):,.0f} environment steps",
        f"- code: {_listed(commits)}; [report]({name}/report/report.md)",
    ]
    planned = [found for file in study.judged.values() for found in file.values() if found.claim.studies[0] == name]
    claims = "\n".join(
        f"- {formats.markdown_text(found.claim.statement)}: **{found.verdict}** "
        f"({formats.markdown_text(_effects(found.rows))})"
        for found in planned
    )
    return "\n".join(
        [
            *([lines[0], ""] if lines[0] else []),
            *lines[1:],
            *(["", folded(f"{counted(len(planned), 'claim')} planned for it", claims)] if planned else []),
        ]
    )


def _listed(values: Iterable[object]) -> str:
    return ", ".join(sorted(set(map(str, values)))) or "not recorded"


def question(name: str, conf: Path = STUDIES) -> str:
    """What the file of a study says about it at its beginning; "" for a study without a file there."""
    path = conf / f"{name}.yaml"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines += [] if line.startswith("# @package") else [line.removeprefix("# ")]
    return " ".join(lines)


def within(text: str, name: str, content: str) -> str:
    """`text` with `content` between the markers of `name`. Raises `UserError` where they are not there, once."""
    begin, end = f"<!-- {name}: generated by make readme -->", f"<!-- /{name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise UserError(f"'{begin}' and '{end}' must both be there once")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.partition(end)[2]}"


def empty(name: str) -> str:
    """The markers of a block that has nothing between them yet."""
    return f"<!-- {name}: generated by make readme -->\n<!-- /{name} -->"


def front_page(text: str, files: Sequence[ClaimsFile], studies: Mapping[str, Study]) -> str:
    """README.md with its findings; the verdicts on all claims are in results/README.md."""
    text = within(text, "figure", picture(studies) if studies else NO_STUDY)
    return within(text, "findings", findings(files, studies) if studies else NO_STUDY)


def picture(studies: Mapping[str, Study]) -> str:
    """The figure of the front page, and in words what it shows; "" where its studies are not there."""
    baselines, targets = finals({name: study.records for name, study in studies.items()})
    if not (baselines and targets):
        return ""
    said = (
        f"CartPole, stochastic policy, means over seeds with 95 % intervals. Final returns, on the left by what is "
        f"subtracted from the full return: {baselines}. On the right by what a critic is subtracted from: {targets}."
    )
    return f"![Learning curves. {said}](results/{FRONT})\n\n*{said}*"


def findings(files: Sequence[ClaimsFile], studies: Mapping[str, Study], told: Sequence[Finding] = FINDINGS) -> str:
    """The findings in plain words, what their numbers are, and what became of all claims. Raises `UserError`."""
    by_file = {file.path.stem: answers(file, studies) for file in files}
    rows = [_row_of(each, by_file) for each in told]
    lines = [
        _told(each, row, [other for answer in by_file[each.file] if answer.name == each.claim for other in answer.rows])
        for each, row in zip(told, rows, strict=True)
    ]
    notes = [UNITS_SAID, *([FIRST_SAID] if any(row.text.startswith(FIRST) for row in rows) else [])]
    everything = summary([answer for found in by_file.values() for answer in found])
    more = f"[All claims](results/README.md), also those that did not hold: {everything}."
    return "\n\n".join(["\n".join(lines), " ".join(notes), more])


def _row_of(finding: Finding, by_file: Mapping[str, Sequence[Answer]]) -> JudgedRow:
    """The row that a finding tells. Raises `UserError` where there is none."""
    for answer in by_file.get(finding.file, ()):
        for row in answer.rows:
            if (answer.name, row.task) == (finding.claim, finding.task):
                return row
    raise UserError(f"a finding of the front page is about {finding.claim} on {finding.task}, which no claims file has")


def _told(finding: Finding, row: JudgedRow, of_claim: Sequence[JudgedRow]) -> str:
    """A finding with its effect, its interval and the claim's other tasks; one that does not hold says so first."""
    text = row.text.removeprefix(FIRST)
    words = f"**{finding.words}.**" if text == Word.SUPPORTED else f"{finding.words}: **{text}**."
    if not row.pairs:
        return f"- {words} ({row.task}, [{row.study}](results/{row.study}/report/report.md))"
    numbers = [math.exp(each) if row.metric in FACTORS else each for each in (row.effect, row.low, row.high)]
    effect = formats.interval_text(numbers, 1 if row.metric in FACTORS else 2)
    what = UNITS.get(row.metric, f"{row.metric} {{effect}} in the direction claimed").format(effect=effect)
    link = f"[{row.study}](results/{row.study}/report/report.md)"
    others = [f"{each.task} {each.text.removeprefix(FIRST)}" for each in of_claim if each.task != row.task]
    elsewhere = f" Elsewhere: {', '.join(others)}." if others else ""
    return f"- {words} On `{row.task}`: {what} ({row.pairs} pairs of runs, {link}).{elsewhere}"


def results_page(text: str, files: Sequence[ClaimsFile], studies: Mapping[str, Study]) -> str:
    """results/README.md: the scoreboard in numbers, and a section for every study; one that is missing is added."""
    text = within(text, "scoreboard", board(files, studies) if studies else NO_STUDY)
    for name, study in studies.items():
        if not re.search(rf"^<!-- study {re.escape(name)}:", text, re.MULTILINE):
            block = empty(f"study {name}")
            title = formats.markdown_text(study.records.title)
            text = text.rstrip("\n") + "\n" + SECTION.format(title=f"`{name}`: {title}", block=block)
        text = within(text, f"study {name}", facts(name, study))
    return text
