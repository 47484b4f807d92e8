"""What the archives of a release hold: `python -m tests.archives DIST SOURCE` refuses any file too many or too few."""

import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

CODE = (
    "bench/**/*.py", "bench/kernel/source/*", "analysis/**/*.py", "hydra_plugins/*.py", "analysis/report/templates/*"
)  # fmt: skip
KERNEL = {f"bench/kernel/{name}.so" for name in ("x86_64_v3", "x86_64_v4", "aarch64", "processor")}
CONF = "conf/**/*.yaml"
BESIDE = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg", "setup.py"}
METADATA = re.compile(r"[^/]*\.(dist-info|egg-info)/")  # what setuptools writes of a package


def problems(dist: Path, source: Path) -> list[str]:
    """A line for every file that the wheel or the sdist in `dist` should not have, or lacks, made from `source`."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    code, conf = _below(source, *CODE), _below(source, CONF)
    with zipfile.ZipFile(wheel) as packed:
        found = _differences(packed.namelist(), code | KERNEL | {f"bench/{name}" for name in conf})
    with tarfile.open(sdist) as unpacked:
        names = [member.name.partition("/")[2] for member in unpacked if member.isfile()]
    return [
        *(f"wheel: {line}" for line in found),
        *(f"sdist: {line}" for line in _differences(names, code | conf | BESIDE)),
    ]


def _below(source: Path, *patterns: str) -> set[str]:
    return {path.relative_to(source).as_posix() for pattern in patterns for path in source.glob(pattern)}


def _differences(names: Iterable[str], expected: set[str]) -> list[str]:
    held = {name for name in names if not METADATA.match(name)}
    assert expected
    return [f"{name} is too many" for name in sorted(held - expected)] + [
        f"{name} is missing" for name in sorted(expected - held)
    ]


if __name__ == "__main__":
    sys.exit("\n".join(problems(Path(sys.argv[1]), Path(sys.argv[2]))) or None)
