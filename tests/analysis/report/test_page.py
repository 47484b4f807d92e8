"""The report in words, and `index.html` in a real browser: no errors, sorting, switching and hiding work."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from analysis.cli import main
from analysis.report import page as pages
from analysis.report.document import Document, Part
from analysis.tables.formats import Best, Section, Table
from bench.paths import ROOT
from tests.analysis.conftest import ResultsWriter, draw_svg_only

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]

# Clicks through the page and leaves what it saw in the document, which the browser then prints.
PROBE = """
<script>
{
const seen = {};
const shown = selector => [...document.querySelectorAll(selector)].filter(e => e.getClientRects().length).length;
const table = [...document.querySelectorAll("table")].find(t => t.caption && t.caption.textContent === "cartpole");
const column = () => [...table.tBodies[0].rows].map(row => row.cells[2].textContent);
const head = table.tHead.rows[0].cells[2].querySelector("button");
head.click(); seen.ascending = column();
head.click(); seen.descending = column();
const choice = document.getElementById("task");
seen.tasks = [...choice.options].map(option => option.textContent);
const tasks = () => [...new Set([...document.querySelectorAll("[data-task]")]
  .filter(e => e.checkVisibility()).map(e => e.dataset.task))];
seen.first = tasks();
choice.value = seen.tasks[1]; choice.dispatchEvent(new Event("change")); seen.second = tasks();
seen.before = [shown(".figure .arm-0"), shown("tr.arm-0")];
const box = document.querySelector("[data-arm='0']");
box.click(); seen.hidden = [shown(".figure .arm-0"), shown("tr.arm-0")];
box.click(); seen.after = [shown(".figure .arm-0"), shown("tr.arm-0")];
for (const rule of document.styleSheets[0].cssRules)
  if (rule.media && rule.media.mediaText === "print") rule.media.mediaText = "all";
seen.printed = tasks();
for (const rule of document.styleSheets[0].cssRules)
  if (rule.media && rule.media.mediaText === "all") rule.media.mediaText = "print";
seen.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
const probe = document.createElement("pre");
probe.id = "probe";
probe.textContent = JSON.stringify(seen);
document.body.append(probe);
}
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The report of three arms on two tasks, one arm with a name that tries to be markup."""
    results = ResultsWriter(tmp_path_factory.mktemp("page") / "results")
    results.study("s", [{"task": "cartpole", "arm": "a", "seeds": range(4), "k": 0}], control="a")
    for k, (arm, top) in enumerate([("a", 90.0), ("b", 200.0), ("<img src=x onerror=alert(1)>", 30.0)]):
        for task in ("cartpole", "weekly_exam"):
            results.block("s", task, arm, range(4), lambda seed, share, top=top: top * share + seed, k=k)
    with pytest.MonkeyPatch.context() as patch:
        draw_svg_only(patch)
        assert main(["study=s", f"results={results.root}"]) == 0
    return results.root / "s" / "report" / "index.html"


@pytest.mark.slow
def test_the_text_shows_a_figure_once_and_what_it_shows_can_be_committed(page, tmp_path):
    folder = page.parent
    shown = re.findall(r"^!\[.*\]\((.*)\)$", (folder / "report.md").read_text(), re.MULTILINE)
    named = {"learning_curves_deterministic", "final_scores_deterministic", "learning_curves_by_time", "spaghetti"}
    drawn = {path.stem for path in folder.glob("*.svg")}
    assert {*shown} | {f"{name}.svg" for name in named} == {f"{name}.svg" for name in drawn}
    assert all(f"`{name}`" in (folder / "report.md").read_text() for name in named)
    assert committed_figures(drawn, tmp_path) == {*shown}


def committed_figures(names: Iterable[str], root: Path) -> set[str]:
    """Which of a report's figures `git add` takes."""
    report = root / "baselines" / "report"
    report.mkdir(parents=True)
    for name in names:
        (report / f"{name}.svg").touch()
    shutil.copy(ROOT / "results" / ".gitignore", root)
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *command], cwd=root, check=True)
    listed = subprocess.run(["git", "ls-files"], cwd=root, check=True, capture_output=True, text=True).stdout
    return {Path(line).name for line in listed.splitlines() if line.endswith(".svg")}


@pytest.fixture
def probed(page: Path) -> Path:
    """The report with `PROBE` in it."""
    path = page.with_name("probed.html")
    path.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    return path


def browse(page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHROMIUM), *FLAGS, "--enable-logging=stderr", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.slow
def test_the_file_is_self_contained_and_everything_is_escaped(page):
    text = page.read_text()
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_a_table_is_escaped_and_marks_the_best():
    table = Table("a < b", ("arm", "n"), (Section("", (("<script>", Best("1")),)),))
    text = pages.html(Document("t", (Part("h", tables=(table,)),)), {}, {})
    assert "<script>1" not in text
    assert "&lt;script&gt;</th>" in text
    assert "<strong>1</strong>" in text
    assert "a &lt; b" in text


@pytest.mark.slow
def test_no_two_elements_share_an_id_and_every_reference_has_its_target(page):
    text = page.read_text()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert references <= set(ids)


@pytest.mark.slow
def test_the_answer_comes_first(page):
    text = (page.parent / "report.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0] == "In short"
    assert "Highest final score: on cartpole b with" in text.partition("## Final scores")[0]
    assert text.index("## Final scores") < text.index("- cartpole: b has the highest mean") < text.index("## Against a")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_sorting_switching_and_hiding_work_in_a_browser_without_errors(probed):
    done = browse(probed, "--dump-dom", "--window-size=1280,2000")
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    seen = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)[1])
    leading = [float(text.split()[0]) for text in seen["ascending"]]
    assert leading == sorted(leading)
    assert len(set(leading)) == 3
    assert seen["descending"] == seen["ascending"][::-1]
    assert (seen["first"], seen["second"]) == (["cartpole"], ["weekly_exam"])
    assert min(seen["before"]) > 0
    assert seen["hidden"] == [0, 0]
    assert seen["after"] == seen["before"]
    assert seen["printed"] == ["cartpole", "weekly_exam"]  # the print stylesheet shows the figures of every task
    assert not seen["wide"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_phone_shows_the_page_without_scrolling_sideways(probed):
    done = browse(probed, "--dump-dom", "--window-size=390,800")
    assert '"wide":false' in done.stdout
