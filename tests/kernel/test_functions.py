"""The kernel's elementary functions against exact values, in units in the last place."""

import math

import mpmath
import numpy as np
import pytest
import torch

from bench.kernel import functions, library
from bench.kernel.engine import computing_with

RANGES = {  # function -> ranges of arguments
    "exp": [(-87, 88), (-1, 1), (-1e-3, 1e-3)],
    "expm1": [(-50, 88), (-1, 1), (-1e-5, 1e-5), (-0.37, -0.3), (0.3, 0.37)],
    "log": [(1e-30, 1e30), (0.5, 2), (0.99, 1.01)],
    "tanh": [(-20, 20), (-1, 1), (-1e-4, 1e-4)],
    "sqrt": [(0, 100), (0, 1e-30)],
}
BOUNDS = {torch.float64: {"exp": 1.5, "expm1": 2.0, "log": 1.0, "tanh": 3.0, "sqrt": 0.5}, torch.float32: {}}
CASES = [(name, low, high) for name, ranges in RANGES.items() for low, high in ranges]


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("name", "low", "high"), CASES)
def test_errors_are_within_their_bounds(name, low, high, dtype):
    x = torch.from_numpy(np.random.default_rng(1).uniform(low, high, 1000)).to(dtype)
    found = getattr(functions, name)(x)
    with mpmath.workprec(120):
        exact = [getattr(mpmath, name)(mpmath.mpf(value)) for value in x.tolist()]
        spacing = np.spacing(np.abs(np.array([float(value) for value in exact], dtype=found.numpy().dtype)))
        units = [
            abs(mpmath.mpf(ours) - value) / mpmath.mpf(float(unit))
            for ours, value, unit in zip(found.tolist(), exact, spacing, strict=True)
        ]
    assert max(units) <= BOUNDS[dtype].get(name, 0.51)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_is_infinite_zero_or_no_number(dtype):
    inf, nan = math.inf, math.nan
    x = torch.tensor([inf, -inf, nan, 0.0, -0.0], dtype=dtype)
    expected = {
        "exp": [inf, 0, nan, 1, 1],
        "expm1": [inf, -1, nan, 0, -0.0],
        "log": [inf, nan, nan, -inf, -inf],
        "tanh": [1, -1, nan, 0, -0.0],
        "sqrt": [inf, nan, nan, 0, -0.0],
    }
    for name, values in expected.items():
        found = getattr(functions, name)(x)
        assert torch.equal(found.nan_to_num(7), torch.tensor(values, dtype=dtype).nan_to_num(7)), name
        signs = [math.copysign(1, a) == math.copysign(1, b) for a, b in zip(found, values, strict=True) if b == b]
        assert all(signs), name


@pytest.mark.usefixtures("variant")
def test_results_below_the_normal_range():
    x = torch.tensor([-740.0, -745.0, -746.0], dtype=torch.float64)
    assert functions.exp(x).tolist() == pytest.approx([math.exp(v) for v in x.tolist()], abs=5e-324)
    tiny = torch.tensor([5e-324, 1e-310], dtype=torch.float64)
    assert functions.log(tiny).tolist() == pytest.approx([math.log(5e-324), math.log(1e-310)], rel=1e-15)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("shape", "dim"), [((3, 4, 5), 1), ((2, 7), -1), ((5,), 0), ((4, 1, 3), 1), ((0, 3, 2), 1)])
def test_log_softmax(shape, dim, dtype):
    logits = torch.from_numpy(np.random.default_rng(2).normal(0, 30, shape)).to(dtype)
    exact, error = logits.double().log_softmax(dim).to(dtype), 1e-14 if dtype == torch.float64 else 3e-7
    assert torch.allclose(functions.log_softmax(logits, dim), exact, rtol=error, atol=0)
    sums = functions.softmax(logits, dim).sum(dim)
    assert torch.allclose(sums, torch.ones_like(sums), rtol=3 * error)


@pytest.mark.usefixtures("variant")
def test_equal_logits_are_equally_likely():
    assert functions.log_softmax(torch.full((1, 2, 3), 9.0), 1).tolist() == [[[np.float32(-math.log(2))] * 3] * 2]
    assert functions.softmax(torch.tensor([[1000.0, -1000.0]]), 1).tolist() == [[1, 0]]


def test_all_libraries_give_the_same_bits(monkeypatch):
    x = torch.from_numpy(np.random.default_rng(3).normal(0, 5, 1003)).float()
    found = []
    for name in library.variants():
        monkeypatch.setenv(library.VARIANT, name)
        library.library.cache_clear()
        found.append([getattr(functions, function)(x).numpy().tobytes() for function in RANGES])
    library.library.cache_clear()
    assert all(each == found[0] for each in found)


def test_a_view_is_computed_in_its_own_order():
    x = torch.arange(6.0).view(2, 3).t()
    assert torch.equal(functions.exp(x), torch.tensor([[math.exp(v) for v in row] for row in x.tolist()]))


@pytest.mark.parametrize("engine", ["kernel", "torch"])
def test_traces_stop_at_ends(engine):
    """By hand, with a factor of one half; nothing leaks over an end, not even what is infinite."""
    x = torch.tensor([[1.0, 1.0], [2.0, torch.inf], [4.0, 8.0]], dtype=torch.float64)
    ended = torch.tensor([[False, True], [False, False], [True, True]])
    with computing_with(engine):
        assert functions.traced(x, ended, 0.5).tolist() == [[3.0, 1.0], [4.0, float("inf")], [4.0, 8.0]]
        assert functions.traced(x[:1], ended[2:], 0.5).tolist() == [[1.0, 1.0]]
    assert x[0].tolist() == [1.0, 1.0]
