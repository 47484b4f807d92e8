"""An episode of a trained seed, to look at."""

import dataclasses
import sys

import numpy as np
import pytest

import bench
from bench.commands import enjoy
from bench.errors import UserError
from bench.execution import execute
from bench.learner import train as learner
from bench.peers import saved as peers
from bench.peers.train import train as train_peers
from bench.tasks.registry import gymnasium_env, make

TINY = ("seeds=2", "evaluation.points=1", "evaluation.episodes=1", "hidden=[8,8]", "wandb=disabled", "update.epochs=1")


@pytest.fixture(autouse=True)
def real_learner(monkeypatch):
    monkeypatch.setattr(execute, "train", learner.train)


def block(tmp_path, *overrides: str):
    config = bench.compose([*TINY, *overrides])
    return execute.run(dataclasses.replace(config, results=str(tmp_path)))


def test_an_exam_is_told_in_text_the_same_every_time(tmp_path):
    path = block(tmp_path, "task=weekly_exam", "budget=640")
    shown, total = enjoy.enjoy(path, seed=1)
    assert shown.parent == tmp_path / "adhoc" / "videos" / path.relative_to(tmp_path / "adhoc" / "runs").parent
    lines = shown.read_text().splitlines()
    assert len(lines) == 17  # the start and sixteen weeks
    rewards = [float(line.split()[-1]) for line in lines[1:]]
    assert total == pytest.approx(sum(rewards), abs=0.005 * 16)  # written with two digits
    again, same = enjoy.enjoy(path, seed=1)
    assert (again, same, again.read_text().splitlines()) == (shown, total, lines)
    assert enjoy.enjoy(path, seed=1, episode=1)[0].read_text().splitlines() != lines


def test_classic_control_is_an_animation(tmp_path):
    pytest.importorskip("pygame", reason="drawing classic control needs the extra render")
    from PIL import Image

    path = block(tmp_path, "task=cartpole", "task.time_limit=50", "budget=800")
    shown, total = enjoy.enjoy(path, mode="stochastic")
    with Image.open(shown) as picture:
        assert picture.format == "GIF"
        assert 1 < picture.n_frames <= total + 1


def test_a_video_needs_moviepy_and_says_so(tmp_path, monkeypatch):
    pytest.importorskip("pygame", reason="drawing classic control needs the extra render")
    path = block(tmp_path, "task=cartpole", "task.time_limit=50", "budget=800")
    monkeypatch.setitem(sys.modules, "moviepy", None)
    with pytest.raises(UserError, match=r"format=mp4 needs moviepy: pip install moviepy; format=gif does without$"):
        enjoy.enjoy(path, kind="mp4")


def test_an_episode_becomes_a_video_of_gymnasiums_recorder(tmp_path):
    pytest.importorskip("pygame", reason="drawing classic control needs the extra render")
    pytest.importorskip("moviepy", reason="videos need the extra video")
    path = block(tmp_path, "task=cartpole", "task.time_limit=50", "budget=800")
    shown, total = enjoy.enjoy(path, kind="mp4")
    assert shown.name == "seed-000-episode-0-deterministic.mp4"
    assert shown.read_bytes()[4:8] == b"ftyp"
    assert total == enjoy.enjoy(path)[1]  # the same episode as an animation


@pytest.mark.parametrize("algorithm", ["sb3_ppo", "contrib_ars"])
def test_the_policy_of_a_library_plays_as_the_library_has_it(tmp_path, algorithm, monkeypatch):
    """Its return is that of the library's own model in Gymnasium's environment from the same start."""
    monkeypatch.setattr(execute, "train", lambda config, seeds, observer, _: train_peers(config, seeds, observer))
    words = ["task=weekly_exam", "budget=4096", "evaluation.points=1", "evaluation.episodes=1", "wandb=disabled"]
    config = bench.compose([f"algorithm={algorithm}", "seeds=[4]", *words, f"results={tmp_path}"])
    path = execute.run(config)
    shown, total = enjoy.enjoy(path, seed=4, episode=2)
    model = peers.load(path / "policy.zip", config, 4)
    scales = model.get_vec_normalize_env()
    env = gymnasium_env(make(config.task))
    start = np.random.SeedSequence([4, 2]).generate_state(1)[0]
    observation, _ = env.reset(seed=int(start) >> 1)
    expected, over = 0.0, False
    while not over:
        seen = observation if scales is None else scales.normalize_obs(observation)
        observation, reward, terminated, truncated, _ = env.step(model.predict(seen, deterministic=True)[0])
        expected += float(reward)
        over = terminated or truncated
    assert total == pytest.approx(expected, rel=1e-12)
    assert len(shown.read_text().splitlines()) == 17  # the start and sixteen weeks
    assert enjoy.enjoy(path, seed=4, mode="stochastic")[1] == enjoy.enjoy(path, seed=4, mode="stochastic")[1]


def test_a_missing_package_is_named_with_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    path = block(tmp_path, "task=cartpole", "task.time_limit=50", "budget=800")
    with pytest.raises(UserError, match=r"needs pygame: pip install pygame$"):
        enjoy.enjoy(path)


def test_what_is_not_there_is_refused(tmp_path):
    path = block(tmp_path, "task=weekly_exam", "budget=640")
    with pytest.raises(UserError, match="seed=7: the block has 0, 1"):
        enjoy.enjoy(path, seed=7)
    with pytest.raises(UserError, match="mode=greedy: must be"):
        enjoy.enjoy(path, mode="greedy")
    with pytest.raises(UserError, match="format=avi: must be gif or mp4"):
        enjoy.enjoy(path, kind="avi")
    with pytest.raises(UserError, match="no finished block"):
        enjoy.enjoy(tmp_path)
