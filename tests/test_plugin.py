"""Functions and tasks of the user's own: what they may be called, what they need, what their results must be."""

import dataclasses
import sys

import pytest
import torch
import yaml

import bench
from bench import plugin
from bench.arms.advantage import Batch, advantage, critic_target
from bench.arms.objectives import objective_of
from bench.config.identity import cell_hash, factors, identity
from bench.config.parse import parse, to_mapping
from bench.errors import UserError
from bench.execution.execute import recorded_config
from bench.tasks.registry import make

PLUG = "tests.plugins"


def cell(*overrides):
    return bench.compose(list(overrides))


def batch(values=None):
    """Two steps of one replica with two episodes, the second of which ends with its first step."""
    rewards = torch.tensor([[[1.0, 5.0]], [[2.0, 0.0]]])
    ended = torch.tensor([[[False, True]], [[True, False]]])
    live = torch.tensor([[[True, True]], [[True, False]]])
    return Batch(rewards, ended, torch.zeros_like(ended), live, values, values)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["advantage=plugin"], "advantage.plugin=None: name what you wrote as module:name"),
        (["advantage=plugin", "advantage.plugin=os.system"], "advantage.plugin=os.system: name what you wrote as"),
        (["advantage=plugin", "advantage.plugin=os:system"], "'os' marks nothing with bench.plugin, not 'system'"),
        (
            ["advantage=plugin", "advantage.plugin=nope:x"],
            "cannot import 'nope' from this folder or Python's path",
        ),
        (["advantage=plugin", f"advantage.plugin={PLUG}:two_reward"], "not 'two_reward'; did you mean 'two_rewards'?"),
        (["advantage=plugin", f"advantage.plugin={PLUG}:unmarked"], "with bench.plugin, not 'unmarked'"),
        (["advantage=plugin", f"advantage.plugin={PLUG}:half_value"], "marked as baseline, not as advantage"),
        (["+advantage.plugin=a:b"], "advantage.plugin=a:b with advantage=gae: use advantage=plugin"),
        (["task=plugin", f"task.plugin={PLUG}:Coin", "+task.price=2", "budget=1000"], "unknown key 'task.price'"),
        (
            ["collect=segments", "baseline=plugin", f"baseline.plugin={PLUG}:best_episode"],
            "baseline=best_episode with collect=segments: it compares complete episodes",
        ),
        (
            ["collect=segments", "baseline=none", "advantage=plugin", f"advantage.plugin={PLUG}:two_rewards"],
            "advantage=two_rewards with collect=segments and baseline=none: without a critic",
        ),
    ],
)
def test_a_mistake_is_refused_in_one_line(overrides, message):
    with pytest.raises(UserError) as refused:
        cell(*overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("baseline", "target", "has_critic"),
    [
        ("none", "two_rewards", False),
        ("none", "one_step", True),
        ("critic", "two_rewards", True),
    ],
)
def test_a_critic_is_built_where_a_plugin_reads_one(baseline, target, has_critic):
    config = cell(f"baseline={baseline}", "advantage=plugin", f"advantage.plugin={PLUG}:{target}")
    assert config.has_critic == has_critic
    assert config.arm_name == f"{baseline}-{target}-clip"


def test_a_target_of_ones_own_is_what_the_function_says():
    config = cell(
        "baseline=none", "advantage=plugin", f"advantage.plugin={PLUG}:two_rewards", "+advantage.options.weight=3",
        "gamma=0.5",
    )  # fmt: skip
    # 1 + .5 · 3 · 2, 5 + .5 · 3 · 0; then 2, and 0 where the second episode is over
    assert advantage(batch(), config).tolist() == [[[4.0, 5.0]], [[2.0, 0.0]]]


def test_a_baseline_of_ones_own_compares_what_it_likes():
    values = torch.tensor([[[2.0, 4.0]], [[6.0, 8.0]]])
    config = cell("advantage=monte_carlo", "baseline=plugin", f"baseline.plugin={PLUG}:half_value", "gamma=1")
    assert advantage(batch(values), config).tolist() == [[[3 - 1, 5 - 2]], [[2 - 3, 0]]]


def test_the_critic_can_be_trained_on_a_target_of_ones_own():
    values = torch.full((2, 1, 2), 10.0)
    config = cell("advantage=plugin", f"advantage.plugin={PLUG}:one_step", "critic.target=same", "gamma=0.5")
    assert critic_target(batch(values), config).tolist() == [[[1 + 5, 5]], [[2, 0]]]


