"""Every claim can be judged: its study has exactly the arms it names on each task, and they differ in no more."""

import functools
import math
import re

import pytest
from hydra import compose, initialize_config_dir

from bench.cells.planning import plan_studies
from bench.design import comparisons, phases
from bench.design.comparisons import Planned
from bench.lab import settings
from bench.paths import CONF, ROOT
from bench.verdicts import hypotheses
from bench.verdicts.hypotheses import Claim
from bench.verdicts.sequential import MAX_PAIRS

FILES = {file.path.stem: file for file in hypotheses.read_all()}
CLAIMS = [(stem, name) for stem, file in FILES.items() for name in file.claims]
STUDIES = sorted(path.stem for path in (CONF / "study").glob("*.yaml"))
LABORATORY = "laboratory"  # whose claims are about estimators that are measured, not about arms that are trained
DOCS = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")


def claim_of(stem: str, name: str) -> Claim:
    return FILES[stem].claims[name]


@functools.cache
def planned(study: str) -> Planned:
    """What `until=decided` would compare, composed and not trained."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cells = plan_studies([f"study={study}"], lambda given: compose("config", given, return_hydra_config=True))
        defaults = [arm.default for group in phases.groups(cells) for arm in group.arms]  # of a design of settings
        return comparisons.plan(defaults or comparisons.on_judging_pools(cells), MAX_PAIRS)


@pytest.mark.parametrize(("stem", "name"), CLAIMS, ids=lambda each: each)
def test_a_claim_is_short_and_can_fail(stem: str, name: str) -> None:
    claim = claim_of(stem, name)
    assert len(claim.statement) <= 90
    assert claim.statement[-1] not in ".!?"
    assert claim.source.strip()
    assert 0 < claim.sesoi < math.inf
    assert claim.seed_pool == "confirmation"  # all were written knowing the results of the main pool
    assert set(claim.studies) <= set(STUDIES)


@pytest.mark.slow
@pytest.mark.parametrize("study", sorted({claim_of(*each).studies[0] for each in CLAIMS if each[0] != LABORATORY}))
def test_every_claim_of_a_study_selects_two_arms_that_differ_in_no_more(study: str, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)  # where results/honest is, which some arms are held to
    found = planned(study)
    assert found.left_out == []
    keys = [row.key for row in found.rows]
    mine = [(stem, name) for stem, name in CLAIMS if study in claim_of(stem, name).studies and stem != LABORATORY]
    expected = {(f"{stem}.{name}", task) for stem, name in mine for task in claim_of(stem, name).tasks}
    assert len(keys) == len(set(keys))
    assert set(keys) == expected
    for row in found.rows:
        assert len(row.cells) == (1 if row.constant is not None else 2)
        assert row.margin > 0


@pytest.mark.parametrize("name", FILES[LABORATORY].claims)
def test_a_claim_of_the_laboratory_is_about_what_its_study_measures(name: str) -> None:
    claim = claim_of(LABORATORY, name)
    measured = settings.read(claim.studies[0], {})
    assert set(claim.tasks) <= set(measured.tasks)
    sizes = {measured.overrides["group.size"], *measured.group_sizes}  # of the arms, and of those beside them
    for selector in (claim.arm, claim.against):
        assert selector["baseline"] in measured.baselines
        assert selector["advantage"] in measured.advantages
        assert selector.get("group_size", measured.overrides["group.size"]) in sizes


def names(text: str) -> list[str]:
    return re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)`", text)


def second_edition(heading: str, column: int) -> list[str]:
    """The claims that a table of the page has in its second edition: by their new names, or as they were called."""
    table = DOCS.partition(f"\n## {heading}")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    found = [names(row[column + 1]) or names(row[column]) for row in rows if row[column + 1] != "a test"]
    return [name for each in found for name in each]


def test_the_page_tells_what_became_of_every_claim() -> None:
    of_article = second_edition("Claim by claim: the article", 1)
    assert sorted(of_article) == sorted(name for stem, name in CLAIMS if stem in ("article", LABORATORY))
    assert set(second_edition("Claim by claim: what others found", 0)) <= FILES["published"].claims.keys()


def test_the_tests_that_the_page_names_are_there() -> None:
    tests = re.findall(r"`(test_\w+)`", DOCS)
    assert len(tests) == 3
    source = (ROOT / "tests" / "test_algebra.py").read_text(encoding="utf-8")
    assert all(f"def {test}(" in source for test in tests)
