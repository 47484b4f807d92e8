"""A tuned study from the command line: both phases, restrictions, failures, dry runs, and kills at any moment."""

import json
import multiprocessing
import os
import re
import shlex
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest

import bench as package
from bench.cells.grids import Cell
from bench.commands.main import main
from bench.config.identity import cell_hash
from bench.design import phases, record
from tests.design.conftest import JUDGED, STUDY, TRIALS, finished, numbers

FORK = multiprocessing.get_context("fork")
RESULTS = Path("results")


def candidates() -> list[record.Candidate]:
    return record.read(RESULTS / "tuned")


def records() -> list[dict]:
    return [json.loads(content) for content in finished(RESULTS).values()]


def test_all_settings_are_tuned_then_the_winners_judged_on_fresh_seeds(bench, learner):
    code, out, err = bench(*STUDY)
    assert (code, out.splitlines()[-1]) == (0, "8 cells, 0 failures: results/tuned"), err
    assert sorted(learner.calls) == sorted([(0, 1)] * TRIALS + [(0, 1, 2)] * JUDGED)
    pools = [(run["seed_pool"], sorted(run["seeds"])) for run in records()]
    assert sorted(pools) == sorted([("tuning", ["0", "1"])] * TRIALS + [("main", ["0", "1", "2"])] * JUDGED)
    for candidate in candidates():
        assert candidate.winner is not None
        values = candidate.trials[candidate.winner].values
        judged = next(run for run in records() if run["seed_pool"] == "main" and run["arm"] == candidate.arm)
        assert judged["hash"] == candidate.judged
        assert judged["factors"]["learning_rate"] == values["learning_rate"]
    code, out, _ = bench(*STUDY)
    assert (code, out) == (0, "8 cells, 8 of them done before, 0 failures: results/tuned\n")
    assert len(learner.calls) == TRIALS + JUDGED
    assert bench("status", "study=tuned")[1].splitlines() == [
        "tuned: 18 done (seeds of cells)",
        "tuning: 6 of 6 settings planned, 2 of 2 arms have a winner",
    ]


def test_arms_have_the_same_draws_as_far_as_they_read_them(trained):
    without, with_lambda = sorted(record.read(trained / "tuned"), key=lambda candidate: candidate.arm, reverse=True)
    assert (without.arm, with_lambda.arm) == ("critic-monte_carlo-clip", "critic-gae-clip")
    for one, other in zip(without.trials, with_lambda.trials, strict=True):
        assert one.values.keys() == {"learning_rate", "ent_coef"}
        assert other.values.keys() == {"learning_rate", "ent_coef", "gae_lambda"}
        assert one.values.items() <= other.values.items()


def test_the_winner_is_the_setting_with_the_best_mean(trained):
    runs = {path: json.loads(content) for path, content in finished(trained).items()}
    for candidate in record.read(trained / "tuned"):
        means = {}
        for path, run in runs.items():
            if run["seed_pool"] == "tuning" and run["arm"].startswith(candidate.arm):
                table = pd.read_parquet(path.parent / "episodes.parquet")
                last = table[(table["step"] > 1800) & (table["mode"] == "stochastic")]
                means[run["hash"]] = last["return"].mean()
        best = max(means, key=means.__getitem__)
        assert candidate.trials[candidate.winner].hash == best
        assert len(means) == 3


def test_the_words_of_a_winner_compose_the_cell_that_was_judged(bench):
    err = bench(*STUDY, "gamma=0.9", "hidden=[8,8]")[2]
    said = re.findall(r"(\S+ \S+), the winner: python -m bench (.*)\n", err)
    assert len(said) == JUDGED
    for (label, words), candidate in zip(said, candidates(), strict=True):
        assert label == f"{candidate.task} {candidate.arm}"
        config = package.compose(shlex.split(words))
        assert (cell_hash(config), config.seed_pool, config.study.tuning) == (candidate.judged, "main", None)
        tuning = package.compose([*shlex.split(words), "seed_pool=tuning"])
        assert cell_hash(tuning) == candidate.trials[candidate.winner].hash


def test_words_say_where_the_study_sets_more(bench):
    err = bench(*STUDY, "~advantage_norm", "+advantage_norm=none")[2]
    assert err.count("+advantage_norm=none") == JUDGED
    cell = Cell(package.compose(["gamma=0.9"]), {}, ["study=mine", "task=cartpole", "study.tuning.settings=3"])
    assert phases.words(cell) == "task=cartpole, and what else its study sets"


