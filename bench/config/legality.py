"""What is refused before anything runs: one rule a function, its docstring the reason that `bench list` prints.

A rule returns None, or the line that says what is wrong, the value given and the nearest legal setting.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.config import options, peer_settings
from bench.config.names import is_folder
from bench.config.notes import Range, about
from bench.config.schema import GAUSSIAN, Advantage, Arm, Baseline, Config
from bench.errors import UserError

Rule = Callable[[Config], str | None]


def validate(config: Config) -> None:
    """Refuse what cannot run or would not mean what it says. Raises `UserError`."""
    # A library's algorithm reads none of the factors, unless it is asked to do what the arm does.
    combined = not config.is_peer or config.algorithm.parameters == peer_settings.MATCHED
    for rule in (*_FORM, *(RULES if combined else ())):
        message = rule(config)
        if message is not None:
            raise UserError(message)


def check_task(config: Config, *, horizon: int | None, restorable: bool, discrete: bool) -> None:
    """Refuse what the task cannot do.

    `horizon` is the most steps one episode can take, None where there is no bound; `restorable` says whether its states
    can be copied, `discrete` whether its actions are numbered. Raises `UserError`.
    """
    if message := score_bounds(config):  # exact ones are known by now
        raise UserError(message)
    if config.is_peer:  # `bench.peers.check` asks the library
        return
    if discrete and config.exploration != GAUSSIAN:
        noise = config.exploration
        given = "exploration=sde" if noise.name == "sde" else f"exploration.log_std_init={noise.log_std_init:g}"
        raise UserError(
            f"{given} with task={config.task.name}: its actions are discrete and have no noise; "
            f"use exploration=gaussian with exploration.log_std_init=0"
        )
    if not restorable and config.shares_starts:
        raise UserError(
            f"group.start=shared with task={config.task.name}: its states cannot be copied; use group.start=independent"
        )
    if not restorable and config.baseline.name == "vine":
        raise UserError(
            f"baseline=vine with task={config.task.name}: its states cannot be restored; use baseline=critic"
        )
    if config.budget < config.batch_limit(horizon):
        segments = config.collect.name == "segments"
        what = f"segments of {config.collect.n_steps}" if segments else f"episodes of at most {horizon}"
        restored = " and those from their restored states" if config.baseline.name == "vine" else ""
        raise UserError(
            f"budget={config.budget}: not one batch of {config.n_envs} {what} steps{restored} fits; "
            f"use at least {config.batch_limit(horizon)}, or smaller batches"
            + (", or a larger vine.every" if restored else "")
        )


def refusal(baseline: Baseline, advantage: Advantage, collect: str) -> str | None:
    """Return why a combination of factors is refused whatever the other settings, None where it is legal."""
    with_critic = baseline.uses_values or advantage.bootstraps
    if collect == "segments" and baseline.needs_episodes:
        return f"baseline={baseline.label} with collect=segments: it compares complete episodes"
    if collect == "segments" and not with_critic:
        return (
            f"advantage={advantage.label} with collect=segments and baseline={baseline.label}: without a critic a "
            f"segment's end has no value"
        )
    return None


def table() -> Iterator[tuple[str, str, str]]:
    """Yield the legality of baseline × advantage: both names, and the `collect` they can run with.

    No choice of update or reference changes it.
    """
    baselines, advantages = (
        [factor(name, needs=tuple(options.needs(key, name))) for name in options.options(key) if name != "plugin"]
        for key, factor in (("baseline", Baseline), ("advantage", Advantage))
    )
    for baseline, advantage in itertools.product(baselines, advantages):
        assert isinstance(baseline, Baseline)
        assert isinstance(advantage, Advantage)
        legal = [collect for collect in ("episodes", "segments") if refusal(baseline, advantage, collect) is None]
        yield baseline.name, advantage.name, " ".join(legal)


def score_bounds(config: Config) -> str | None:
    """The score is normalised by its bounds: the reference's is above the random policy's."""
    random, reference = config.task.score.random, config.task.score.reference
    if random is not None and reference is not None and not random < reference:
        return f"task.score.reference={reference:g}: must be above task.score.random={random:g}"
    return None


def looks(config: Config) -> str | None:
    """The most pairs belong to a study whose seeds are added until it is decided."""
    if config.max_pairs is not None and config.until != "decided":
        return f"max_pairs={config.max_pairs}: belongs to until=decided; seeds={config.max_pairs} fixes their number"
    if config.until == "decided" and config.retry == "failed":
        return "retry=failed: a run that failed counts as one under until=decided; what broke off is tried again anyhow"
    return None


def designs(config: Config) -> str | None:
    """A design gives numbers to the suite's own learner; its failed runs count, and its seeds are fixed."""
    if config.design is None:
        return None
    name = f"design={config.design.name}"
    if config.is_peer:
        return f"{name} with algorithm={config.algorithm.label}: a library reads none of the design's numbers"
    if config.retry == "failed":
        return f"retry=failed with {name}: a run that failed counts as one; what broke off is tried again anyhow"
    if config.until == "decided":
        return f"until=decided with {name}: the settings of a design are no pairs; seeds=… says how many each has"
    return None


