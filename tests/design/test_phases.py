"""A study with a design from the command line: settings, choices, judgement, dry runs, failures, and kills."""

import json
import multiprocessing
import os
import re
import shlex
import shutil
import signal
from pathlib import Path

import pytest

import bench as package
from bench.commands.main import main
from bench.config.design import seed_of, setting_of
from bench.design import phases
from tests.design.conftest import ARMS, STUDY, finished, numbers

FORK = multiprocessing.get_context("fork")
RESULTS = Path("results")
SETTINGS = {0, 1, 2, 3}


def records(results: Path = RESULTS) -> list[dict]:
    return [json.loads(content) for content in finished(results).values()]


def rates(results: Path) -> dict[int, float]:
    """The learning rate of every setting, as the blocks of the tuning pool have it."""
    (first, *_) = [run for run in records(results) if run["seed_pool"] == "tuning"]
    return {int(setting): values["learning_rate"] for setting, values in first["design"]["settings"].items()}


def judged(results: Path) -> dict[str, list[int]]:
    """By arm, the runs of the blocks that judge settings."""
    runs = [run for run in records(results) if run["seed_pool"] == "confirmation" and "design" in run]
    return {run["arm"]: sorted(map(int, run["seeds"])) for run in runs}


def test_settings_are_trained_and_what_is_chosen_is_judged_on_fresh_seeds(bench, learner, trained):
    code, out, err = bench(*STUDY)
    assert code == 0, err
    assert out.splitlines()[-1] == f"{3 * ARMS} cells, 0 failures: results/tuned"
    chosen = {setting_of(run) for runs in judged(RESULTS).values() for run in runs}
    tuned = [(0, 1, 2, 3, 10000, 10001, 10002, 10003)] * ARMS
    fresh = [tuple(sorted(10_000 * seed + setting for setting in chosen for seed in range(3)))] * ARMS
    assert sorted(learner.calls) == sorted([*tuned, *[(0, 1, 2)] * ARMS, *fresh])
    assert judged(RESULTS) == judged(trained)
    calls = len(learner.calls)
    code, out, _ = bench(*STUDY)
    assert (code, out.splitlines()[-1]) == (0, "6 cells, 6 of them done before, 0 failures: results/tuned")
    assert len(learner.calls) == calls


def test_what_is_judged_is_the_best_and_the_best_of_the_other_half(trained):
    """The return rises with the learning rate, so the best setting has the largest one."""
    known = rates(trained)
    assert known.keys() == SETTINGS
    best = max(known, key=known.__getitem__)
    for runs in judged(trained).values():
        settings = {setting_of(run) for run in runs}
        assert best in settings
        assert len(settings) == 2  # one of the halves holds the best of all
        assert {seed_of(run) for run in runs} == {0, 1, 2}


def test_arms_have_the_same_settings_as_far_as_they_read_them(trained):
    runs = [run for run in records(trained) if run["seed_pool"] == "tuning"]
    without, with_lambda = sorted(runs, key=lambda run: run["arm"], reverse=True)
    assert (without["arm"], with_lambda["arm"]) == ("critic-monte_carlo-clip", "critic-gae-clip")
    for setting, values in without["design"]["settings"].items():
        other = with_lambda["design"]["settings"][setting]
        assert "gae_lambda" in other
        assert "gae_lambda" not in values
        assert values["learning_rate"] == other["learning_rate"]


def test_every_arm_is_judged_with_its_own_numbers_too(trained):
    own = [run for run in records(trained) if "design" not in run]
    assert sorted(run["arm"] for run in own) == ["critic-gae-clip", "critic-monte_carlo-clip"]
    for run in own:
        assert run["seed_pool"] == "confirmation"
        assert run["seeds"].keys() == {"0", "1", "2"}
        assert run["factors"]["learning_rate"] == 1e-3


def test_the_words_of_the_best_setting_compose_a_cell_with_its_numbers(bench):
    err = bench(*STUDY, "gamma=0.9", "hidden=[8,8]")[2]
    said = re.findall(r"weekly_exam (\S+), setting (\d+) is best: python -m bench (.*)\n", err)
    assert len(said) == ARMS
    known = rates(RESULTS)
    for arm, setting, words in said:
        assert not words.endswith("and what else its study sets")
        config = package.compose(shlex.split(words))
        assert config.arm_name == arm
        assert config.learning_rate == known[int(setting)]
        assert (config.gamma, config.hidden, config.design) == (0.9, (8, 8), None)


