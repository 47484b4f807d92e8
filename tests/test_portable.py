"""No recorded number passes through an operation that another processor, library or number of threads rounds otherwise.

`tests/portable.py` says which these are. The same bytes under other settings of this machine: `test_same_bytes.py`.
"""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.portable import PACKAGE, traced
from tests.recorded import CELLS, SOLUTIONS, STAGES, measured, solved, trained


@pytest.mark.parametrize("overrides", CELLS.values(), ids=CELLS)
def test_training(overrides: list[str]) -> None:
    with traced() as found:
        block, _, _ = trained(overrides)
    assert sum(block.model.updates) > 0
    assert sorted(set(found)) == []


@pytest.mark.parametrize("stage", STAGES)
def test_the_laboratory(stage: str) -> None:
    with traced() as found:
        assert measured(stage).quantities
    assert sorted(set(found)) == []


@pytest.mark.parametrize("task", SOLUTIONS)
@pytest.mark.parametrize("policy", ["optimal", "uniform"])
def test_exact_solutions(task: str, policy: str) -> None:
    with traced() as found:
        assert np.isfinite(solved(task, policy).objective)
    assert sorted(set(found)) == []


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (lambda x: x.exp(), "torch.exp"),
        (lambda x: x.sum(), "torch.sum"),
        (lambda x: x @ x, "torch.mm"),
        (lambda x: x.softmax(0), "torch._softmax"),
        (lambda x: x.mean(0), "torch.mean"),
        (lambda x: torch.add(x, x, alpha=3), "torch.add with alpha=3"),
        (lambda x: x**0.5, "torch.pow by 0.5"),
        (lambda x: np.exp(x.numpy()), "numpy.exp"),
        (lambda x: np.linalg.norm(x.numpy()), "numpy.linalg.norm"),
        (lambda x: np.einsum("ij,jk->ik", x.numpy(), x.numpy()), "numpy.einsum"),
    ],
)
def test_the_tracer_names_what_is_forbidden(operation, name, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("tests.portable.PACKAGE", Path(__file__).parent)
    with traced() as found:
        operation(torch.ones(2, 2))
    assert [each.partition(" in ")[0] for each in found] == [name]


RECORDED = [path for part in ("arms", "learner", "lab", "tasks", "kernel") for path in (PACKAGE / part).rglob("*.py")]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_operator_and_no_library_that_cannot_be_traced(path: Path) -> None:
    """`@` is BLAS, and `**` is the C library's power where it is no square of an array."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            found.append(f"line {node.lineno}: @")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            square = isinstance(node.right, ast.Constant) and node.right.value == 2
            if not square and not (isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant)):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        if any(name.partition(".")[0] == "scipy" for name in (module, *names)):
            found.append(f"line {node.lineno}: scipy")
    if path.name == "optimiser.py":  # of engine=torch
        found = [each for each in found if "self.beta" not in each]
    assert found == []
