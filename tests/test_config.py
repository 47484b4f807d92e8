"""Every refusal, every file of conf, and what a cell's hash covers."""

import dataclasses
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import get_args

import pytest
import yaml

import bench
from bench.cells.catalogue import SINGLE, catalogue, groups_of, legality
from bench.config.identity import cell_hash
from bench.config.legality import RULES, table, validate
from bench.config.parse import parse, to_mapping
from bench.config.schema import Advantage, BaselineName, Config, Update
from bench.errors import UserError
from bench.paths import CONF

REFUSALS = [
    # ranges
    (["gamma=1.5"], "gamma=1.5: must lie in [0, 1]"),
    (["gamma=-0.1"], "gamma=-0.1: must lie in [0, 1]"),
    (["gae_lambda=1.01"], "gae_lambda=1.01: must lie in [0, 1]"),
    (["critic.gae_lambda=-1"], "critic.gae_lambda=-1.0: must lie in [0, 1]"),
    (["learning_rate=0"], "learning_rate=0.0: must be greater than 0"),
    (["n_step=0"], "n_step=0: must be greater than 0"),
    (["update.epochs=0"], "update.epochs=0: must be greater than 0"),
    (["hidden=[64,0]"], "hidden=0: must be greater than 0"),
    (["ent_coef=-0.1"], "ent_coef=-0.1: must be at least 0"),
    (["gamma=.nan"], "gamma=.nan: must be a number"),
    (["gamma=nan"], "gamma=nan: must be finite"),
    # seeds
    (["seeds=0"], "seeds=0: at least 1 seed is needed"),
    (["seeds=-3"], "seeds=-3: at least 1 seed is needed"),
    (["seeds=[]"], "seeds=[]: give a count such as 10"),
    (["seeds=[1,1]"], "seeds=[1, 1]: a seed is named twice"),
    (["seeds=[-1]"], "seed -1 is not a whole number of at least 0"),
    (["seeds=ten"], "seeds=ten: give a count such as 10"),
    (["seeds=1.5"], "seeds=1.5: give a count such as 10"),
    # types and names
    (["n_step=1.5"], "n_step=1.5: must be a whole number"),
    (["n_step=true"], "n_step=True: must be a whole number"),
    (["gamma=abc"], "gamma=abc: must be a number"),
    (["group.leave_one_out=3"], "group.leave_one_out=3: must be true or false"),
    (["hidden=64"], "hidden=64: must be a list"),
    (["hidden=[]"], "hidden=0: must be greater than 0"),
    (["evaluation=3"], "evaluation must be a section with keys"),
    (["truncation=stop"], "unknown truncation 'stop': allowed are end, bootstrap"),
    (["wandb=ofline"], "unknown wandb 'ofline': allowed are offline, online, disabled; did you mean 'offline'?"),
    (["+foo=1"], "unknown key 'foo'"),
    (["+critic.epoch=1"], "unknown key 'critic.epoch'; did you mean 'epochs'?"),
    (["foo=1"], "unknown key 'foo'"),
    (["evaluation.pionts=3"], "unknown key 'evaluation.pionts' in 'evaluation': allowed are points, episodes; did you"),
    (["~gamma"], "missing key 'gamma'"),
    (["budget=${nope}"], "budget: Interpolation key 'nope' not found"),
    (["study=quik"], "unknown study 'quik': allowed are "),
    (["baseline=grop"], "; did you mean 'group'?"),
    (["gamma=="], "cannot read 'gamma=='"),
    (["name=../../x"], "name=../../x: it names a folder"),
    (["study.name=a/b"], "study.name=a/b: it names a folder"),
    (["task.name=.."], "task.name=..: it names a folder"),
    (["task.time_limit=0"], "task.time_limit=0: must be at least 1 step"),
    (["task=weekly_exam", "task.luck=4"], "task.luck=4.0: must lie in [0, 3]"),
    (["task=weekly_exam", "task.pay=monthly"], "unknown task.pay 'monthly': allowed are weekly, final"),
    (["task=weekly_exam", "task.reward_cap=high"], "task.reward_cap=high: must be a number"),
    (["task=weekly_exam_cheat", "task.reward=tru"], "unknown task.reward 'tru': allowed are reported, true; did you"),
    (["task=exam_question", "task.answers=three"], "unknown task.answers 'three': allowed are four, two"),
    (["task=random_walk", "task.time_limit=0"], "task.time_limit=0: must be at least 1 step"),
    # what cannot be compared or would not mean what it says
    (["collect=segments", "baseline=group"], "baseline=group with collect=segments: it compares complete episodes"),
    (["collect=segments", "baseline=grpo"], "baseline=grpo with collect=segments"),
    (["collect=segments", "baseline=rloo"], "baseline=rloo with collect=segments"),
    (["collect=segments", "baseline=none", "advantage=monte_carlo"], "advantage=monte_carlo with collect=segments"),
    (["collect=segments", "aggregate=episode"], "aggregate=episode with collect=segments"),
    (["collect=segments", "collect.n_steps=0"], "collect.n_steps=0: collect=segments needs at least 1"),
    (["collect.n_envs=8"], "collect.n_envs=8: collect=episodes runs group.groups x group.size episodes"),
    (["baseline=group", "group.size=1"], "group.size=1 with baseline=group: a group of one is its own mean"),
    (["baseline=group", "group.credit=outcome"], "group.credit=outcome with advantage=gae"),
    (["baseline=grpo", "group.ddof=8"], "group.ddof=8 with group.size=8: must be smaller than the group"),
    (["baseline=none", "advantage=monte_carlo", "truncation=bootstrap"], "there is no critic to bootstrap from"),
    (["truncation=bootstrap", "gamma=1"], "truncation=bootstrap with gamma=1 on cartpole"),
    (["task=weekly_exam", "task.reward_shift=-1", "norm_reward=true"], "task.reward_shift=-1 with norm_reward=true"),
    (["update=vanilla", "update.epochs=2"], "update=vanilla with update.epochs=2"),
    (["update=vanilla", "update.minibatches=2"], "update.minibatches=2: vanilla is one full-batch step"),
    (["grad_clip=joint", "baseline=none", "advantage=monte_carlo"], "grad_clip=joint without a critic"),
    (["grad_clip=joint", "critic.epochs=1"], "grad_clip=joint with update.epochs=10"),
    (["baseline=vine", "collect=segments"], "baseline=vine with collect=segments: it compares complete episodes"),
    (["baseline=vine", "gamma=0"], "baseline=vine with gamma=0 and vine.every=16: divides by gamma; use vine.every=1"),
    (["baseline=vine", "norm_reward=true"], "baseline=vine with norm_reward=true: restored values are unscaled"),
    (["baseline=vine", "reference=initial"], "baseline=vine with reference.placement=reward: restored values do not"),
    (["baseline=vine"], "budget=100000: not one batch of 16 episodes of at most 500 steps and those from their"),
    (["vine.every=0"], "vine.every=0: must be greater than 0"),
    (["baseline=vine", "task=gym", "group.start=independent"], "baseline=vine with task=gym: its states cannot be"),
    (["baseline=none", "task=gym"], "group.start=shared with task=gym: its states cannot be copied"),
    (["baseline=group", "advantage=monte_carlo", "group.credit=process"], "group.credit=process with baseline=group"),
    (["baseline=grpo", "advantage=gae", "group.credit=process"], "group.credit=process with advantage=gae"),
    (["baseline=group", "group.scale=rank", "group.leave_one_out=true"], "group.scale=rank with group.leave_one_out"),
    (["baseline=grpo", "advantage=monte_carlo", "group.credit=outcome", "group.alive_only=true"], "alive_only=true"),
    (["baseline=grpo", "group.scale=none"], "baseline=grpo with group.scale=none: grpo divides by the std"),
    (["baseline=rloo", "group.leave_one_out=false"], "baseline=rloo with group.leave_one_out=false: that is baseline"),
    (["baseline=time_mean", "group.groups=2"], "baseline=time_mean with group.groups=2"),
    # options in folders
    (["tuned=cartpole/critic-gae-clp"], "allowed are cartpole/critic-gae-clip, "),
    (["tuned=cartpol/critic-gae-clip"], "; did you mean 'cartpole/critic-gae-clip'?"),
    (["tuned=cartpole"], "unknown tuned 'cartpole': allowed are cartpole/critic-gae-clip, "),
    # settings of a task
    (["settings=publishd"], "unknown settings 'publishd': allowed are published; did you mean 'published'?"),
    (["settings=published", "task=exam_question"], "settings=published with task=exam_question: there are none for it"),
    # noise of continuous actions
    (["exploration=sde"], "exploration=sde with task=cartpole: its actions are discrete and have no noise; use"),
    (["exploration.log_std_init=-1"], "exploration.log_std_init=-1 with task=cartpole: its actions are discrete"),
    (["task=pendulum", "exploration.sample_freq=4"], "exploration.sample_freq=4 with exploration=gaussian: its noise"),
    (["task=pendulum", "exploration=sde", "exploration.sample_freq=0"], "exploration.sample_freq=0: must be greater"),
    (["task=pendulum", "exploration=sde", "baseline=vine"], "exploration=sde with baseline=vine: restored episodes"),
    # the reference policy
    (["reference=initial", "reference.coef=-1"], "reference.coef=-1.0: must be at least 0"),
    (["reference=initial", "reference.target=0"], "reference.target=0.0: must be greater than 0"),
    (
        ["reference=initial", "reference.placement=loss"],
        "reference.kind=k1 with reference.placement=loss",
    ),
    (["reference=checkpoint"], "reference=checkpoint: set reference.path"),
    (["reference=checkpoint", "reference.path=nowhere"], "reference.path=nowhere: there is no such file or folder"),
    (["reference=checkpoint", "reference.path=elsewhere/honest"], "folder; 'python -m bench study=honest' makes it"),
    (["reference=initial", "reference.seed=3"], "reference.seed=3 with reference=initial: use reference=checkpoint"),
    (["budget=7999"], "budget=7999: not one batch of 16 episodes of at most 500 steps fits; use at least 8000"),
    (["collect=segments", "budget=1000"], "budget=1000: not one batch of 8 segments of 128 steps fits"),
]


