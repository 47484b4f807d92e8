"""`python -m bench enjoy RUN_DIR`: an episode of a trained seed, animated, or as text where its world is drawn so."""

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
    if config.is_peer:
        raise UserError(f"{path}: trained by {config.arm_name}; only policies of this suite's learner can be shown")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # of pygame: it draws without a screen
    policy = blocks.needed(block, blocks.POLICY)
    env = _environment(config, make(config.task))
    frames, total = _play(env, policy, seed, episode, mode)
    study = block.path.parents[3]
    folder = study / "videos" / block.path.parent.relative_to(block.path.parents[2])
    name = f"seed-{seed:03d}-episode-{episode}-{mode}"
    try:
        refuse_links(folder, 4)  # of the cell, its task, all videos, the study
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(frames[0], str):
            return _written(folder / f"{name}.txt", "\n".join(frames).encode() + b"\n"), total
        rate = float(env.metadata.get("render_fps", FRAMES_PER_SECOND))
        return _written(folder / f"{name}.{kind}", _ANIMATIONS[kind](frames, rate)), total
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


def _play(env: Any, policy: Path, seed: int, episode: int, mode: str) -> tuple[list[Any], float]:
    """The pictures of an episode, from its start to its end, and its return."""
    act = _acting(policy, seed, episode, mode)
    start = np.random.SeedSequence([seed, episode]).generate_state(1)[0]
    observation, _ = env.reset(seed=int(start) >> 1)  # Gymnasium takes 31 bits
    frames, total, over = [_frame(env)], 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(act(observation))
        total += float(reward)
        over = terminated or truncated
        frames.append(_frame(env))
    env.close()
    return frames, total


def _acting(saved: Path, seed: int, episode: int, mode: str) -> Callable[[Any], Any]:
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


def _frame(env: Any) -> Any:
    try:
        return env.render()
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f"drawing this task needs pygame: {install('render')}") from error


def _gif(frames: Sequence[Any], rate: float) -> bytes:
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    milliseconds = round(1000 / rate)
    content = io.BytesIO()
    pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:], duration=max(20, milliseconds), loop=0)
    return content.getvalue()


def _mp4(frames: Sequence[Any], rate: float) -> bytes:
    """H.264 by the program ffmpeg. Raises `UserError` where that is missing or refuses."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise UserError("format=mp4 needs the program ffmpeg (apt install ffmpeg, brew install ffmpeg); or format=gif")
    height, width = frames[0].shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{rate:g}", "-i", "-"]
    even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]  # what every player takes
    with tempfile.TemporaryDirectory(prefix="bench-enjoy-") as folder:
        video = Path(folder) / "video.mp4"
        command = [program, "-loglevel", "error", *source, *even, str(video)]
        done = subprocess.run(
            command, input=b"".join(frame.tobytes() for frame in frames), capture_output=True, check=False
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["it did not say why"]
            raise UserError(f"format=mp4: ffmpeg failed ({said[-1]}); format=gif needs no ffmpeg")
        return video.read_bytes()


_ANIMATIONS: Mapping[str, Callable[[Sequence[Any], float], bytes]] = {"gif": _gif, "mp4": _mp4}


def _written(path: Path, content: bytes) -> Path:
    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    files.write_atomic(path, write)
    return path
