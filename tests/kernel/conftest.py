"""Every library that this processor can run."""

import pytest

from bench.kernel import library


@pytest.fixture(params=library.variants())
def variant(request, monkeypatch):
    """Compute with one of the libraries that this processor can run."""
    monkeypatch.setenv(library.VARIANT, request.param)
    library.library.cache_clear()
    yield request.param
    library.library.cache_clear()
