"""Tables as text: numbers, and signs that mean something to Markdown or LaTeX."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from analysis.tables import formats


@pytest.mark.parametrize(
    ("interval", "decimals", "text"),
    [
        ((487.31, 480.06, 492.99), 1, "487.3 [480.1, 493.0]"),
        ((-110.0, -112.5, -108.25), 1, "−110.0 [−112.5, −108.2]"),
        ((-0.01, -0.04, 0.04), 1, "0.0 [0.0, 0.0]"),
        ((np.nan, np.nan, np.nan), 1, "–"),
    ],
)
def test_interval_text(interval, decimals, text):
    assert formats.interval_text(interval, decimals) == text


NASTY = formats.Table(
    "100 % of a_b & c",
    ("arm", "n"),
    (formats.Section("task_1 <b>", (("a|b_c", "1"), ("[x]*{\\}$^~#", "–"))),),
)


def test_markdown_has_one_table_per_section_and_escapes_its_signs():
    lines = formats.markdown(NASTY).splitlines()
    assert lines[2] == r"**task_1 \<b\>**"
    assert lines[4:6] == ["| arm | n |", "|---|---:|"]
    assert lines[6] == r"| a\|b_c | 1 |"
    assert lines[7].startswith(r"| [x]\*{\\}\$^~\# |")


def test_latex_has_booktabs_rules_and_escapes_its_signs():
    text = formats.latex(NASTY, "nasty")
    assert r"\label{tab:nasty}" in text
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    assert r"100 \% of a\_b \& c" in text
    assert r"{}[x]*\{\textbackslash{}\}\$\textasciicircum{}\textasciitilde{}\# & -- \tabularnewline" in text


def test_every_section_is_a_float_of_its_own_with_a_label():
    sections = tuple(formats.Section(name, (("a", "1"),)) for name in ("one", "two", "three"))
    text = formats.latex(formats.Table("c", ("arm", "n"), sections), "scores x_y")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    labels = ["tab:scores-x-y", "tab:scores-x-y-2", "tab:scores-x-y-3"]
    assert [line.strip() for line in text.splitlines() if "label" in line] == [rf"\label{{{name}}}" for name in labels]
    assert r"\caption{two. c}" in text


def test_a_table_can_be_made_of_some_of_its_columns():
    table = formats.Table("c", ("arm", "n", "mean"), (formats.Section("", (("a", "1", formats.Best("2")),)),))
    assert table.of("mean", "absent", "arm").sections[0].rows == (("2", "a"),)
    assert isinstance(table.of("mean").sections[0].rows[0][0], formats.Best)


LETTERS = "critic-monte_carlo-clip (gae_lambda=0.95)"
SENTENCE = "a sentence that says what is claimed and where it is said, in many words"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize(
    ("row", "environment"),
    [
        (("arm", "10", "487.3 [480.1, 493.0]"), "table"),
        ((LETTERS, "10", "487.3 [480.1, 493.0]"), "table"),
        ((SENTENCE, "weekly_exam_cheat", "open: 10 of the 20 pairs (supported so far)", "−0.1 [−0.2, 0.3]"), "table"),
        (("arm", *["487.3 [480.1, 493.0]"] * 6), "table*"),
        ((SENTENCE, SENTENCE, *["487.3 [480.1, 493.0]"] * 3), "table"),  # intervals below their estimates
    ],
)
def test_latex_fits_a_column_of_a_two_column_paper_or_the_page(tmp_path: Path, row, environment):
    text = formats.latex(formats.Table(SENTENCE, ("column",) * len(row), (formats.Section("", (row,) * 3),)), "t")
    assert text.count(rf"\begin{{{environment}}}") == 1
    for options in ("twocolumn", "twocolumn,11pt"):
        source = rf"\documentclass[{options}]{{article}}\usepackage{{booktabs,textcomp}}\begin{{document}}" + "\n"
        (tmp_path / "paper.tex").write_text(source + text + "text \\end{document}\n")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout[-2000:]
        assert "Overfull" not in run.stdout