def names(config: Config) -> str | None:
    """Names become folders: they must stay inside the results and mean the same on every system."""
    given = {"study.name": config.study.name, "task.name": config.task.name, "name": config.name}
    for key, name in (given | _names_of_design(config)).items():
        if name is not None and not is_folder(name):
            return (
                f"{key}={name}: it names a folder; use up to 64 letters, digits, '_', '.', '+' or '-', "
                f"beginning with a letter or digit"
            )
    return None


def _names_of_design(config: Config) -> dict[str, str]:
    if config.design is None:
        return {}
    return {"design.name": config.design.name} | {f"design.strata.{name}": str(name) for name in config.design.strata}


def ranges(config: Arm) -> str | None:
    """Numbers outside the range that the schema gives them."""
    return next(_out_of_range(config), None)


def _out_of_range(section: Any, prefix: str = "") -> Iterator[str]:
    within = about(type(section), Range)
    for field in dataclasses.fields(section):
        key, value = prefix + field.name, getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from _out_of_range(value, f"{key}.")
        elif field.name in within and value is not None:
            for number in value if isinstance(value, Sequence) else (value,):
                if message := within[field.name].refusal(key, number):
                    yield message


def widths(config: Config) -> str | None:
    """A network without hidden layers is policy=linear."""
    if not config.hidden:
        return "hidden=[]: must have at least one width; policy=linear makes an actor without hidden layers"
    return None


def segment_sizes(config: Config) -> str | None:
    """The sizes of segments belong to collect=segments and those of groups to collect=episodes."""
    collect = config.collect
    for key in ("n_envs", "n_steps"):
        number = getattr(collect, key)
        if collect.name == "episodes" and number is not None:
            return (
                f"collect.{key}={number}: collect=episodes runs group.groups x group.size episodes at once; set those, "
                f"or use collect=segments"
            )
        if collect.name == "segments" and (number or 0) < 1:
            return f"collect.{key}={number}: collect=segments needs at least 1"
    return None


def whole_episodes(config: Config) -> str | None:
    """Baselines that compare episodes need whole ones: group, grpo, rloo, time_mean and vine with segments."""
    if config.collect.name == "segments" and config.baseline.needs_episodes:
        return f"{_refused(config)}; use collect=episodes, or baseline=batch_mean"
    return None


def open_ends(config: Config) -> str | None:
    """Without a critic a segment's end has no value: monte_carlo with segments and no critic."""
    if config.collect.name == "segments" and not config.baseline.needs_episodes and not config.has_critic:
        return f"{_refused(config)}; use collect=episodes, or baseline=critic"
    return None


def _refused(config: Config) -> str:
    return refusal(config.baseline, config.advantage, config.collect.name) or ""


def episode_weights(config: Config) -> str | None:
    """aggregate=episode weighs whole episodes, which segments do not have."""
    if config.collect.name == "segments" and config.aggregate == "episode":
        return "aggregate=episode with collect=segments: a segment has no whole episodes; use aggregate=step"
    return None


