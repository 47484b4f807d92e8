"""What people type who know other libraries, and what it is called here: the hints of error messages.

A key or a value that does not exist is looked up in these tables, then among all keys and options of the suite, and
last among names that are spelt alike.
"""

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from bench.config import options
from bench.config.notes import resolved
from bench.config.schema import Config
from bench.errors import UserError, nearest

# Key → the keys here, separated by commas, with a remark in brackets where they mean something else.
KEYS: Mapping[str, str] = {
    "env": "task",
    "env_id": "task",
    "env_name": "task",
    "environment": "task",
    "gym_id": "task",
    "algo": "preset",
    "method": "preset",
    "agent": "preset",
    "experiment": "study",
    "exp": "study",
    "exp_name": "study.name",
    "experiment_name": "study.name",
    "run_name": "name",
    "seed": "seeds (a count of seeds, or a list such as [3])",
    "n_seeds": "seeds",
    "num_seeds": "seeds",
    "random_seed": "seeds (a count of seeds, or a list such as [3])",
    "total_timesteps": "budget",
    "total_steps": "budget",
    "total_env_steps": "budget",
    "n_timesteps": "budget",
    "num_timesteps": "budget",
    "timesteps": "budget",
    "max_steps": "budget",
    "frames": "budget",
    "num_frames": "budget",
    "lr": "learning_rate",
    "alpha": "learning_rate",
    "step_size": "learning_rate",
    "actor_lr": "learning_rate",
    "pi_lr": "learning_rate",
    "critic_lr": "critic.learning_rate",
    "vf_lr": "critic.learning_rate",
    "value_lr": "critic.learning_rate",
    "lr_schedule": "learning_rate_schedule",
    "anneal_lr": "learning_rate_schedule (linear)",
    "discount": "gamma",
    "discount_factor": "gamma",
    "lam": "gae_lambda",
    "lambda": "gae_lambda",
    "lambda_": "gae_lambda",
    "gae": "gae_lambda",
    "clip": "clip_range",
    "clip_eps": "clip_range",
    "clip_epsilon": "clip_range",
    "clip_ratio": "clip_range",
    "clip_coef": "clip_range",
    "clip_param": "clip_range",
    "cliprange": "clip_range",
    "epsilon": "clip_range",
    "entropy": "ent_coef",
    "entropy_coef": "ent_coef",
    "entropy_coeff": "ent_coef",
    "entropy_coefficient": "ent_coef",
    "ent": "ent_coef",
    "value_coef": "critic.vf_coef",
    "vf_coeff": "critic.vf_coef",
    "value_loss_coef": "critic.vf_coef",
    "vf_share_layers": "critic.network (shared, with grad_clip=joint)",
    "share_layers": "critic.network (shared, with grad_clip=joint)",
    "shared_layers": "critic.network (shared, with grad_clip=joint)",
    "shared_network": "critic.network (shared, with grad_clip=joint)",
    "joint_loss": "critic.network (shared, with grad_clip=joint)",
    "kl": "kl_target, reference.coef (update=kl_penalty, or a reference policy)",
    "target_kl": "kl_target",
    "kl_coeff": "kl_coef",
    "beta": "kl_coef, reference.coef (update=kl_penalty, or a reference policy)",
    "max_grad": "max_grad_norm",
    "clip_grad_norm": "max_grad_norm",
    "grad_norm": "max_grad_norm",
    "epoch": "batch.epochs",
    "epochs": "batch.epochs",
    "n_epochs": "batch.epochs",
    "num_epochs": "batch.epochs",
    "update_epochs": "batch.epochs",
    "ppo_epochs": "batch.epochs",
    "batch_size": "batch.minibatches (the number of parts a batch is cut into)",
    "minibatch_size": "batch.minibatches (the number of parts a batch is cut into)",
    "mini_batch_size": "batch.minibatches (the number of parts a batch is cut into)",
    "minibatches": "batch.minibatches",
    "n_minibatches": "batch.minibatches",
    "num_minibatches": "batch.minibatches",
    "num_envs": "collect.n_envs (of collect=segments)",
    "n_env": "collect.n_envs (of collect=segments)",
    "nenvs": "collect.n_envs (of collect=segments)",
    "n_envs": "collect.n_envs (of collect=segments)",
    "num_workers": "hydra.launcher.n_jobs",
    "n_jobs": "hydra.launcher.n_jobs",
    "jobs": "hydra.launcher.n_jobs",
    "workers": "hydra.launcher.n_jobs",
    "num_steps": "collect.n_steps (of collect=segments)",
    "n_steps": "collect.n_steps (of collect=segments)",
    "nsteps": "collect.n_steps (of collect=segments)",
    "rollout_length": "collect.n_steps (of collect=segments)",
    "horizon": "collect.n_steps (of collect=segments)",
    "n_step_return": "n_step",
    "hidden_size": "hidden",
    "hidden_sizes": "hidden",
    "hidden_dim": "hidden",
    "hidden_layers": "hidden",
    "layers": "hidden",
    "net_arch": "hidden",
    "network": "hidden",
    "policy_kwargs": "hidden",
    "group_size": "group.size",
    "num_generations": "group.size",
    "n_groups": "group.groups",
    "num_groups": "group.groups",
    "normalize_advantage": "advantage_norm",
    "norm_adv": "advantage_norm",
    "normalize": "norm_obs, norm_reward",
    "normalize_obs": "norm_obs",
    "normalize_reward": "norm_reward",
    "use_sde": "exploration (exploration=sde)",
    "sde": "exploration (exploration=sde)",
    "sde_sample_freq": "exploration.sample_freq",
    "eval_freq": "evaluation.points (how many, over the budget)",
    "save_freq": "checkpoint_minutes",
    "checkpoint_freq": "checkpoint_minutes",
    "tensorboard_log": "tensorboard (tensorboard=true)",
    "tb": "tensorboard (tensorboard=true)",
    "n_eval_episodes": "evaluation.episodes",
    "eval_episodes": "evaluation.episodes",
    "max_episode_steps": "task.time_limit",
    "time_limit": "task.time_limit",
    "output_dir": "results",
    "out": "results",
    "logdir": "results",
    "log_dir": "results",
    "save_dir": "results",
    "track": "wandb",
    "project": "wandb_project",
    "wandb_project_name": "wandb_project",
    "cuda": "device",
    "gpu": "device",
    "dry": "dry_run",
    "critic_epochs": "critic.epochs",
    "estimator": "advantage",
    "target": "advantage, critic.target",
    "loss": "update",
    "objective": "update",
    "kl_ref": "reference",
    "ref_model": "reference",
    "slurm": "cluster (cluster=slurm)",
    "plugin": "plugins",
}

