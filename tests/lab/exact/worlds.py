"""Random policies and critics in the solved worlds."""

from collections.abc import Callable

import numpy as np
from scipy.special import softmax

from bench.lab.exact.process import Process
from bench.tasks.delayed_exam import DelayedExam
from bench.tasks.exact import ExactTask
from bench.tasks.exam_question import ExamQuestion
from bench.tasks.random_walk import RandomWalk
from bench.tasks.weekly_exam import WeeklyExam, WeeklyExamCheat

WORLDS: dict[str, Callable[[], ExactTask]] = {
    "weekly_exam": WeeklyExam,
    "weekly_exam_cheat": WeeklyExamCheat,
    "lucky_shifted_capped": lambda: WeeklyExam(luck=2.0, reward_shift=-0.5, reward_cap=0.8),
    "exam_question": ExamQuestion,
    "two_answers": lambda: ExamQuestion(answers="two"),
    "random_walk": RandomWalk,
    "delayed_exam": DelayedExam,
}


def random_policy(task: ExactTask, seed: int) -> np.ndarray:
    """Far from uniform where an episode has a horizon; else near it, so that no episode takes ages."""
    scale = 0.3 if task.model.horizon is None else 1.0
    logits = np.random.default_rng(seed).normal(size=(*task.model.table, task.model.n_actions), scale=scale)
    return softmax(logits, axis=-1)


def random_critic(process: Process, seed: int, size: float = 0.3) -> np.ndarray:
    """The exact V with an error of that standard deviation, as a table."""
    noise = np.random.default_rng(seed).normal(size=process.value.shape, scale=size)
    return process.tabled(process.value + noise)
