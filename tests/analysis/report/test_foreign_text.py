"""Names, values and titles of others are text: no mathematics, markup, code or formula, and never too long."""

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from analysis.cli import main
from analysis.tables import formats
from bench.config.names import WIDEST, bounded
from bench.records.index import STUDY
from tests.analysis.conftest import ResultsWriter, edit

NAMES = [
    r"$x^\frac{1}{$", "a_b^c", "<script>alert(1)</script>", "=1+1", "+x", "-y", "@z", "%d{}#&~", r"\textbf{", "|a|*b*",
    "[x](javascript:1)", "&amp;", "🙂", "مرحبا", "n" * 300,
]  # fmt: skip
REFUSED = ["two\nlines", "nul\0", "\u202eright to left", "m" * 100_000]


@pytest.fixture
def hostile(results: ResultsWriter) -> Path:
    """A study whose arms, values and title are hostile; arms that are no names of one line are damaged blocks."""
    for k, name in enumerate([*NAMES, *REFUSED]):
        note = "$1_\n\0\u202e" + "v" * 100_000 if k % 2 else "plain"
        block = results.block("s", "cartpole", f"arm{k}", [0, 1], lambda seed, _, k=k: 100.0 + k + seed, note=note, k=k)
        edit(block, arm=name, task="cart$pole_^" if k % 3 else "cartpole")
    title = "$T_\n\0</h1><script>alert(2)</script>" + "y" * 100_000
    STUDY.update(results.root / "s", lambda _: {"name": "s", "title": title, "control": "=1+1", "cells": []})
    return results.root


@pytest.mark.usefixtures("svg_only")
def test_a_report_of_hostile_names_is_written(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study=s", f"results={hostile}"]) == 1  # the refused are named
    out, err = capsys.readouterr()
    assert err.count("warning: ") == err.count("\n") == len(REFUSED)
    report = hostile / "s" / "report"
    page = (report / "index.html").read_text()
    assert page.count("<script>") == 1  # its own
    assert not {"\0", "\u202e"} & set(page)
    shown = {text for path in report.glob("*.svg") for text in ElementTree.parse(path).getroot().itertext()}
    assert {r"$x^\frac{1}{$", "a_b^c", "=1+1"} <= shown  # as they are
    for path in report.glob("*.md"):
        assert max(map(len, path.read_text().split())) < 1000
    rows = list(csv.reader(io.StringIO((report / "comparison.csv").read_text())))
    assert {"'=1+1", "'+x", "'-y", "'@z"} <= {row[1] for row in rows}
    assert "Traceback" not in out + err


def test_text_of_others_is_one_line_and_bounded() -> None:
    assert bounded("a\nb\0\u202e", WIDEST) == r"a\nb\x00\u202e"
    first, second = (bounded("x" * 1000 + end, WIDEST) for end in "ab")
    assert len(first) == len(second) == WIDEST
    assert first != second


@pytest.mark.parametrize(
    ("text", "markdown", "latex"),
    [
        ("$x^2$", r"\$x^2\$", r"\$x\textasciicircum{}2\$"),
        ("<b>", r"\<b\>", r"\textless{}b\textgreater{}"),
        ("[x](y)", r"[x]\(y)", "[x](y)"),
        ("&lt;", "&amp;lt;", r"\&lt;"),
        ("~~a~~", r"\~\~a\~\~", r"\textasciitilde{}\textasciitilde{}a\textasciitilde{}\textasciitilde{}"),
        ("a\nb", r"a\\nb", r"a\textbackslash{}nb"),
        ("a & b_c", "a & b_c", r"a \& b\_c"),
    ],
)
def test_markup_is_escaped(text: str, markdown: str, latex: str) -> None:
    assert formats.markdown_text(text) == markdown
    assert formats.latex_text(text) == latex


def test_text_that_looks_like_a_formula_has_an_apostrophe() -> None:
    frame = pd.DataFrame({"=head": [-1.5, 2.0], "arm": ["=1+1", "a=b"], "note": [None, "-1"]})
    assert formats.csv(frame).splitlines() == ["'=head,arm,note", "-1.5,'=1+1,", "2.0,a=b,'-1"]
