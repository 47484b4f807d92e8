"""What `status` and `rerun` say."""

from dataclasses import replace

import pytest

from bench.commands.rerun import rerun
from bench.commands.status import status
from bench.config.identity import cell_hash
from bench.errors import UserError
from bench.execution import execute
from bench.records import block as blocks
from bench.records import index


def state(config):
    return status(blocks.study_directory(config).parent, config.study.name)


def test_every_state_has_its_line(cell, learner):
    configs = {
        name: cell("seeds=2", f"name={name}", f"gamma={gamma}")
        for gamma, name in ((0.1, "whole"), (0.2, "unstable"), (0.3, "broken"), (0.4, "absent"), (0.5, "hurt"))
    }
    index.plan(list(configs.values()))
    execute.run(configs["whole"])
    learner.causes = {1: "loss is NaN"}
    execute.run(configs["unstable"])
    path = execute.run(configs["hurt"])
    (path / blocks.RECORD).write_text("{")

    def breaks():
        raise ValueError("no")

    learner.before = breaks
    with pytest.raises(ValueError, match="no"):
        execute.run(configs["broken"])
    text, intact = state(configs["whole"])
    lines = text.splitlines()
    assert not intact
    assert lines[0].startswith("adhoc: 3 done, 3 failed, 2 missing, 2 damaged")
    assert "failed   weekly_exam unstable seeds 001: loss is NaN" in lines
    assert "failed   weekly_exam broken seeds 000-001: ValueError: no" in lines
    assert "missing  weekly_exam absent seeds 000-001" in lines
    assert any(line.startswith(f"damaged  weekly_exam hurt seeds 000-001: damaged block {path}") for line in lines)


def test_seeds_are_counted_across_blocks(cell):
    execute.run(cell("seeds=2"))
    index.plan([cell("seeds=5")])
    text, intact = state(cell())
    assert intact
    assert text.splitlines() == [
        "adhoc: 2 done, 3 missing (seeds of cells)",
        "missing  weekly_exam critic-gae-clip seeds 002-004",
    ]


def test_seeds_that_were_never_trained_are_missing_beside_a_damaged_block(cell):
    path = execute.run(cell("seeds=2"))
    index.plan([cell("seeds=5")])
    (path / "curves.parquet").write_bytes(b"other")
    lines = state(cell())[0].splitlines()
    assert lines[0] == "adhoc: 3 missing, 2 damaged (seeds of cells)"
    assert lines[1].startswith("damaged  weekly_exam critic-gae-clip seeds 000-001: damaged block ")
    assert lines[2:] == ["missing  weekly_exam critic-gae-clip seeds 002-004"]


def test_an_unknown_study_is_named_with_those_there_are(cell):
    index.plan([cell("study.name=quick")])
    with pytest.raises(UserError, match=r"unknown study in .* 'quik': allowed are quick; did you mean 'quick'\?"):
        status(blocks.study_directory(cell()).parent, "quik")


def test_a_rerun_lies_beside_and_agrees(cell):
    path = execute.run(cell("seeds=[1,4]"))
    again = rerun(path)
    assert again.agrees == dict.fromkeys(blocks.NUMBERS, True)
    assert again.path.relative_to(blocks.study_directory(cell())).parts[0] == "reruns"
    assert rerun(path).path != again.path
    assert blocks.read(again.path).seeds == {1, 4}


def test_a_rerun_tells_of_other_numbers(cell, learner):
    path = execute.run(cell("seeds=2"))
    learner.offset = 1
    assert rerun(path).agrees == dict.fromkeys(blocks.NUMBERS, False)


@pytest.mark.parametrize("where", ["nowhere", "runs"])
def test_a_rerun_needs_a_finished_block(where, tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match="no finished block"):
        rerun(tmp_path / where)


def test_a_rerun_refuses_settings_that_no_longer_mean_the_same(cell, monkeypatch):
    path = execute.run(cell("seeds=2"))
    monkeypatch.setattr("bench.execution.reproduce.cell_hash", lambda _config: "00000000")
    with pytest.raises(UserError, match="its settings now mean 00000000, not "):
        rerun(path)


def test_of_hundreds_in_one_state_the_first_are_shown_and_the_number_of_the_others(cell):
    """The planned cells are looked at by several processes, in an order that is theirs."""
    planned = [replace(cell("seeds=1"), gamma=number / 1000) for number in range(600)]
    index.plan(planned)
    execute.run(planned[577])
    results = blocks.study_directory(planned[0]).parent
    text, _ = status(results, "adhoc")
    first, *lines = text.splitlines()
    assert first == "adhoc: 1 done, 599 missing (seeds of cells)"
    assert len(lines) == 51
    assert lines[-1] == "missing  549 more; all=true names them"
    every = status(results, "adhoc", every=True)[0].splitlines()[1:]
    assert len(every) == 599
    assert every[:50] == lines[:50]
    assert [cell_hash(planned[place]) in line for place, line in enumerate(every[:577])] == [True] * 577
