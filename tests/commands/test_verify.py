"""Results are held against what was written, and trained again."""

import json

import pytest

from bench.commands.verify import pick, verify
from bench.errors import UserError
from bench.execution import execute
from bench.execution.reproduce import train_again
from bench.records import block as blocks
from bench.records.files import sha256
from bench.records.tables import CURVES, TRAINING, curve_rows, write_rows

FAKE = ("evaluation.points=2", "evaluation.episodes=2")  # what the fake learner reports


def test_intact_results_are_found_so_from_any_folder(cell):
    path = execute.run(cell("seeds=2", *FAKE))
    execute.run(cell("seeds=[4]", *FAKE, "study.name=other"))
    for root, number in ((path, 1), (path.parent, 1), (path.parents[3], 1), (path.parents[4], 2)):
        found = verify(root)
        assert (len(found.finished), found.unfinished, found.problems) == (number, 0, [])


def test_every_kind_of_damage_is_named(cell):
    paths = [execute.run(cell("seeds=2", f"gamma={gamma}", *FAKE)) for gamma in (0.5, 0.6, 0.7, 0.8)]
    policy = paths[0] / blocks.POLICY
    policy.write_bytes(policy.read_bytes() + b"x")
    (paths[1] / blocks.RECORD).write_text("{")
    (paths[2] / TRAINING).unlink()
    paths[3].rename(paths[3].with_name("seeds-000-009"))
    problems = verify(paths[0].parents[3]).problems
    assert len(problems) == 4
    for expected in (
        f"{policy.parent}: policy.zip is not the file that was written (checksum)",
        f"damaged block {paths[1]}: run.json cannot be read",
        f"{paths[2]}: training.parquet cannot be read (No such file or directory)",
        "seeds-000-009: its folder's name is not that of seeds [0, 1]",
    ):
        assert any(expected in problem for problem in problems), expected


def test_rows_that_went_missing_before_the_checksum_are_seen(cell):
    """A record and its checksums can be made to agree; the number of evaluations is known beforehand."""
    path = execute.run(cell("seeds=2", *FAKE))
    row = {"seed": 0, "step": 0, "mode": "deterministic", "episode": 0, "return": 1.0, "length": 1}
    write_rows(CURVES, curve_rows([row]), path / CURVES)
    record = json.loads((path / blocks.RECORD).read_text())
    record["checksums"][CURVES] = sha256(path / CURVES)
    (path / blocks.RECORD).write_text(json.dumps(blocks.sealed(record)))
    assert verify(path).problems == [
        f"{path}: seed 0 has 1 evaluation episodes, not 12",
        f"{path}: seed 1 has 0 evaluation episodes, not 12",
    ]


def test_a_block_is_trained_again_and_leaves_nothing(cell, learner, tmp_path):
    path = execute.run(cell("seeds=2", *FAKE))
    before = sorted(tmp_path.rglob("*"))
    (block,) = pick(verify(path).finished, 3)
    assert train_again(block) == dict.fromkeys(blocks.NUMBERS, True)
    learner.offset = 1
    assert train_again(block) == dict.fromkeys(blocks.NUMBERS, False)
    assert sorted(tmp_path.rglob("*")) == before


def test_curves_of_before_exact_returns_are_held_against_what_they_had(cell, learner):
    """The other way round they are not: exact returns that were recorded must come again."""
    path = execute.run(cell("seeds=2", *FAKE))
    learner.solves = True
    assert train_again(blocks.read(path)) == dict.fromkeys(blocks.NUMBERS, True)
    learner.offset = 1
    assert not train_again(blocks.read(path))[CURVES]
    learner.offset = 0
    solved = execute.run(cell("seeds=2", "results=solved", *FAKE))
    assert train_again(blocks.read(solved)) == dict.fromkeys(blocks.NUMBERS, True)
    learner.solves = False
    assert train_again(blocks.read(solved)) == dict.fromkeys(blocks.NUMBERS, True) | {CURVES: False}


def test_a_folder_without_blocks_is_refused(tmp_path):
    with pytest.raises(UserError, match="no blocks"):
        verify(tmp_path)


def test_a_folder_that_is_not_there_is_refused_with_its_nearest_neighbour(tmp_path):
    (tmp_path / "article").mkdir()
    with pytest.raises(UserError, match=r"articl: no such folder; did you mean 'article'\?"):
        verify(tmp_path / "articl")
