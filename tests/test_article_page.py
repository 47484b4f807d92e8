"""docs/article.md names every claim on the article, and none that does not exist."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "article.md").read_text(encoding="utf-8")
STEP = re.compile(r"^## (\d+)\. .*?$(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
SECTIONS = {int(number): text for number, text in STEP.findall(TEXT)}


def claims() -> dict[str, dict[str, str]]:
    files = [yaml.safe_load((ROOT / f"conf/claims/{name}.yaml").read_text()) for name in ("article", "laboratory")]
    return {name: claim for file in files for name, claim in file["claims"].items()}


def named(text: str) -> set[str]:
    return set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", "\n".join(line for line in text.splitlines() if line[:2] == "- ")))


def test_it_has_the_ten_steps_in_order() -> None:
    assert list(SECTIONS) == list(range(1, 11))


def test_it_names_every_claim_and_no_other() -> None:
    assert named(TEXT) == set(claims())


def test_a_claim_stands_in_a_step_that_its_source_names() -> None:
    for name, claim in claims().items():
        steps = [step for step, text in SECTIONS.items() if name in named(text)]
        assert len(steps) == 1, name
        assert str(steps[0]) in re.findall(r"\d+", claim["source"]), (name, claim["source"], steps)


def test_it_names_only_studies_that_exist() -> None:
    studies = {name for names in re.findall(r"`study=([a-z_,]+)`", TEXT) for name in names.split(",")}
    assert studies
    assert [name for name in studies if not (ROOT / "conf/study" / f"{name}.yaml").exists()] == []
