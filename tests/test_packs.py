"""What is read of a zip file that somebody hands on, whatever is in it."""

import io
import zipfile

import pytest

from bench import packs
from bench.packs import DamagedPack

BLOCK = "runs/t/a-0123abcd/seeds-000"


def pack(study, *names: str, content: bytes = b"x", **options):
    with zipfile.ZipFile(study / "runs.zip", "w", **options) as archive:
        for name in names:
            archive.writestr(name, content)
    return study


def test_a_packed_file_is_read_by_the_path_it_would_have(tmp_path):
    pack(tmp_path, f"{BLOCK}/run.json", f"{BLOCK}/config.yaml", content=b"packed")
    assert packs.read_bytes(tmp_path / BLOCK / "config.yaml") == b"packed"
    assert packs.exists(tmp_path / BLOCK / "run.json")
    assert not packs.exists(tmp_path / BLOCK / "policy.zip")
    assert packs.is_packed(tmp_path / BLOCK)
    assert packs.children(tmp_path / "runs" / "t") == {"a-0123abcd"}
    assert packs.children(tmp_path / "lab") == packs.children(tmp_path) == frozenset()
    with pytest.raises(FileNotFoundError):
        packs.read_bytes(tmp_path / BLOCK / "policy.zip")
    with pytest.raises(FileNotFoundError):
        packs.read_bytes(tmp_path / "other" / BLOCK / "run.json")


def test_a_folder_with_a_record_counts_and_one_without_adds_to_the_pack(tmp_path):
    block = pack(tmp_path, f"{BLOCK}/run.json", f"{BLOCK}/config.yaml", content=b"packed") / BLOCK
    block.mkdir(parents=True)
    (block / "policy.zip").write_bytes(b"beside")
    assert [packs.read_bytes(block / name) for name in ("config.yaml", "policy.zip")] == [b"packed", b"beside"]
    (block / "run.json").write_bytes(b"own")
    assert packs.read_bytes(block / "run.json") == b"own"
    assert not packs.is_packed(block)
    assert not packs.exists(block / "config.yaml")  # its own is lost, and nobody else's is taken for it
    with pytest.raises(FileNotFoundError):
        packs.read_bytes(block / "config.yaml")


def test_blocks_are_found_from_every_folder_above_them(tmp_path):
    for study, cells in (("one", ["t/a-0123abcd", "t/b-0123abcd", "u/a-0123abcd"]), ("two", ["t/a-0123abcd"])):
        (tmp_path / study).mkdir()
        pack(tmp_path / study, *(f"runs/{cell}/seeds-000/run.json" for cell in cells))
    for folder, number in (("", 4), ("one", 3), ("one/runs", 3), ("one/runs/t", 2), ("one/runs/t/a-0123abcd", 1)):
        found = packs.blocks_below(tmp_path / folder)
        assert len(found) == number
        assert all(packs.exists(block / packs.RECORD) for block in found)
    block = tmp_path / "one" / BLOCK
    assert packs.blocks_below(block) == [block]
    assert packs.blocks_below(block.with_name("seeds-001")) == packs.blocks_below(tmp_path / "one", "lab") == []


def test_another_pack_in_its_place_is_seen(tmp_path):
    for content in (b"old", b"new"):
        pack(tmp_path, f"{BLOCK}/run.json", content=content).joinpath("runs.zip").rename(tmp_path / "made")
        (tmp_path / "made").rename(tmp_path / "runs.zip")
        assert packs.read_bytes(tmp_path / BLOCK / "run.json") == content


def test_the_same_files_are_the_same_bytes(tmp_path):
    files = [(f"{BLOCK}/run.json", b"{}" * 1000), (f"{BLOCK}/curves.parquet", bytes(range(256)))]
    for name in ("one", "other"):
        packs.write(tmp_path / name, files)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    with zipfile.ZipFile(tmp_path / "one") as archive:
        assert [(entry.filename, archive.read(entry)) for entry in archive.infolist()] == files
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "runs/t/a-0123abcd/run.json",
        "lab/t/a-0123abcd/seeds-000/run.json",
        "runs/../../../run.json",
        "/runs/t/a/seeds-000",
        "runs/t//seeds-000/run.json",
        f"{BLOCK}/more/run.json",
    ],
)
def test_what_is_no_file_of_a_block_makes_it_damaged(tmp_path, name):
    pack(tmp_path, f"{BLOCK}/run.json", name)
    with pytest.raises(DamagedPack, match=rf"^damaged pack {tmp_path}/runs\.zip: '.*' is no file of a block$"):
        packs.blocks_below(tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_makes_it_damaged(tmp_path):
    pack(tmp_path, f"{BLOCK}/run.json", f"{BLOCK}/run.json")
    with pytest.raises(DamagedPack, match="is there twice"):
        packs.read_bytes(tmp_path / BLOCK / "run.json")


@pytest.mark.parametrize("content", [b"", b"no zip file", b"PK\x05\x06"])
def test_what_is_no_zip_file_is_named(tmp_path, content):
    (tmp_path / "runs.zip").write_bytes(content)
    with pytest.raises(DamagedPack, match="not readable as a zip file"):
        packs.children(tmp_path / "runs")


def test_large_ones_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "LARGEST_FILE", 1000)
    pack(tmp_path, f"{BLOCK}/run.json", content=bytes(1001), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(OSError, match=r"1001 bytes in runs\.zip, at most 1000 are read"):
        packs.read_bytes(tmp_path / BLOCK / "run.json")
    monkeypatch.setattr(packs, "LARGEST_PACK", 10)
    pack(tmp_path, f"{BLOCK}/config.yaml")
    with pytest.raises(DamagedPack, match="bytes, at most 10 are read"):
        packs.children(tmp_path / "runs")


def test_a_file_larger_than_the_directory_says_is_read_no_further(tmp_path):
    """The directory of a zip file is whatever its author wrote."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{BLOCK}/run.json", bytes(10_000_000))
    content, size = made.getvalue(), (10_000_000).to_bytes(4, "little")
    assert content.count(size) == 2  # before the file, and in the directory
    (tmp_path / "runs.zip").write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(OSError, match=r"damaged in runs\.zip"):
        packs.read_bytes(tmp_path / BLOCK / "run.json")


def test_flipped_bits_are_noticed(tmp_path):
    pack(tmp_path, f"{BLOCK}/run.json", content=b"some content")
    path = tmp_path / "runs.zip"
    path.write_bytes(path.read_bytes().replace(b"some content", b"some c0ntent"))
    with pytest.raises(OSError, match=r"damaged in runs\.zip"):
        packs.read_bytes(tmp_path / BLOCK / "run.json")
