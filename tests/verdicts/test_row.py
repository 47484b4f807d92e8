"""A claim over several tasks: one word only where all tasks say the same."""

import pytest

from bench.verdicts.row import JudgedRow, in_order, overall
from bench.verdicts.words import Word


def row(word: Word | None, text: str = "", pairs: int = 20) -> JudgedRow:
    return JudgedRow(
        file="f", name="n", statement="s", source="x", study="s", task="t", arm="a", against="b", metric="final",
        direction="higher", margin=0.05, level=0.01, asked=20, pairs=pairs, word=word, text=text or str(word),
    )  # fmt: skip


SUPPORTED, REVERSED, OPEN = (row(word) for word in (Word.SUPPORTED, Word.REVERSED, Word.OPEN))
NOTHING, MISSING = row(Word.UNINFORMATIVE, "uninformative: x"), row(None, "missing: not run")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([SUPPORTED], "supported"),
        ([SUPPORTED] * 3, "supported"),
        ([NOTHING] * 2, "uninformative"),
        ([MISSING], "missing"),
        ([row(None, "withdrawn: it was never meant")], "withdrawn"),
        ([SUPPORTED, OPEN, SUPPORTED], "supported on 2 of 3 tasks, open on 1"),
        ([REVERSED, SUPPORTED], "supported on 1 of 2 tasks, reversed on 1"),
        ([SUPPORTED, NOTHING], "supported on 1 of 2 tasks, uninformative on 1"),
        ([MISSING, OPEN, OPEN], "open on 2 of 3 tasks, missing on 1"),
        ([row(Word.OPEN, "open: not supported"), OPEN], "open"),
        ([row(Word.DIFFERENT, "different: higher")] * 2, "different: higher"),
        (
            [row(Word.DIFFERENT, "different: higher"), row(Word.DIFFERENT, "different: lower")],
            "different: higher on 1 of 2 tasks, different: lower on 1",
        ),
        (
            [row(Word.AT_THE_MARGIN, "at the upper margin"), row(Word.AT_THE_MARGIN, "at the lower margin")],
            "at the upper margin on 1 of 2 tasks, at the lower margin on 1",
        ),
    ],
)
def test_different_findings_never_have_one_word(rows, said):
    assert overall(rows) == said


def test_verdicts_come_in_the_order_of_the_table():
    assert in_order(["missing", "open", "supported", "open", "not run"]) == ["supported", "open", "missing", "not run"]


def test_a_row_tells_its_boundaries_and_what_it_cannot_show():
    assert SUPPORTED.boundaries == (0.05, -0.05)
    assert SUPPORTED.unseen == "a collapse in fewer than 1 of 6 runs could have gone unseen"
    assert row(None, "missing: x", pairs=0).unseen == ""
