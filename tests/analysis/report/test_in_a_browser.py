"""Every figure of every committed study, and a report, in a real browser: nothing is cut, nothing overlaps."""

import os
from pathlib import Path

import pytest

from analysis.cli import main
from bench.paths import ROOT
from tests.analysis.conftest import ResultsWriter, draw_svg_only, write_quick
from tests.analysis.report.browser import CHROMIUM, printed_pages, seen

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
FIGURES = sorted((ROOT / "results").glob("*/report/*.svg"))
AXE = Path(os.environ.get("AXE", ROOT / "node_modules" / "axe-core" / "axe.min.js"))

# The letters of all texts of all drawings of a page: those beyond their drawing, and pairs that lie on each other.
LETTERS = """
const found = [];
for (const svg of document.querySelectorAll("svg")) {
  const frame = svg.getBoundingClientRect();
  if (frame.width < 60 || !svg.checkVisibility()) continue;
  const texts = [...svg.querySelectorAll("text")].filter(text => text.textContent.trim() && text.checkVisibility());
  const boxes = texts.map(text => text.getBoundingClientRect());
  const name = svg.getAttribute("aria-label") ?? svg.closest("[data-name]")?.dataset.name ?? "";
  boxes.forEach((a, i) => {
    if (a.left < frame.left - 2 || a.right > frame.right + 2 || a.top < frame.top - 2 || a.bottom > frame.bottom + 2)
      found.push(`${name}: "${texts[i].textContent}" is cut`);
    const turned = text => /rotate/.test(text.getAttribute("transform") ?? "");
    for (let j = i + 1; j < boxes.length; j++) {
      const b = boxes[j];
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const up = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      const least = Math.min(a.height, b.height, a.width, b.width);
      if (across > 2 && up > 0.35 * least && !turned(texts[i]) && !turned(texts[j]))
        found.push(`${name}: "${texts[i].textContent}" lies on "${texts[j].textContent}"`);
    }
  });
}
return found;
"""


@pytest.fixture(scope="session")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every committed figure, one below the other."""
    page = tmp_path_factory.mktemp("figures") / "figures.html"
    shown = [f'<div data-name="{path.parts[-3]}/{path.stem}">{_svg(path)}</div>' for path in FIGURES]
    page.write_text(f"<!DOCTYPE html><html><body>{''.join(shown)}</body></html>")
    return page


def _svg(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]


def test_no_text_of_a_committed_figure_is_cut_or_lies_on_another(figures: Path) -> None:
    assert len(FIGURES) > 50
    assert seen(figures, LETTERS, "--window-size=2000,2000") == []


@pytest.fixture(scope="module")
def report(module_quick: Path) -> Path:
    """The report of a study of the shape of `quick`."""
    return module_quick / "quick" / "report" / "index.html"


@pytest.fixture(scope="module")
def module_quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = ResultsWriter(tmp_path_factory.mktemp("quick") / "results")
    write_quick(results)
    with pytest.MonkeyPatch.context() as patch:
        draw_svg_only(patch)
        assert main(["study=quick", f"results={results.root}"]) == 0
    return results.root


OPEN = "document.querySelectorAll('details').forEach(part => { part.open = true; });"


@pytest.mark.slow
def test_a_report_prints_on_twelve_pages(report: Path, tmp_path: Path) -> None:
    assert 2 <= printed_pages(report, tmp_path / "report.pdf") <= 12


@pytest.mark.slow
def test_the_first_screen_has_the_answer_and_the_curves_and_forest_begin_on_it(report: Path) -> None:
    script = """
    return [...document.querySelectorAll("section figure")].map(figure =>
      [figure.id, figure.getBoundingClientRect().top, figure.getBoundingClientRect().bottom]);"""
    curves, forest = seen(report, script, "--window-size=1366,768")
    assert (curves[0], forest[0]) == ("figure-learning_curves_stochastic", "figure-forest")
    assert curves[2] < 768
    assert forest[1] < 768


@pytest.mark.slow
@pytest.mark.parametrize("width", [1366, 500])
def test_no_text_of_a_report_is_cut_or_lies_on_another_and_no_page_scrolls_sideways(report: Path, width: int) -> None:
    wide = "if (document.documentElement.scrollWidth > document.documentElement.clientWidth) return ['wide'];"
    assert seen(report, OPEN + wide + LETTERS, f"--window-size={width},2000") == []


@pytest.mark.slow
def test_no_table_is_cut_on_a_laptop(report: Path) -> None:
    script = """
    return [...document.querySelectorAll(".scroll")].filter(each => each.scrollWidth > each.clientWidth + 1)
      .map(each => each.getAttribute("aria-label"));"""
    assert seen(report, OPEN + script, "--window-size=1366,768") == []


PANELS = """
const shown = [...document.querySelectorAll(".panels svg:not(.shared)")].filter(svg => svg.checkVisibility());
const name = svg => svg.getAttribute("aria-label");
"""


@pytest.mark.slow
@pytest.mark.parametrize(("width", "least", "most"), [(1366, 0.8, 1), (900, 0.3, 0.5), (500, 0.7, 1)])
def test_one_forest_plot_uses_the_width_it_has_with_its_legend_below(
    report: Path, width: int, least: float, most: float
) -> None:
    """Where letters of the wide one would be too small, the phone's is shown: 3.9 inches of 96 pixels."""
    script = """
    const forest = shown.filter(svg => name(svg) === "forest").map(svg => svg.getBoundingClientRect());
    const room = document.querySelector("#figure-forest").clientWidth;
    return forest.map(box => [box.width / room, box.top, box.bottom]);"""
    (share, _, bottom), (_, top, _) = seen(report, PANELS + script, f"--window-size={width},2000")
    assert least <= share <= most
    assert top >= bottom


