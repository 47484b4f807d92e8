"""`python -m bench enjoy RUN_DIR`: an episode of a trained seed, animated, or as text where its world is drawn so."""

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from bench import plugin
from bench.config.arguments import read, word
from bench.config.schema import Config
from bench.errors import UserError, install
from bench.execution.reproduce import checked_config, finished
from bench.paths import refuse_links
from bench.records import block as blocks
from bench.records import files
from bench.tasks.base import Task
from bench.tasks.foreign import GymTask
from bench.tasks.registry import GYMNASIUM_TASKS, make

FRAMES_PER_SECOND = 30  # where the environment does not say

Act = Callable[[Any], Any]  # from an observation to an action


@dataclass(frozen=True)
class Arguments:
    """Which block, seed and episode, and how it is shown."""

    block: str = word("give the folder of one block, such as results/quick/runs/cartpole/…/seeds-000-009")
    seed: int | None = None
    episode: int = 0
    mode: str = "deterministic"
    format: str = "gif"
    plugins: str = ""


def main(words: Sequence[str]) -> int:
    """Play an episode and say where it is. Raises `UserError`."""
    asked = read("enjoy", words, Arguments)
    for key, number in (("seed", asked.seed), ("episode", asked.episode)):
        if number is not None and number < 0:
            raise UserError(f"{key}={number}: must be a whole number of at least 0")
    plugin.import_modules(asked.plugins)
    path, total = enjoy(Path(asked.block), asked.seed, asked.episode, asked.mode, asked.format)
    print(f"return {total:.6g}: {path}")
    return 0


def enjoy(
    path: Path, seed: int | None = None, episode: int = 0, mode: str = "deterministic", kind: str = "gif"
) -> tuple[Path, float]:
    """Play an episode with a block's policy and keep it as a file; → where, and its return.

    Episode k of a seed starts from the same state every time. The file lies in the study's folder, below `videos`:
    `kind` is that of an animation, `gif` or `mp4`; worlds that are told in text are text.

    Raises:
        UserError: where there is no such block, seed or mode, or what draws the task is not installed.
    """
    block = finished(path)
    seed = min(block.seeds) if seed is None else seed
    if seed not in block.seeds:
        raise UserError(f"seed={seed}: the block has {', '.join(map(str, sorted(block.seeds)))}")
    if mode not in ("deterministic", "stochastic"):
        raise UserError(f"mode={mode}: must be deterministic or stochastic")
    if kind not in _ANIMATIONS:
        raise UserError(f"format={kind}: must be {' or '.join(_ANIMATIONS)}")
    config = checked_config(block)
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # of pygame: it draws without a screen
    acting = _acting_peer if config.is_peer else _acting
    act = acting(blocks.needed(block, blocks.POLICY), config, seed, episode, mode)
    env = _environment(config, make(config.task))
    study = block.path.parents[3]
    folder = study / "videos" / block.path.parent.relative_to(block.path.parents[2])
    name = f"seed-{seed:03d}-episode-{episode}-{mode}"
    shown = _text if env.render_mode == "ansi" else _ANIMATIONS[kind]
    try:
        refuse_links(folder, 4)  # of the cell, its task, all videos, the study
        folder.mkdir(parents=True, exist_ok=True)
        return shown(_Episode(env, act, seed, episode), folder / name)
    except OSError as error:
        raise UserError(f"cannot write {error.filename or folder}: {error.strerror}") from error


def _environment(config: Config, task: Task) -> "gymnasium.Env[Any, Any]":
    """The task as a Gymnasium environment that can be looked at."""
    identifiers = {name: identifier for identifier, name in GYMNASIUM_TASKS.items()}
    identifier = task.spec.id if isinstance(task, GymTask) else identifiers.get(config.task.name)
    if identifier is None:
        raise UserError(f"task={config.task.name}: there is no picture of it")
    modes = _render_modes(identifier)
    mode = next((mode for mode in ("rgb_array", "ansi") if mode in modes), None)
    if mode is None:
        raise UserError(f"task={config.task.name}: there is no picture of it")
    settings: dict[str, Any] = {} if config.task.time_limit is None else {"max_episode_steps": config.task.time_limit}
    if identifier.startswith("bench/"):
        settings["task"] = task
    return gymnasium.make(identifier, render_mode=mode, **settings)


def _render_modes(identifier: str) -> Sequence[str]:
    """How Gymnasium can draw an environment."""
    entry = gymnasium.spec(identifier).entry_point
    creator = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    return list(getattr(creator, "metadata", {}).get("render_modes", []))


