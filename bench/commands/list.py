"""`python -m bench list`: what can be chosen, read from the comments of conf, where each option is described once."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config import options
from bench.config.arguments import read
from bench.config.legality import RULES, table
from bench.paths import CONF


@dataclass(frozen=True)
class Arguments:
    """There are none."""


def main(words: Sequence[str]) -> int:
    """Print the catalogue. Raises `UserError` for any argument."""
    read("list", words, Arguments)
    print(catalogue())
    return 0


def catalogue() -> str:
    """Return every factor with its options, then the settings with their defaults, one line each."""
    lines: list[str] = []
    for group in options.groups():
        described = [(options.option(file, group), describe(file)) for file in _choices(group)]
        if described:
            lines += _section(group, described)
    for group in options.groups():
        for file in options.files(group):
            if file.stem == options.SINGLE:
                lines += _section(group, list(_settings(file, f"{group}.")))
    lines += _section("settings", list(_settings(CONF / "config.yaml", "")))
    return "\n".join([*lines, legality()])


def _choices(group: str) -> list[Path]:
    return [file for file in options.files(group) if file.stem != options.SINGLE]


def legality() -> str:
    """Return which baselines and advantages run with which `collect`, and every rule that refuses a combination."""
    legal = {(baseline, advantage): collect for baseline, advantage, collect in table()}
    baselines, advantages = (list(dict.fromkeys(names)) for names in zip(*legal, strict=True))
    widths = {name: max(len(name), *(len(legal[baseline, name]) for baseline in baselines)) for name in advantages}
    first = max(map(len, baselines))
    lines = ["legal combinations: how baseline (rows) x advantage (columns) can collect; no update changes it"]
    lines.append("  ".join([f"  {'':{first}}", *(f"{name:{widths[name]}}" for name in advantages)]).rstrip())
    for baseline in baselines:
        cells = [f"{legal[baseline, name]:{widths[name]}}" for name in advantages]
        lines.append("  ".join([f"  {baseline:{first}}", *cells]).rstrip())
    reasons = [(rule.__name__, (rule.__doc__ or "").rstrip(".")) for rule in RULES]
    return "\n".join([*lines, "", *_section("refused, and why", reasons)]).rstrip()


def describe(file: Path) -> str:
    """Return an option's one line: the comment beside its name, or the one below `# @package`; "" without one."""
    text = file.read_text(encoding="utf-8")
    beside = re.search(r"^ *name: *\S+ +# (.*)$", text, re.MULTILINE)
    below = re.search(r"^# @package.*\n# (.*)$", text, re.MULTILINE)
    found = below or beside
    return found[1] if found else ""


def _settings(file: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the keys of a file with their values and comments; those of a section behind its name."""
    section = ""
    text = file.read_text(encoding="utf-8").partition("\nhydra:")[0]
    for line in text.splitlines():
        match = re.match(r"( *)(\w+):(?: +([^#]*?))?(?: +# (.*))?$", line)
        if match is None or match[2] == "defaults":
            continue
        indent, key, value, comment = match.groups()
        if not indent:
            section = "" if value else f"{key}."
        if value:
            yield f"{prefix}{section if indent else ''}{key}={value}", comment or ""


def _section(title: str, lines: list[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in lines)
    return [title, *(f"  {name:{width}}  {text}".rstrip() for name, text in lines), ""]