OF_SB3 = "algorithm=library algorithm._target_=stable_baselines3:{}"
# Key → why there is no such key, and what there is in its place.
ABSENT: Mapping[str, str] = {
    **dict.fromkeys(("verbose", "progress_bar", "progress"), "progress is always shown"),
    **dict.fromkeys(("log_interval", "log_freq", "log_every"), "every update is recorded"),
    **dict.fromkeys(("optimizer", "optim", "optimizer_class"), "it is Adam; learning_rate is its step size"),
    **dict.fromkeys(("activation", "activation_fn", "act_fn"), "hidden layers are tanh"),
    **dict.fromkeys(("capture_video", "record_video", "video"), "'python -m bench enjoy RUN_DIR' makes one"),
    **dict.fromkeys(("resume", "load", "checkpoint", "restore"), "the same command again goes on where it was stopped"),
    **dict.fromkeys(("overwrite", "force"), "nothing finished is overwritten; results=FOLDER is another place"),
    **dict.fromkeys(("save_model", "save"), "every policy is saved, as policy.zip of its block"),
    **dict.fromkeys(("torch_deterministic", "deterministic"), "the same seeds always give the same bytes"),
}
# Key → what is given for it → what was meant, as KEY=VALUE.
VALUES: Mapping[str, Mapping[str, str]] = {
    "preset": {
        "ppo2": "preset=ppo",
        "vpg": "preset=reinforce",
        "pg": "preset=reinforce",
        "policygradient": "preset=reinforce",
        "actorcritic": "preset=a2c",
        "ac": "preset=a2c",
        "a3c": "preset=a2c",
        "trpo": "algorithm=contrib_trpo",
        "ars": "algorithm=contrib_ars",
        **{name: OF_SB3.format(name.upper()) for name in ("sac", "td3", "ddpg", "dqn")},
    },
    "algorithm": {
        "ppo": "preset=ppo or algorithm=sb3_ppo",
        "a2c": "preset=a2c or algorithm=sb3_a2c",
        "trpo": "algorithm=contrib_trpo",
        "ars": "algorithm=contrib_ars",
        **{name: OF_SB3.format(name.upper()) for name in ("sac", "td3", "ddpg", "dqn")},
        "sb3": "algorithm=sb3_ppo",
        "ours": "algorithm=policy_gradient",
        "null": "algorithm=policy_gradient",
    },
    "update": {
        "ppo": "update=clip or preset=ppo",
        "clipped": "update=clip",
        "cliprange": "update=clip",
        "reinforce": "update=vanilla or preset=reinforce",
        "vpg": "update=vanilla or preset=reinforce",
        "pg": "update=vanilla",
        "policygradient": "update=vanilla",
        "a2c": "update=vanilla or preset=a2c",
        "a3c": "update=vanilla or preset=a2c",
        "trpo": "update=kl_penalty or algorithm=contrib_trpo",
        "kl": "update=kl_penalty",
        "none": "update=vanilla",
        "null": "update=vanilla",
        "false": "update=vanilla",
    },
    "advantage": {
        "mc": "advantage=monte_carlo",
        "return": "advantage=monte_carlo",
        "returns": "advantage=monte_carlo",
        "rewardtogo": "advantage=monte_carlo",
        "reinforce": "advantage=monte_carlo",
        "none": "advantage=monte_carlo",
        "null": "advantage=monte_carlo",
        "td": "advantage=td0",
        "td(0)": "advantage=td0",
        "td1": "advantage=monte_carlo",
        "onestep": "advantage=td0",
        "lambda": "advantage=gae",
        "tdlambda": "advantage=gae",
        "gaelambda": "advantage=gae",
        "value": "baseline=critic",
    },
    "baseline": {
        "value": "baseline=critic",
        "valuefunction": "baseline=critic",
        "v": "baseline=critic",
        "vf": "baseline=critic",
        "true": "baseline=critic",
        "statevalue": "baseline=critic",
        "mean": "baseline=batch_mean",
        "average": "baseline=batch_mean",
        "groupmean": "baseline=group",
        "loo": "baseline=rloo",
        "leaveoneout": "baseline=rloo",
        "null": "baseline=none",
        "false": "baseline=none",
        "no": "baseline=none",
    },
    "collect": {
        "rollout": "collect=segments",
        "rollouts": "collect=segments",
        "steps": "collect=segments",
        "fixed": "collect=segments",
        "trajectory": "collect=episodes",
        "trajectories": "collect=episodes",
    },
    "reference": {
        "null": "reference=none",
        "false": "reference=none",
        "no": "reference=none",
        "true": "reference=initial",
        "kl": "reference=initial",
        "sft": "reference=checkpoint",
        "policy": "reference=checkpoint",
    },
    "exploration": {"gsde": "exploration=sde", "normal": "exploration=gaussian", "null": "exploration=gaussian"},
    "cluster": {
        "submitit": "cluster=slurm",
        "submititslurm": "cluster=slurm",
        "sbatch": "cluster=slurm",
        "joblib": "cluster=local",
        "none": "cluster=local",
    },
    "critic": {"true": "baseline=critic", "false": "baseline=none", "none": "baseline=none", "null": "baseline=none"},
    "critic.network": {
        "joint": "critic.network=shared",
        "common": "critic.network=shared",
        "true": "critic.network=shared",
        "own": "critic.network=separate",
        "false": "critic.network=separate",
    },
    "group.scale": {
        "ranks": "group.scale=rank",
        "comparator": "group.scale=rank",
        "pairwise": "group.scale=rank",
        "preference": "group.scale=rank",
        "contrastive": "group.scale=rank",
    },
    "policy": {"mlppolicy": "policy=mlp", "nn": "policy=mlp", "lin": "policy=linear"},
    "device": {
        "gpu": "device=cuda",
        "cuda:0": "device=cuda",
        "0": "device=cuda",
        "mps": "device=cpu",
        "auto": "device=cpu",
        "null": "device=cpu",
    },
    "engine": {"pytorch": "engine=torch", "c": "engine=kernel", "numpy": "engine=kernel"},
    "wandb": {
        "true": "wandb=online",
        "on": "wandb=online",
        "yes": "wandb=online",
        "false": "wandb=disabled",
        "off": "wandb=disabled",
        "no": "wandb=disabled",
        "none": "wandb=disabled",
        "null": "wandb=disabled",
    },
    "advantage_norm": {
        "true": "advantage_norm=mean_std",
        "std": "advantage_norm=mean_std",
        "standardize": "advantage_norm=mean_std",
        "normalize": "advantage_norm=mean_std",
        "false": "advantage_norm=none",
        "null": "advantage_norm=none",
    },
    "truncation": {"true": "truncation=bootstrap", "false": "truncation=end", "none": "truncation=end"},
    "aggregate": {"token": "aggregate=step", "mean": "aggregate=step", "sequence": "aggregate=episode"},
    "retry": {"true": "retry=failed", "all": "retry=failed", "false": "retry=nothing", "none": "retry=nothing"},
    "illegal": {"ignore": "illegal=skip", "drop": "illegal=skip", "error": "illegal=refuse", "raise": "illegal=refuse"},
    "until": {"decision": "until=decided", "true": "until=decided", "false": "until=seeds", "done": "until=seeds"},
    "learning_rate_schedule": {"lin": "learning_rate_schedule=linear", "none": "learning_rate_schedule=constant"},
}

