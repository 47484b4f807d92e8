"""Damaged and forged results: one damage of one file, drawn by a seed, of a small recorded study.

`FILES` are damages of any file's bytes or of what lies in its place; `FORGED` are files that are well formed and say
what this suite would not, with every checksum made to agree, as an enemy would.
"""

import hashlib
import io
import json
import lzma
import os
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from bench.records import block as blocks
from bench.records import files, lease

EVIL = ("evil_module_of_a_record", "this", "antigravity", "turtledemo")  # nobody else imports one of them
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 3, 1e300, float("inf"), float("nan"), 2**70, "", "all", "\0", "../../outside", "/etc/passwd",
    ".", "a\nb", "\ud800", "é" * 400, "x" * 100_000, [], {}, [None], [[1]], {"a": 1}, [0, 0], [-1], "9" * 30, "$x$",
    "~nobody/x", "${oc.env:HOME}", f"{EVIL[0]}:Task",
)  # fmt: skip


@dataclass
class Case:
    """A copy of a recorded study in `results`, beside a folder `outside` that nothing may touch."""

    root: Path
    rng: random.Random

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    @property
    def study(self) -> Path:
        return self.results / "adhoc"

    def files(self) -> list[Path]:
        """Every file of the study, and its leases."""
        return sorted(path for path in self.study.rglob("*") if path.is_file())

    def blocks(self) -> list[Path]:
        """The folders of all blocks that are finished."""
        records = self.study.rglob(blocks.RECORD)
        return sorted(path.parent for path in records if "checksums" in json.loads(path.read_text()))

    def block(self) -> Path:
        """One of our own trained blocks that are finished."""
        return self.rng.choice(sorted(path for path in self.study.glob("runs/weekly_exam*/*/seeds-000-001")))


Damage = Callable[[Case], str]  # damages something of the case and says what


def of_bytes(change: Callable[[bytes, random.Random], bytes]) -> Damage:
    """A damage that changes the bytes of a file."""

    def damage(case: Case) -> str:
        path = case.rng.choice([path for path in case.files() if path.stat().st_size])
        path.write_bytes(change(path.read_bytes(), case.rng))
        return str(path.relative_to(case.study))

    return damage


