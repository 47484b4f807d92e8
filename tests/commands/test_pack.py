"""A study that is handed on as one file: everything that its folders say, and nothing else."""

import json
import shutil
import tarfile
from functools import partial
from pathlib import Path

import pytest

import bench
from bench import packs
from bench.commands import enjoy, pack
from bench.commands.main import main
from bench.commands.rerun import rerun
from bench.commands.status import status
from bench.commands.verify import verify
from bench.config import saved_policies as policies
from bench.config.identity import cell_hash
from bench.errors import UserError
from bench.execution import execute
from bench.execution.reproduce import train_again
from bench.learner import train as learner
from bench.records import block as blocks
from bench.records import index, mirroring
from bench.records.files import Damaged
from bench.records.recorder import Recorder, Subject, recording
from bench.records.tables import COSTS, QUANTITIES, STATES, write_table

FAKE = ("evaluation.points=2", "evaluation.episodes=2")  # what the fake learner reports
TINY = ("budget=640", "evaluation.points=1", "evaluation.episodes=1", "hidden=[8,8]", "update.epochs=1")
PACKED = ["run.json", "config.yaml", "curves.parquet"]


def packed(study: Path) -> Path:
    """Leave of a study its pack and what is no folder of a block."""
    pack.write(study, packs.RUNS)
    shutil.rmtree(study / "runs")
    return study


@pytest.fixture
def study(cell):
    """Two cells, one with two blocks, one of a single seed: as folders."""
    configs = [cell("seeds=3", *FAKE), cell("seeds=1", "gamma=0.5", *FAKE)]
    index.plan(configs)
    for config in (cell("seeds=2", *FAKE), *configs):
        execute.run(config)
    return blocks.study_directory(configs[0])