@pytest.mark.parametrize(("overrides", "message"), REFUSALS, ids=[" ".join(given) for given, _ in REFUSALS])
def test_a_mistake_is_refused_in_one_line(overrides, message):
    with pytest.raises(UserError) as refused:
        bench.compose(overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def options() -> list[str]:
    # A cluster is no part of a cell; reference=checkpoint needs a trained policy: tests/learner/test_reference.py
    groups = [group for group in groups_of() if group not in ("study", "cluster", "settings")]
    files = [path for group in groups for path in sorted((CONF / group).glob("*.yaml"))]
    return [f"{path.parent.name}={path.stem}" for path in files if path.stem not in (SINGLE, "checkpoint")]


# What an option needs to be legal where it does not fit the default cell.
COMPANIONS = {
    "baseline=vine": ["vine.every=250", "vine.rollouts=2"],
    "task=gym": ["task.id=CartPole-v1", "group.start=independent"],
    "task=plugin": ["task.plugin=tests.plugins:Coin", "budget=1000"],
    "exploration=sde": ["task=pendulum"],
    "baseline=plugin": ["baseline.plugin=tests.plugins:half_value"],
    "advantage=plugin": ["advantage.plugin=tests.plugins:two_rewards"],
    "update=plugin": ["update.plugin=tests.plugins:tilted"],
    "algorithm=library": ["algorithm._target_=stable_baselines3.DQN"],
}


@pytest.mark.parametrize("option", options())
def test_every_option_composes(option):
    config = bench.compose([option, *COMPANIONS.get(option, [])])
    group, _, name = option.partition("=")
    assert (config.name if group == "preset" else getattr(config, group).name) == name


SETTINGS = sorted((CONF / "settings").glob("*/*.yaml"))


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: f"{path.parent.stem}-{path.stem}")
@pytest.mark.parametrize("arm", ["ppo", "a2c", "grpo"])  # segments, a single step, no critic
def test_the_settings_of_a_task_fit_every_arm_and_leave_what_it_is(path, arm):
    given = [f"preset={arm}", f"task={path.stem}"]
    plain, config = bench.compose(given), bench.compose([*given, f"settings={path.parent.stem}"])
    for factor in ("name", "baseline", "advantage", "truncation", "advantage_norm", "aggregate", "grad_clip", "task"):
        assert getattr(config, factor) == getattr(plain, factor)
    assert (config.update.name, config.collect.name) == (plain.update.name, plain.collect.name)
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in ("budget", "gamma", "learning_rate", "learning_rate_schedule", "norm_obs", "norm_reward"):
        assert getattr(config, key) == raw[key]
    if arm == "ppo":
        batch = {**dataclasses.asdict(config.collect), **dataclasses.asdict(config.update)}
        assert {key: batch[key] for key in raw["batch"]} == raw["batch"]