def _flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice((0, 1, len(content) // 2, max(0, len(content) - 2)))]  # a last line break is nothing


def _grown(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice((b"\0", b"x", b"x" * 1000, content))


def _text_of_another_encoding(content: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"\xef\xbb\xbf" + content, content.decode("latin1").encode("utf-16"), b"\xff\xfe", b"\0" * 64))


def _other_text(_: bytes, rng: random.Random) -> bytes:
    return rng.choice(
        (b"", b"null", b"[]", b"3", b"{", b"- [", b"'", b"[" * 100_000, b'{"a":' * 100_000, b"!!python/none")
    )


def swapped(case: Case) -> str:
    first, second = case.rng.sample(case.files(), 2)
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    return f"{first.relative_to(case.study)} and {second.relative_to(case.study)}"


def in_place_of_a_file(make: Callable[[Path, Case], object]) -> Damage:
    """Something else lies where a file was."""

    def damage(case: Case) -> str:
        path = case.rng.choice(case.files())
        path.unlink()
        make(path, case)
        return str(path.relative_to(case.study))

    return damage


def _folder(path: Path, case: Case) -> None:
    path.mkdir()
    if case.rng.random() < 0.5:
        (path / "thesis.txt").write_text("mine")


def _link(path: Path, case: Case) -> None:
    path.symlink_to(case.rng.choice((case.outside / "thesis.txt", case.outside, case.outside / "nowhere", path)))


def _sparse(path: Path, _: Case) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 36)


def link_for_a_folder(case: Case) -> str:
    """A folder of the study, or one that a command would make, is a link to somebody else's."""
    folders = [path for path in case.study.rglob("*") if path.is_dir() and not path.is_symlink()]
    folders += [case.study, *(case.study / name for name in ("reruns", "videos", "damaged", "report", "wandb"))]
    path = case.rng.choice(sorted(folders))
    if path.exists():
        path.rename(case.root / "moved")
    target = case.rng.choice((case.outside, case.root / "moved")) if (case.root / "moved").exists() else case.outside
    path.symlink_to(target)
    return str(path.relative_to(case.results))


def foreign_file(case: Case) -> str:
    """Somebody keeps a file of his own among the suite's."""
    folders = [path for path in case.study.rglob("*") if path.is_dir()]
    path = case.rng.choice(sorted(folders)) / case.rng.choice(("thesis.txt", ".hidden", "seeds-007", "run.json.bak"))
    path.write_text("mine, foreign")
    return str(path.relative_to(case.study))


def lost(case: Case) -> str:
    path = case.rng.choice(case.files())
    path.unlink()
    return str(path.relative_to(case.study))


def _places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in plain data."""
    if path:
        yield path
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inside:
        yield from _places(value, (*path, key))


def _changed(data: Any, rng: random.Random) -> str:
    """Change one value, lose one, or add one; → which."""
    place = rng.choice(list(_places(data)))
    inside = data
    for key in place[:-1]:
        inside = inside[key]
    kind = rng.choice(("value", "value", "value", "lose", "add"))
    if kind == "lose":
        del inside[place[-1]]
    elif kind == "add" and isinstance(inside, dict):
        inside[rng.choice(("x", "status", "block", "plugin", "_target_", "__class__", "../x", ""))] = rng.choice(ODD)
    else:
        inside[place[-1]] = rng.choice(ODD)
    return f"{kind} {'.'.join(map(str, place))}"


def seal(block: Path) -> None:
    """Let the record of a block agree with its files."""
    record = json.loads((block / blocks.RECORD).read_text())
    record["checksums"] |= {
        name: files.sha256(block / name) for name in record["checksums"] if (block / name).is_file()
    }
    (block / blocks.RECORD).write_text(json.dumps(files.sealed(record)))


def forged_json(case: Case) -> str:
    """A record or an index with an odd value, sealed again."""
    paths = [*case.study.glob("*.json"), *case.study.rglob(blocks.RECORD)]
    path = case.rng.choice(sorted(paths))
    data = json.loads(path.read_text())
    what = [_changed(data, case.rng) for _ in range(case.rng.choice((1, 1, 2)))]
    path.write_text(json.dumps(files.sealed(data) if case.rng.random() < 0.9 else data))
    return f"{path.relative_to(case.study)}: {what}"


def forged_settings(case: Case) -> str:
    """A config.yaml with an odd value, and a record that agrees."""
    block = case.rng.choice(case.blocks())
    data = yaml.safe_load((block / blocks.CONFIG).read_text())
    what = _changed(data, case.rng)
    (block / blocks.CONFIG).write_bytes(yaml.safe_dump(data, allow_unicode=False).encode())
    seal(block)
    return f"{block.relative_to(case.study)}: {what}"


def forged_yaml(case: Case) -> str:
    """A config.yaml that a YAML reader would choke on, and a record that agrees."""
    block = case.rng.choice(case.blocks())
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + level)}: &{chr(98 + level)} [*{chr(97 + level)}, *{chr(97 + level)}]\n" for level in range(24)
    )
    texts = (
        bomb, "a: &a [*a]", "null", "[1]", "3", "a: !!python/object/apply:os.system [id]", "[" * 2000, "a: 2020-13-45",
        "a: !!timestamp x", "a: !!int x", "? [1]\n: 2", "<<: 3", "a: " + "9" * 5000, "seeds: 100000000", "a: b: c",
    )  # fmt: skip
    text = case.rng.choice(texts)
    (block / blocks.CONFIG).write_text(text)
    seal(block)
    return f"{block.relative_to(case.study)}: {text[:20]}"


def named_code(case: Case) -> str:
    """A record that names code: nothing of it may be imported."""
    block, rng = case.block(), case.rng
    module = rng.choice(EVIL)
    data = yaml.safe_load((block / blocks.CONFIG).read_text())
    name = f"{module}:{rng.choice(('Task', 'a.b', 'Env-v0', '../x'))}"
    where = rng.choice(("task", "task.knobs", "task.id", "update", "baseline", "advantage", "algorithm", "plugins"))
    if where == "task":
        data["task"] |= {"name": "plugin", "plugin": name}
    elif where == "task.knobs":
        data["task"]["knobs"] = {"plugin": name}
    elif where == "task.id":
        data["task"] = {key: data["task"][key] for key in data["task"] if key in TASK} | {"name": "gym", "id": name}
    elif where == "algorithm":
        target = rng.choice((name, f"{module}.PPO", f"sys{os.sep}..{os.sep}x", "sys./tmp/x"))
        data["algorithm"] |= {"name": "library", "_target_": target, "parameters": {}}
    elif where == "plugins":
        data["plugins"] = [module]
    else:
        data[where] |= {"name": "plugin", "plugin": name}
    (block / blocks.CONFIG).write_text(yaml.safe_dump(data))
    seal(block)
    return f"{block.relative_to(case.study)}: {where} {name}"


TASK = ("budget", "gamma", "norm_obs", "norm_reward", "time_limit", "score")


def forged_policy(case: Case) -> str:
    """A policy.zip that says odd things, names code or is a bomb, and a record that agrees."""
    block, rng = case.rng.choice([path for path in case.blocks() if (path / blocks.POLICY).exists()]), case.rng
    path = block / blocks.POLICY
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    kind = rng.choice(("value", "code", "bomb", "inner bomb", "huge", "no weights"))
    description = json.loads(parts["model.json"])
    if kind == "value":
        kind += _changed(description, rng)
    elif kind == "code" and "arm" in description:
        description["arm"]["update"] |= {"name": "plugin", "plugin": f"{rng.choice(EVIL)}:x"}
    elif kind == "huge" and "arm" in description:
        description["arm"]["hidden"] = [10**7, 10**7]
    elif kind == "inner bomb":
        parts["weights.pt"] = _zipped({"archive/data.pkl": b"\0" * (1 << 24)}, zipfile.ZIP_DEFLATED)
    elif kind == "no weights":
        parts["weights.pt"] = b"".join(rng.choice((b"", b"\x80\x02}.", b"x" * 100)) for _ in range(3))
    parts["model.json"] = json.dumps(description).encode()
    path.write_bytes(_zipped(parts, zipfile.ZIP_DEFLATED if kind == "bomb" else zipfile.ZIP_STORED))
    seal(block)
    return f"{path.relative_to(case.study)}: {kind}"


def _zipped(parts: dict[str, bytes], compression: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return content.getvalue()


def forged_table(case: Case) -> str:
    """A Parquet file of another shape, or a bomb, and a record that agrees."""
    block, rng = rng_block(case), case.rng
    path = rng.choice(sorted(block.glob("*.parquet")))
    table = pq.read_table(path)
    kind = rng.choice(("rows", "text", "columns", "type", "nulls", "lost", "groups", "nested", "values", "order"))
    name = rng.choice(table.column_names)
    index = table.column_names.index(name)
    if kind == "rows":
        table = pa.concat_tables([table] * 2).combine_chunks().take(pa.array([0] * 3_000_000)) if len(table) else table
    elif kind == "text":
        table = table.append_column("t", pa.array(["x" * 1_000_000] * len(table)))
    elif kind == "columns":
        table = pa.table({f"c{number}": [1.0] for number in range(2000)})
    elif kind == "type":
        column = rng.choice((pa.array(["x"] * len(table)), pa.array([1.5] * len(table)), pa.array([True] * len(table))))
        table = table.set_column(index, name, column)
    elif kind == "nulls":
        table = table.set_column(index, name, pa.nulls(len(table), table[name].type))
    elif kind == "lost":
        table = table.drop_columns([name])
    elif kind == "nested":
        table = table.append_column("n", pa.array([[[1]]] * len(table)))
    elif kind == "values" and pa.types.is_floating(table[name].type):
        table = table.set_column(index, name, pa.array([rng.choice((float("nan"), 1e308, -1e308))] * len(table)))
    elif kind == "order":
        table = table.take(pa.array(rng.choices(range(len(table)), k=len(table))))
    pq.write_table(table, path, row_group_size=1 if kind == "groups" else None)
    seal(block)
    return f"{path.relative_to(case.study)}: {kind} {name}"


def rng_block(case: Case) -> Path:
    return case.rng.choice([path for path in case.blocks() if list(path.glob("*.parquet"))])


def forged_partial(case: Case) -> str:
    """What an interrupted block goes on from, forged with checksums that agree."""
    path, rng = next(case.study.rglob("partial.zip")), case.rng
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    kind = rng.choice(("header", "state", "bomb", "rows"))
    header = json.loads(parts["partial.json"])
    if kind == "header":
        kind += _changed(header, rng)
    elif kind == "state":
        parts["state.pt"] = rng.choice(
            (b"", b"x", _zipped({"archive/data.pkl": b"cos\nsystem\n."}, zipfile.ZIP_STORED))
        )
    elif kind == "rows":
        parts["episodes.parquet"] = parts["training.parquet"]
    if isinstance(header.get("checksums"), dict):
        header["checksums"] = {
            name: hashlib.sha256(parts[name]).hexdigest() for name in parts if name != "partial.json"
        }
    parts["partial.json"] = json.dumps(header).encode()
    path.write_bytes(_zipped(parts, zipfile.ZIP_DEFLATED if kind == "bomb" else zipfile.ZIP_STORED))
    return f"{path.relative_to(case.study)}: {kind}"


def forged_pack(case: Case) -> str:
    """A pack that is a bomb, or has files that are none of a block's."""
    path, rng = case.study / rng_part(case.rng), case.rng
    kind = rng.choice(("bomb", "names", "text", "link", "record"))
    if kind == "bomb":
        path.write_bytes(lzma.compress(bytes(1 << 29), preset=0))
        return f"{path.name}: {kind}"
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:xz", preset=0) as archive:
        name = {"names": "runs/../../outside/x/y", "record": "runs/t/a-0123abcd/seeds-000/run.json"}.get(
            kind, "runs/a/b/c/d"
        )
        entry = tarfile.TarInfo(name)
        data = {"text": b"x", "record": json.dumps({"schema": 2, "seeds": {"0": rng.choice(ODD[:9])}}).encode()}.get(
            kind, b""
        )
        entry.size = len(data)
        if kind == "link":
            entry.type, entry.linkname = tarfile.SYMTYPE, str(case.outside / "thesis.txt")
        archive.addfile(entry, io.BytesIO(data))
    path.write_bytes(content.getvalue())
    return f"{path.name}: {kind}"


def rng_part(rng: random.Random) -> str:
    return rng.choice(("runs.tar.xz", "lab.tar.xz"))


def forged_lease(case: Case) -> str:
    """A lease of nobody, of somebody from the future, or something else in its place."""
    cell, rng = case.block().parent, case.rng
    place = cell / lease.FOLDER / rng.choice(("000", "001", "002"))
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    kind = rng.choice(("odd", "future", "folder", "link", "large"))
    if kind == "folder":
        place.mkdir()
    elif kind == "link":
        place.symlink_to(case.outside / "thesis.txt")
    elif kind == "large":
        place.write_bytes(b"[" * 1_000_000)
    else:
        process = rng.choice(("1-x-1", "²-1", "0", "9" * 30, "-1", str(rng.choice(ODD))[:20]))
        owner = {"host": "elsewhere" if kind == "future" else rng.choice(("x", 3, None)), "process": process}
        place.write_text(json.dumps(owner))
    os.utime(place, (4e9, 4e9), follow_symlinks=False)
    return f"{place.relative_to(case.study)}: {kind}"


FILES: dict[str, Damage] = {
    "flip": of_bytes(_flipped),
    "cut": of_bytes(_cut),
    "grow": of_bytes(_grown),
    "encoding": of_bytes(_text_of_another_encoding),
    "other text": of_bytes(_other_text),
    "swap": swapped,
    "folder": in_place_of_a_file(_folder),
    "link": in_place_of_a_file(_link),
    "pipe": in_place_of_a_file(lambda path, _: os.mkfifo(path)),
    "sparse": in_place_of_a_file(_sparse),
    "lost": lost,
    "folder link": link_for_a_folder,
    "foreign": foreign_file,
}
FORGED: dict[str, Damage] = {
    "json": forged_json,
    "settings": forged_settings,
    "yaml": forged_yaml,
    "code": named_code,
    "policy": forged_policy,
    "table": forged_table,
    "partial": forged_partial,
    "pack": forged_pack,
    "lease": forged_lease,
}
DAMAGES = FILES | FORGED