def test_the_pack_holds_what_scores_depend_on_under_its_paths(study, capsys):
    assert main(["pack", "study=adhoc", f"results={study.parent}"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"3 blocks packed: {study}/runs.tar.xz (")
    folders = blocks.walk(study)[0]
    with tarfile.open(study / "runs.tar.xz") as archive:
        assert sorted(archive.getnames()) == sorted(
            f"{folder.relative_to(study)}/{name}" for folder in folders for name in PACKED
        )
        for name in archive.getnames():
            assert archive.extractfile(name).read() == (study / name).read_bytes()


def test_the_same_results_are_the_same_bytes_also_from_the_pack_itself(study):
    before = pack.write(study, packs.RUNS).path.read_bytes()
    shutil.rmtree(study / "runs")
    again = pack.write(study, packs.RUNS)
    assert (again.finished, again.path.read_bytes()) == (3, before)


def test_what_is_not_finished_is_left_out(study, cell, learner, capsys):
    def breaks():
        raise ValueError("no")

    learner.before = breaks
    with pytest.raises(ValueError, match="no"):
        execute.run(cell("seeds=1", "gamma=0.7", *FAKE))
    assert main(["pack", "study=adhoc", f"results={study.parent}"]) == 0
    assert capsys.readouterr().out.startswith("3 blocks packed, 1 unfinished left out: ")


def test_damaged_blocks_are_not_packed(study):
    path = blocks.walk(study)[0][0]
    (path / "curves.parquet").write_bytes(b"other")
    with pytest.raises(UserError, match=f"damaged block {path}: curves.parquet is not the file that was written"):
        pack.write(study, packs.RUNS)
    assert not (study / "runs.tar.xz").exists()


def test_every_command_reads_a_pack_as_it_reads_folders(study, learner, cell, capsys):
    folders = blocks.walk(study)[0]
    records = [blocks.read(folder).record for folder in folders]
    packed(study)
    assert blocks.walk(study) == (folders, [])
    assert [blocks.load(folder).record for folder in folders] == records
    assert status(study.parent, "adhoc") == ("adhoc: 4 done (seeds of cells)", True)
    roots = [(study.parent, 3), (study, 3), (study / "runs", 3), (study / "runs.tar.xz", 3), (folders[0].parent, 1)]
    for root, number in [*roots, (folders[0], 1)]:
        found = verify(root)
        assert (len(found.finished), found.unfinished, found.problems) == (number, 0, [])
    assert main(["verify", str(study)]) == 0
    said = capsys.readouterr().out
    for what in ("policies", "checkpoints", "diagnostics", "single episodes"):
        assert f"{what} left out of 3 blocks; 'python -m bench rerun BLOCK' makes them again" in said
    trained = len(learner.calls)
    execute.run(cell("seeds=3", *FAKE))
    assert len(learner.calls) == trained  # it is done


def test_more_seeds_become_a_folder_beside_the_pack(study, learner, cell):
    packed(study)
    path = execute.run(cell("seeds=5", *FAKE))
    assert learner.calls[-1] == (3, 4)
    assert path.name == "seeds-003-004"
    index.plan([cell("seeds=5", *FAKE)])
    assert status(study.parent, "adhoc")[0] == "adhoc: 6 done (seeds of cells)"
    assert len(verify(study).finished) == 4
    assert pack.write(study, packs.RUNS).finished == 4


def test_a_packed_block_is_trained_again_by_its_path_and_gets_back_what_was_left_out(study, capsys):
    path = blocks.walk(study)[0][0]
    before = {name: (path / name).read_bytes() for name in blocks.FILES}
    packed(study)
    assert train_again(blocks.read(path)) == dict.fromkeys(blocks.NUMBERS, True)
    assert main(["rerun", str(path)]) == 0
    said = capsys.readouterr().out
    assert "put back in" in said
    assert sorted(file.name for file in path.iterdir()) == sorted(set(before) - set(PACKED))
    assert {name: packs.read_bytes(path / name) for name in blocks.FILES} == before
    assert blocks.read(path).left_out == []
    assert verify(study).problems == []


def test_what_needs_a_policy_says_that_it_was_left_out(study):
    path = blocks.walk(study)[0][0]
    packed(study)
    expected = f"{path}: its policy was left out; 'python -m bench rerun {path}' makes it again"
    for wanted in (
        lambda: enjoy.enjoy(path),
        lambda: policies.find(str(path.parent)),
        lambda: policies.find(str(path)),
    ):
        with pytest.raises(UserError) as refused:
            wanted()
        assert str(refused.value) == expected
    with pytest.raises(UserError, match=r"its training\.parquet was left out"):
        mirroring.sync(study.parent, "adhoc", upload=False, timeout=60)


def test_a_cell_is_held_to_a_policy_beside_a_pack_and_keeps_its_hash_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "train", learner.train)
    place = (f"results={tmp_path}", "wandb=disabled", "task=weekly_exam", *TINY)
    honest = execute.run(bench.compose(["study.name=honest", "seeds=2", *place]))
    held = ("reference=checkpoint", f"reference.path={tmp_path / 'honest'}", "study.name=held", "seeds=2", *place)
    expected = cell_hash(bench.compose(held))
    policy = (honest / blocks.POLICY).read_bytes()
    packed(tmp_path / "honest")
    with pytest.raises(UserError, match="its policy was left out"):
        bench.compose(held)
    assert policies.digest(str(tmp_path / "honest")) == policies.digest(str(honest))
    honest.mkdir(parents=True)
    (honest / blocks.POLICY).write_bytes(policy)
    assert cell_hash(bench.compose(held)) == expected
    assert verify(tmp_path).problems == []
    assert blocks.read(execute.run(bench.compose(held))).state == "done"


@pytest.mark.parametrize("name", PACKED)
def test_a_damaged_single_seed_block_is_damaged_everywhere_in_a_folder_and_in_a_pack(study, cell, name):
    """Of every file that scores depend on; its neighbours are judged all the same."""
    config = cell("seeds=1", "gamma=0.5", *FAKE)
    path = blocks.cell_directory(config) / "seeds-000"
    told_apart = f"#{cell_hash(config)[:8]}"  # its neighbour has the same arm and another discount
    (path / name).write_bytes((path / name).read_bytes()[:-5])
    with pytest.raises(UserError, match="damaged block"):
        pack.write(study, packs.RUNS)
    for damaged in (study, _handed_on_damaged(study, path / name)):
        text, intact = status(damaged.parent, "adhoc")
        assert not intact
        lines = text.splitlines()
        assert lines[0] == "adhoc: 3 done, 1 damaged (seeds of cells)"
        assert len(lines) == 2
        name_of_cell = f"weekly_exam critic-gae-clip {told_apart}"
        assert lines[1].startswith(f"damaged  {name_of_cell} seeds 000: damaged block {path}: {name} ")
        problems = verify(damaged).problems
        assert problems
        assert all(str(path) in problem for problem in problems)
        assert name in problems[0]
        assert list(execute.damage(config)) == [path]
        with pytest.raises(UserError, match=f"damaged block {path}: {name}"):
            execute.missing(config)
        with pytest.raises(UserError, match=f"damaged block {path}: {name}"):
            rerun(path)


