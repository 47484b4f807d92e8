"""CITATION.cff against what version 1.2 of the format requires, and against the package."""

import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CITATION: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Of the format's schema (1.2.0): what must be there, and what else this file may have, with their types.
REQUIRED = {"cff-version": str, "message": str, "title": str, "authors": list}
OPTIONAL = {"type": str, "abstract": str, "version": str, "license": str, "keywords": list, "date-released": str}
ENTITY = {"name", "website", "email", "orcid", "alias", "address", "city", "country"}
PERSON = {"family-names", "given-names", "name-particle", "name-suffix", "affiliation", "orcid", "email"}


def test_it_has_the_required_fields_and_only_fields_of_the_format() -> None:
    assert [key for key in REQUIRED if key not in CITATION] == []
    types = REQUIRED | OPTIONAL
    assert [key for key, value in CITATION.items() if not isinstance(value, types.get(key, type(None)))] == []
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["type"] in ("software", "dataset")
    assert all(isinstance(word, str) and word for word in CITATION["keywords"])


def test_every_author_is_a_person_or_an_entity() -> None:
    assert CITATION["authors"]
    for author in CITATION["authors"]:
        assert set(author) <= (ENTITY if "name" in author else PERSON)


def test_it_says_what_the_package_and_the_license_say() -> None:
    assert CITATION["version"] == PROJECT["version"]
    assert CITATION["license"] == PROJECT["license"] == "MIT"
    license_text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert license_text.startswith("MIT License\n")
    assert CITATION["authors"][0]["name"] in license_text
