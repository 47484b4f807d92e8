"""The scoreboard of all committed studies: the generated parts of README.md and results/README.md.

Between its markers a page holds what the results give, and nothing else; what is written around them stays.
"""

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis import load
from analysis.claims.verdicts import NOT_RUN, Judged, judge, not_run
from analysis.figures.forest import forest
from analysis.figures.style import Look, save
from analysis.load import Records
from analysis.tables import formats
from analysis.tables.comparisons import claimed_text, row_cells
from bench.errors import UserError
from bench.paths import CONF
from bench.verdicts.hypotheses import Claim, ClaimsFile
from bench.verdicts.row import JudgedRow, in_order
from bench.verdicts.words import Word

STUDIES = CONF / "study"
SCOPE = (
    "The claims were written knowing the first results, which are of the main pool of seeds. So they are judged on the "
    "confirmation pool, seeds at which nobody had looked. Verdicts are confirmatory about seeds. They are not about "
    "settings, tasks or metrics, which were chosen knowing the first results. First results confirm nothing. "
    "docs/claims.md says what each claim said before, and why it changed."
)
SECTION = """
## {title}

{block}

**What it says.** To be written.

**What it cannot say.** To be written.
"""


@dataclass(frozen=True)
class Answer:
    """A claim with the study that answered it; without a verdict where none of its studies is there."""

    name: str
    claim: Claim
    study: str
    judged: Judged | None

    @property
    def verdict(self) -> str:
        """The verdict, or that there is none."""
        return self.judged.verdict if self.judged else NOT_RUN


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
    judged = {file.path.stem: {found.name: found for found in judge(file, records)} for file in files}
    return Study(records, judged)


def answers(file: ClaimsFile, studies: Mapping[str, Study]) -> list[Answer]:
    """Every claim of a file with the first of its studies, in the order it names them, that says anything about it."""
    found = []
    for name, claim in file.claims.items():
        present = [study for study in claim.studies if study in studies]
        verdicts = {study: studies[study].judged[file.path.stem][name] for study in present}
        telling = [study for study in present if any(row.pairs for row in verdicts[study].rows)]
        study = next(iter(telling or present), claim.studies[0])
        found.append(Answer(name, claim, study, verdicts.get(study)))
    return found


def summary(found: Sequence[Answer]) -> str:
    """`12 claims in 20 rows: 7 supported, 2 reversed, 11 not run`: a row is a claim on a task."""
    rows = [
        verdict
        for answer in found
        for verdict in (
            [row.verdict for row in answer.judged.rows] if answer.judged else [NOT_RUN] * len(answer.claim.tasks)
        )
    ]
    counts = [f"{rows.count(kind)} {kind}" for kind in in_order(rows)]
    claims = f"{len(found)} {'claim' if len(found) == 1 else 'claims'}"
    return f"{claims} in {len(rows)} {'row' if len(rows) == 1 else 'rows'} of claim and task: {', '.join(counts)}"


def table(found: Sequence[Answer], numbers: bool) -> str:
    """Claims as a Markdown table; with `numbers`, what is claimed and a line for every task."""
    if numbers:
        return _table_of_rows(found)
    rows: list[tuple[str, ...]] = [("claim", "source", "verdict", "study")]
    rows += [(*_about(answer), _marked(answer.verdict), answer.study) for answer in found]
    return _markdown(rows)


def _about(answer: Answer) -> tuple[str, str]:
    return formats.markdown_text(answer.claim.statement), formats.markdown_text(answer.claim.source)