@pytest.mark.slow
def test_letters_stay_legible_on_a_phone_where_the_keyboard_scrolls_what_is_wide(report: Path) -> None:
    script = """
    const small = shown.filter(svg => svg.getBoundingClientRect().width < 0.79 * svg.width.baseVal.value).map(name);
    const wide = [...document.querySelectorAll(".panels")].filter(each => each.scrollWidth > each.clientWidth + 1);
    await new Promise(done => setTimeout(done, 200));
    return [small, wide.length, wide.filter(each => each.tabIndex === 0).length];"""
    small, wide, reached = seen(report, OPEN + PANELS + script, "--window-size=500,2000")
    assert small == []
    assert wide == reached > 0


@pytest.mark.slow
def test_pointing_and_arrow_keys_tell_arm_step_mean_interval_and_seeds(report: Path) -> None:
    script = """
    const panel = document.querySelector("section [data-points]").ownerSVGElement;
    const press = key => panel.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    press("ArrowRight"); press("ArrowRight"); press("ArrowDown");
    return document.getElementById("hint").textContent;"""
    arm, step, mean = seen(report, script).splitlines()
    assert arm == "none-gae-clip"
    assert step == "environment steps per seed: 10000"
    assert "mean " in mean
    assert "[" in mean
    assert mean.endswith("n = 10")


@pytest.mark.slow
def test_a_hidden_arm_leaves_legends_and_the_rows_close_up(report: Path) -> None:
    script = (
        OPEN
        + """
    const rows = () => [...document.querySelectorAll("#figure-final_scores_stochastic text")]
      .filter(text => text.getBoundingClientRect().height && text.closest("[class*=arm-]"))
      .map(text => [text.textContent.split("  ")[0], Math.round(text.getBoundingClientRect().top)]);
    const legend = () => document.querySelectorAll("ul.legend li:not(.off)").length;
    const before = [rows(), legend()];
    document.querySelector("[data-arm='1']").click();
    return { before, after: [rows(), legend()] };"""
    )
    found = seen(report, script)
    before, after = found["before"], found["after"]
    names, heights = zip(*before[0], strict=True)
    assert [name for name, _ in after[0]] == [name for name in names if name != names[1]]
    below = [top - after[0][0][1] for _, top in after[0]]  # legends above are shorter, so all has moved up
    assert below == pytest.approx([top - heights[0] for top in heights[:-1]], abs=1.5)  # where the first rows were
    assert after[1] < before[1]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--force-dark-mode", "--enable-features=WebContentsForceDark")])
@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: npm install --no-save axe-core")
def test_axe_finds_no_serious_fault(report: Path, flags: tuple[str, ...]) -> None:
    script = (
        OPEN
        + """
    const told = await axe.run(document);
    return told.violations.filter(each => ["serious", "critical"].includes(each.impact))
      .map(each => `${each.id}: ${each.nodes.length} ${each.nodes[0].html.slice(0, 200)}`);"""
    )
    assert seen(report, script, *flags, before=AXE.read_text(encoding="utf-8")) == []
