"""An episode of a trained seed, to look at."""

import dataclasses
import shutil
import sys

import numpy as np
import pytest

import bench
from bench.commands import enjoy
from bench.errors import UserError
from bench.execution import execute
from bench.learner import train as learner

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


def test_a_video_needs_ffmpeg_and_says_so(tmp_path, monkeypatch):
    pytest.importorskip("pygame", reason="drawing classic control needs the extra render")
    path = block(tmp_path, "task=cartpole", "task.time_limit=50", "budget=800")
    monkeypatch.setattr("shutil.which", {}.get)
    with pytest.raises(UserError, match=r"format=mp4 needs the program ffmpeg .*or format=gif"):
        enjoy.enjoy(path, kind="mp4")


def test_frames_become_a_video():
    if shutil.which("ffmpeg") is None:
        pytest.skip("videos need the program ffmpeg")
    frames = [np.full((31, 41, 3), 20 * place, np.uint8) for place in range(6)]  # odd sizes, which H.264 refuses
    content = enjoy._mp4(frames, 25.0)
    assert content[4:8] == b"ftyp"
    assert b"avc1" in content


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
