"""Every refusal, and every file of conf."""

import dataclasses
from contextlib import nullcontext, suppress

import pytest
import yaml

import bench
from bench.commands.list import catalogue, legality
from bench.config import options as conf
from bench.config.legality import RULES, table, validate
from bench.config.parse import option
from bench.errors import UserError
from bench.paths import CONF

SHARED = ["critic.network=shared", "grad_clip=joint"]
FORMS = [  # values that are none
    # ranges
    (["gamma=1.5"], "gamma=1.5: must lie in [0, 1]"),
    (["gamma=-0.1"], "gamma=-0.1: must lie in [0, 1]"),
    (["gae_lambda=1.01"], "gae_lambda=1.01: must lie in [0, 1]"),
    (["critic.gae_lambda=-1"], "critic.gae_lambda=-1.0: must lie in [0, 1]"),
    (["learning_rate=0"], "learning_rate=0.0: must be greater than 0"),
    (["n_step=0"], "n_step=0: must be greater than 0"),
    (["update.epochs=0"], "update.epochs=0: must be greater than 0"),
    (["hidden=[64,0]"], "hidden=0: must be greater than 0"),
    (["critic.vf_coef=-1"], "critic.vf_coef=-1.0: must be at least 0"),
    (["group.temperature=-1"], "group.temperature=-1.0: must be at least 0"),
    (["group.temperature=inf"], "group.temperature=inf: must be finite"),
    (["ent_coef=-0.1"], "ent_coef=-0.1: must be at least 0"),
    (["gamma=.nan"], "gamma=.nan: must be a number"),
    (["gamma=nan"], "gamma=nan: must be finite"),
    # seeds
    (["seeds=0"], "seeds=0: at least 1 seed is needed"),
    (["seeds=-3"], "seeds=-3: at least 1 seed is needed"),
    (["seeds=[]"], "seeds=[]: give a count such as 10"),
    (["seeds=[1,1]"], "seeds=[1,1]: a seed is named twice"),
    (["seeds=[-1]"], "seed -1 is not a whole number of at least 0"),
    (["seeds=ten"], "seeds=ten: give a count such as 10"),
    (["seeds=1.5"], "seeds=1.5: give a count such as 10"),
    # types and names
    (["n_step=1.5"], "n_step=1.5: must be a whole number"),
    (["n_step=true"], "n_step=true: must be a whole number"),
    (["gamma=abc"], "gamma=abc: must be a number"),
    (["group.leave_one_out=3"], "group.leave_one_out=3: must be true or false"),
    (["hidden=64"], "hidden=64: must be a list"),
    (["hidden=[]"], "hidden=[]: must have at least one width; policy=linear makes"),
    (
        ["evaluation=3"],
        "evaluation=3: evaluation is a section of settings (points, episodes); did you mean evaluation.episodes=3?",
    ),
    (["truncation=stop"], "unknown truncation 'stop': allowed are end, bootstrap"),
    (["wandb=ofline"], "unknown wandb 'ofline': allowed are offline, online, live, disabled; did you mean 'offline'?"),
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
]
COMBINATIONS = [  # what cannot be compared or would not mean what it says
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
    (
        ["critic.network=shared"],
        "critic.network=shared with grad_clip=separate: one loss has one gradient; use grad_clip=j",
    ),
    (
        ["critic.network=shared", "baseline=none", "advantage=monte_carlo"],
        "critic.network=shared without a critic: nothing",
    ),
    (
        ["critic.network=shared", "policy=linear"],
        "with policy=linear: it has no hidden layers; use policy=mlp, or critic.n",
    ),
    ([*SHARED, "critic.epochs=3"], "critic.network=shared with critic.epochs=3 and update.epochs=10: one loss is"),
    ([*SHARED, "critic.minibatches=3"], "with critic.minibatches=3 and update.minibatches=4: one loss is descended by"),
    (
        [*SHARED, "critic.learning_rate=0.01"],
        "with critic.learning_rate=0.01 and learning_rate=0.001: one loss is desc",
    ),
    (
        [*SHARED, "update=vanilla"],
        "critic.network=shared with critic.epochs=10 and update.epochs=1: one loss is descended",
    ),
    (
        [*SHARED, "algorithm=sb3_ppo", "algorithm.parameters=matched", "collect=segments"],
        "sb3_ppo: its networks are apart",
    ),
    (["critic.network=share"], "unknown critic.network 'share': allowed are separate, shared; did you mean 'shared'?"),
    (["grad_clip=joint", "baseline=none", "advantage=monte_carlo"], "grad_clip=joint without a critic"),
    (["grad_clip=joint", "critic.epochs=1"], "grad_clip=joint with update.epochs=10"),
    (["baseline=vine", "collect=segments"], "baseline=vine with collect=segments: it compares complete episodes"),
    (["baseline=vine", "gamma=0"], "baseline=vine with gamma=0 and vine.every=16: divides by gamma; use vine.every=1"),
    (["baseline=vine", "norm_reward=true"], "baseline=vine with norm_reward=true: restored values are unscaled"),
    (["baseline=vine", "reference=initial"], "baseline=vine with reference.placement=reward: restored values do not"),
    (["baseline=vine"], "budget=100000: not one batch of 16 episodes of at most 500 steps and those from their"),
    (["vine.every=0"], "vine.every=0: must be greater than 0"),
    (["task.score.random=500"], "task.score.reference=500: must be above task.score.random=500"),
    (["task.score.reference=-1"], "task.score.reference=-1: must be above task.score.random=22.2"),
    (["task.score.random=nan"], "task.score.random=nan: must be finite"),
    (["task.score.reference=inf"], "task.score.reference=inf: must be finite"),
    (["task=weekly_exam", "task.score.random=1000"], "task.score.reference=11.4173: must be above"),  # an exact one
    (["baseline=vine", "task=gym", "group.start=independent"], "baseline=vine with task=gym: its states cannot be"),
    (["baseline=none", "task=gym"], "group.start=shared with task=gym: its states cannot be copied"),
    (["baseline=group", "advantage=monte_carlo", "group.credit=process"], "group.credit=process with baseline=group"),
    (["baseline=grpo", "advantage=gae", "group.credit=process"], "group.credit=process with advantage=gae"),
    (["baseline=group", "group.scale=rank", "group.leave_one_out=true"], "group.scale=rank with group.leave_one_out"),
    (["baseline=grpo", "advantage=monte_carlo", "group.credit=outcome", "group.alive_only=true"], "alive_only=true"),
    (["baseline=group", "group.temperature=0.5"], "group.temperature=0.5 with group.scale=none: it is that of comp"),
    (
        ["group.temperature=2"],
        "group.temperature=2 with baseline=critic: it is that of comparisons of a group's members",
    ),
    (["baseline=rloo", "group.temperature=1"], "use baseline=group with group.scale=rank, or group.temperature=0"),
    (["baseline=grpo", "group.scale=none"], "baseline=grpo with group.scale=none: grpo divides by the std"),
    (["baseline=rloo", "group.leave_one_out=false"], "baseline=rloo with group.leave_one_out=false: that is baseline"),
    (["baseline=time_mean", "group.groups=2"], "baseline=time_mean with group.groups=2"),
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
    (
        ["reference=initial", "reference.veto=1", "collect=segments"],
        "reference.veto=1 with collect=segments: how far an episode was",
    ),
    (["reference=checkpoint"], "reference=checkpoint: set reference.path"),
    (["reference=checkpoint", "reference.path=nowhere"], "reference.path=nowhere: there is no such file or folder"),
    (["reference=checkpoint", "reference.path=elsewhere/honest"], "folder; 'python -m bench study=honest' makes it"),
    (["reference=initial", "reference.seed=3"], "reference.seed=3 with reference=initial: use reference=checkpoint"),
    (["budget=7999"], "budget=7999: not one batch of 16 episodes of at most 500 steps fits; use at least 8000"),
    (["collect=segments", "budget=1000"], "budget=1000: not one batch of 8 segments of 128 steps fits"),
]


