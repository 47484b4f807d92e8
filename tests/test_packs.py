"""What is read of a pack that somebody hands on, whatever is in it."""

import io
import lzma
import tarfile

import pytest

from bench import packs
from bench.packs import DamagedPack

BLOCK = "runs/t/a-0123abcd/seeds-000"


def pack(study, *names: str, content: bytes = b"x", **kind):
    """A pack of these files, of which each has `kind`: what tells another thing from a file."""
    with tarfile.open(study / "runs.tar.xz", "w:xz") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in kind.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(content))
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
        pack(tmp_path, f"{BLOCK}/run.json", content=content).joinpath("runs.tar.xz").rename(tmp_path / "made")
        (tmp_path / "made").rename(tmp_path / "runs.tar.xz")
        assert packs.read_bytes(tmp_path / BLOCK / "run.json") == content


def test_the_same_files_are_the_same_bytes(tmp_path):
    files = [(f"{BLOCK}/run.json", b"{}" * 1000), (f"{BLOCK}/curves.parquet", bytes(range(256)))]
    for name in ("one", "other"):
        packs.write(tmp_path / name, files)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    with tarfile.open(tmp_path / "one") as archive:
        assert [(entry.name, archive.extractfile(entry).read()) for entry in archive] == files
        about = {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.mode) for entry in archive}
    assert about == {(0, 0, 0, "", "", 0o644)}  # nothing of this machine


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
    with pytest.raises(DamagedPack, match=rf"^damaged pack {tmp_path}/runs\.tar\.xz: '.*' is no file of a block$"):
        packs.blocks_below(tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_file_makes_it_damaged(tmp_path, kind):
    pack(tmp_path, f"{BLOCK}/run.json", content=b"", type=kind, linkname="/etc/passwd")
    with pytest.raises(DamagedPack, match="is no file of a block"):
        packs.blocks_below(tmp_path)


def test_a_file_with_holes_makes_it_damaged(tmp_path):
    """It says that it is larger than all that was packed."""
    holes = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
    content = b"1\n0\n1\n".ljust(512, b"\0") + b"x"
    pack(tmp_path, f"{BLOCK}/run.json", content=content, pax_headers=holes)
    with pytest.raises(DamagedPack, match="is no file of a block"):
        packs.blocks_below(tmp_path)


def test_one_name_twice_makes_it_damaged(tmp_path):
    pack(tmp_path, f"{BLOCK}/run.json", f"{BLOCK}/run.json")
    with pytest.raises(DamagedPack, match="is there twice"):
        packs.read_bytes(tmp_path / BLOCK / "run.json")


WHOLE = lzma.compress(b"\0" * 10_000)  # of an empty archive


@pytest.mark.parametrize(
    "content",
    [b"", b"no pack", WHOLE[:-1], WHOLE[:20], WHOLE + b"\0", WHOLE * 2, lzma.compress(b"no archive" * 100)],
)
def test_what_cannot_be_unpacked_is_named(tmp_path, content):
    (tmp_path / "runs.tar.xz").write_bytes(content)
    with pytest.raises(DamagedPack, match=r"runs\.tar\.xz: not readable as a \.tar\.xz file"):
        packs.children(tmp_path / "runs")


def test_large_ones_are_not_read(tmp_path, monkeypatch):
    pack(tmp_path, f"{BLOCK}/run.json", content=bytes(1_000_000))
    assert (tmp_path / "runs.tar.xz").stat().st_size < 1000
    monkeypatch.setattr(packs, "LARGEST", 1_000_000)
    with pytest.raises(DamagedPack, match="more than 1000000 bytes, which are not read"):
        packs.read_bytes(tmp_path / BLOCK / "run.json")


def test_what_would_not_be_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "LARGEST", 1_000_000)
    with pytest.raises(OSError, match="more than 1000000 bytes, which are not read"):
        packs.write(tmp_path / "runs.tar.xz", [(f"{BLOCK}/{name}", bytes(600_000)) for name in ("a", "b")])
    packs.write(tmp_path / "runs.tar.xz", [(f"{BLOCK}/{name}", bytes(400_000)) for name in ("a", "b")])
    assert packs.read_bytes(tmp_path / BLOCK / "b") == bytes(400_000)


def test_one_that_takes_much_memory_is_not_read(tmp_path, monkeypatch):
    pack(tmp_path, f"{BLOCK}/run.json")
    monkeypatch.setattr(packs, "MEMORY", 1_000_000)
    with pytest.raises(DamagedPack, match=r"(?i)memory"):
        packs.children(tmp_path / "runs")


def test_flipped_bits_are_noticed(tmp_path):
    pack(tmp_path, f"{BLOCK}/run.json", content=bytes(range(256)))
    path = tmp_path / "runs.tar.xz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedPack, match="not readable"):
        packs.read_bytes(tmp_path / BLOCK / "run.json")