BATCH: Mapping[str, Any] = {"n_envs": int, "n_steps": int, "epochs": int, "minibatches": int}  # in conf alone
# Section → the setting that a bare number is most likely meant for.
USUAL_SETTING: Mapping[str, str] = {"group": "size", "vine": "rollouts", "evaluation": "episodes"}


def unknown_key(key: str, siblings: Iterable[str], where: str = "", value: object = None) -> UserError:
    """Return the error for a key that does not exist: `siblings` are those of its section, `where` what is allowed."""
    return UserError(f"unknown key '{key}'{where}{_meant_key(key, siblings, value)}")


def unknown_value(key: str, given: object, allowed: Iterable[object]) -> UserError:
    """Return the error for a value that `key` does not have, with those that it has."""
    values = [str(option) for option in allowed]
    given = "null" if given is None else given
    return UserError(f"unknown {key} '{given}': allowed are {', '.join(values)}{meant_value(key, given, values)}")


def section_given(key: str, value: object, shown: str, hints: Mapping[str, Any]) -> UserError:
    """Return the error for a section with settings of these types that was given a value as if it were one."""
    fitting = [name for name, hint in hints.items() if _takes(hint, value)]
    if (usual := USUAL_SETTING.get(key)) in fitting:
        fitting = [str(usual)]
    if meant := VALUES.get(key, {}).get(_squashed(shown)):
        hint = f"; did you mean {meant}?"
    elif fitting:
        hint = f"; did you mean {' or '.join(f'{key}.{name}={shown}' for name in fitting)}?"
    else:
        hint = f"; write {key}.KEY=VALUE"
    return UserError(f"{key}={shown}: {key} is a section of settings ({', '.join(hints)}){hint}")