@dataclass(frozen=True)
class _Episode:
    """An episode that can be played: what is `act`ed in `env`, from the start that its number has."""

    env: Any
    act: Act
    seed: int
    number: int

    def steps(self, env: Any) -> Iterator[float]:
        """Play it in `env`, this one or a wrapper of it; yield the reward of each step, and 0 at the start."""
        start = np.random.SeedSequence([self.seed, self.number]).generate_state(1)[0]
        observation, _ = env.reset(seed=int(start) >> 1)  # Gymnasium takes 31 bits
        yield 0.0
        over = False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(self.act(observation))
            over = terminated or truncated
            yield float(reward)
        env.close()

    def frames(self) -> tuple[list[Any], float]:
        """Play it: the pictures from its start to its end, and its return."""
        frames, total = [], 0.0
        for reward in self.steps(self.env):
            total += reward
            frames.append(_frame(self.env))
        return frames, total


def _acting(saved: Path, config: Config, seed: int, episode: int, mode: str) -> Act:  # noqa: ARG001 - as for a peer
    """From one observation (O,) to what the seed's trained policy does."""
    import torch  # which takes seconds

    from bench.learner.checkpoint import load_policy, replica
    from bench.learner.distributions import env_actions

    trained = load_policy(saved)
    actor = trained.acting().select([replica(trained, seed, saved)])
    noise = actor.noise_without_end([np.random.default_rng([seed, episode])], 1)

    def act(observation: Any) -> Any:
        with torch.no_grad():
            policy = actor.policy(torch.from_numpy(np.float32(observation))[None, :, None])
            chosen = policy.mode() if mode == "deterministic" else policy.sample(next(noise))
        return env_actions(chosen, trained.action_space)[..., 0]

    return act


def _acting_peer(saved: Path, config: Config, seed: int, episode: int, mode: str) -> Act:
    """From one observation (O,) to what the policy of a library does, its scales frozen as they were in the end."""
    from stable_baselines3.common.utils import set_random_seed  # torch takes seconds

    from bench.peers import saved as peers

    model = peers.load(saved, config, seed)
    scales = model.get_vec_normalize_env()
    set_random_seed(int(np.random.SeedSequence([seed, episode]).generate_state(2)[1]) >> 1)  # libraries share one
    state: Any = None

    def act(observation: Any) -> Any:
        nonlocal state
        seen = observation if scales is None else scales.normalize_obs(observation)
        start = np.array([state is None])
        chosen, state = model.predict(seen, state=state, episode_start=start, deterministic=mode == "deterministic")
        return chosen

    return act


def _frame(env: Any) -> Any:
    try:
        return env.render()
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f"drawing this task needs pygame: {install('render')}") from error


def _text(played: _Episode, path: Path) -> tuple[Path, float]:
    """The episode as it is told."""
    frames, total = played.frames()
    return _written(path.with_suffix(".txt"), "\n".join(frames).encode() + b"\n"), total


def _gif(played: _Episode, path: Path) -> tuple[Path, float]:
    """The episode as an animation."""
    from PIL import Image

    frames, total = played.frames()
    pictures = [Image.fromarray(frame) for frame in frames]
    milliseconds = round(1000 / played.env.metadata.get("render_fps", FRAMES_PER_SECOND))
    content = io.BytesIO()
    pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:], duration=max(20, milliseconds), loop=0)
    return _written(path.with_suffix(".gif"), content.getvalue()), total


def _mp4(played: _Episode, path: Path) -> tuple[Path, float]:
    """The episode as a video, by Gymnasium's own recorder. Raises `UserError` where what it needs is missing."""
    from gymnasium.wrappers import RecordVideo

    with tempfile.TemporaryDirectory(prefix="bench-enjoy-") as folder:
        try:
            recorder = RecordVideo(played.env, f"{folder}/new", episode_trigger=lambda _: True, disable_logger=True)
        except gymnasium.error.DependencyNotInstalled as error:
            raise UserError(f"format=mp4 needs moviepy: {install('video')}; format=gif does without") from error
        try:
            total = sum(played.steps(recorder))
        except gymnasium.error.DependencyNotInstalled as error:
            raise UserError(f"drawing this task needs pygame: {install('render')}") from error
        (video,) = Path(folder).glob("new/*.mp4")
        return _written(path.with_suffix(".mp4"), video.read_bytes()), total


_ANIMATIONS: Mapping[str, Callable[[_Episode, Path], tuple[Path, float]]] = {"gif": _gif, "mp4": _mp4}


def _written(path: Path, content: bytes) -> Path:
    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    files.write_atomic(path, write)
    return path
