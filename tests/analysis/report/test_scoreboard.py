"""The scoreboard and the findings: which study answers a claim, and what is written between markers."""

import dataclasses
import math
import subprocess
from pathlib import Path

import pytest

from analysis.claims import readings
from analysis.cli import main
from analysis.report import scoreboard
from bench.errors import UserError
from bench.paths import ROOT
from bench.verdicts import hypotheses
from bench.verdicts.hypotheses import ClaimsFile
from bench.verdicts.words import Word
from tests.analysis.conftest import ResultsWriter

CLAIMS = """\
title: What we think
defaults: {studies: [main, other], tasks: [cartpole], metric: final, sesoi: 0.05, seeds: 3, among: {}}
claims:
  better: {statement: High beats low, source: us, arm: {baseline: high}, against: {baseline: low}, direction: higher}
  worse: {statement: Low beats high, source: us, arm: {baseline: low}, against: {baseline: high}, direction: higher}
  elsewhere:
    {statement: Mid beats low, source: us, arm: {baseline: mid}, against: {baseline: low}, direction: higher}
  never:
    {statement: A beats b, source: us, studies: [third], arm: {baseline: a}, against: {baseline: b}, direction: higher}
"""


@pytest.fixture
def file(tmp_path: Path) -> ClaimsFile:
    path = tmp_path / "ours.yaml"
    path.write_text(CLAIMS)
    return hypotheses.read(path)


@pytest.fixture
def studies(results: ResultsWriter, file: ClaimsFile) -> dict[str, scoreboard.Study]:
    """`main` has the arms high (normalised 0.9) and low (0.3), `other` mid (0.6) and low; no noise."""
    returns = {"high": 452.22, "mid": 308.88, "low": 165.54}
    for study, arms in (("main", ("high", "low")), ("other", ("mid", "low"))):
        cells = [{"task": "cartpole", "arm": arm, "baseline": arm, "seeds": [0, 1, 2]} for arm in arms]
        results.study(study, cells)
        for arm in arms:  # of the stochastic policy, which lies 1 below; a seed apart lest all be at one value
            curve = lambda seed, _, arm=arm: returns[arm] + 1 + seed  # noqa: E731  # one line a fixture
            results.block(study, "cartpole", arm, [0, 1, 2], curve, baseline=arm)
    return {name: scoreboard.read(results.root, name, [file]) for name in ("main", "other")}


def test_each_claim_is_answered_by_the_first_of_its_studies_that_says_anything(file, studies) -> None:
    found = {answer.name: (answer.study, answer.verdict) for answer in scoreboard.answers(file, studies)}
    assert found == {
        "better": ("main", "supported"),
        "worse": ("main", "reversed"),
        "elsewhere": ("other", "supported"),
        "never": ("third", "not run yet"),
    }
    without = {answer.name: answer.verdict for answer in scoreboard.answers(file, {"main": studies["main"]})}
    assert without["elsewhere"] == "missing"
    drawn = scoreboard.pictures([file], studies)
    assert list(drawn) == ["forest-ours.svg"]  # nothing for the front page, whose studies are not there
    said = drawn["forest-ours.svg"].decode()
    for statement in ("High beats low", "Low beats high", "Mid beats low", "A beats b"):
        assert statement in said  # all rows, also of a study that is not there
    assert said.count(">not run yet<") == 1
    counted = scoreboard.summary(scoreboard.answers(file, studies))
    assert counted == "4 claims in 4 rows of claim and task: 2 supported, 1 reversed, 1 not run yet"


def test_of_a_design_of_settings_it_tells_whether_a_claim_stands_and_no_verdict_at_one_setting(
    file, studies, results: ResultsWriter, monkeypatch
) -> None:
    """At the default `better` is supported, which alone would look like a finding."""
    (row,) = studies["main"].judged["ours"]["better"].rows
    assert row.word is Word.SUPPORTED
    left = dataclasses.replace(row, word=Word.OPEN, text="open: not supported")
    both = readings.SideBySide(dict(zip(readings.READINGS, (row, row, left, row), strict=True)), {})
    monkeypatch.setattr(scoreboard.designed, "of", lambda _: ["a design"])
    monkeypatch.setattr(scoreboard, "side_by_side", lambda *_: [both])
    study = scoreboard.read(results.root, "main", [file])
    found = {answer.name: answer for answer in scoreboard.answers(file, {"main": study})}
    said = "supported (default), supported (own best), open (best common), supported (over the space)"
    (told,) = found["better"].rows
    assert (told.verdict, told.text) == ("not shown to be robust", f"not shown to be robust: {said}")
    assert math.isnan(told.effect)
    assert found["worse"].rows == studies["main"].judged["ours"]["worse"].rows
    (line,) = [line for line in scoreboard.table([found["better"]]).splitlines() if "High beats low" in line]
    assert "**" not in line
    assert said in line


