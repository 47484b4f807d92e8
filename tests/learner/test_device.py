"""`device=cuda`: the same learner with its tensors elsewhere. Environments stay NumPy's.

Where there is no GPU, a device is made up: tensors that claim to be on it, whose arithmetic is the CPU's, and that
refuse to be mixed with others, as a GPU's do. So every tensor that is created or left in the wrong place is found, and
the numbers must be the CPU's. What needs a GPU stands in `test_cuda`.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

import bench
from bench.errors import UserError
from bench.learner import PolicyGradient
from bench.tasks.registry import environments, make
from bench.tasks.vec_env import BatchedVecEnv

HERE, THERE = torch.device("cpu"), torch.device("meta")  # whose guards any build of torch has
SMALL = ["budget=1200", "hidden=[32,32]"]
SEGMENTS = [*SMALL, "collect=segments", "collect.n_envs=4", "collect.n_steps=32", "update.minibatches=2"]
EPISODES = [*SMALL, "group.groups=1", "group.size=2"]
ARMS = {
    "ppo": SEGMENTS,
    "reinforce": [*EPISODES, "baseline=none", "advantage=monte_carlo", "update=vanilla"],
    "group": [
        *EPISODES, "baseline=group", "update=kl_penalty", "norm_obs=true", "norm_reward=true", "advantage=nstep"
    ],
    "reference": [*EPISODES, "reference=initial", "reference.kind=k3", "reference.placement=loss"],
    "gaussian": [*SEGMENTS, "task=pendulum", "grad_clip=joint", "critic.minibatches=2"],
    "sde": [*SEGMENTS, "task=pendulum", "exploration=sde"],
}  # fmt: skip


# What torch itself allows across devices: copies, and indices from the CPU.
aten = torch.ops.aten
MIXING = (aten._to_copy, aten.copy_, aten.index, aten.index_put_)


class Elsewhere(torch.Tensor):
    """A tensor of the CPU that says it is on another device."""

    there: torch.Tensor

    @staticmethod
    def __new__(cls, there: torch.Tensor) -> "Elsewhere":
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            there.shape,
            strides=there.stride(),
            storage_offset=there.storage_offset(),
            dtype=there.dtype,
            device=THERE,
        )
        made.there = there
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


def dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do it on the CPU; what comes of it is where the arguments are, or where `device` says."""
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    wrappers = {id(value.there): value for value in tensors if isinstance(value, Elsewhere)}
    device = kwargs.get("device")
    there = bool(wrappers) if device is None else torch.device(device).type == THERE.type
    if wrappers and func.overloadpacket not in MIXING:
        strangers = [value for value in tensors if not isinstance(value, Elsewhere) and value.dim() > 0]
        assert not strangers, f"{func} was given tensors of two devices: {[tuple(value.shape) for value in strangers]}"
    if device is not None:
        kwargs = kwargs | {"device": HERE}
    args, kwargs = tree_map(_unwrapped, (args, kwargs))
    result = func(*args, **kwargs)
    if func is aten.copy_.default:
        there = isinstance(tensors[0], Elsewhere)
    if not there:
        return result

    def moved(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return wrappers[id(value)] if id(value) in wrappers else Elsewhere(value)

    return tree_map(moved, result)


def _unwrapped(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and not isinstance(value, Elsewhere) and value.device.type == THERE.type:
        return torch.arange(len(value))  # a list of rows whose values torch has lost: all of them, in order
    return value.there if isinstance(value, Elsewhere) else value


class Machine(TorchDispatchMode):
    """With a device that is not there: tensors made on it, or moved to it, are `Elsewhere`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


def untrained(overrides: list[str], device: str, seeds: int = 1) -> PolicyGradient:
    config = bench.compose([*overrides, f"seeds={seeds}"])
    env = BatchedVecEnv(environments(make(config.task), config.seeds, config.n_envs))
    return PolicyGradient("MlpPolicy", env, config, config.seeds, device=device, engine="torch")


def trained(overrides: list[str], device: str, seeds: int = 1) -> PolicyGradient:
    """By default of one seed, so that no row is ever left out: a made-up device has no lists of rows."""
    return untrained(overrides, device, seeds).learn()


@contextlib.contextmanager
def made_up_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch, Machine():
        patch.setattr("bench.learner.device.check_device", lambda *_: None)
        patch.setattr("stable_baselines3.common.base_class.get_device", torch.device)
        yield


def parameters(model: PolicyGradient) -> list[torch.Tensor]:
    return [network.stack.flat for network in model.policy.networks().values()]


@pytest.mark.slow
@pytest.mark.parametrize("overrides", ARMS.values(), ids=ARMS)
def test_every_tensor_is_on_the_device(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    here = trained(overrides, "cpu")
    with made_up_device(monkeypatch):
        there = trained(overrides, THERE.type)
        moved = [weights.cpu() for weights in parameters(there)]
    assert all(isinstance(weights, Elsewhere) for weights in parameters(there))
    for expected, found in zip(parameters(here), moved, strict=True):
        assert torch.equal(expected, found)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused: list[Callable[[], object]] = [
        lambda: bench.compose(["device=cuda", "engine=torch"]),
        lambda: PolicyGradient(env="CartPole-v1", device="cuda", engine="torch"),
    ]
    for make_it in refused:
        with pytest.raises(UserError, match=r"^device=cuda: torch \S+ finds no such device here; use device=cpu$"):
            make_it()


def test_the_kernel_is_refused_there() -> None:
    for make_it in (lambda: bench.compose(["device=cuda"]), lambda: PolicyGradient(env="CartPole-v1", device="cuda")):
        with pytest.raises(UserError, match=r"^device=cuda with engine=kernel: .* on the CPU; use engine=torch$"):
            make_it()


def test_only_the_suites_own_learner_reads_it() -> None:
    for key, value, usual in (("device", "cuda", "cpu"), ("engine", "torch", "kernel")):
        with pytest.raises(UserError, match=rf"only the suite.s own learner reads it; use {key}={usual}"):
            bench.compose(["algorithm=sb3_ppo", f"{key}={value}"])


def test_the_cpu_is_no_part_of_a_cells_identity() -> None:
    from dataclasses import replace

    from bench.config.identity import identity

    config = bench.compose()
    assert "device" not in identity(config)
    assert identity(replace(config, device="cuda")) == identity(config) | {"device": "cuda"}