def test_a_result_of_another_shape_is_named():
    config = cell("baseline=none", "advantage=plugin", f"advantage.plugin={PLUG}:misshapen")
    with pytest.raises(UserError, match=r"advantage\.plugin returned \(1, 2\): must be a tensor of the batch's shape"):
        advantage(batch(), config)


def test_an_objective_of_ones_own_replaces_the_surrogate():
    objective = objective_of(cell("update=plugin", f"update.plugin={PLUG}:tilted").update)
    ratio = torch.tensor([2.0])
    given = {"clip_range": 0.2, "kl_coef": None, "kl": None}
    result, slope = objective(ratio.log(), torch.zeros(1), torch.tensor([-3.0]), **given)
    assert result.item() == pytest.approx(-6)  # where PPO's clip would allow −3.6 at least
    assert slope.item() == pytest.approx(-6)  # d(ρA)/d log π = ρA, found by autograd


def test_an_objective_that_ignores_the_policy_is_refused():
    objective = objective_of(cell("update=plugin", f"update.plugin={PLUG}:aloof").update)
    with pytest.raises(UserError, match=r"update\.plugin.*log_prob"):
        objective(torch.zeros(1), torch.zeros(1), torch.ones(1), clip_range=None, kl_coef=None, kl=None)


def test_a_task_of_ones_own_takes_its_knobs():
    config = cell("task=plugin", "task.name=coin", f"task.plugin={PLUG}:Coin", "+task.prize=2.5", "budget=1000")
    task = make(config.task)
    assert type(task).__name__ == "Coin"
    assert dataclasses.asdict(task) == {"prize": 2.5}


def test_the_hash_covers_the_plugins_code_and_every_setting_it_may_read():
    config = cell("advantage=plugin", f"advantage.plugin={PLUG}:one_step")
    assert len(identity(config)["advantage"]["code"]) == 16
    assert cell_hash(config) != cell_hash(dataclasses.replace(config, n_step=7))
    assert factors(config)["advantage"] == f"{PLUG}:one_step"
    assert "code" not in identity(cell())["advantage"]


def test_recorded_settings_import_nothing_by_themselves(tmp_path, monkeypatch):
    """Whoever reads somebody's results must not run what these name."""
    (tmp_path / "theirs.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    for factor, section in (
        ("advantage", {"name": "plugin", "plugin": "theirs:target"}),
        ("task", {"name": "theirs", "plugin": "theirs:Task"}),
        ("task", {"name": "theirs", "knobs": {"plugin": "theirs:Task"}}),
        ("algorithm", {"name": "library", "_target_": "theirs.Algorithm"}),
    ):
        block = tmp_path / factor
        block.mkdir(exist_ok=True)
        mapping = to_mapping(cell())
        (block / "config.yaml").write_text(yaml.safe_dump(mapping | {factor: mapping[factor] | section}))
        with pytest.raises(UserError, match=r"names code outside the suite, .*; if you trust it, add plugins=theirs"):
            recorded_config(block)
    assert sys.path == before
    with pytest.raises(UserError, match=r"plugins=theirs: cannot be imported \(RuntimeError: imported\)"):
        plugin.import_modules("theirs")


def test_a_module_of_the_current_folder_is_found_after_all_others(tmp_path, monkeypatch):
    """As Python does not look there by itself for a script, and for `python -P`."""
    named = "\n".join(["from bench import plugin", "@plugin.update()", "def mine(*_, **__): ..."])
    (tmp_path / "plugin_of_this_folder.py").write_text(named)
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('a library of this name is meant')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    before = list(sys.path)
    assert cell("update=plugin", "update.plugin=plugin_of_this_folder:mine").update.plugin is not None
    assert sys.path == [*before, str(tmp_path)]
    plugin.import_modules("colorsys,plugin_of_this_folder")
    assert sys.path == [*before, str(tmp_path)]


def test_what_its_reader_has_imported_is_no_surprise(tmp_path):
    config = cell("advantage=plugin", f"advantage.plugin={PLUG}:one_step")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_mapping(config)))
    plugin.import_modules(PLUG)
    assert recorded_config(tmp_path) == config


def test_a_plugins_configuration_survives_being_written_down():
    config = cell("advantage=plugin", f"advantage.plugin={PLUG}:two_rewards", "+advantage.options.weight=3")
    assert parse(to_mapping(config)) == config
