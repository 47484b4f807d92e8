"""Every study: it composes, its control is one of its arms, and what is special about its cells can run."""

import dataclasses
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from bench.cells.planning import plan_studies
from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.learner.train import train
from bench.paths import CONF
from bench.tasks.registry import make
from tests.learner.probes import Notes

STUDIES = sorted(path.stem for path in (CONF / "study").glob("*.yaml"))
SMOKE = 6  # cells of each study that are run


def cells(study: str) -> list[Config]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        planned = plan_studies(
            [f"study={study}"], lambda overrides: compose("config", overrides=overrides, return_hydra_config=True)
        )
    return [cell.config for cell in planned]


def one_update(config: Config) -> Config:
    """One update of one seed with small networks and the least evaluation."""
    return dataclasses.replace(
        config,
        seeds=config.seeds[:1] if config.design is not None else (0,),  # of a design: a run of its stratum
        hidden=(32, 32),
        budget=config.batch_limit(make(config.task).horizon),
        evaluation=dataclasses.replace(config.evaluation, points=1, episodes=1),
    )


def train_honest_policies(folder: Path) -> None:
    """What study=reference expects to find: those of study=honest."""
    (config,) = cells("honest")
    target = folder / "results" / "honest" / "runs" / "weekly_exam_cheat" / "honest" / "seeds-000-019"
    target.mkdir(parents=True)
    train(one_update(config), config.seeds, Notes()).save_policy(target / "policy.zip")


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_a_study_composes_and_its_cells_run(study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if study in ("article", "reference"):
        train_honest_policies(tmp_path)
    planned = cells(study)
    assert len({(config.task.name, cell_hash(config)) for config in planned}) == len(planned)
    control = planned[0].study.control
    assert control is None or control in {config.arm_name for config in planned}
    ours = [config for config in planned if config.algorithm.name == "policy_gradient"]
    for config in ours[:: -(-len(ours) // SMOKE)]:
        small = one_update(config)
        trained = train(small, small.seeds, Notes())
        assert [outcome.status for outcome in trained.outcomes.values()] == ["done"]
