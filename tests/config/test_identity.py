"""What a cell's hash covers, and what never moves it."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from hydra import compose, initialize_config_dir

import bench
from bench.cells.planning import plan_studies
from bench.config.identity import cell_hash, identity
from bench.config.notes import ReadIf
from bench.config.parse import parse, to_mapping
from bench.config.schema import Config
from bench.paths import CONF, ROOT
from bench.tasks import registry
from bench.tasks.weekly_exam import WeeklyExam

# By study, a line for each cell: "task arm hash". A hash that moves loses the runs that were recorded under it.
HASHES: dict[str, list[str]] = json.loads(Path(__file__).with_name("hashes.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("study", sorted(path.stem for path in (CONF / "study").glob("*.yaml")))
def test_no_cell_of_a_study_moves(study, monkeypatch):
    monkeypatch.chdir(ROOT)  # where results/honest is, which some arms are held to
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cells = plan_studies([f"study={study}"], lambda given: compose("config", given, return_hydra_config=True))
    found = [f"{cell.config.task.name} {cell.config.arm_name} {cell_hash(cell.config)}" for cell in cells]
    assert found == HASHES[study]


ARMS = (
    [],
    ["preset=ppo", "task=pendulum"],
    ["preset=grpo", "task=weekly_exam"],
    ["baseline=none", "advantage=monte_carlo", "update=kl_penalty"],
    ["advantage=nstep", "update=unclipped", "reference=initial"],
    ["algorithm=sb3_ppo"],
)


@dataclass(frozen=True)
class Later(Config):
    """The schema of a later version, with one more setting."""

    warmth: float = field(default=0.5, kw_only=True)
    of_nstep: Annotated[float, ReadIf({"advantage": ("nstep",)})] = field(default=0.5, kw_only=True)


def later(config: Config, **values: float) -> Later:
    return Later(**{each.name: getattr(config, each.name) for each in dataclasses.fields(config)}, **values)


@pytest.mark.parametrize("overrides", ARMS, ids=" ".join)
def test_a_setting_that_is_added_moves_no_hash_until_it_is_used(overrides):
    config = bench.compose(overrides)
    assert cell_hash(later(config)) == cell_hash(config)
    if not config.is_peer:
        assert cell_hash(later(config, warmth=0.6)) != cell_hash(config)
        moves = config.advantage.name == "nstep"
        assert (cell_hash(later(config, of_nstep=0.6)) != cell_hash(config)) == moves


@dataclass(frozen=True)
class LaterExam(WeeklyExam):
    """The world of a later version, with one more knob."""

    homework: float = 1.0


def test_a_knob_that_is_added_moves_no_hash_until_it_is_used(monkeypatch):
    before = cell_hash(bench.compose(["task=weekly_exam"]))
    monkeypatch.setitem(registry.TASKS, "weekly_exam", LaterExam)
    assert cell_hash(bench.compose(["task=weekly_exam"])) == before
    assert cell_hash(bench.compose(["task=weekly_exam", "+task.homework=1"])) == before
    assert cell_hash(bench.compose(["task=weekly_exam", "+task.homework=2"])) != before


def test_options_of_a_plugin_count_as_typed_and_move_no_other_cell(tmp_path, monkeypatch):
    mark = "from bench import plugin\n\n@plugin.target(bootstraps=True)\n"
    source = f"{mark}def mine(batch, arm{{}}):\n    return batch.rewards\n"
    (tmp_path / "first_version.py").write_text(source.format(""))
    (tmp_path / "second_version.py").write_text(source.format(", weight=0.5"))
    monkeypatch.syspath_prepend(str(tmp_path))
    others = [cell_hash(bench.compose(overrides)) for overrides in ARMS]
    first, second = (
        bench.compose(["advantage=plugin", f"advantage.plugin={module}:mine"])
        for module in ("first_version", "second_version")
    )
    assert identity(first)["advantage"]["options"] == identity(second)["advantage"]["options"] == {}
    typed = bench.compose(["advantage=plugin", "advantage.plugin=second_version:mine", "+advantage.options.weight=0.5"])
    assert cell_hash(typed) != cell_hash(second)
    assert [cell_hash(bench.compose(overrides)) for overrides in ARMS] == others


@pytest.fixture
def edited(tmp_path, monkeypatch) -> Callable[[str, str, str], None]:
    """Edit a value in a copy of conf, from which cells are composed from then on."""
    shutil.copytree(CONF, tmp_path / "conf")

    def edit(file: str, old: str, new: str) -> None:
        monkeypatch.setattr("bench.cells.composition.CONF", tmp_path / "conf")
        path = tmp_path / "conf" / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), encoding="utf-8")

    return edit


@pytest.mark.parametrize(
    ("file", "old", "new", "readers"),
    [
        ("config.yaml", "clip_range: 0.2 ", "clip_range: 0.3 ", [0, 1, 2]),
        ("config.yaml", "n_step: 5 ", "n_step: 6 ", [4]),
        ("config.yaml", "kl_target: 0.01 ", "kl_target: 0.02 ", [3]),
        ("config.yaml", "points: 20 ", "points: 10 ", [0, 1, 2, 3, 4, 5]),
        ("critic/default.yaml", "vf_coef: 0.5 ", "vf_coef: 0.6 ", [0, 1, 4]),
        ("task/weekly_exam.yaml", "luck: 1.0 ", "luck: 2.0 ", [2]),
        ("algorithm/sb3_ppo.yaml", "  n_epochs: 10", "  n_epochs: 9", [5]),
    ],
)
def test_an_edited_value_of_conf_moves_exactly_the_cells_that_read_it(edited, file, old, new, readers):
    before = [cell_hash(bench.compose(overrides)) for overrides in ARMS]
    edited(file, old, new)
    after = [cell_hash(bench.compose(overrides)) for overrides in ARMS]
    assert [index for index, (one, other) in enumerate(zip(before, after, strict=True)) if one != other] == readers


@pytest.fixture(scope="module")
def default() -> Config:
    return bench.compose()


@pytest.mark.parametrize(
    "overrides",
    [
        ["seeds=3"],
        ["name=mine"],
        ["study.title=other"],
        ["results=elsewhere"],
        ["wandb=disabled"],
        ["n_step=7"],  # of advantage=nstep
        ["group.eps=0.1"],  # of a group baseline
        ["group.credit=outcome"],
        ["task.score.random=0"],  # the analysis's
        ["task.gamma=0.5", "gamma=0.99"],  # only the top level is read
    ],
    ids=" ".join,
)
def test_what_changes_no_number_changes_no_hash(default, overrides):
    assert cell_hash(bench.compose(overrides)) == cell_hash(default)


@pytest.mark.parametrize(
    "override",
    [
        "gamma=0.98",
        "gae_lambda=0.9",
        "critic.gae_lambda=0.9",
        "critic.epochs=5",
        "budget=90000",
        "hidden=[64,32]",
        "learning_rate=2e-3",
        "clip_range=0.1",
        "group.groups=4",  # collect=episodes runs groups x size episodes, whatever the baseline
        "evaluation.points=10",
        "seed_pool=tuning",
        "task=weekly_exam",
        "task.time_limit=400",
        "baseline=none",
    ],
)
def test_what_can_change_a_number_changes_the_hash(default, override):
    assert cell_hash(bench.compose([override])) != cell_hash(default)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("task.reward=true", "task.reward='true'"), ("task.luck=1", "task.luck=1.0")],
)
def test_a_knob_is_what_the_task_takes_it_for(written, meant):
    assert cell_hash(bench.compose(["task=weekly_exam_cheat", written])) == cell_hash(
        bench.compose(["task=weekly_exam_cheat", meant])
    )


def test_noise_is_part_of_the_identity_where_it_is_not_the_usual():
    """The hashes are those of cells recorded when there was no other noise."""
    assert (cell_hash(bench.compose()), cell_hash(bench.compose(["preset=ppo", "task=pendulum"]))) == (
        "e09bac78",
        "2657923d",
    )
    others = [["exploration=sde"], ["exploration=sde", "exploration.sample_freq=4"], ["exploration.log_std_init=-1"]]
    assert len({cell_hash(bench.compose(["task=pendulum", *other])) for other in ([], *others)}) == 4
    old = to_mapping(bench.compose(["preset=ppo", "task=pendulum"]))
    del old["exploration"]  # as in files of that time
    assert cell_hash(parse(old)) == cell_hash(bench.compose(["preset=ppo", "task=pendulum"]))


def test_a_setting_counts_where_its_arm_reads_it():
    with_nstep = [cell_hash(bench.compose(["advantage=nstep", f"n_step={n}"])) for n in (5, 7)]
    without_critic = [
        cell_hash(bench.compose(["baseline=none", "advantage=monte_carlo", f"critic.epochs={n}"])) for n in (5, 7)
    ]
    assert with_nstep[0] != with_nstep[1]
    assert without_critic[0] == without_critic[1]


@pytest.mark.parametrize("overrides", [[], ["preset=ppo"], ["preset=grpo", "task=weekly_exam", "seeds=[4,2]"]])
def test_a_configuration_survives_being_written_down(overrides, tmp_path: Path):
    config = bench.compose(overrides)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(to_mapping(config)), encoding="utf-8")
    again = parse(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert dataclasses.asdict(again) == dataclasses.asdict(config)
    assert cell_hash(again) == cell_hash(config)
