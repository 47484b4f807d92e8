"""Tables as text: numbers, and signs that mean something to Markdown or LaTeX."""

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
    text = formats.latex(NASTY)
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    assert r"100 \% of a\_b \& c" in text
    assert r"{}[x]*\{\textbackslash{}\}\$\textasciicircum{}\textasciitilde{}\# & -- \\" in text