@pytest.mark.slow
def test_a_failed_setting_cannot_win_and_its_arm_is_judged_all_the_same(bench, learner, trained):
    best = {each.arm: each.winner for each in record.read(trained / "tuned")}
    expected = next(each for each in record.read(trained / "tuned") if each.arm == "critic-gae-clip")
    rate = expected.trials[best["critic-gae-clip"]].values["learning_rate"]
    rated = type(learner).__call__

    def diverging(self, config, seeds, observer, checkpoint=None):
        self.causes = {1: "loss is nan"} if config.learning_rate == rate and config.seed_pool == "tuning" else {}
        return rated(self, config, seeds, observer, checkpoint)

    type(learner).__call__ = diverging
    try:
        code, _, err = bench(*STUDY)
    finally:
        type(learner).__call__ = rated
    assert code == 1
    assert f"critic-gae-clip-tuning-0{best['critic-gae-clip']} seeds 1: loss is nan" in err
    found = {each.arm: each for each in candidates()}
    assert found["critic-gae-clip"].winner not in (None, best["critic-gae-clip"])
    assert len([run for run in records() if run["seed_pool"] == "main"]) == JUDGED


@pytest.mark.slow
def test_an_arm_with_a_setting_that_broke_off_waits_and_the_same_command_goes_on(bench, learner):
    def breaks():
        if len(learner.calls) == 2:
            raise ValueError("broken")

    learner.before = breaks
    code, _, err = bench(*STUDY)
    assert code == 1
    assert "2 of 3 settings are finished, so there is no winner yet; the same command goes on" in err
    assert "warning: 1 arm of 2 not judged yet" in err
    assert sorted(each.winner is None for each in candidates()) == [False, True]
    learner.before = lambda: None
    assert bench(*STUDY)[0] == 0
    assert all(each.winner is not None for each in candidates())
    assert len(finished(RESULTS)) == TRIALS + JUDGED


@pytest.mark.slow
def test_more_settings_keep_those_there_are(bench, learner, trained):
    shutil.copytree(trained, RESULTS)
    before = finished(RESULTS)
    assert bench(*STUDY, "study.tuning.settings=4")[0] == 0
    after = finished(RESULTS)
    assert before.items() <= after.items()
    assert len([run for run in records() if run["seed_pool"] == "tuning"]) == TRIALS + 2
    assert 2 <= len(learner.calls) <= 2 + JUDGED


def test_a_dry_run_tells_of_both_phases_and_writes_nothing(bench, trained):
    code, out, _ = bench(*STUDY, "dry_run=true")
    assert code == 0
    assert out.count("-tuning-0") == TRIALS
    assert out.count(" seeds 000-002: ") == JUDGED
    assert not RESULTS.exists()
    shutil.copytree(trained, RESULTS)
    assert "nothing to train" in bench(*STUDY, "dry_run=true")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["learning_rate=0.1"], "learning_rate=0.1: study tuned tunes it (study.tuning.space), so it cannot be set"),
        (["seed_pool=tuning"], "seed_pool=tuning: study tuned tunes on that pool"),
        (["gamma=0.9,0.5"], "two cells on weekly_exam are called critic-monte_carlo-clip"),
        (["study.tuning.settings=0"], "study.tuning.settings=0: must be at least 1"),
        (["~study.tuning.space", "+study.tuning.space={n_step:{choice:[1,2]}}"], "reads no key of study.tuning.space"),
        (["study.tuning.setings=4"], "unknown key 'study.tuning.setings'"),
        (["+study.tuning.space.gama={uniform:[0.1,0.9]}"], "unknown key 'gama'"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(bench, arguments, message):
    code, out, err = bench(*STUDY, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert not RESULTS.exists()


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def dies_in_call(learner, number):
    """In the middle of a block, after its first checkpoint."""
    learner.after_progress = lambda: die() if len(learner.calls) == number else None


def dies_once_called(name):
    return lambda _, patch: patch.setattr(phases, name, die)


MOMENTS = {
    "in the first setting": lambda learner, _: dies_in_call(learner, 1),
    "in the fourth setting": lambda learner, _: dies_in_call(learner, 4),
    "before the winners are chosen": dies_once_called("_choose"),
    "before the second winner is chosen": lambda _, patch: patch.setattr(phases, "_choose", on_second(phases._choose)),
    "in the first judgement": lambda learner, _: dies_in_call(learner, TRIALS + 1),
    "in the last judgement": lambda learner, _: dies_in_call(learner, TRIALS + JUDGED),
}
DONE = [0, 3, TRIALS, TRIALS, TRIALS, TRIALS + 1]  # finished blocks at those moments


def on_second(function):
    calls = []

    def act(*arguments):
        calls.append(1)
        if len(calls) == 2:
            die()
        return function(*arguments)

    return act


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "done"), list(zip(MOMENTS, DONE, strict=True)), ids=MOMENTS)
def test_a_kill_loses_no_finished_setting(bench, learner, trained, monkeypatch, moment, done):
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
    assert len(learner.calls) == TRIALS + JUDGED - done
    assert numbers(RESULTS) == numbers(trained)
    assert candidates() == record.read(trained / "tuned")
    assert bench(*STUDY)[0] == 0
    assert len(learner.calls) == TRIALS + JUDGED - done
