"""The settings of a library's algorithm (a peer): what it may be told, and those that equal an arm's.

A peer is told keyword arguments of its class, `algorithm.parameters`. Instead of a mapping they may be the word
`matched`: those with which Stable-Baselines3's PPO does what the cell's own arm does.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from bench.config.schema import Arm, Config, Exploration
from bench.errors import UserError

MATCHED = "matched"
ANNEALED = "lin_"  # before a rate: goes linearly to 0 over the budget, as RL Zoo writes it
RATES = ("learning_rate", "clip_range")  # the arguments for which a library takes a function of the budget left
# Constructor arguments that follow from the cell, and those that write or print beside the record.
OWN = ("env", "seed", "device", "verbose", "tensorboard_log", "stats_window_size", "_init_setup_model")


def resolved(config: Config) -> Config:
    """The configuration with the peer's parameters and number of environments spelt out. Raises `UserError`."""
    algorithm = config.algorithm
    if algorithm.parameters == MATCHED:
        if algorithm.n_envs not in (None, config.n_envs):
            raise UserError(
                f"algorithm.n_envs={algorithm.n_envs} with algorithm.parameters=matched: the arm has {config.n_envs} "
                f"environments; leave algorithm.n_envs=null, or set collect.n_envs"
            )
        chosen = dataclasses.replace(algorithm, parameters=matched(config), n_envs=config.n_envs)
    else:
        # One environment: what the library itself makes of a Gymnasium id.
        chosen = dataclasses.replace(algorithm, n_envs=algorithm.n_envs or 1)
    return dataclasses.replace(config, algorithm=chosen)


def refusal(config: Config) -> str | None:
    """Why the settings of `algorithm` could be given to no library, None where they can."""
    algorithm = config.algorithm
    if algorithm.name != "library" and algorithm._target_ is not None:
        return (
            f"algorithm._target_={algorithm._target_} with algorithm={algorithm.name}: "
            f"that is a class of its own; use algorithm=library"
        )
    if not config.is_peer:
        if algorithm.parameters or algorithm.n_envs is not None:
            return (
                f"algorithm.parameters and algorithm.n_envs with algorithm={algorithm.name}: they belong to the "
                f"algorithms of libraries; use algorithm=sb3_ppo, or the settings of the arm"
            )
        return None
    if algorithm.name == "library" and not algorithm._target_:
        return "algorithm=library: which class? Give algorithm._target_=package.module:Class"
    if algorithm.n_envs is not None and algorithm.n_envs < 1:
        return f"algorithm.n_envs={algorithm.n_envs}: must be at least 1"
    return _parameters_refusal(algorithm.name, algorithm.parameters)


def _parameters_refusal(name: str, parameters: Any) -> str | None:
    if parameters == MATCHED:
        if name != "sb3_ppo":
            return f"algorithm.parameters=matched with algorithm={name}: only sb3_ppo has an equal arm"
        return None
    if not isinstance(parameters, Mapping):
        return f"algorithm.parameters={parameters}: must be a mapping of keyword arguments, or matched"
    for key in parameters:
        if key in OWN:
            return f"algorithm.parameters.{key}: is set by the suite; leave it out"
    for key in RATES:
        rate = parameters.get(key)
        if isinstance(rate, str) and not re.fullmatch(rf"{ANNEALED}\d+(\.\d+)?(e-?\d+)?", rate):
            return f"algorithm.parameters.{key}={rate}: must be a number, or {ANNEALED}NUMBER (annealed to 0)"
    return None


def matched(arm: Arm) -> dict[str, Any]:
    """The keyword arguments with which Stable-Baselines3's PPO does what `arm` does.

    At a time limit SB3 adds γV(s_final) to the reward and takes the step for an end, which gives its λ-returns the
    value of the true successor, as `truncation=bootstrap` does.

    Raises:
        UserError: for the first setting it has no counterpart of.
    """
    needed: dict[str, tuple[object, tuple[object, ...]]] = {
        "baseline": (arm.baseline.name, ("critic",)),
        "advantage": (arm.advantage.name, ("gae",)),
        "update": (arm.update.name, ("clip",)),
        "reference": (arm.reference.name, ("none",)),
        "collect": (arm.collect.name, ("segments",)),
        "truncation": (arm.truncation, ("bootstrap",)),
        "advantage_norm": (arm.advantage_norm, ("mean_std", "none")),
        "aggregate": (arm.aggregate, ("step",)),
        "grad_clip": (arm.grad_clip, ("joint",)),
        "critic.target": (arm.critic.target, ("same",)),
        "critic.learning_rate": (arm.critic.learning_rate, (arm.learning_rate,)),
    }
    for key, (value, allowed) in needed.items():
        if value not in allowed:
            raise UserError(
                f"{key}={value} with algorithm.parameters=matched: Stable-Baselines3's PPO has "
                f"{key}={' or '.join(map(str, allowed))} only"
            )
    assert arm.collect.n_steps is not None  # segments have it
    batch = arm.n_envs * arm.collect.n_steps
    if batch % arm.update.minibatches:
        raise UserError(
            f"update.minibatches={arm.update.minibatches} with algorithm.parameters=matched: Stable-Baselines3 cuts "
            f"batches into equal parts, and {batch} steps have no {arm.update.minibatches}"
        )
    return {
        "policy": "MlpPolicy",
        "learning_rate": _rate(arm.learning_rate, arm.learning_rate_schedule),
        "n_steps": arm.collect.n_steps,
        "batch_size": batch // arm.update.minibatches,
        "n_epochs": arm.update.epochs,
        "gamma": arm.gamma,
        "gae_lambda": arm.gae_lambda,
        "clip_range": _rate(arm.clip_range, arm.clip_range_schedule),
        "normalize_advantage": arm.advantage_norm == "mean_std",
        "ent_coef": arm.ent_coef,
        "vf_coef": arm.critic.vf_coef,
        "max_grad_norm": math.inf if arm.max_grad_norm is None else arm.max_grad_norm,
        **_noise(arm.exploration),
        "policy_kwargs": {
            "net_arch": {"pi": list(arm.actor_hidden), "vf": list(arm.hidden)},
            **_first_spread(arm.exploration),
        },
    }


def _rate(value: float, schedule: str) -> float | str:
    return value if schedule == "constant" else f"{ANNEALED}{value}"


def _noise(exploration: Exploration) -> dict[str, Any]:
    """The keyword arguments of state-dependent exploration, none without it."""
    if exploration.name != "sde":
        return {}
    return {"use_sde": True, "sde_sample_freq": exploration.sample_freq or -1}


def _first_spread(exploration: Exploration) -> dict[str, Any]:
    """The policy's keyword argument for the first standard deviations, none where they are the library's own."""
    return {} if exploration.log_std_init == 0 else {"log_std_init": exploration.log_std_init}
