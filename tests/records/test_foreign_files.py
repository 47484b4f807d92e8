"""What comes from disk is named where it is not what was written; nothing of it is run, followed or lost."""

import json
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import bench
from analysis import load
from bench import plugin
from bench.commands.main import main
from bench.commands.status import status
from bench.commands.verify import verify
from bench.config.parse import arm_to_mapping, parse_arm
from bench.config.schema import Arm
from bench.errors import UserError
from bench.execution import execute
from bench.execution.execute import recorded_config
from bench.learner import archive
from bench.records import block as blocks
from bench.records import files, index, partial, provenance
from bench.records.files import Damaged
from bench.records.index import STUDY
from tests.records.damages import seal

FAKE = ("evaluation.points=2", "evaluation.episodes=2")  # what the fake learner reports


def trained(cell, *overrides: str) -> Path:
    config = cell(*FAKE, *overrides)
    index.plan([config])
    return execute.run(config)


def change_settings(block: Path, change) -> None:
    """Change a block's settings, and let its record agree, as an enemy would."""
    settings = yaml.safe_load((block / blocks.CONFIG).read_text())
    change(settings)
    (block / blocks.CONFIG).write_text(yaml.safe_dump(settings))
    seal(block)


CODE = {
    "task.plugin": lambda settings: settings["task"].update(name="plugin", plugin="evil_task:Task"),
    "task.knobs": lambda settings: settings["task"].update(knobs={"plugin": "evil_task:Task"}),
    "task.id": lambda settings: settings["task"].update(name="gym", id="evil_task:Env-v0"),
    "update.plugin": lambda settings: settings["update"].update(name="plugin", plugin="evil_task:f"),
    "algorithm._target_": lambda settings: settings["algorithm"].update(name="library", _target_="evil_task.PPO"),
}


@pytest.mark.parametrize("where", CODE)
def test_code_that_a_record_names_is_not_imported(cell, tmp_path, monkeypatch, capsys, where):
    block, other = trained(cell, "seeds=2"), trained(cell, "seeds=2", "gamma=0.5")
    change_settings(block, CODE[where])
    (tmp_path / "evil_task.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    found = verify(block.parents[3])
    assert [problem for problem in found.problems if "evil_task" in problem and str(block) in problem]
    assert [each.path for each in found.finished if each.path == other] == [other]
    for verb in ("rerun", "enjoy"):
        assert main([verb, str(block)]) == 2
    assert "add plugins=evil_task to the command" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    assert "evil_task" not in sys.modules


def test_a_module_below_an_imported_package_is_named_by_nobody():
    with pytest.raises(UserError, match=r"only a record names the module xml\.sax\.expatreader"):
        plugin.import_module("xml.sax.expatreader")
    with pytest.raises(UserError, match=r"add plugins=xml\.sax\.expatreader to the command"):
        plugin.refuse_recorded({"algorithm._target_": "xml.sax.expatreader.Parser"})


def test_a_saved_policy_imports_nothing():
    arm = {"update": {"name": "plugin", "plugin": "evil_policy:f", "options": {}, "epochs": 1, "minibatches": 1}}
    whole = bench.compose([])
    names = list(Arm.__dataclass_fields__)
    with pytest.raises(UserError, match=r"update\.plugin=evil_policy:f; if you trust it, add plugins=evil_policy"):
        parse_arm(arm_to_mapping(whole, names) | arm)


@pytest.mark.parametrize(
    "text",
    ["", "null", "[1]", "3", "a: [*a]", "a: !!python/object/apply:os.system [id]", "[" * 3000, "a: 2020-13-45", "{}"],
)
def test_damaged_settings_are_named_and_the_other_blocks_judged(cell, text):
    block, other = trained(cell, "seeds=2"), trained(cell, "seeds=2", "gamma=0.5")
    (block / blocks.CONFIG).write_text(text)
    seal(block)
    found = verify(block.parents[3])
    assert len(found.problems) == 1
    assert str(block) in found.problems[0]
    assert other in [each.path for each in found.finished]


def test_settings_of_a_few_lines_that_stand_for_millions_are_refused(cell):
    block = trained(cell, "seeds=2")
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(9)]
    (block / blocks.CONFIG).write_text("\n".join(lines))
    with pytest.raises(UserError, match="it has more than 2000000 entries"):
        recorded_config(block)


