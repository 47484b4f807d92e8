"""Many tiny cells: what grows with their number, and what must not."""

import gc
import tracemalloc

import pytest
from hydra import compose, initialize_config_dir

from bench.cells.jobs import JobLoader, job, settings_of
from bench.cells.planning import plan_studies
from bench.commands.main import main
from bench.commands.status import status
from bench.paths import CONF
from bench.records import files, index

CELLS = 30
WARM = 10  # cells after which nothing is loaded for the first time
OF_ONE_CELL = 100_000  # bytes that a finished cell may leave behind, at most


def test_a_job_is_given_the_cell_that_was_planned():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        master = compose("config", overrides=["study=quick"], return_hydra_config=True)
        cells = plan_studies(
            ["study=quick", "task=weekly_exam", "seeds=[3,5]"],
            lambda overrides: compose("config", overrides, return_hydra_config=True),
        )
    for cell in cells:
        config = JobLoader().load_sweep_config(master, job(cell))
        assert settings_of(config) == cell.config
        assert list(config.hydra.overrides.task) == list(cell.overrides)
        assert set(config) == {"hydra", "settings"}


@pytest.mark.slow
def test_memory_is_flat_and_the_index_is_written_once(tmp_path, learner, monkeypatch):
    """Cells are trained in this process, by a learner that takes no time and keeps nothing."""
    held: list[int] = []
    written: list[str] = []
    write_json = files.write_json

    def measure():
        if len(learner.calls) in (WARM, CELLS):
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])

    def write(path, data, **keys):
        written.append(path.name)
        write_json(path, data, **keys)

    learner.before = measure
    monkeypatch.setattr(files, "write_json", write)
    rates = ",".join(f"{1e-4 * (1 + number):.4g}" for number in range(CELLS))
    tracemalloc.start()
    try:
        code = main(
            [
                *(
                    "task=weekly_exam",
                    "budget=64",
                    "seeds=1",
                    "group.groups=1",
                    "group.size=2",
                    f"learning_rate={rates}",
                ),
                *(f"results={tmp_path}", "wandb=disabled", "hydra.launcher.n_jobs=1"),
            ]
        )
    finally:
        tracemalloc.stop()
    assert code == 0
    assert len(learner.calls) == CELLS
    assert written.count(index.STUDY.file) == 1
    assert status(tmp_path, "adhoc")[0] == f"adhoc: {CELLS} done (seeds of cells)"
    assert (held[1] - held[0]) / (CELLS - WARM) < OF_ONE_CELL
