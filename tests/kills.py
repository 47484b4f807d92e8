"""Commands as processes that are killed, stopped or find no room, and end as if nothing had happened to them."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bench.paths import ROOT
from bench.records import block as blocks
from bench.records.files import SEAL
from bench.records.tables import COSTS

ROOM = 1 << 26  # bytes of a disk that has room for everything
PAGE = 4096  # bytes that a file on a disk takes at least
LONGEST = 600.0  # seconds, of a command on a machine with much else to do
TIMED = {  # what a record says of when, where and how fast: another in each run
    "started", "finished", "wall_seconds", "cpu_seconds", "steps_per_second", "seconds_per_update", "peak_memory_bytes",
    "resumed", SEAL,
}  # fmt: skip
FOREIGN = {"notes.txt": b"mine", "thesis/chapter.tex": b"mine, too", ".writing-diary.txt": b"half"}


@dataclass(frozen=True)
class Scene:
    """A command: its words behind `python -m`, the folder of its study, and that of what it writes.

    `last` is what only its last lines on the standard output say. `prepare` puts what it reads into the folder it is
    called in.
    """

    words: tuple[str, ...]
    study: str
    last: str
    prepare: Callable[[Path], object] = lambda _: None
    environment: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[str, ...] = ()  # folders below the study with files of others
    creates: bool = False  # whether the study must not be there before

    def begin(self, folder: Path) -> Path:
        """Make the folder as it is before the first call, with files of others in it, and return it."""
        (folder / "tmp").mkdir(parents=True)
        (folder / "results").mkdir(exist_ok=True)  # a disk
        self.fill(folder)
        return folder

    def fill(self, folder: Path) -> None:
        self.prepare(folder)
        for place in self.places(folder):
            for name, content in FOREIGN.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(content)

    def places(self, folder: Path) -> list[Path]:
        results = folder / "results"
        inside = () if self.creates else ("", *self.beside)
        return [results, *(results / self.study / name for name in inside)]

    def start(self, folder: Path) -> "subprocess.Popen[bytes]":
        """Call it, in a process group of its own."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "BENCH", "WANDB"))}
        own = {"TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT), "COLUMNS": "500"}
        with (folder / "said").open("wb") as said, (folder / "errors").open("wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", *self.words],
                cwd=folder,
                env={**plain, **own, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=errors,
                start_new_session=True,
            )

    def run(self, folder: Path) -> tuple[int, str]:
        """Call it and let it end; the exit code, and what it printed as errors."""
        code = self.start(folder).wait(LONGEST)
        return code, errors(folder)

    def has_ended(self, code: int, folder: Path) -> bool:
        """Whether it has done its work; what must not be there before may have been finished as it was killed."""
        return code == 0 or (self.creates and code == 2 and f"{self.study} exists already" in errors(folder))

    def check(self, folder: Path, whole: Mapping[str, Any]) -> None:
        """The last call has ended well, and everything is as after an undisturbed run."""
        found = contents(folder)
        assert found.keys() == whole.keys(), errors(folder)
        assert [name for name in whole if found[name] != whole[name]] == []
        self.check_others(folder)

    def check_end(self, struck: signal.Signals, code: int, folder: Path) -> None:
        """A signal that can be heeded ends it with the exit code that the documents name, and a line.

        Who goes on has less to do than who begins, so a signal may come after the last line, while Python shuts down.
        """
        if struck == signal.SIGKILL:
            return
        assert "Traceback" not in errors(folder)
        if code in (0, -struck) and self.last in (folder / "said").read_text():
            return
        assert code == 128 + struck, errors(folder)
        assert errors(folder).splitlines()[-1].startswith("interrupted: ")

    def check_others(self, folder: Path) -> None:
        """What others put beside is as it was, and nothing lies among the temporary files."""
        for place in self.places(folder):
            assert {name: (place / name).read_bytes() for name in FOREIGN} == FOREIGN
        assert [path.name for path in (folder / "tmp").iterdir()] == []


def errors(folder: Path) -> str:
    return (folder / "errors").read_text(errors="replace")


def contents(folder: Path) -> dict[str, Any]:
    """Every file and folder below the results, with what does not tell when and how fast it was made."""
    results = folder / "results"
    return {
        path.relative_to(results).as_posix(): _content(path) if path.is_file() else None
        for path in sorted(results.rglob("*"))
    }


def _content(path: Path) -> Any:
    if path.name == blocks.RECORD:
        record = {key: value for key, value in json.loads(path.read_bytes()).items() if key not in TIMED}
        record["checksums"] = {name: value for name, value in record.get("checksums", {}).items() if name != COSTS}
        return record
    if path.name == COSTS:
        table = pq.read_table(path)
        return table.drop_columns([name for name in table.column_names if "seconds" in name]).to_pylist()
    return path.read_bytes()


@dataclass(frozen=True)
class Undisturbed:
    """What a command leaves that nothing happens to, how long it takes, and the bytes of a disk it needs."""

    contents: Mapping[str, Any]
    seconds: float
    before: int
    growth: int

    @classmethod
    def of(cls, scene: Scene, folder: Path) -> "Undisturbed":
        """Run the command to its end."""
        results = scene.begin(folder) / "results"
        before, begun = _size(results), time.monotonic()
        code, lines = scene.run(folder)
        assert code == 0, lines
        seconds = time.monotonic() - begun
        scene.check_others(folder)
        return cls(contents(folder), seconds, before, _size(results) - before)


def survives(
    scene: Scene, whole: Undisturbed, folder: Path, strikes: Sequence[signal.Signals], rng: random.Random
) -> None:
    """Strike all of its processes at random moments of its usual life, until each of the signals has struck."""
    left, rounds, now = list(strikes), 0, scene.begin(folder / "0")
    while left:
        process = scene.start(now)
        earliest, latest = (0.0, 1.0) if left[0] == signal.SIGKILL else (0.4, 0.7)  # while it heeds signals
        try:
            code = process.wait(rng.uniform(earliest, latest) * whole.seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, left[0])
            scene.check_end(left.pop(0), process.wait(LONGEST), now)
        else:
            assert scene.has_ended(code, now), errors(now)
            scene.check(now, whole.contents)
            rounds += 1
            now = scene.begin(folder / f"{rounds}")
    assert scene.has_ended(scene.run(now)[0], now), errors(now)
    scene.check(now, whole.contents)


def finds_no_room(scene: Scene, whole: Undisturbed, folder: Path, shares: Sequence[float]) -> list[str]:
    """On a disk that cannot be written, then with room for shares of what it writes, then for all; what it said."""
    said = []
    with disk(folder / "results", ROOM) as change:
        scene.begin(folder)
        for options in ("ro", *(f"rw,size={whole.before + int(share * whole.growth)}" for share in shares)):
            change(options)
            code, lines = scene.run(folder)
            assert code in (1, 2), lines
            assert "Traceback" not in lines
            expected = "Read-only file system" if options == "ro" else "No space left on device"
            told = [line for line in lines.splitlines() if expected in line]
            assert told, lines
            assert all("results" in line for line in told), lines
            scene.check_others(folder)
            assert [path for path in (folder / "results").rglob(".writing-*") if path.name not in FOREIGN] == []
            said.append(f"{options}: exit code {code}, {told[-1]}")
        change(f"rw,size={ROOM}")
        assert scene.run(folder)[0] == 0, errors(folder)
        scene.check(folder, whole.contents)
    return said


def _size(folder: Path) -> int:
    """Bytes of a disk that the files below a folder take, in whole pages."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


@contextmanager
def disk(place: Path, size: int) -> Iterator[Callable[[str], None]]:
    """A disk of so many bytes in the place of a folder; what is yielded changes how it is mounted."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root may mount a disk")
    place.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")

    def change(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)

    try:
        yield change
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
