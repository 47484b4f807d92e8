"""What can be chosen, read from the comments of conf: the one place where an option is described."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from bench.config.legality import RULES, table
from bench.paths import CONF

SINGLE = "default"  # a group with this option only holds settings, not a choice


def catalogue(conf: Path = CONF) -> str:
    """Every factor with its options, then the settings with their defaults, one line each."""
    groups = {group: _files(conf / group) for group in groups_of(conf)}
    lines: list[str] = []
    for group, files in groups.items():
        options = [(_option(file, conf / group), describe(file)) for file in files if file.stem != SINGLE]
        if options:
            lines += _section(group, options)
    for group, files in groups.items():
        for file in files:
            if file.stem == SINGLE:
                lines += _section(group, list(_settings(file, f"{group}.")))
    lines += _section("settings", list(_settings(conf / "config.yaml", "")))
    return "\n".join([*lines, legality()])


def _files(group: Path) -> list[Path]:
    """The options of a group; what lies in a folder named like one of them is that option's own."""
    return [file for file in sorted(group.rglob("*.yaml")) if not file.parent.with_suffix(".yaml").exists()]


def _option(file: Path, group: Path) -> str:
    """What to write on the command line; options may lie in folders (`tuned=cartpole/…`)."""
    return file.relative_to(group).as_posix().removesuffix(".yaml")


def legality() -> str:
    """Which baselines and advantages run with which `collect`, and every rule that refuses a combination."""
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


def groups_of(conf: Path = CONF) -> list[str]:
    """The groups of options of the defaults list, by name."""
    entries = yaml.safe_load((conf / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    names = [name for entry in entries if isinstance(entry, dict) for name in entry]
    return sorted(name for name in names if not name.startswith(("override ", "optional ")))


def options_of(group: str, conf: Path = CONF) -> list[str]:
    """What can be written on the command line behind `group=`."""
    return [_option(file, conf / group) for file in _files(conf / group) if file.stem != SINGLE]


def describe(file: Path) -> str:
    """An option's one line: the comment beside its name, or the one below `# @package`. "" where there is none."""
    text = file.read_text(encoding="utf-8")
    beside = re.search(r"^ *name: *\S+ +# (.*)$", text, re.MULTILINE)
    below = re.search(r"^# @package.*\n# (.*)$", text, re.MULTILINE)
    found = below or beside
    return found[1] if found else ""


def _settings(file: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """The keys of a file with their values and comments; those of a section behind its name."""
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