REFUSALS = [*FORMS, *COMBINATIONS]


@pytest.mark.parametrize(("overrides", "message"), REFUSALS, ids=[" ".join(given) for given, _ in REFUSALS])
def test_a_mistake_is_refused_in_one_line(overrides, message):
    with pytest.raises(UserError) as refused:
        bench.compose(overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def options() -> list[str]:
    # A cluster is no part of a cell; reference=checkpoint needs a trained policy: tests/learner/test_reference.py
    groups = [group for group in conf.groups() if group not in ("study", "cluster", "settings")]
    files = [path for group in groups for path in sorted((CONF / group).glob("*.yaml"))]
    return [f"{path.parent.name}={path.stem}" for path in files if path.stem not in (conf.SINGLE, "checkpoint")]


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


def test_the_page_on_arms_has_the_printed_legality():
    assert f"```text\n{legality()}\n```" in (CONF.parent / "docs" / "arms.md").read_text(encoding="utf-8")


def test_every_rule_is_printed_with_its_reason_and_refuses_something(monkeypatch):
    monkeypatch.setattr("bench.config.legality.validate", lambda *_: None)
    monkeypatch.setattr("bench.cells.composition.check_task", lambda *_, **__: None)
    printed, fired = catalogue(), set()
    for overrides, _ in COMBINATIONS:
        with suppress(UserError):
            config = bench.compose(overrides)
            fired |= {rule.__name__ for rule in RULES if rule(config) is not None}
    assert fired == {rule.__name__ for rule in RULES}
    for rule in RULES:
        assert f"  {rule.__name__}" in printed
        assert rule.__doc__.rstrip(".") in printed


@pytest.mark.parametrize("collect", ["episodes", "segments"])
@pytest.mark.parametrize("baseline", [name for name in conf.options("baseline") if name != "plugin"])
def test_the_printed_legality_is_what_is_refused(baseline, collect, monkeypatch):
    monkeypatch.setattr("bench.config.legality.validate", lambda *_: None)
    composed = bench.compose([f"baseline={baseline}", f"collect={collect}", "budget=1_000_000"])
    monkeypatch.undo()
    printed = {advantage: legal.split() for name, advantage, legal in table() if name == baseline}
    assert len(printed) == 4
    for advantage, legal in printed.items():
        for update in ("vanilla", "clip"):
            steps = option("update", update, epochs=1, minibatches=1)
            config = dataclasses.replace(composed, advantage=option("advantage", advantage), update=steps)
            with nullcontext() if collect in legal else pytest.raises(UserError):
                validate(config)
