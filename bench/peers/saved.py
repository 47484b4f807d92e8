"""The trained seeds of a peer: what is saved of them, and how they are loaded into the library again."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from bench.config.schema import Config
from bench.errors import UserError
from bench.learner import archive
from bench.observer import SeedOutcome
from bench.peers.library import build
from bench.tasks.registry import make

FORMAT = "peer 1"  # of saved policies


@dataclass(frozen=True)
class TrainedPeers:
    """A finished block of a peer; see `bench.observer.Trained`.

    `weights` and `states` hold, by seed, the policy with its scales and everything the library itself would save.
    """

    description: Mapping[str, Any]
    outcomes: dict[int, SeedOutcome] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    weights: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)

    def save_policy(self, path: Path) -> None:
        """Write the policies' weights and JSON; nothing in the file is executed when it is read."""
        archive.write(path, self.description, self.weights)

    def save_checkpoint(self, path: Path) -> None:
        """Write what the library's `get_parameters` gives for each seed; loadable with `weights_only`."""
        torch.save(self.states, path)

    def keep(self, seed: int, model: BaseAlgorithm) -> None:
        """Take in a trained seed; the model itself, with its buffers, can go."""
        state = {name: value.detach().clone() for name, value in model.policy.state_dict().items()}
        self.weights[str(seed)] = {"policy": state, **_scales(model.get_vec_normalize_env())}
        self.states[str(seed)] = model.get_parameters()
        critic = {name for name in state if re.search(r"(^|[._])(value|critic)", name)}
        sizes = {name: value.numel() for name, value in model.policy.named_parameters()}
        total, critics = sum(sizes.values()), sum(size for name, size in sizes.items() if name in critic)
        self.parameters.update({"actor": total - critics, **({"critic": critics} if critics else {})})


def _scales(normalisation: VecNormalize | None) -> dict[str, dict[str, torch.Tensor]]:
    """Return the running statistics of observations and rewards, under the names of our own saved policies."""
    scales = {}
    if normalisation is not None and normalisation.norm_obs:
        assert isinstance(normalisation.obs_rms, RunningMeanStd)  # tasks have flat observations
        scales["observations"] = _statistics(normalisation.obs_rms)
    if normalisation is not None and normalisation.norm_reward:
        scales["rewards"] = _statistics(normalisation.ret_rms)
    return scales


def _statistics(running: RunningMeanStd) -> dict[str, torch.Tensor]:
    found = {"mean": running.mean, "variance": running.var, "count": running.count}
    return {name: torch.as_tensor(value) for name, value in found.items()}


def load(path: str | Path, config: Config, seed: int) -> BaseAlgorithm:
    """Return a trained seed of a block's `policy.zip` as the library's own model, its scales frozen.

    The class and its settings are `config`'s: the file says nothing that is imported or executed. Raises `UserError`.
    """
    description, weights = archive.read(path)
    if description.get("format") != FORMAT:
        raise UserError(f"{path} has format {description.get('format')}: not the policies of a peer")
    if str(seed) not in weights:
        raise UserError(f"{path} has no seed {seed}: it holds {', '.join(weights)}")
    model, _ = build(config, make(config.task), seed)
    model.policy.load_state_dict(weights[str(seed)]["policy"])
    normalisation = model.get_vec_normalize_env()
    if normalisation is not None:
        normalisation.training = False
        for name, running in (("observations", normalisation.obs_rms), ("rewards", normalisation.ret_rms)):
            if name in weights[str(seed)]:
                assert isinstance(running, RunningMeanStd)
                found = {key: value.numpy() for key, value in weights[str(seed)][name].items()}
                running.mean, running.var, running.count = found["mean"], found["variance"], float(found["count"])
    return model
