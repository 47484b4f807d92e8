"""Who trains which seeds of a cell: a journal to which any number of processes and machines append, without locks.

A claim is the file `.claims/000001.json` below the cell's folder, its number one more than the last. It comes into
being whole and at most once (a hard link to a name that must not exist, which network file systems also keep to), so
whoever has made number n had seen all before it. The last claim on a seed counts; nothing is ever changed or removed.
"""

import contextlib
import json
import math
import os
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.records import files, provenance

FOLDER = ".claims"
HEARTBEAT = 15.0  # seconds between two touches of a claim whose process is alive
STALE_AFTER = 300.0  # seconds without one after which another machine's process counts as dead …
CONFIRMED_AFTER = 45.0  # … once it was watched this long: a clock may have jumped


@dataclass(frozen=True)
class Claim:
    """A process's claim on some seeds of a cell; `over` once it has said that it is done with them."""

    path: Path
    seeds: frozenset[int]
    host: str
    process: str
    over: bool

    @property
    def number(self) -> int:
        """Its place in the journal."""
        return int(self.path.stem)

    def holds(self) -> bool:
        """Whether its process is still at work: asked for where it is of this machine, else watched for a while."""
        if self.over or ended(self.path):
            return False
        alive = provenance.alive(self.host, self.process)
        if alive is None:
            return _age(self.path) < STALE_AFTER or _changes(self.path, CONFIRMED_AFTER)
        return alive

    def touch(self) -> None:
        """Show that its process is alive."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def end(self) -> None:
        """Say that this process is done with the seeds. Raises `OSError`; this process then knows it all the same."""
        _ended.add(self.path)
        data = {"seeds": sorted(self.seeds), "host": self.host, "process": self.process, "over": True}
        try:
            files.write_text(self.path, json.dumps(data))
        except OSError:  # a full disk: an empty claim holds nothing either, and takes no room
            self.path.write_bytes(b"")


_ended: set[Path] = set()  # claims of this process, also those whose end a full disk kept it from writing down


def ended(path: Path) -> bool:
    """Whether the claim in `path` is known to be over."""
    return path in _ended or (path.is_file() and _read(path).over)


def place(cell: Path, number: int) -> Path:
    """Where claim `number` on a cell is."""
    return cell / FOLDER / f"{number:06d}.json"


def read(cell: Path) -> list[Claim]:
    """All claims on a cell, the first first; an unreadable one holds nothing, and keeps its number."""
    return [_read(path) for path in sorted((cell / FOLDER).glob("[0-9]*.json"))]


def _read(path: Path) -> Claim:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Claim(path, frozenset(data["seeds"]), data["host"], data["process"], data.get("over", False))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Claim(path, frozenset(), "", "", over=True)


def held(claims: Sequence[Claim], seeds: Collection[int]) -> Claim | None:
    """A claim that somebody still holds on one of the seeds: of each seed, only the last counts."""
    last = {seed: claim for claim in claims for seed in claim.seeds if seed in seeds}
    return next((claim for claim in {claim.number: claim for claim in last.values()}.values() if claim.holds()), None)


def append(cell: Path, seeds: Collection[int], known: Sequence[Claim]) -> Claim | None:
    """This process's claim, made in the knowledge of the claims `known`; None where others have come in between.

    Raises:
        OSError: where the folder cannot be written.
    """
    target = place(cell, max((claim.number for claim in known), default=0) + 1)
    target.parent.mkdir(parents=True, exist_ok=True)
    claim = Claim(target, frozenset(seeds), provenance.host()["id"], provenance.process(), over=False)
    temporary = target.with_name(f".{uuid.uuid4().hex}")
    try:
        data = {"seeds": sorted(seeds), "host": claim.host, "process": claim.process}
        temporary.write_text(json.dumps(data), encoding="utf-8")
        return claim if _link(temporary, target) else None
    finally:
        temporary.unlink(missing_ok=True)


def superseded(claim: Claim) -> bool:
    """Whether somebody, taking its process for dead, has claimed one of its seeds since."""
    return any(
        other.number > claim.number and not other.seeds.isdisjoint(claim.seeds) for other in read(claim.path.parents[1])
    )


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:
        # A network may lose the answer of a link that was made; a file system without links gets a file, not all at
        # once but still only one.
        if os.stat(source).st_nlink == 2:
            return True
        try:
            with target.open("x", encoding="utf-8") as file:
                file.write(source.read_text(encoding="utf-8"))
        except FileExistsError:
            return False
    return True


def _age(path: Path) -> float:
    """Seconds since the file was touched, as far as this machine's clock and the file system's agree."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return math.inf


def _changes(path: Path, seconds: float) -> bool:
    """Whether the file is touched within this time, by this process's own clock, which does not jump."""
    before = _seen(path)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(min(1.0, seconds / 10))
        if _seen(path) != before:
            return True
    return False


def _seen(path: Path) -> float:
    """When the file was touched; it is opened, since network file systems go on telling what they knew until then."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return 0.0