def meant_value(key: str, given: object, allowed: Iterable[str]) -> str:
    """Return `"; did you mean …?"` for a value of `key` that is not allowed, `""` where nothing is near."""
    key, values = key.removesuffix(".name"), list(allowed)
    text = _squashed(str(given))
    if meant := VALUES.get(key, {}).get(text):
        return f"; did you mean {meant}?"
    for value in values:
        if _squashed(value) == text:
            return f"; did you mean '{value}'?"
    if key == "task" and isinstance(given, str) and re.search(r"-v\d+$", given):
        return f"; did you mean task=gym task.id={given}?"
    elsewhere = [f"{group}={option}" for group, option in _options() if group != key and _squashed(option) == text]
    if elsewhere and key in options.groups():
        return f"; did you mean {' or '.join(elsewhere)}?"
    plain = text in ("null", "none", "true", "false") or not isinstance(given, str)
    return "" if plain else nearest(given, values)


def meant_word(word: str) -> str:
    """Return `"; did you mean …?"` for a word of a command line without `=`, `""` where nothing is near."""
    text = _squashed(word)
    if found := [f"{group}={option}" for group, option in _options() if _squashed(option) == text]:
        return f"; did you mean {' or '.join(found)}?"
    if key := _meant_keys(word):
        return f"; did you mean {' or '.join(f'{each}=…' for each in key)}?"
    return ""


