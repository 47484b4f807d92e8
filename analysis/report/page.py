"""`index.html`: a report as one self-contained file. No network, no library; every text is escaped.

Without scripts, and in print, everything is shown: the scripts only sort, switch and hide.
"""

import re
from collections.abc import Mapping
from html import escape

from analysis.figures.style import Style
from analysis.report.document import Document, Part
from analysis.tables import formats

# By figure: by task ("" where it is of all tasks), the SVG's text.
Drawings = Mapping[str, Mapping[str, str]]

_STYLE = """
:root { color-scheme: light dark;
  --ink: #1b1b1b; --paper: #ffffff; --faint: #6b6b6b; --line: #d8d8d8; --mark: #eef3f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181b; --faint: #a0a0a0; --line: #3a3d42; --mark: #22303d; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
.caption { color: var(--faint); font-size: .9rem; max-width: 60rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, .words { text-align: left; }
th:first-child { position: sticky; left: 0; background: var(--paper); } th, td { white-space: nowrap; }
.long { white-space: normal; min-width: 15rem; text-align: left; }
.wide { white-space: normal; min-width: 8rem; } tbody th.wide { min-width: 12rem; } thead th { white-space: normal; }
tbody th { font-weight: 400; } thead th { border-bottom: 2px solid var(--ink); }
thead button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0;
  cursor: pointer; }
thead [aria-sort=ascending] button::after { content: " ▲"; }
thead [aria-sort=descending] button::after { content: " ▼"; }
tbody tr:hover, tbody tr:hover th { background: var(--mark); } strong { font-weight: 700; }
.controls { display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin: .6rem 0; font-size: .9rem; }
.figure { margin: .4rem 0 1.2rem; background: #fff; border-radius: 4px; overflow-x: auto; }
.figure svg { display: block; width: 100%; height: auto; max-width: 62rem; min-width: 30rem; }
select { font: inherit; }
[hidden], .off { display: none !important; }
ul { padding-left: 1.2rem; overflow-wrap: anywhere; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; color: #000; background: #fff; }
  th:first-child { position: static; background: none; }
  .controls { display: none; } [hidden]:not(.off) { display: block !important; }
  h2, h3, .caption, caption { break-after: avoid; }
  .figure, tr { break-inside: avoid; } .scroll { overflow: visible; } .figure svg { min-width: 0; }
  table { font-size: 6.5pt; } th, td { padding: .15rem .3rem; white-space: normal; }
  .long, .wide, tbody th.wide { min-width: 0; }
}
"""

_SCRIPT = """
"use strict";
const number = text => {
  const found = text.replaceAll("−", "-").replaceAll(",", "").match(/^<?(-?\\d+(\\.\\d+)?)/);
  return found ? parseFloat(found[1]) : null;
};
const compare = (a, b) => {
  const [x, y] = [number(a), number(b)];
  if (x !== null && y !== null) return x - y;
  return x === null && y === null ? a.localeCompare(b) : x === null ? 1 : -1;
};
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0], cell = row => row.cells[column].textContent;
      const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(cell(a), cell(b)));
      body.append(...rows);
    });
  });
}
const choice = document.getElementById("task");
if (choice) {
  const show = () => document.querySelectorAll("[data-task]").forEach(figure => {
    figure.hidden = figure.dataset.task !== choice.value;
  });
  choice.addEventListener("change", show);
  show();
}
for (const box of document.querySelectorAll("[data-arm]")) {
  box.addEventListener("change", () => {
    const shapes = document.querySelectorAll(".arm-" + box.dataset.arm);
    shapes.forEach(shape => shape.classList.toggle("off", !box.checked));
  });
}
for (const controls of document.querySelectorAll(".controls")) controls.hidden = false;
"""


def html(document: Document, drawings: Drawings, styles: Mapping[str, Style]) -> str:
    """The whole file.

    Args:
        document: what it says.
        drawings: the SVGs of its figures.
        styles: of the arms, in order; an arm's rows and shapes have the class `arm-<index>`.
    """
    parts = "\n".join(_part(part, drawings, styles) for part in document.parts)
    title = escape(document.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n<h1>{title}</h1>\n{parts}\n</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _part(part: Part, drawings: Drawings, styles: Mapping[str, Style]) -> str:
    lines = [f"<section>\n<h2>{escape(part.heading)}</h2>"]
    lines += [f"<p>{escape(sentence)}</p>" for sentence in part.sentences]
    if part.items:
        lines.append("<ul>" + "".join(f"<li>{escape(item)}</li>" for item in part.items) + "</ul>")
    classes = {arm: style.gid for arm, style in styles.items()}
    lines += [formats.html(table, classes) for table in part.tables]
    if part.figures:
        lines += [_controls(drawings, styles), *(_figure(name, drawings[name]) for name in part.figures)]
    return "\n".join([*lines, "</section>"])


def _controls(drawings: Drawings, styles: Mapping[str, Style]) -> str:
    """A choice of task and a box per arm; hidden where scripts do not run."""
    tasks = dict.fromkeys(task for by_task in drawings.values() for task in by_task if task)
    options = "".join(f"<option>{escape(task)}</option>" for task in tasks)
    boxes = "".join(
        f'<label><input type="checkbox" data-arm="{style.index}" checked> {escape(arm)}</label>'
        for arm, style in styles.items()
    )
    choice = f'<label>Task <select id="task">{options}</select></label>' if tasks else ""
    return f'<div class="controls" hidden>{choice}</div>\n<div class="controls" hidden>{boxes}</div>'


def _figure(name: str, by_task: Mapping[str, str]) -> str:
    drawn = "\n".join(
        f'<div class="figure"{f" data-task={_quoted(task)}" if task else ""}>{_inline(svg, f"{name}-{place}")}</div>'
        for place, (task, svg) in enumerate(by_task.items())
    )
    return f"<h3>{escape(name.replace('_', ' ').capitalize())}</h3>\n{drawn}"


def _quoted(text: str) -> str:
    return f'"{escape(text, quote=True)}"'


def _inline(svg: str, prefix: str) -> str:
    """An SVG for the inside of a page: no prologue, and names that clash with no other figure's."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", body)