def test_a_file_of_which_nothing_was_run_has_a_table_and_no_forest_plot(file) -> None:
    assert scoreboard.pictures([file], {}) == {}
    said = scoreboard.board([file], {})
    assert "4 rows not run yet" in said
    assert "![" not in said


def test_the_table_has_the_effect_of_every_task_and_its_interval(file, studies) -> None:
    rows = scoreboard.table(scoreboard.answers(file, studies)).splitlines()
    claimed = "final higher by more than 0.05"
    supported = f"| High beats low | us | main | cartpole | **supported** | {claimed} | 0.600 [0.600, 0.600] | 3 |"
    assert rows[2] == f"{supported} \\<0.001 | – | 0.00 |"
    assert rows[3].startswith(f"| Low beats high | us | main | cartpole | **reversed** | {claimed} | −0.600")
    assert rows[5] == f"| A beats b | us | third | cartpole | not run yet | {claimed} | – | – | – | – | – |"


def test_what_is_not_run_yet_is_folded_and_counted(file, studies) -> None:
    text = scoreboard.board([file], studies)
    before, after = text.split("<details>")
    assert "4 claims in 4 rows of claim and task: 2 supported, 1 reversed, 1 not run yet." in before
    assert before.count("| cartpole |") == 3
    assert "A beats b" not in before
    assert after.startswith("\n<summary>1 row not run yet")
    assert after.count("| cartpole |") == 1
    assert after.rstrip().endswith("</details>")
    without = scoreboard.board([file], {"main": studies["main"]})
    assert without.count("<details>") == 1


@pytest.fixture
def first(results: ResultsWriter, tmp_path: Path) -> tuple[ClaimsFile, dict[str, scoreboard.Study]]:
    """A claim that the confirmation pool judges, of which there are only first results: 452 against 166 of 500."""
    path = tmp_path / "first.yaml"
    path.write_text(CLAIMS.replace("seeds: 3,", "seeds: 3, seed_pool: confirmation,"))
    cells = [{"task": "cartpole", "arm": arm, "baseline": arm, "seeds": [0, 1, 2]} for arm in ("high", "low")]
    results.study("main", cells)
    for arm, final in (("high", 452.22), ("low", 165.54)):
        curve = lambda seed, _, final=final: final + 1 + seed  # noqa: E731  # one line a fixture
        results.block("main", "cartpole", arm, [0, 1, 2], curve, baseline=arm)
    file = hypotheses.read(path)
    return file, {"main": scoreboard.read(results.root, "main", [file])}


def test_first_results_are_no_verdicts_and_are_told_as_first_results(first) -> None:
    file, studies = first
    counted = scoreboard.summary(scoreboard.answers(file, studies))
    assert counted.endswith("4 not run yet (first results say 1 supported, 1 reversed)")
    told = [
        scoreboard.Finding("first", "better", "cartpole", "High ends above low"),
        scoreboard.Finding("first", "worse", "cartpole", "Low ends above high"),
        scoreboard.Finding("first", "never", "cartpole", "A ends above b"),
    ]
    lines = scoreboard.findings([file], studies, told).splitlines()
    link = "[main](results/main/report/report.md)"
    assert lines[0] == (
        f"- **High ends above low.** On `cartpole`: final score 0.60 [0.60, 0.60] higher (3 pairs of runs, {link})."
    )
    assert lines[1].startswith("- Low ends above high: **reversed**. On `cartpole`: final score −0.60")
    assert lines[2].startswith("- A ends above b: **not run yet**.")
    assert "These are **first results**" in lines[4]


def test_confirmed_findings_are_not_called_first_results(file, studies) -> None:
    told = [scoreboard.Finding("ours", "better", "cartpole", "High ends above low")]
    text = scoreboard.findings([file], studies, told)
    assert text.startswith("- **High ends above low.** On `cartpole`: final score 0.60 [0.60, 0.60] higher")
    assert "first results" not in text