def test_words_say_where_the_study_sets_more(bench):
    err = bench(*STUDY, "~advantage_norm", "+advantage_norm=none")[2]
    assert err.count("is best: ") == ARMS
    assert err.count("+advantage_norm=none") >= ARMS


@pytest.mark.slow
def test_a_failed_setting_counts_as_a_random_policy_and_its_arm_is_judged_all_the_same(bench, learner, trained):
    """Both seeds of the best setting fail; then the second best is the best."""
    known = rates(trained)
    best, second, *_ = sorted(known, key=known.__getitem__, reverse=True)
    learner.causes = {best: "loss is nan", 10_000 + best: "loss is nan"}
    code, _, err = bench(*STUDY)
    assert code == 0, err  # a setting that fails is a result
    assert f"setting {second} is best" in err
    for runs in judged(RESULTS).values():
        assert second in {setting_of(run) for run in runs}
        assert best not in {setting_of(run) for run in runs}


@pytest.mark.slow
def test_nothing_is_chosen_before_all_are_finished_and_the_same_command_goes_on(bench, learner):
    def breaks():
        if len(learner.calls) == 1:
            raise ValueError("broken")

    learner.before = breaks
    code, _, err = bench(*STUDY)
    assert code == 1
    assert "1 arm of a design is not finished" in err
    assert judged(RESULTS) == {}
    learner.before = lambda: None
    assert bench(*STUDY)[0] == 0
    assert len(judged(RESULTS)) == ARMS


@pytest.mark.slow
def test_more_settings_keep_those_there_are(bench, learner, trained):
    shutil.copytree(trained, RESULTS)
    before = finished(RESULTS)
    assert bench(*STUDY, "design.settings=8")[0] == 0
    assert before.items() <= finished(RESULTS).items()
    tuned = [run for run in learner.calls if len(run) == 8]
    assert len(tuned) == ARMS  # four further settings of two seeds


def test_a_dry_run_tells_of_both_phases_and_writes_nothing(bench, trained):
    code, out, _ = bench(*STUDY, "dry_run=true")
    assert code == 0
    assert out.count("seed_pool=tuning") == ARMS
    assert out.count("seed_pool=confirmation") == 2 * ARMS
    assert not RESULTS.exists()
    shutil.copytree(trained, RESULTS)
    assert "nothing to train" in bench(*STUDY, "dry_run=true")[1]


def test_without_fresh_seeds_nothing_is_judged(bench, learner):
    assert bench(*STUDY, "design.judged=0")[0] == 0
    assert len(learner.calls) == ARMS
    assert {run["seed_pool"] for run in records()} == {"tuning"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["learning_rate=0.1"], "learning_rate=0.1: design tuned varies it"),
        (["gamma=0.9,0.5"], "two cells on weekly_exam are called critic-monte_carlo-clip"),
        (["design.setings=4"], "unknown key 'design.setings'"),
        (["until=decided"], "until=decided with design=tuned"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(bench, arguments, message):
    words = [word for word in STUDY if not (arguments == ["until=decided"] and word.startswith("seeds="))]
    code, out, err = bench(*words, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert not RESULTS.exists()


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def dies_in_call(learner, number):
    """In the middle of a block, after its first checkpoint."""
    learner.after_progress = lambda: die() if len(learner.calls) == number else None


MOMENTS = {
    "in the first block of settings": lambda learner, _: dies_in_call(learner, 1),
    "before anything is chosen": lambda _, patch: patch.setattr(phases.Group, "chosen", die),
    "in the first judgement": lambda learner, _: dies_in_call(learner, 2 * ARMS + 1),
    "in the last judgement": lambda learner, _: dies_in_call(learner, 3 * ARMS),
}
DONE = [0, 2 * ARMS, 2 * ARMS, 3 * ARMS - 1]  # finished blocks at those moments


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "done"), list(zip(MOMENTS, DONE, strict=True)), ids=MOMENTS)
def test_a_kill_loses_no_finished_block(bench, learner, trained, monkeypatch, moment, done):
    """The sweep dies by SIGKILL; the same command trains the rest only, to the numbers of one that nobody killed."""
    with monkeypatch.context() as patch:
        MOMENTS[moment](learner, patch)
        child = FORK.Process(target=main, args=(list(STUDY),))
        child.start()
        child.join()
        learner.after_progress = lambda: None
    assert child.exitcode == -signal.SIGKILL
    before = finished(RESULTS)
    assert len(before) == done
    assert bench(*STUDY)[0] == 0
    assert before.items() <= finished(RESULTS).items()
    assert len(learner.calls) == 3 * ARMS - done
    assert numbers(RESULTS) == numbers(trained)