def group_of_one(config: Config) -> str | None:
    """A group of one is its own mean."""
    if config.group_baseline and config.group.size < 2:
        return (
            f"group.size={config.group.size} with baseline={config.baseline.name}: a group of one is its own mean; "
            f"use at least 2, or baseline=none"
        )
    return None


def outcomes(config: Config) -> str | None:
    """credit=outcome and credit=process replace the target, so they need the full return: advantage=monte_carlo."""
    credit, advantage = config.group.credit, config.advantage
    if not config.group_baseline or credit == "reward_to_go" or advantage.name == "monte_carlo":
        return None
    what = "outcome is the whole episode's return" if credit == "outcome" else "process sums all rewards to go"
    return (
        f"group.credit={credit} with advantage={advantage.label}: the {what}; "
        f"use advantage=monte_carlo, or group.credit=reward_to_go"
    )


def process_supervision(config: Config) -> str | None:
    """credit=process standardises step rewards over a group, which is GRPO's: baseline=grpo only."""
    if config.group_baseline and config.group.credit == "process" and config.baseline.name != "grpo":
        return (
            f"group.credit=process with baseline={config.baseline.name}: step rewards are standardised over the group, "
            f"as GRPO does; use baseline=grpo, or group.credit=reward_to_go"
        )
    return None


def degrees_of_freedom(config: Config) -> str | None:
    """A standard deviation needs more members than degrees of freedom taken."""
    group = config.group
    if config.group_baseline and group.scale == "std" and group.ddof >= group.size:
        return f"group.ddof={group.ddof} with group.size={group.size}: must be smaller than the group"
    return None


def ranks(config: Config) -> str | None:
    """Ranks compare every member with the others as they are: no leave_one_out, no alive_only."""
    group = config.group
    if config.group_baseline and group.scale == "rank" and (group.leave_one_out or group.alive_only):
        option = "leave_one_out" if group.leave_one_out else "alive_only"
        return (
            f"group.scale=rank with group.{option}=true: ranks compare every member with the others as they are; "
            f"use group.{option}=false, or group.scale=none"
        )
    return None


def comparators(config: Config) -> str | None:
    """A comparator that errs compares the members of a group: a temperature needs scale=rank."""
    group = config.group
    if group.temperature > 0 and not (config.group_baseline and group.scale == "rank"):
        given = f"group.scale={group.scale}" if config.group_baseline else f"baseline={config.baseline.label}"
        return (
            f"group.temperature={group.temperature:g} with {given}: it is that of comparisons of a group's members; "
            f"use baseline=group with group.scale=rank, or group.temperature=0"
        )
    return None


def living_members(config: Config) -> str | None:
    """Whole returns have no living and finished members: alive_only needs credit=reward_to_go."""
    group = config.group
    if config.group_baseline and group.alive_only and group.credit != "reward_to_go":
        return (
            f"group.alive_only=true with group.credit={group.credit}: whole returns have no living and finished "
            f"members; use group.credit=reward_to_go"
        )
    return None


def group_names(config: Config) -> str | None:
    """The named baselines are points of one family: a name must say what is computed."""
    group, name = config.group, config.baseline.name
    if name == "grpo" and group.scale != "std":
        return f"baseline=grpo with group.scale={group.scale}: grpo divides by the std; use baseline=group"
    if name == "rloo" and not group.leave_one_out:
        return "baseline=rloo with group.leave_one_out=false: that is baseline=group"
    if name == "time_mean" and (group.groups, group.start, group.credit) != (1, "independent", "reward_to_go"):
        return (
            f"baseline=time_mean with group.groups={group.groups}, group.start={group.start}, "
            f"group.credit={group.credit}: it is one group of independent starts, compared step by step "
            f"(1, independent, reward_to_go); use baseline=group"
        )
    return None


def vine_rewards(config: Config) -> str | None:
    """vine values are returns of the task's own rewards: no norm_reward, no reference in the reward."""
    if config.baseline.name != "vine":
        return None
    if config.norm_reward:
        return "baseline=vine with norm_reward=true: restored values are unscaled returns; use norm_reward=false"
    if config.reference.name != "none" and config.reference.placement == "reward":
        return (
            "baseline=vine with reference.placement=reward: restored values do not know that reward; "
            "use reference.placement=loss"
        )
    return None