@pytest.mark.parametrize("path", sorted((CONF / "study").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_is_named_like_its_file(path):
    study = yaml.safe_load(path.read_text(encoding="utf-8"))["study"]
    assert study["name"] == path.stem
    assert study["title"]


@pytest.mark.parametrize("baseline", ["none", "critic", "group"])
@pytest.mark.parametrize("advantage", ["td0", "gae", "monte_carlo"])
def test_baseline_and_advantage_cross_freely(baseline, advantage):
    config = bench.compose([f"baseline={baseline}", f"advantage={advantage}"])
    assert config.arm_name == f"{baseline}-{advantage}-clip"
    assert config.has_critic == (baseline == "critic" or advantage != "monte_carlo")


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


def test_seeds_are_a_count_or_a_list():
    assert bench.compose(["seeds=3"]).seeds == (0, 1, 2)
    assert bench.compose(["seeds=[7,3]"]).seeds == (3, 7)


def test_the_page_on_arms_has_the_printed_legality():
    assert f"```text\n{legality()}\n```" in (CONF.parent / "docs" / "arms.md").read_text(encoding="utf-8")


def test_every_rule_is_printed_with_its_reason_and_refuses_something(monkeypatch):
    monkeypatch.setattr("bench.config.legality.validate", lambda *_: None)
    monkeypatch.setattr("bench.cells.composition.check_task", lambda *_, **__: None)
    printed, fired = catalogue(), set()
    for overrides, _ in REFUSALS:
        with suppress(UserError):
            config = bench.compose(overrides)
            fired |= {rule.__name__ for rule in RULES if rule(config) is not None}
    assert fired == {rule.__name__ for rule in RULES}
    for rule in RULES:
        assert f"  {rule.__name__}" in printed
        assert rule.__doc__.rstrip(".") in printed


@pytest.mark.parametrize("collect", ["episodes", "segments"])
@pytest.mark.parametrize("baseline", [name for name in get_args(BaselineName) if name != "plugin"])
def test_the_printed_legality_is_what_is_refused(baseline, collect, monkeypatch):
    monkeypatch.setattr("bench.config.legality.validate", lambda *_: None)
    composed = bench.compose([f"baseline={baseline}", f"collect={collect}", "budget=1_000_000"])
    monkeypatch.undo()
    printed = {advantage: legal.split() for name, advantage, legal in table() if name == baseline}
    assert len(printed) == 4
    for advantage, legal in printed.items():
        for update in ("vanilla", "clip"):
            steps = Update(name=update, epochs=1, minibatches=1)
            config = dataclasses.replace(composed, advantage=Advantage(name=advantage), update=steps)
            with nullcontext() if collect in legal else pytest.raises(UserError):
                validate(config)
