"""Which library is loaded, and which are refused."""

import shutil

import pytest

from bench.errors import UserError
from bench.kernel import library


@pytest.fixture(autouse=True)
def fresh():
    library.library.cache_clear()
    library.variants.cache_clear()
    yield
    library.library.cache_clear()
    library.variants.cache_clear()


def test_the_best_library_of_this_processor_was_made_of_the_sources_beside_it():
    assert library.variants()
    assert library.library().kernel_sources().decode() == library.digest()


def test_a_library_of_other_sources_is_refused(tmp_path, monkeypatch):
    shutil.copytree(library.FOLDER, tmp_path / "kernel")
    monkeypatch.setattr(library, "FOLDER", tmp_path / "kernel")
    source = tmp_path / "kernel" / "source" / "networks.h"
    source.write_text(source.read_text() + "\n/* edited */\n")
    with pytest.raises(UserError, match=r"\.so was made of other sources; 'make setup' makes it again"):
        library.library()


def test_a_library_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=r"the kernel's library \w+\.so is not built; 'make setup' builds it"):
        library.library()


@pytest.mark.parametrize(("system", "machine"), [("Linux", "riscv64"), ("Darwin", "arm64"), ("Windows", "AMD64")])
def test_other_systems_and_processors_have_none(system, machine, monkeypatch):
    monkeypatch.setattr(library.platform, "system", lambda: system)
    monkeypatch.setattr(library.platform, "machine", lambda: machine)
    with pytest.raises(UserError, match=f"no library for {system} on {machine}: it needs Linux on x86-64"):
        library.library()


def test_an_unknown_variant_is_answered_with_those_there_are(monkeypatch):
    monkeypatch.setenv(library.VARIANT, "x86_64_v9")
    with pytest.raises(UserError, match="unknown BENCH_KERNEL 'x86_64_v9': allowed are "):
        library.library()
