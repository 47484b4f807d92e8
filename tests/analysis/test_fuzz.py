"""A part of `tests.analysis.fuzz`, whose seed is fixed: `python -m tests.analysis.fuzz 500` runs all of it."""

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.verdicts import hypotheses
from tests.analysis.fuzz import lines_and_claims


def test_random_command_lines_and_claims_files_end_well() -> None:
    ended, wrong = lines_and_claims(25, seed=0)
    assert not wrong
    assert {"line 0", "line 2", "claims judged", "claims refused"} <= set(ended)


CLAIM = """
title: What is said
claims:
  one:
    {statement: It is, source: here, studies: [s], arm: {baseline: critic}, against: {baseline: none}, among: {},
     tasks: [cartpole], metric: final, direction: higher, sesoi: 0.05, seeds: 20}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sesoi: 0.05", "sesoi: .nan", "f.one.sesoi=nan: must be finite"),
        ("tasks: [cartpole]", "tasks: []", "f.one.tasks=[]: must name one or more, each once"),
        ("tasks: [cartpole]", "tasks: [a, a]", "f.one.tasks=[a,a]: must name one or more, each once"),
        ("studies: [s]", "studies: []", "f.one.studies=[]: must name one or more, each once"),
        ("seeds: 20", "seeds: 0", "f.one.seeds=0: must be at least 1"),
        ("among: {}", "among: [x]", "f.one.among=['x']: must be factors and their values"),
        ("arm: {baseline: critic}", "arm: {baseline: {a: 1}}", "f.one.arm={'baseline': {'a': 1}}: must be factors"),
        ("arm: {baseline: critic}", "arm: {1: critic}", "f.one.arm={1: 'critic'}: must be factors"),
        ("{baseline: none}", "{constant: .inf}", "f.one.against={'constant': inf}: a constant must be a number"),
        ("arm: {baseline: critic}", "arm: {constant: 1}", "f.one: a constant stands alone under against"),
        ("{baseline: none}", "{constant: 1, a: 2}", "f.one: a constant stands alone under against"),
        ("metric: final", "metric: fnal", "unknown f.one.metric 'fnal': allowed are "),
        ("seeds: 20", "seeds: 20, seeds: 2", "cannot read claims f.yaml: 'seeds' is given twice"),
        ("claims:", "claim:", "claims f.yaml: a mapping with the keys title, defaults and claims is needed"),
        ("title: What is said", "defaults: [1]", "claims f.yaml: defaults must be a mapping, and the title text"),
        ("title: What is said", "foreign: 1", "unknown key of claims f.yaml 'foreign': allowed are title, defaults"),
        ("title: What is said", "title: 2020-13-45", "cannot read claims f.yaml: month must be in 1..12"),
        ("title: What is said", "title: &x [*x]", "cannot read claims f.yaml: its values are nested too deeply"),
        ("title: What is said", f"title: {'[' * 500}{']' * 500}", "cannot read claims f.yaml: its values are nested"),
        ("title: What is said", f"title: {'x' * 1_000_001}", "cannot read claims f.yaml: it has more than 1,000,000"),
        ("What is said", "\udcff", "cannot read claims f.yaml: 'utf-8' codec can't decode byte 0xff"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_claims_file_is_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(CLAIM.encode())
    assert list(hypotheses.read(path).claims) == ["one"]
    assert CLAIM.count(old) == 1
    path.write_bytes(CLAIM.replace(old, new).encode(errors="surrogateescape"))
    with pytest.raises(UserError) as error:
        hypotheses.read(path)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_aliases_that_repeat_a_million_values_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    path = tmp_path / "f.yaml"
    path.write_text("\n".join([CLAIM, *lines]))
    with pytest.raises(UserError, match="its aliases make more than 1,000,000 values"):
        hypotheses.read(path)