def test_a_finding_about_no_claim_is_a_mistake(file, studies) -> None:
    with pytest.raises(UserError, match="a finding of the front page is about best on cartpole, which no claims file"):
        scoreboard.findings([file], studies, [scoreboard.Finding("ours", "best", "cartpole", "")])


def test_every_finding_of_the_front_page_is_a_claim_on_one_of_its_tasks() -> None:
    claims = {file.path.stem: file.claims for file in hypotheses.read_all()}
    for each in scoreboard.FINDINGS:
        assert each.task in claims[each.file][each.claim].tasks


def test_a_factor_is_told_as_a_factor(file, studies) -> None:
    """e^0.69 is 2, e^1.39 is 4: half as far to a quarter as far."""
    row = scoreboard.answers(file, studies)[0].rows[0]
    row = dataclasses.replace(row, metric="largest_kl", effect=math.log(3), low=math.log(2), high=math.log(4))
    told = scoreboard._told(scoreboard.Finding("ours", "better", "cartpole", "Steps are small"), row, [row])
    assert "they are 3.0 [2.0, 4.0] times smaller" in told


def test_pages_keep_what_is_written_by_hand_and_change_only_once(file, studies) -> None:
    page = f"# Results\n\n{scoreboard.empty('scoreboard')}\n\nBy hand.\n"
    once = scoreboard.results_page(page, [file], studies)
    assert "By hand." in once
    assert once.index("## `main`: The study main") < once.index("## `other`: The study other")
    assert "- 2 cells on cartpole; 3 seeds; 6 of 6 runs done, 6,000 environment steps" in once
    assert "- code: 0123456789ab; [report](main/report/report.md)" in once
    written = once.replace("**What it says.** To be written.", "**What it says.** High wins.", 1)
    assert scoreboard.results_page(written, [file], studies) == written
    front = f"# Suite\n\n{scoreboard.empty('figure')}\n{scoreboard.empty('findings')}\n\nBy hand.\n"
    assert "No study is committed yet." in scoreboard.front_page(front, [file], {})


def test_a_page_without_its_markers_is_a_mistake() -> None:
    for page in ("nothing", scoreboard.empty("scoreboard") * 2):
        with pytest.raises(UserError, match="must both be there once"):
            scoreboard.within(page, "scoreboard", "text")


def test_the_question_of_a_study_is_the_comment_its_file_begins_with(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "# @package _global_\n# Does it help?\n# And when?\nstudy:\n  # no\n  name: own\n"
    )
    assert scoreboard.question("own", tmp_path) == "Does it help? And when?"
    assert scoreboard.question("unknown", tmp_path) == ""


def test_only_what_git_knows_is_committed(studies, results: ResultsWriter, tmp_path: Path, capsys) -> None:
    assert studies
    readme, other = tmp_path / "README.md", results.root / "README.md"
    for path, names in ((readme, ("figure", "findings")), (other, ("scoreboard",))):
        path.write_text("\n".join(map(scoreboard.empty, names)) + "\n")
    command = ["scoreboard", f"results={results.root}", f"readme={readme}"]
    assert main(command) == 2
    assert "not a folder of a git checkout" in capsys.readouterr().err
    for arguments in (["init", "-q"], ["add", "main"]):
        subprocess.run(["git", "-C", str(results.root), *arguments], check=True)
    assert scoreboard.committed(results.root) == ["main"]
    assert main(command) == 0
    assert "not run" in readme.read_text()  # of the article's claims: the study is nobody's
    assert "## `main`" in other.read_text()
    assert "`other`" not in other.read_text()


@pytest.mark.slow
def test_the_pages_of_this_repository_say_what_its_results_give() -> None:
    results = ROOT / "results"
    names = scoreboard.committed(results)
    if not names:
        pytest.skip("no study is committed")
    files = hypotheses.read_all()
    studies = {name: scoreboard.read(results, name, files) for name in names}
    for path, page in (
        (ROOT / "README.md", scoreboard.front_page),
        (results / "README.md", scoreboard.results_page),
    ):
        text = path.read_text(encoding="utf-8")
        assert page(text, files, studies) == text, f"{path.name}: make readme"