def vine_discount(config: Config) -> str | None:
    """vine divides what was earned since the restored state by powers of γ."""
    if config.baseline.name == "vine" and config.gamma == 0 and config.vine.every > 1:
        return f"baseline=vine with gamma=0 and vine.every={config.vine.every}: divides by gamma; use vine.every=1"
    return None


def held_noise(config: Config) -> str | None:
    """Only exploration=sde holds its noise, and episodes of vine, from states in mid-rollout, cannot go on with it."""
    exploration = config.exploration
    if exploration.name != "sde" and exploration.sample_freq is not None:
        return (
            f"exploration.sample_freq={exploration.sample_freq} with exploration={exploration.name}: its noise is "
            f"drawn at each step; use exploration=sde, or exploration.sample_freq=null"
        )
    if exploration.name == "sde" and config.baseline.name == "vine":
        return "exploration=sde with baseline=vine: restored episodes would have other noise; use baseline=critic"
    return None


def bootstrap_without_critic(config: Config) -> str | None:
    """truncation=bootstrap needs a critic to bootstrap from."""
    if config.truncation == "bootstrap" and not config.has_critic:
        return (
            f"truncation=bootstrap with baseline={config.baseline.label} and advantage={config.advantage.label}: there "
            f"is no critic to bootstrap from; use truncation=end, or baseline=critic"
        )
    return None


def bootstrap_without_discount(config: Config) -> str | None:
    """With γ = 1 a task that only its time limit ends has no finite continuing value to bootstrap."""
    if config.truncation == "bootstrap" and config.gamma == 1 and config.task.time_limit is not None:
        return (
            f"truncation=bootstrap with gamma=1 on {config.task.name}: the continuing value is infinite; "
            f"use truncation=end, or gamma below 1"
        )
    return None


def shifted_rewards(config: Config) -> str | None:
    """norm_reward divides by a spread to which a shift adds: with reward_shift two things would change at once."""
    shift = config.task.knobs.get("reward_shift", 0)
    if shift != 0 and config.norm_reward:
        return (
            f"task.reward_shift={shift} with norm_reward=true: the shift would change the scale of all rewards too; "
            f"use norm_reward=false"
        )
    return None


def vanilla_steps(config: Config) -> str | None:
    """vanilla is one full-batch step: without a ratio a second one would be off-policy."""
    update = config.update
    if update.name == "vanilla" and (update.epochs, update.minibatches) != (1, 1):
        return (
            f"update=vanilla with update.epochs={update.epochs} and update.minibatches={update.minibatches}: vanilla "
            f"is one full-batch step (1 and 1); use update=unclipped for several"
        )
    return None


def shared_layers(config: Config) -> str | None:
    """critic.network=shared is one loss of one network: a critic, hidden layers, one clip, the same rate and steps."""
    if config.critic.network != "shared":
        return None
    update, critic, given = config.update, config.critic, "critic.network=shared"
    if not config.has_critic:
        return f"{given} without a critic: nothing shares the layers; use critic.network=separate, or baseline=critic"
    if config.policy == "linear":
        return f"{given} with policy=linear: it has no hidden layers; use policy=mlp, or critic.network=separate"
    if config.is_peer:
        return f"{given} with algorithm={config.algorithm.label}: its networks are apart; use critic.network=separate"
    if config.grad_clip != "joint":
        return f"{given} with grad_clip={config.grad_clip}: one loss has one gradient; use grad_clip=joint"
    for key, own, actors in (
        ("epochs", critic.epochs, update.epochs),
        ("minibatches", critic.minibatches, update.minibatches),
        ("learning_rate", critic.learning_rate, config.learning_rate),
    ):
        if own != actors:
            theirs = "learning_rate" if key == "learning_rate" else f"update.{key}"
            return (
                f"{given} with critic.{key}={own:g} and {theirs}={actors:g}: one loss is descended by the same steps; "
                f"make them equal, or use critic.network=separate"
            )
    return None


