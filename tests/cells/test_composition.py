"""Composing once per choice of options gives what Hydra gives when it composes everything."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

from bench.cells.composition import Composition, compose
from bench.config.schema import Config
from bench.errors import UserError
from bench.paths import CONF


def by_hydra(overrides: Sequence[str]) -> Config:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return Composition(hydra_compose("config", list(overrides), return_hydra_config=True)).parse()


@pytest.mark.parametrize(
    "overrides",
    [
        ["gamma=0.9", "hidden=[8,8]", "name='a-b'"],
        ["gamma=0.9", "gamma=0.8"],
        ["preset=ppo", "gamma=0.9", "batch.n_envs=4"],
        ["evaluation={points: 4}", "evaluation.episodes=3"],
        ["gamma=0.5", "gae_lambda=${gamma}"],
        ["critic.epochs=4", "++critic.epochs=3"],
        ["++critic.epochs=3", "critic.epochs=4"],
        ["~advantage_norm", "+advantage_norm=none", "gamma=0.9"],
        ["settings=published", "task=pendulum", "learning_rate=0.5", "hydra.launcher.n_jobs=3"],
    ],
    ids=" ".join,
)
def test_a_cell_is_the_one_that_hydra_composes(overrides: list[str]) -> None:
    expected = by_hydra(overrides)
    assert compose(overrides) == expected
    assert compose(overrides) == expected  # again, from what is kept


def test_a_setting_stays_out_of_the_next_cell() -> None:
    before = compose(["preset=ppo"])
    assert compose(["preset=ppo", "gamma=0.5", "hidden=[8]"]).gamma == 0.5
    assert compose(["preset=ppo"]) == before


def test_an_edited_file_of_conf_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    monkeypatch.setattr("bench.cells.composition.CONF", tmp_path / "conf")
    file = tmp_path / "conf" / "config.yaml"
    assert compose().gae_lambda == 0.95
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("gae_lambda: 0.95", "gae_lambda: 0.75"), encoding="utf-8")
    later = file.stat().st_mtime_ns + 1_000_000
    os.utime(file, ns=(later, later))  # the clock of a file system may be coarse
    assert compose().gae_lambda == 0.75


@pytest.mark.parametrize(
    ("environment", "words", "mode", "project"),
    [
        ({}, [], "offline", "policy-gradient-bench"),
        ({"WANDB_MODE": "online", "WANDB_PROJECT": "thesis"}, [], "online", "thesis"),
        ({"WANDB_MODE": "dryrun", "WANDB_PROJECT": ""}, [], "offline", "policy-gradient-bench"),
        ({"WANDB_MODE": "run"}, [], "online", "policy-gradient-bench"),
        ({"WANDB_MODE": "online", "WANDB_PROJECT": "thesis"}, ["wandb=disabled", "wandb_project=x"], "disabled", "x"),
    ],
)
def test_wandbs_variables_stand_where_nothing_was_typed(monkeypatch, environment, words, mode, project):
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = compose(words)
    assert (config.wandb, config.wandb_project) == (mode, project)


def test_a_mode_of_wandbs_that_there_is_not_here_is_refused(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "shared")
    with pytest.raises(UserError, match="unknown wandb 'shared': allowed are offline, online, live, disabled"):
        compose([])


def test_no_other_variable_is_read_as_one_of_wandbs(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with pytest.raises(UserError):
        compose(["name=${wandb:API_KEY,x}"])