ODD_CELLS = {
    "a number for a path": {"path": 3},
    "a NUL": {"path": "runs/\0"},
    "a path outside": {"path": "../../elsewhere"},
    "an absolute path": {"path": "/etc"},
    "all seeds": {"seeds": "all"},
    "a seed that is none": {"seeds": [0, True]},
    "a huge number": {"seeds": [2**70]},
    "the same seed": {"seeds": [1, 1]},
    "a list for a name": {"arm": ["a"]},
    "two lines": {"arm": "a\nb"},
    "half a letter": {"task": "\ud800"},
}


@pytest.mark.parametrize("what", ODD_CELLS)
def test_an_index_with_odd_values_is_named_in_one_line(cell, capsys, what):
    block = trained(cell, "seeds=2")
    study = block.parents[3]
    planned = json.loads((study / STUDY.file).read_text())
    planned["cells"][0] |= ODD_CELLS[what]
    (study / STUDY.file).write_text(json.dumps(files.sealed(planned)))
    assert main(["status", f"study={study.name}", f"results={study.parent}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: damaged index {study / STUDY.file} (")
    assert said.count("\n") == 1
    assert verify(study).problems
    assert verify(study).finished


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf{}", b"", b'{"schema": 1, "schema": 1, "cells": []}', b"[" * 99999])
def test_an_index_that_is_no_json_is_named(tmp_path, content):
    (tmp_path / STUDY.file).write_bytes(content)
    with pytest.raises(Damaged, match="not readable as JSON"):
        STUDY.load(tmp_path)


def test_an_index_in_whose_place_something_else_lies_is_named(tmp_path):
    (tmp_path / "elsewhere").write_text('{"schema": 1, "cells": []}')
    place = tmp_path / STUDY.file
    for make in (place.mkdir, lambda: place.symlink_to(tmp_path / "elsewhere"), lambda: os.mkfifo(place)):
        make()
        with pytest.raises(Damaged, match=r"Is a directory|it is a link|it is no file"):
            STUDY.load(tmp_path)
        place.rmdir() if place.is_dir() else place.unlink()


def test_a_flipped_bit_anywhere_in_an_index_is_seen(cell):
    study = trained(cell, "seeds=2").parents[3]
    content = (study / STUDY.file).read_bytes()
    assert STUDY.is_sealed(study)
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        (study / STUDY.file).write_bytes(flipped)
        with pytest.raises(Damaged):
            STUDY.load(study)


def test_an_index_of_an_earlier_version_is_read_and_said_to_have_no_checksum(cell, capsys):
    study = trained(cell, "seeds=2").parents[3]
    planned = json.loads((study / STUDY.file).read_text())
    del planned[files.SEAL]
    (study / STUDY.file).write_text(json.dumps(planned))
    assert main(["verify", str(study), "rerun=0"]) == 0
    assert f"{study / STUDY.file}: of an earlier version, without a checksum of its own" in capsys.readouterr().out
    index.plan([cell(*FAKE, "seeds=3")])
    assert STUDY.is_sealed(study)


def test_a_record_that_has_lost_its_checksum_is_not_believed(cell):
    block = trained(cell, "seeds=2")
    record = json.loads((block / blocks.RECORD).read_text())
    del record[files.SEAL]
    (block / blocks.RECORD).write_text(json.dumps(record))
    assert verify(block).problems == [f"{block}: run.json is not the record that was written (checksum)"]


@pytest.mark.parametrize("level", [0, 1, 2, 3], ids=["block", "cell", "task", "study"])
def test_a_link_in_place_of_a_folder_is_refused_and_what_it_leads_to_stays(cell, tmp_path, level):
    config = cell("seeds=2")
    index.plan([config])
    place = [blocks.directory(config, config.seeds), *blocks.directory(config, config.seeds).parents][:3][min(level, 2)]
    place = blocks.study_directory(config) if level == 3 else place
    theirs = tmp_path / "thesis"
    theirs.mkdir()
    (theirs / "chapter").write_text("mine")
    if place.exists():
        place.rename(tmp_path / "moved")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(theirs)
    with pytest.raises(UserError, match="it is a link, and links are not followed"):
        execute.run(config)
    assert [path.name for path in theirs.iterdir()] == ["chapter"]


def test_a_file_of_somebody_else_in_a_block_is_set_aside(cell, learner):
    def breaks() -> None:
        raise ValueError("no")

    config = cell("seeds=2")
    learner.before = breaks
    with pytest.raises(ValueError, match="no"):
        execute.run(config)
    block = blocks.directory(config, config.seeds)
    (block / "thesis").mkdir()
    (block / "thesis" / "chapter").write_text("mine")
    (block / "curves.parquet").write_text("left by a process that was killed")
    (block / ".writing-policy.zip").write_text("this too")
    learner.before = lambda: None
    with pytest.warns(UserWarning, match="is no file of a block: set aside as"):
        assert execute.run(config) == block
    study = blocks.study_directory(config)
    assert [path.read_text() for path in (study / "damaged").rglob("chapter")] == ["mine"]
    assert sorted(path.name for path in block.iterdir()) == sorted([*blocks.FILES, blocks.RECORD])


def test_what_a_killed_process_left_in_a_finished_block_is_removed(cell):
    block = trained(cell, "seeds=2")
    for name in (partial.PARTIAL, blocks.PROGRESS, f"{files.WRITING}{partial.PARTIAL}"):
        (block / name).write_text("left")
    (block / "mine").write_text("stays")
    execute.missing(cell(*FAKE, "seeds=2"))
    assert sorted(path.name for path in block.iterdir()) == sorted([*blocks.FILES, blocks.RECORD, "mine"])


def test_a_damaged_block_of_one_seed_is_damaged_and_not_missing(cell):
    block = trained(cell, "seeds=[3]")
    (block / "curves.parquet").write_bytes(b"other")
    records = load.read([block.parents[3].name], block.parents[4])
    assert records.runs[["seed", "status"]].values.tolist() == [[3, "damaged"]]
    text, intact = status(block.parents[4], block.parents[3].name)
    assert (text.splitlines()[0].endswith("1 damaged (seeds of cells)"), intact) == (True, False)


def test_a_table_of_more_rows_than_its_record_allows_is_not_unpacked(cell, monkeypatch):
    block = trained(cell, "seeds=2")
    rows = {"seed": pa.array([0] * 2_000_000, pa.int32()), "step": pa.array([0] * 2_000_000)}
    pq.write_table(pa.table(rows), block / "curves.parquet")
    seal(block)
    assert (block / "curves.parquet").stat().st_size < 20_000
    monkeypatch.setattr(pq, "read_table", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(Damaged, match=r"curves\.parquet: it has 2000000 rows, at most 12 are possible"):
        blocks.table(blocks.load(block), "curves.parquet", ["seed"])


def test_a_long_text_is_not_repeated_in_memory(cell):
    block = trained(cell, "seeds=2")
    pq.write_table(
        pa.table({"seed": [0] * 12, "step": [0] * 12, "mode": ["x" * 900_000] * 12}), block / "curves.parquet"
    )
    seal(block)
    with pytest.raises(Damaged, match=r"it has a text of 900000 bytes|is larger than 12 rows are"):
        blocks.table(blocks.load(block), "curves.parquet", ["seed"])


@pytest.mark.parametrize("inner", [False, True])
def test_a_compressed_policy_is_not_unpacked(tmp_path, inner):
    names = {"model.json": b"{}", "weights.pt": bytes(1 << 24)}
    if inner:
        with zipfile.ZipFile(tmp_path / "inner", "w", zipfile.ZIP_DEFLATED) as bomb:
            bomb.writestr("archive/data.pkl", bytes(1 << 24))
        names["weights.pt"] = (tmp_path / "inner").read_bytes()
    with zipfile.ZipFile(tmp_path / "policy.zip", "w", zipfile.ZIP_STORED if inner else zipfile.ZIP_DEFLATED) as outer:
        for name, content in names.items():
            outer.writestr(name, content)
    with pytest.raises(UserError, match="is compressed, which the suite's own are not"):
        archive.read(tmp_path / "policy.zip")


def test_values_of_the_environment_are_not_recorded(cell, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "hunter2-hunter2")
    for key in ("name", "study.title", "study.name"):
        with pytest.raises(UserError, match=rf"{key}=.*the environment's values are not recorded"):
            bench.compose([f"{key}=${{oc.env:MY_TOKEN}}"])
    config = cell("name=hunter2-hunter2", "seeds=2")
    for record in (lambda: index.plan([config]), lambda: execute.run(config)):
        with pytest.raises(UserError, match="holds the environment's MY_TOKEN, and records are handed on"):
            record()
    assert not blocks.study_directory(config).exists()


def test_the_path_of_a_reference_names_no_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = bench.compose([])
    for path, kept in ((f"{tmp_path}/honest", "~/honest"), ("results/honest", "results/honest"),
                       (str(Path("results/honest").absolute()), "results/honest")):  # fmt: skip
        held = replace(config, reference=replace(config.reference, path=path))
        assert provenance.settings(held)["reference"]["path"] == kept