def meant_flag(flag: str, value: str | None) -> str:
    """Return `"; did you mean …?"` for `--flag VALUE`, `""` where no key is called so."""
    key = flag.lstrip("-")
    if value is None and (found := _meant_keys(key)) and settings(Config).get(found[0]) is bool:
        return f"; did you mean {found[0]}=true?"
    return _meant_key(key, (), value) if _meant_keys(key) or _plain(key) in ABSENT else ""


def settings(cls: type[Any]) -> Mapping[str, Any]:
    """Return the keys of a section with their types, without what `bench.config.parse` finds out."""
    return _settings(typing.cast(Any, cls))


@functools.cache  # Python reads the types of a section anew each time, for every section of every cell
def _settings(cls: Any) -> Mapping[str, Any]:
    hidden = resolved(cls)
    return {key: hint for key, hint in typing.get_type_hints(cls).items() if key not in hidden}


@functools.cache
def keys() -> tuple[str, ...]:
    """Return every key of a configuration, with the names of its sections: `gamma`, `group.size`."""
    return (
        *_keys(Config),
        "batch",
        *(f"batch.{key}" for key in BATCH),
        *(group for group in options.groups() if group not in Config.__annotations__),
    )


def _keys(cls: Any, prefix: str = "") -> Iterator[str]:
    for name, hint in settings(cls).items():
        yield prefix + name
        for section in (hint, *typing.get_args(hint)):  # one that may be null, too
            if dataclasses.is_dataclass(section):
                yield from _keys(section, f"{prefix}{name}.")


def _meant_key(key: str, siblings: Iterable[str], value: object) -> str:
    section, _, last = key.rpartition(".")
    if section and (near := nearest(last, siblings, cutoff=0.75)):
        return near
    if why := ABSENT.get(_plain(key)):
        return f"; {why}"
    found, note = _meant_keys(key), ""
    if alias := _alias(key):
        note = alias.partition(" (")[2]
    if len(found) == 1 and found[0] in options.groups() and isinstance(value, str) and not note:
        return _meant_choice(found[0], value)
    if found:
        quoted = " or ".join(f"'{each}'" for each in found)
        return f"; did you mean {quoted}{f' ({note}' if note else ''}?"
    return nearest(last, siblings) or nearest(key, keys(), cutoff=0.75)


def _meant_choice(group: str, value: str) -> str:
    """Return the hint for an option under the group's name in another library: `env=CartPole-v1` is `task=cartpole`."""
    names = options.options(group)
    if value in names:
        return f"; did you mean {group}={value}?"
    meant = meant_value(group, value, names)
    if meant.startswith("; did you mean '"):
        return meant.replace("'", f"{group}=", 1).replace("'", "", 1)
    return meant or f"; did you mean '{group}'?"


def _meant_keys(key: str) -> list[str]:
    """Return the keys that are called so elsewhere, or lie in a section whose name was left out."""
    if alias := _alias(key):
        return alias.partition(" (")[0].split(", ")
    text = _squashed(key.replace(".", "_"))
    if same := [each for each in keys() if _squashed(each.replace(".", "_")) == text]:
        return same
    last = _squashed(key.rpartition(".")[2])
    return [each for each in keys() if "." in each and _squashed(each.rpartition(".")[2]) == last]


def _alias(key: str) -> str | None:
    name = _plain(key)
    return KEYS.get(name) or KEYS.get(name.rpartition(".")[2])


def _plain(key: str) -> str:
    return key.lstrip("-+~").lower().replace("-", "_")


def _options() -> Iterator[tuple[str, str]]:
    for group in options.groups():
        for option in options.options(group):
            yield group, option


def _squashed(text: str) -> str:
    """Return a name without what spellings differ in: capitals, dashes, underscores and Gymnasium's versions."""
    return re.sub(r"[-_ ]", "", re.sub(r"-v\d+$", "", text.lstrip("-+~").removeprefix("bench/")).lower())


def _takes(hint: Any, value: object) -> bool:
    """Whether a setting of the type `hint` may be meant by a value of this type."""
    if typing.get_origin(hint) is Literal:
        return value in typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return any(_takes(each, value) for each in typing.get_args(hint))
    if isinstance(value, bool) or hint is bool:
        return hint is bool and isinstance(value, bool)
    return (isinstance(value, int) and hint is int) or (isinstance(value, float) and hint is float)
