"""`engine=torch`: what computes where there is no kernel, and the oracle of the kernel's learner."""

import json
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import bench
from bench.commands.verify import main as verify
from bench.config.identity import cell_hash, identity
from bench.errors import UserError
from bench.kernel import functions, library
from bench.kernel.engine import by_kernel, computing_with, description
from bench.learner import PolicyGradient
from bench.learner.train import train
from bench.records import block as blocks
from bench.tasks.registry import make
from tests.learner.probes import Notes
from tests.recorded import CELLS, SMALL


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Mac."""
    library.library.cache_clear()
    library.variants.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(platform, "system", lambda: "Darwin")
        patch.setattr(platform, "machine", lambda: "arm64")
        yield
    library.library.cache_clear()
    library.variants.cache_clear()


@pytest.mark.usefixtures("no_kernel")
def test_without_a_kernel_training_is_refused_in_one_line_that_names_torch() -> None:
    refusal = r"^the kernel has no library for Darwin on arm64: it needs Linux on .*; engine=torch does without$"
    for asked in (lambda: bench.compose(["task=cartpole"]), lambda: PolicyGradient(env="CartPole-v1")):
        with pytest.raises(UserError, match=refusal):
            asked()
    config = bench.compose([*CELLS["ppo"], *SMALL, "engine=torch"])
    assert train(config, config.seeds, Notes()).model.updates == [3, 3]
    model = PolicyGradient(env="CartPole-v1", engine="torch")
    assert model.predict(np.zeros((1, 4), np.float32))[0].shape == (1,)


@pytest.mark.usefixtures("no_kernel")
def test_what_trains_nothing_works_without_a_kernel() -> None:
    world = make(bench.compose(["task=weekly_exam", "engine=torch"]).task)
    assert world.solve("optimal", 1.0).objective > 10  # type: ignore[attr-defined]
    assert functions.exp(torch.zeros(2)).tolist() == [1, 1]
    bench.compose(["algorithm=sb3_ppo", "task=cartpole"])


@pytest.mark.parametrize("name", ["ppo", "grpo", "sde", "gaussian", "rloo", "vine"])
def test_one_update_is_the_kernels_up_to_rounding(name: str) -> None:
    """Weights after the first update, before rounding has changed an action."""
    found = {}
    for engine in ("kernel", "torch"):
        config, notes = bench.compose([*CELLS[name], *SMALL, f"engine={engine}"]), Notes()
        block = train(config, config.seeds, notes)
        first = [row for row in notes.updates if row["update"] == 1]
        found[engine] = (first, {name: state.stack.flat for name, state in block.model.policy.networks().items()})
    kernel, torchs = (found[engine][0] for engine in ("kernel", "torch"))
    assert len(kernel) == 2
    for ours, theirs in zip(kernel, torchs, strict=True):
        for key, value in ours.items():
            assert theirs[key] == pytest.approx(value, rel=1e-3, abs=2e-5, nan_ok=True), key


def test_the_kernel_is_no_part_of_a_cells_identity_and_torch_is() -> None:
    usual, torchs = bench.compose(["task=cartpole"]), bench.compose(["task=cartpole", "engine=torch"])
    assert "engine" not in identity(usual)
    assert identity(torchs) == identity(usual) | {"engine": "torch"}
    assert cell_hash(torchs) != cell_hash(usual)


def test_the_engine_is_chosen_for_a_while_only() -> None:
    assert description() is None
    with computing_with("torch"):
        assert not by_kernel()
        assert description() == {"name": "torch"}
        with computing_with("kernel"):
            assert by_kernel()
        assert not by_kernel()
    assert by_kernel()


def test_the_record_says_what_computed_and_the_other_does_not_train_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = {}
    for engine in ("kernel", "torch"):
        config = bench.compose([*CELLS["ppo"], *SMALL, f"engine={engine}", f"results={tmp_path}"])
        path = bench.run(config)
        recorded[engine] = json.loads((path / blocks.RECORD).read_text())["engine"]
    assert recorded["torch"] == {"name": "torch"}
    assert recorded["kernel"] == {"name": "kernel", "sources": library.digest()[:16], "library": library.variant()}
    assert verify([str(tmp_path), "rerun=2"]) == 0
    record = path / blocks.RECORD
    record.write_text(record.read_text().replace('"name": "torch"', '"name": "kernel"'))
    capsys.readouterr()
    assert verify([str(tmp_path), "rerun=0"]) == 1
    assert "computed by kernel; engine=torch does not train it again" in capsys.readouterr().out