def _handed_on_damaged(study: Path, file: Path) -> Path:
    """The study as a pack that was made of such files."""
    folders = blocks.walk(study)[0]
    names = [folder / name for folder in folders for name in PACKED]
    packs.write(study / "runs.tar.xz", [(str(name.relative_to(study)), name.read_bytes()) for name in names])
    shutil.rmtree(study / "runs")
    assert packs.exists(file)
    return study


def test_a_damaged_block_in_a_pack_can_not_be_set_aside(study, cell):
    config = cell("seeds=1", "gamma=0.5", *FAKE)
    path = blocks.cell_directory(config) / "seeds-000"
    (path / "curves.parquet").write_bytes(b"other")
    _handed_on_damaged(study, path / "curves.parquet")
    with pytest.raises(
        UserError, match=rf"cannot move {path}: it lies in runs\.tar\.xz: put that file right, or remove it"
    ):
        execute.set_aside(config)


def test_a_damaged_pack_is_named_and_other_studies_are_judged(study, cell, capsys):
    execute.run(cell("seeds=[4]", *FAKE, "study.name=other"))
    packed(study)
    (study / "runs.tar.xz").write_bytes(b"no pack")
    found = verify(study.parent)
    assert len(found.finished) == 1
    (problem,) = found.problems
    assert problem.startswith(f"damaged pack {study}/runs.tar.xz: not readable as a .tar.xz file")
    assert main(["verify", str(study), "rerun=0"]) == 1
    assert main(["status", "study=adhoc", f"results={study.parent}"]) == 2
    assert f"error: damaged pack {study}/runs.tar.xz" in capsys.readouterr().err


def test_a_laboratory_has_a_pack_of_its_own_without_its_states(tmp_path):
    study = tmp_path / "measured"
    path = study / "lab" / "t" / "end-0123abcd" / "seeds-000"
    running = {0: {"status": "running", "cause": None}}
    entries = {"study": "measured", "task": "t", "stage": "end", "hash": "0123abcd", "factors": {}}
    tables = {name: partial(write_table, [{"value": 0.5}]) for name in (QUANTITIES, STATES, COSTS)}
    with recording(Recorder(Subject(str(tmp_path), path, running, entries, {"lab": {}}))) as recorder:
        recorder.finish(tables, {0: {"status": "done", "cause": None}})
    assert pack.write(study, packs.RUNS) is None
    assert pack.write(study, packs.LAB).path == study / "lab.tar.xz"
    shutil.rmtree(study / "lab")
    assert blocks.walk(study, packs.LAB) == ([path], [])
    assert blocks.walk(study, packs.RUNS) == ([], [])
    block = blocks.load(path)
    blocks.check(block)
    assert block.left_out == [STATES]
    for name in (QUANTITIES, COSTS):
        assert blocks.table(block, name, ["value"]).to_pylist() == [{"value": 0.5}]
    with pytest.raises(Damaged, match=f"{STATES} is not there"):
        blocks.table(block, STATES, ["value"])


