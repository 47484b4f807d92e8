"""What a critic costs: an update of the same batch with one and without, each in a process of its own."""

import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.cells.composition import compose
from bench.learner import PolicyGradient
from bench.learner.kernel_steps import KernelSteps
from bench.learner.train_state import TrainState
from bench.speed.workload import Measurement, Workload
from bench.tasks.registry import environments, make
from bench.tasks.vec_env import BatchedVecEnv

ARMS = {
    "critic": ("baseline=critic", "advantage=monte_carlo"),
    "critic_free": ("baseline=group", "advantage=monte_carlo"),
}
EPISODES = ("collect=episodes", "group.groups=8", "group.size=8")  # of sixteen weeks each: batches of 1,024 steps
EPOCHS = 2
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def update(workload: Workload) -> Measurement:
    """Measure updates of the weekly exam with networks of `workload.hidden` units in each of two layers.

    `counted` has, of all seeds together, the numbers of parameters of actor and critic; the bytes of their weights and
    gradients, of Adam's two moments, and of the kernel's memory for a minibatch (activations, and their gradients); and
    by how many bytes the process grew at its peak, from before there were networks to the last update. `seconds` are
    of the processor, for one update: they do not count what other processes do.
    """
    config = compose(
        [
            *("task=weekly_exam", "update=clip", *EPISODES, *ARMS[workload.arm], "norm_obs=false", "norm_reward=false"),
            *(f"batch.epochs={EPOCHS}", f"hidden=[{workload.hidden},{workload.hidden}]", f"budget={workload.steps}"),
            f"seeds={list(workload.seeds)}".replace(" ", ""),
        ]
    )
    env = BatchedVecEnv(environments(make(config.task), config.seeds, config.n_envs))
    before = _resident(peak=False)
    _forget_peak()
    model = _Timed("MlpPolicy", env, config, config.seeds)
    with _kernel_memory() as work:
        model.learn(config.budget, log_interval=None)
    actor, critic = model.policy.actor, model.policy.critic
    trained = [actor] if critic is None else [actor, critic]
    counted = {
        "actor_parameters": actor.stack.flat.numel(),
        "critic_parameters": 0 if critic is None else critic.stack.flat.numel(),
        "weights": sum(map(_weights, trained)),
        "optimiser": sum(map(_moments, trained)),
        "activations": max(work),
        "peak": max(_resident(peak=True) - before, 0),
    }
    best = min(model.seconds[1:])  # the first warms up; what lengthens others is no part of the work
    return Measurement(sum(model.env_steps) // len(model.seconds), best, update_seconds=best, counted=counted)


class _Timed(PolicyGradient):
    """Keeps the processor's seconds of every update."""

    seconds: list[float]

    def train(self) -> None:
        began = time.process_time()
        super().train()
        self.seconds = [*getattr(self, "seconds", ()), time.process_time() - began]


def _weights(state: TrainState) -> int:
    """Bytes of parameters and gradients."""
    return int(sum(each.numel() * each.element_size() for each in (state.stack.flat, state.stack.grad)))


def _moments(state: TrainState) -> int:
    """Bytes of Adam's two moments."""
    return int(sum(each.numel() * each.element_size() for each in (state.adam.first, state.adam.second)))


@contextlib.contextmanager
def _kernel_memory() -> Iterator[list[int]]:
    """Note the bytes that every pass over a batch gives the kernel to work in."""
    noted: list[int] = [0]
    give = KernelSteps._give_memory

    def noting(steps: KernelSteps) -> None:
        give(steps)
        noted.append(steps._kept["work"].nbytes)

    KernelSteps._give_memory = noting  # type: ignore[assignment, method-assign]
    try:
        yield noted
    finally:
        KernelSteps._give_memory = give  # type: ignore[method-assign]


def _forget_peak() -> None:
    """Let the peak begin anew, where the system can."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


def _resident(*, peak: bool) -> int:
    """Bytes of memory of this process, now or at its peak; where the system does not tell, the peak of its life."""
    try:
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM" if peak else "VmRSS"].split()[0]) * 1024
    except (OSError, KeyError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
