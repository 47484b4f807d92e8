"""docs/arms.md has every option of every arm, with a function that exists."""

import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from bench.config import options
from bench.config import schema as config

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "arms.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w.]+)(?:=([\w, ]+))?` \| ([^|]+) \| ([^|]+) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall(TEXT.partition("## Every option")[2].partition("\n## ")[0])
OPTIONS = {
    **{key: options.options(key) for key in ("baseline", "advantage", "update")},
    "reference.kind": get_args(get_type_hints(config.Reference)["kind"]),
    "critic.target": get_args(get_type_hints(config.Critic)["target"]),
    "critic.network": get_args(get_type_hints(config.Critic)["network"]),
    "group.credit": get_args(get_type_hints(config.Group)["credit"]),
    "group.scale": get_args(get_type_hints(config.Group)["scale"]),
    **{
        key: get_args(get_type_hints(config.Config)[key])
        for key in ("truncation", "advantage_norm", "aggregate", "grad_clip")
    },
}


@pytest.mark.parametrize("key", OPTIONS)
def test_every_option_has_a_row(key: str) -> None:
    listed = [option for row in ROWS if row[0] == key for option in row[1].split(", ")]
    assert sorted(listed) == sorted({*OPTIONS[key]} - {"plugin"})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}={row[1]}")
def test_a_row_has_an_equation_a_source_and_functions_where_it_says(row: tuple[str, ...]) -> None:
    _, _, equation, source, code = row
    assert equation.strip()
    assert source.strip()
    for number in re.findall(r"\[(\d+)\]", source):
        assert re.search(rf"^{number}\. ", TEXT, re.MULTILINE), f"no source {number}"
    links = re.findall(r"\[`(\w+)`\]\(([^)]+)\)", code)
    assert links
    for name, file in links:
        assert f"def {name}(" in (ROOT / "docs" / file).resolve().read_text(encoding="utf-8")