def test_a_laboratorys_blocks_are_held_against_their_records_and_trained_by_nobody(tmp_path, capsys):
    study = tmp_path / "measured"
    path = study / "lab" / "t" / "end-0123abcd" / "seeds-000"
    running = {0: {"status": "running", "cause": None}}
    entries = {"study": "measured", "task": "t", "stage": "end", "hash": "0123abcd", "factors": {}}
    tables = {QUANTITIES: partial(write_table, [{"value": 0.5}])}
    with recording(Recorder(Subject(str(tmp_path), path, running, entries, {"lab": {}}))) as recorder:
        recorder.finish(tables, {0: {"status": "done", "cause": None}})
    for root in (tmp_path, study, study / "lab", path):
        assert main(["verify", str(root)]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "1 finished block, 0 unfinished, 0 problems with their files",
            "1 block of the laboratory: nothing to train again",
        ]
    for command in ("rerun", "enjoy"):
        assert main([command, str(path)]) == 2
        assert "a stage that was measured, by 'python -m bench lab'" in capsys.readouterr().err
    pack.write(study, packs.LAB)
    (path / QUANTITIES).write_bytes(b"other")
    (problem,) = verify(tmp_path).problems
    assert problem == f"{path}: {QUANTITIES} is not the file that was written (checksum)"
    shutil.rmtree(study / "lab")
    for root in (tmp_path, study, study / "lab", study / "lab.tar.xz"):
        assert (len(verify(root).finished), verify(root).problems) == (1, [])
    (study / "lab.tar.xz").write_bytes(b"damaged")
    (problem,) = verify(tmp_path).problems
    assert problem.startswith(f"damaged pack {study}/lab.tar.xz")


def test_a_study_that_is_not_there_or_has_nothing_finished_is_refused(study, cell):
    with pytest.raises(UserError, match=r"unknown study in .*did you mean 'adhoc'"):
        pack.main(["study=adhok", f"results={study.parent}"])
    index.plan([cell("seeds=1", "study.name=empty")])
    with pytest.raises(UserError, match="no finished block to pack"):
        pack.main(["study=empty", f"results={study.parent}"])


def rewrite(path: Path, **entries) -> None:
    record = json.loads((path / blocks.RECORD).read_text())
    (path / blocks.RECORD).write_text(json.dumps(blocks.sealed(record | entries)))


@pytest.mark.parametrize(("schema", "which"), [(1, "an earlier version (schema 1)"), (3, "a later version (schema 3)")])
@pytest.mark.parametrize("as_pack", [False, True])
def test_results_of_another_version_are_one_line_and_exit_code_2_everywhere(
    study, cell, schema, which, as_pack, capsys, monkeypatch
):
    """One block of three is enough; the first is named."""
    path = blocks.walk(study)[0][1]
    rewrite(path, schema=schema)
    if as_pack:
        _handed_on_damaged(study, path / blocks.RECORD)
    expected = f"error: {path}: written by {which}; this version reads schema 2: "
    results, new = f"results={study.parent}", cell("seeds=1", "gamma=0.123", *FAKE)
    monkeypatch.chdir(study.parent)
    training = ("task=weekly_exam", "budget=1000", "wandb=disabled", "seeds=1", "gamma=0.123", *FAKE, results)
    for words in (
        ("status", "study=adhoc", results),
        ("verify", str(study)),
        ("verify", str(study.parent)),
        ("rerun", str(path)),
        ("enjoy", str(path)),
        ("pack", "study=adhoc", results),
        ("wandb-sync", "study=adhoc", "wandb=offline", results),
        training,
        (*training, "dry_run=true"),
        (*training, "retry=damaged"),
    ):
        assert main([*words, "hydra/launcher=basic"] if words[0].startswith("task") else words) == 2, words
        err = capsys.readouterr().err
        assert err.startswith(expected), words
        assert err.count("\n") == 1
    assert not blocks.cell_directory(new).exists()


def test_what_an_earlier_version_trained_is_read_and_not_trained_again(study, learner, capsys):
    path = blocks.walk(study)[0][0]
    rewrite(path, converted_from=1, hash="89abcdef")  # its settings mean another cell now
    path.parent.rename(path.parent.with_name("critic-gae-clip-89abcdef"))
    path = path.parent.with_name("critic-gae-clip-89abcdef") / path.name
    (path / blocks.POLICY).unlink()
    trained = len(learner.calls)
    assert main(["verify", str(path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "1 finished block, 0 unfinished, 0 problems with their files",
        "1 block of an earlier version (converted): their numbers cannot be trained again",
    ]
    assert len(learner.calls) == trained
    assert main(["rerun", str(path)]) == 2
    expected = f"error: {path}: of an earlier version (converted): its numbers cannot be trained again\n"
    assert capsys.readouterr().err == expected
    with pytest.raises(UserError, match="its policy was left out, and what an earlier version trained cannot be made"):
        policies.find(str(path))
    assert main(["verify", str(study)]) == 0
    assert "1 block of an earlier version" in capsys.readouterr().out
    assert len(learner.calls) == trained + 1  # one of the others