def _table_of_rows(found: Sequence[Answer]) -> str:
    rows: list[tuple[str, ...]] = [
        ("claim", "source", "study", "task", "verdict", "claimed", "effect", "pairs", "p", "needs", "noise")
    ]
    for answer in found:
        if answer.judged is None:
            rows.append((*_about(answer), answer.study, ", ".join(answer.claim.tasks), NOT_RUN, *[""] * 6))
            continue
        for place, row in enumerate(answer.judged.rows):
            about = (*_about(answer), answer.study) if place == 0 else ("", "", "")
            verdict, *cells = map(formats.markdown_text, row_cells(row))
            rows.append((*about, row.task, _marked(verdict), formats.markdown_text(claimed_text(row)), *cells))
    return _markdown(rows)


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
    return f"{row.task} {row.text}" + ("" if numbers == "–" else f", {numbers}")


def board(files: Sequence[ClaimsFile], studies: Mapping[str, Study], numbers: bool) -> str:
    """The scoreboard: what it speaks of, then a line and a table for every claims file."""
    parts = [SCOPE]
    for file in files:
        found = answers(file, studies)
        title = formats.markdown_text(file.title)
        parts += [f"**{title}**: {summary(found)}.", table(found, numbers)]
        if numbers:
            parts.append(f"![{title}: every row beside its margins]({picture_name(file)})")
    return "\n\n".join(parts)


def picture_name(file: ClaimsFile) -> str:
    """The file beside results/README.md that has the forest plot of a claims file."""
    return f"forest-{file.path.stem}.svg"


def pictures(files: Sequence[ClaimsFile], studies: Mapping[str, Study]) -> dict[str, bytes]:
    """By file name, the forest plot of all rows of each claims file, those not run among them."""
    found = {}
    for file in files:
        rows = [
            row
            for answer in answers(file, studies)
            for row in (answer.judged.rows if answer.judged else not_run(file, answer.name, answer.claim))
        ]
        figure = forest({file.title: rows}, Look())
        if figure is not None:
            found[picture_name(file)] = save(figure, "svg", Look())
    return found


def facts(name: str, study: Study, conf: Path = STUDIES) -> str:
    """What a study asked, how it was made, and the verdicts on the claims it was planned for."""
    records = study.records
    runs, blocks = records.runs, records.blocks
    commits = {str((block.get("git") or {}).get("commit") or "unknown")[:12] for block in blocks}
    commands = [f"`{block['command']}`" for block in blocks if block.get("command")]
    done = int((runs["status"] == "done").sum())
    lines = [
        question(name, conf),
        f"- command: {_listed(commands)}",
        f"- {runs[['task', 'hash']].drop_duplicates().shape[0]} cells on {_listed(runs['task'])}; "
        f"{runs['seed'].nunique()} seeds; {done} of {len(runs)} runs done, "
        f"{runs['env_steps'].astype(float).sum():,.0f} environment steps",
        f"- code: {_listed(commits)}; [report]({name}/report/report.md)",
    ]
    planned = [found for file in study.judged.values() for found in file.values() if found.claim.studies[0] == name]
    for found in planned:
        effects = formats.markdown_text(_effects(found.rows))
        lines.append(f"- claim: {formats.markdown_text(found.claim.statement)}: **{found.verdict}** ({effects})")
    return "\n".join([lines[0], "", *lines[1:]] if lines[0] else lines[1:])


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
    """README.md with its scoreboard: verdicts only, the numbers are in results/README.md."""
    shown = board(files, studies, numbers=False) if studies else "No study is committed yet."
    return within(text, "scoreboard", shown)


def results_page(text: str, files: Sequence[ClaimsFile], studies: Mapping[str, Study]) -> str:
    """results/README.md: the scoreboard in numbers, and a section for every study; one that is missing is added."""
    text = within(text, "scoreboard", board(files, studies, numbers=True) if studies else "No study is committed yet.")
    for name, study in studies.items():
        if not re.search(rf"^<!-- study {re.escape(name)}:", text, re.MULTILINE):
            block = empty(f"study {name}")
            title = formats.markdown_text(study.records.title)
            text = text.rstrip("\n") + "\n" + SECTION.format(title=f"`{name}`: {title}", block=block)
        text = within(text, f"study {name}", facts(name, study))
    return text