def joint_clip(config: Config) -> str | None:
    """grad_clip=joint joins the gradients of actor and critic: both must exist and take the same minibatches."""
    if config.grad_clip != "joint":
        return None
    update, critic = config.update, config.critic
    if not config.has_critic:
        return "grad_clip=joint without a critic: there is nothing to join; use grad_clip=separate"
    if (update.epochs, update.minibatches) != (critic.epochs, critic.minibatches):
        return (
            f"grad_clip=joint with update.epochs={update.epochs}, update.minibatches={update.minibatches} but "
            f"critic.epochs={critic.epochs}, critic.minibatches={critic.minibatches}: actor and critic must take "
            f"the same minibatches; make them equal, or use grad_clip=separate"
        )
    return None


def k1_loss(config: Config) -> str | None:
    """k1 as a loss has no expected gradient at first and then pushes away from the old policy: a negative control."""
    reference = config.reference
    k1_as_loss = reference.name != "none" and (reference.kind, reference.placement) == ("k1", "loss")
    if k1_as_loss and not reference.negative_control:
        return (
            "reference.kind=k1 with reference.placement=loss: its expected gradient is zero at first and then points "
            "away from the old policy; use reference.placement=reward, reference.kind=k2, or name it: "
            "reference.negative_control=true"
        )
    return None


def vetoes(config: Config) -> str | None:
    """A veto withholds rewards, of whole episodes: not in the loss, not with segments."""
    reference = config.reference
    if reference.name == "none" or reference.veto is None:
        return None
    if reference.placement == "loss":
        return (
            f"reference.veto={reference.veto:g} with reference.placement=loss: a veto withholds rewards; use "
            "reference.placement=reward (with reference.coef=0 it is the veto alone)"
        )
    if config.collect.name == "segments":
        return (
            f"reference.veto={reference.veto:g} with collect=segments: how far an episode was is known at its end; use "
            "collect=episodes"
        )
    return None


def reference_policy(config: Config) -> str | None:
    """reference=checkpoint needs a policy, and only it reads one."""
    reference = config.reference
    if reference.name == "checkpoint" and reference.path is None:
        return "reference=checkpoint: set reference.path to the folder of a block, or to its policy.zip"
    if reference.name != "checkpoint" and (reference.path is not None or reference.seed is not None):
        key = "path" if reference.path is not None else "seed"
        return f"reference.{key}={getattr(reference, key)} with reference={reference.name}: use reference=checkpoint"
    return None


def plugins(config: Config) -> str | None:
    """A plug-in and its options belong to the option called plugin."""
    for key in ("baseline", "advantage", "update"):
        factor = getattr(config, key)
        if factor.name != "plugin" and (factor.plugin is not None or factor.options):
            return f"{key}.plugin={factor.plugin} with {key}={factor.name}: use {key}=plugin"
    return None


def peer_device(config: Config) -> str | None:
    """device and engine are read by the suite's own learner: peers train on the CPU, where they are compared."""
    for key, usual in (("device", "cpu"), ("engine", "kernel")):
        if config.is_peer and (value := getattr(config, key)) != usual:
            return (
                f"{key}={value} with algorithm={config.algorithm.label}: only the suite's own learner reads it; "
                f"use {key}={usual}"
            )
    return None


def device_of_engine(config: Config) -> str | None:
    """The kernel computes on the CPU."""
    if config.device != "cpu" and config.engine == "kernel":
        return f"device={config.device} with engine=kernel: the kernel computes on the CPU; use engine=torch"
    return None


# What a value may look like; not part of the printed legality, which is about combinations.
_FORM: tuple[Rule, ...] = (
    names,
    score_bounds,
    ranges,
    widths,
    plugins,
    segment_sizes,
    peer_settings.refusal,
    peer_device,
    device_of_engine,
    looks,
    designs,
)

RULES: tuple[Rule, ...] = (
    whole_episodes,
    open_ends,
    episode_weights,
    group_of_one,
    outcomes,
    process_supervision,
    degrees_of_freedom,
    ranks,
    comparators,
    living_members,
    group_names,
    vine_rewards,
    vine_discount,
    held_noise,
    bootstrap_without_critic,
    bootstrap_without_discount,
    shifted_rewards,
    vanilla_steps,
    shared_layers,
    joint_clip,
    k1_loss,
    vetoes,
    reference_policy,
)
