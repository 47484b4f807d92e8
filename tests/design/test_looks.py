"""A study that goes on until it is decided, from the command line, with scores of known distributions."""

import copy
import json
import math
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from analysis import load
from analysis.claims import verdicts
from analysis.claims.comparisons import against_control
from bench.commands.main import main
from bench.design import comparisons, ledger, looks
from bench.execution import execute
from bench.records import block as blocks
from bench.records import files
from tests.design import conftest
from tests.design.drawn_learner import DrawnLearner

REAL = execute.train  # the learner itself, before a test replaces it
FORK = multiprocessing.get_context("fork")
OWN = (
    "task=weekly_exam", "baseline=none,critic,group", "advantage=monte_carlo", "update=clip", "budget=2000",
    "study.control=critic-monte_carlo-clip", "evaluation.points=2", "evaluation.episodes=1",
    "wandb=disabled", "hydra/launcher=basic", "until=decided",
)  # fmt: skip
STUDY = (*OWN, "study.name=mine", "max_pairs=80")
NONE, CRITIC, GROUP = (f"{baseline}-monte_carlo-clip" for baseline in ("none", "critic", "group"))
ARMS = {CRITIC: (0.4, 0.02), GROUP: (0.4, 0.02), NONE: (0.95, 0.02)}
MINE = Path("results/mine")


@pytest.fixture(autouse=True)
def learner(monkeypatch) -> DrawnLearner:
    fake = DrawnLearner()
    fake.arms = dict(ARMS)
    monkeypatch.setattr(execute, "train", fake)
    return fake


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the study, to be copied."""
    folder = tmp_path_factory.mktemp("ended")
    with pytest.MonkeyPatch.context() as patch:
        fake = DrawnLearner()
        fake.arms = dict(ARMS)
        patch.setattr(execute, "train", fake)
        conftest._clean(patch, folder)
        assert main(STUDY) == 0
    return folder / "results"


def rows(study: Path = MINE) -> dict[str, dict]:
    return {name: dict(row) for (name, _), row in ledger.latest(ledger.read(study)).items()}


def comparable(study: Path = MINE) -> list[dict]:
    """The lines of a ledger without what no two trainings share: times, and the seals of records that have them."""
    found = []
    for line in map(dict, ledger.read(study)):
        for key in ("written", files.SEAL, "previous"):
            line.pop(key, None)
        found.append({**line, "blocks": sorted(line.get("blocks", ()))})
    return found


def verify(bench) -> tuple[int, list[str]]:
    code, out, _ = bench("verify", "results", "rerun=0")
    return code, [line for line in out.splitlines() if line.startswith(("problem", "note"))]


def test_a_clear_difference_is_decided_early_and_no_difference_later(bench, learner):
    code, out, err = bench(*OWN, "study.name=mine", "max_pairs=160")
    assert code == 0, err
    found = rows()
    assert (found[NONE]["word"], found[NONE]["pairs"]) == ("supported", 20)
    assert (found[GROUP]["word"], found[GROUP]["pairs"]) == ("no difference of interest", 80)
    seeds = sorted((min(call), max(call)) for call in learner.calls)
    # Three arms have 20 seeds; then none stops, and the two others get a block for every look.
    assert seeds == [(0, 19)] * 3 + [(20, 39)] * 2 + [(40, 79)] * 2
    assert out.count("look at ") == 3
    assert "look at 20 pairs: 1 of 2 comparisons decided" in out
    assert "ledger: results/mine/ledger.jsonl" in out.splitlines()
    assert out.splitlines()[-1] == "3 cells, 0 failures: results/mine"
    assert bench("status", "study=mine")[1].splitlines()[1:] == [
        "looks at pairs: 20, 40, 80, of at most 160; 2 of 2 comparisons decided (ended): results/mine/ledger.jsonl",
        f"  weekly_exam {NONE}: supported (20 pairs)",
        f"  weekly_exam {GROUP}: {found[GROUP]['text']} (80 pairs)",
    ]
    code, out, _ = bench(*OWN, "study.name=mine")  # the largest number is the ledger's
    assert (code, "all looks done: 2 of 2 comparisons decided" in out) == (0, True)
    assert len(learner.calls) == 7
    assert verify(bench) == (0, [])


@pytest.mark.slow
def test_what_is_open_at_the_most_pairs_stays_open(bench, learner):
    learner.arms[GROUP] = (0.45, 0.3)  # at the margin, and noisy
    assert bench(*OWN, "study.name=mine", "max_pairs=40")[0] == 0
    assert (rows()[GROUP]["word"], rows()[GROUP]["pairs"]) == ("open", 40)
    last = ledger.read(MINE)[-1]
    assert (last["kind"], last["open"], last["decided"]) == ("end", 1, 1)
    assert rows()[GROUP]["needed"] > 40


def test_a_look_is_the_interval_computed_by_hand(bench):
    """One look: the boundary is the ordinary quantile, so everything follows from textbook formulas."""
    assert bench(*OWN, "study.name=mine", "max_pairs=20")[0] == 0
    for arm in (NONE, GROUP):
        values = [[ARMS[each][0] + ARMS[each][1] * DrawnLearner.noise(each, seed) for seed in range(20)]
                  for each in (arm, CRITIC)]  # fmt: skip
        differences = np.subtract(*values)
        variance = (19 * differences.var(ddof=1) + 2) / 21
        half = scipy.stats.t.ppf(1 - 0.05 / 2 / 2, 19) * math.sqrt(variance / 20)  # two comparisons, two sides
        row = rows()[arm]
        assert row["effect"] == pytest.approx(differences.mean(), abs=1e-5)  # files have float32
        assert row["low"] == pytest.approx(differences.mean() - half, abs=1e-5)
        assert row["high"] == pytest.approx(differences.mean() + half, abs=1e-5)
        assert row["sd"] == pytest.approx(differences.std(ddof=1), abs=1e-5)


def test_failed_runs_count_as_the_random_policy(bench, learner):
    learner.failing = {NONE: {3, 7}}
    code, out, err = bench(*OWN, "study.name=mine", "max_pairs=20")
    assert code == 1  # as in every sweep with failures
    assert f"{NONE} seeds 3,7: loss is nan" in err
    assert "2 failed runs counted with the worst value" in out
    values = [0.0 if seed in (3, 7) else 0.95 + 0.02 * DrawnLearner.noise(NONE, seed) for seed in range(20)]
    others = [0.4 + 0.02 * DrawnLearner.noise(CRITIC, seed) for seed in range(20)]
    assert rows()[NONE]["effect"] == pytest.approx(np.mean(values) - np.mean(others), abs=1e-5)
    assert verify(bench) == (0, [])
    learner.failing = {}
    plain = [word for word in OWN if word != "until=decided"]
    assert bench(*plain, "study.name=mine", "seeds=20", "retry=failed")[0] == 0
    cell = next(MINE.glob(f"runs/weekly_exam/{NONE}-*"))
    again = comparisons.measured(blocks.in_cell(cell), range(20), exact=False)
    assert [seed for seed, run in again.items() if run is None] == [3, 7]  # a failed run is not run until it succeeds


@pytest.mark.slow
def test_arms_that_learn_nothing_are_not_called_alike(bench, learner):
    learner.arms = {CRITIC: (0.1, 0.01), GROUP: (0.1, 0.01), NONE: (0.0, 0.0)}
    assert bench(*OWN, "study.name=mine", "max_pairs=160", "baseline=critic,group")[0] == 0
    assert rows()[GROUP]["text"] == "uninformative: no arm has learned anything"


def test_all_runs_at_one_bound_say_nothing(bench, learner):
    learner.arms = {CRITIC: (1.0, 0.0), GROUP: (1.0, 0.0)}
    assert bench(*OWN, "study.name=mine", "max_pairs=160", "baseline=critic,group")[0] == 0
    assert (rows()[GROUP]["word"], rows()[GROUP]["pairs"]) == ("uninformative", 20)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["max_pairs=100"], "max_pairs=100: must be 20, 40, 80, 160, 320, 640, …: each twice the one before"),
        (["max_pairs=10"], "max_pairs=10: must be 20"),
        (["max_pairs=0"], "max_pairs=0"),
        (["max_pairs=10240"], "max_pairs=10240: at most 5120"),
        (["max_pairs=many"], "max_pairs=many: must be a whole number"),
        (["retry=failed"], "retry=failed: a run that failed counts as one"),
        (["seeds=40"], "seeds=40: until=decided finds out how many"),
        (["until=then"], "unknown until 'then': allowed are seeds, decided"),
        (["until=seeds", "max_pairs=40"], "max_pairs=40: belongs to until=decided"),
        (["study.control=null"], "there is nothing to decide"),
        (["study.control=ppo"], "unknown study.control 'ppo'"),
        (["baseline=critic"], "there is nothing to decide"),
        (["design=wide"], "until=decided with design=wide"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(bench, words, message):
    code, out, err = bench(*OWN, "study.name=mine", *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert not Path("results").exists()


def test_a_dry_run_tells_the_cost_of_the_next_look_and_writes_nothing(bench, ended):
    code, out, _ = bench(*STUDY, "dry_run=true")
    assert code == 0
    assert "mine: 2 of 2 comparisons open; the next look has 20 pairs" in out
    assert out.count(" seeds 000-019: 40,000 environment steps") == 3
    assert "to be expected, at the most: 240 seeds of cells" in out
    assert not Path("results").exists()
    shutil.copytree(ended, "results")
    shutil.rmtree("results/mine")
    shutil.copytree(ended, "results", dirs_exist_ok=True)
    assert "nothing to train" in bench(*STUDY, "dry_run=true")[1]


@pytest.mark.slow
def test_a_dry_run_expects_what_effects_so_far_say(bench, learner):
    def stop(*_: Any) -> None:
        if len(learner.calls) > 3:
            raise ValueError("enough")

    learner.before = stop
    assert bench(*OWN, "study.name=mine")[0] == 1
    out = bench(*OWN, "study.name=mine", "dry_run=true")[1]
    assert "mine: 1 of 2 comparisons open; the next look has 40 pairs" in out
    # Quantile 2.9 or so at 160: 2.9 · √(2/161 + .028²)/√160 = .026 is well below .05, and at 80 it is .055.
    assert "as the effects and spreads so far would have it: 280 seeds of cells" in out


@pytest.mark.slow
def test_another_largest_number_and_other_comparisons_are_refused(bench, ended):
    shutil.copytree(ended, "results")
    before = (MINE / ledger.LEDGER).read_bytes()
    code, _, err = bench(*OWN, "study.name=mine", "max_pairs=160")
    assert (code, err.count("\n")) == (2, 1)
    assert "max_pairs=160: it was fixed at 80 before the first run (results/mine/ledger.jsonl)" in err
    for words, message in [
        (["budget=4000"], "its arms have other settings than those sealed"),
        (["baseline=critic,group"], "its share is 1.0, and 0.5 was sealed"),
        (["study.control=none-monte_carlo-clip"], "this comparison is not one of those that were sealed"),
    ]:
        code, _, err = bench(*STUDY, *words)
        assert (code, err.count("\n"), message in err) == (2, 1, True), err
    assert (MINE / ledger.LEDGER).read_bytes() == before


@pytest.mark.slow
def test_two_studies_at_once_have_a_ledger_each(bench, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "study").mkdir()
    for name, baselines in (("one", "[none, critic]"), ("two", "[critic, group]")):
        (folder / "study" / f"{name}.yaml").write_text(
            "# @package _global_\n"
            f"study: {{name: {name}, title: T, control: {CRITIC}, grids: [{{baseline: {baselines}}}]}}\n"
        )
    words = [word for word in OWN if not word.startswith(("baseline", "study"))]
    code, out, err = bench("--config-dir", str(folder), "study=one,two", *words, "max_pairs=20")
    assert code == 0, err
    assert len(ledger.read(Path("results/one"))) == len(ledger.read(Path("results/two"))) == 3
    assert out.count("ledger: ") == 2


@pytest.mark.slow
def test_runs_that_were_there_before_are_said(bench):
    plain = [word for word in OWN if word != "until=decided"]
    assert bench(*plain, "study.name=mine", "seeds=5")[0] == 0
    out = bench(*STUDY)[1]
    assert "not planned: 3 blocks of these cells were there before the ledger" in out
    assert verify(bench) == (
        0,
        ["note: results/mine/ledger.jsonl: not planned: 3 blocks of its cells, there before it"],
    )


# What a kill may interrupt: every write of the ledger and its head, and trainings.


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def on_write(number: int, *, after: bool) -> Callable[..., Any]:
    """Dies at the number-th file of a ledger that is written: before it, or after it."""

    def act(_: DrawnLearner, patch: pytest.MonkeyPatch) -> None:
        calls: list[Path] = []
        write = files.write_atomic

        def dying(path: Path, fill: Callable[[Path], None], **keys: Any) -> None:
            calls.extend([path] if path.name in (ledger.LEDGER, ledger.HEAD) else [])
            mine = path.name in (ledger.LEDGER, ledger.HEAD) and len(calls) == number
            if mine and not after:
                die()
            write(path, fill, **keys)
            if mine:
                die()

        patch.setattr(files, "write_atomic", dying)

    return act


def in_call(number: int) -> Callable[..., Any]:
    def act(learner: DrawnLearner, _: pytest.MonkeyPatch) -> None:
        learner.after_progress = lambda: die() if len(learner.calls) == number else None

    return act


# Design, three looks, end: each writes the ledger and the head.
WRITES = 10
MOMENTS = {
    **{f"before write {number}": on_write(number, after=False) for number in range(1, WRITES + 1)},
    "after the last write": on_write(WRITES, after=True),
    "in the second training": in_call(2),
    "in the sixth training": in_call(6),
}
QUICK = ("before write 4",)


@pytest.mark.parametrize(
    "moment", [pytest.param(each, marks=[] if each in QUICK else pytest.mark.slow) for each in MOMENTS]
)
def test_a_kill_changes_no_ledger_and_no_verdict(bench, learner, ended, monkeypatch, moment):
    with monkeypatch.context() as patch:
        MOMENTS[moment](learner, patch)
        child = FORK.Process(target=main, args=(list(STUDY),))
        child.start()
        child.join()
        learner.after_progress = lambda: None
    assert child.exitcode == -signal.SIGKILL
    assert bench(*STUDY)[0] == 0
    assert comparable() == comparable(ended / "mine")
    assert verify(bench) == (0, [])
    assert bench(*STUDY)[0] == 0
    assert comparable() == comparable(ended / "mine")


# Forgeries. `rechained` recomputes every seal and the head, as somebody would who knows how.


def lines() -> list[dict]:
    return [json.loads(line) for line in (MINE / ledger.LEDGER).read_text().splitlines()]


def write(found: list[dict], *, rechained: bool) -> None:
    previous = None
    for number, line in enumerate(found):
        if rechained:
            line |= {"number": number, "previous": previous}
            line |= files.sealed({key: value for key, value in line.items() if key != files.SEAL})
            previous = line[files.SEAL]
    (MINE / ledger.LEDGER).write_text("".join(f"{json.dumps(line)}\n" for line in found))
    if rechained:
        files.write_json(MINE / ledger.HEAD, files.sealed({"schema": 1, "lines": len(found), "last": previous}))


def better(found: list[dict]) -> None:
    row = next(row for line in found if line["kind"] == "look" for row in line["rows"] if row["name"] == GROUP)
    row |= {"word": "supported", "text": "supported", "low": 0.06}


def better_at_the_end(found: list[dict]) -> None:
    row = next(row for line in reversed(found) if line["kind"] == "look" for row in line["rows"])
    row |= {"word": "supported", "text": "supported", "low": 0.06, "high": 0.1}


def moved_margin(found: list[dict]) -> None:
    found[0]["rows"][1]["margin"] = 0.2


def more_pairs(found: list[dict]) -> None:
    found[0]["max_pairs"] = 20


FORGERIES: dict[str, tuple[Callable[[list[dict]], Any], str, str]] = {  # what is said of it as it is, and rechained
    "another verdict": (better, "does not match its own checksum", "did not judge the comparisons that were open"),
    "another last verdict": (better_at_the_end, "does not match", "and its blocks give"),
    "a margin moved": (moved_margin, "does not match", "its margin is 0.2 in the ledger, and 0.05 where"),
    "another largest number": (more_pairs, "does not match", "a look at 40 pairs is none of its 1"),
    "another level": (lambda found: found[0].update(alpha=0.1), "does not match", "its level is 0.1, not 0.05"),
    "a larger share": (lambda found: found[0]["rows"][0].update(share=1.0), "does not match", "its share is 1.0"),
    "an arm without another": (lambda found: found[0]["rows"][0]["cells"].pop(), "does not match", "no comparison of"),
    "another metric": (lambda found: found[0]["rows"][0].update(metric="luck"), "does not match", "comparison of luck"),
    "a look left out": (lambda found: found.pop(2), "does not follow", "the look at 40 pairs is missing"),
    "a look repeated": (lambda found: found.insert(2, copy.deepcopy(found[2])), "not follow", "40 pairs is repeated"),
    "no design": (lambda found: found.pop(0), "the design is its first line", "the design is its first line"),
    "cut short": (lambda found: found.__delitem__(slice(2, None)), "it was cut short", "the last look is missing"),
    "an early end": (lambda found: found.__delitem__(slice(2, 4)), "does not follow", "its end comes before"),
    "a seed less failed": (lambda found: found[1].update(failed={"a": [1]}), "does not match", "other runs failed"),
}  # fmt: skip


@pytest.mark.parametrize("rechained", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_ledger_is_named(bench, ended, forgery, rechained):
    shutil.copytree(ended, "results")
    found = lines()
    change, plain, careful = FORGERIES[forgery]
    change(found)
    write(found, rechained=rechained)
    code, said = verify(bench)
    assert code == 1
    assert (careful if rechained else plain) in said[0]
    if not rechained:  # nothing goes on from it either
        code, _, err = bench(*STUDY)
        assert (code, err.count("\n")) == (2, 1)
        assert "damaged ledger results/mine/ledger.jsonl" in err


def test_a_ledger_without_its_head_or_the_other_way_round_is_named(bench, ended):
    shutil.copytree(ended, "results")
    head = (MINE / ledger.HEAD).read_bytes()
    (MINE / ledger.HEAD).unlink()
    assert "ledger-head.json is missing" in verify(bench)[1][0]
    (MINE / ledger.HEAD).write_bytes(head)
    (MINE / ledger.LEDGER).unlink()
    assert "ledger.jsonl is missing" in verify(bench)[1][0]
    assert bench(*STUDY)[0] == 2
    for content, message in [
        (b"", "cut off"), (b"{", "cut off"), (b"\xff\n", "cannot be read"), (b"[]\n", "not a JSON object"),
        (b"{}\n", "schema None"), (b'{"schema": 1, "kind": 3}\n', "'number'"), (b"\n", "not readable"),
    ]:  # fmt: skip
        (MINE / ledger.LEDGER).write_bytes(content)
        code, said = verify(bench)
        assert code == 1
        assert "damaged ledger" in said[0], content
        assert "line" in said[0] or message in said[0]


def test_a_block_that_was_removed_is_named_and_changes_no_verdict(bench, ended, learner):
    shutil.copytree(ended, "results")
    block = next(MINE.glob(f"runs/weekly_exam/{GROUP}-*/seeds-000-019"))
    shutil.rmtree(block)
    before = rows()
    code, said = verify(bench)
    assert code == 1
    assert f"block {block.relative_to(MINE)}, of the look at 20 pairs, was removed" in said[0]
    assert bench(*STUDY)[0] == 0
    assert rows() == before
    assert learner.calls == []  # nothing is open at its end


@pytest.mark.slow
def test_a_block_that_is_trained_again_before_the_end_is_superseded(bench, learner):
    def stop(*_: Any) -> None:
        if len(learner.calls) > 3:
            raise ValueError("enough")

    learner.before = stop
    assert bench(*STUDY)[0] == 1
    before = rows()
    block = next(MINE.glob(f"runs/weekly_exam/{GROUP}-*/seeds-000-019"))
    shutil.rmtree(block)
    learner.before = lambda: None
    learner.arms[GROUP] = (0.9, 0.02)  # whoever removes it hopes for other numbers
    assert bench(*STUDY)[0] == 0
    path = block.relative_to(MINE).as_posix()
    superseded = {each: look["pairs"] for look in ledger.looks(ledger.read(MINE)) for each in look["superseded"]}
    assert superseded == {next(iter(superseded)): 40}
    assert Path(next(iter(superseded))).parent == Path(path).parent
    assert rows()[NONE] == before[NONE]
    assert any("superseded before the look at 40 pairs" in line for line in verify(bench)[1])


CLAIMS = f"""
title: T
defaults:
  studies: [mine]
  among: {{}}
  source: s
  metric: final
  seeds: 20
  sesoi: 0.05
  tasks: [weekly_exam]
claims:
  group_is_lower:
    statement: S
    arm: {{baseline: group}}
    against: {{baseline: critic}}
    direction: not_lower
  none_learns_more:
    statement: S
    arm: {{baseline: none}}
    against: {{name: {CRITIC}}}
    metric: area
    direction: higher
    tasks: [weekly_exam, cartpole]
  critic_learns:
    statement: S
    arm: {{baseline: critic}}
    against: {{constant: 0.2}}
    direction: higher
  steps:
    statement: S
    arm: {{baseline: none}}
    against: {{baseline: critic}}
    metric: steps
    direction: lower
  steps_of_the_policy:
    statement: S
    arm: {{baseline: none}}
    against: {{baseline: critic}}
    metric: largest_kl
    direction: lower
  not_any_more:
    statement: S
    arm: {{baseline: none}}
    against: {{baseline: critic}}
    direction: lower
    withdrawn: it was never meant
  elsewhere:
    statement: S
    studies: [other]
    arm: {{baseline: none}}
    against: {{baseline: critic}}
    direction: lower
"""


@pytest.fixture
def claims(monkeypatch, tmp_path) -> Path:
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "file.yaml").write_text(CLAIMS)
    monkeypatch.setattr(comparisons.hypotheses, "FOLDER", folder)
    return folder / "file.yaml"


def test_a_study_with_claims_is_judged_on_them(bench, claims):
    code, _, err = bench(*OWN, "study.name=mine", "max_pairs=160")
    assert code == 0, err
    planned = {row["name"]: row for row in ledger.read(MINE)[0]["rows"]}
    assert planned.keys() == {"file.group_is_lower", "file.none_learns_more", "file.critic_learns", "file.steps"}
    assert {row["share"] for row in planned.values()} == {1 / 8}  # rows of the file, those not judged here too
    assert {name: row["word"] for name, row in rows().items()} == {
        "file.group_is_lower": "supported",
        "file.none_learns_more": "supported",
        "file.critic_learns": "supported",
        "file.steps": "uninformative",  # no run gets to 0.8 before its last evaluation
    }
    # The curve rises evenly to the final score, so its area is half of that.
    area = rows()["file.none_learns_more"]
    assert area["effect"] == pytest.approx(rows_of_looks(claims, area["pairs"]), abs=1e-5)
    left_out = [line.removeprefix("left out: file.") for line in err.splitlines() if line.startswith("left out: ")]
    assert left_out == [
        f"none_learns_more on cartpole: baseline=none: not run; name={CRITIC}: not run",
        "steps_of_the_policy on weekly_exam: its metric largest_kl has no range, which looks need: the claim must "
        "declare one",
        "not_any_more on weekly_exam: withdrawn: it was never meant",
    ]
    assert verify(bench) == (0, [])


def rows_of_looks(_: Path, pairs: int) -> float:
    ends = [[ARMS[arm][0] + ARMS[arm][1] * DrawnLearner.noise(arm, seed) for seed in range(pairs)]
            for arm in (NONE, CRITIC)]  # fmt: skip
    return float(np.subtract(*ends).mean() / 2)


def test_claims_of_another_pool_are_judged_on_its_seeds(bench, claims):
    """Nobody need say which: the cells of the study are trained on the pool of seeds that the claims name."""
    claims.write_text(CLAIMS.replace("  source: s", "  source: s\n  seed_pool: confirmation"))
    code, _, err = bench(*OWN, "study.name=mine", "max_pairs=20", "dry_run=true")
    assert (code, err) == (0, "")
    code, _, err = bench(*OWN, "study.name=mine", "max_pairs=20")
    assert code == 0, err
    assert "mine: 4 comparisons, on seeds of the confirmation pool, looks at 20 pairs" in err
    trained = [block.record for path in MINE.rglob("run.json") if (block := blocks.read(path.parent))]
    assert [record["seed_pool"] for record in trained] == ["confirmation"] * 3
    assert all(record["factors"]["seed_pool"] == "confirmation" for record in trained)
    assert verify(bench) == (0, [])
    ledgered = ledger.read(MINE)
    assert bench(*OWN, "study.name=mine", "seed_pool=confirmation")[0] == 0  # said or not, it is the same study
    assert ledger.read(MINE) == ledgered
    code, _, err = bench(*OWN, "study.name=mine", "results=elsewhere", "seed_pool=main")
    assert code == 2
    assert "no runs on seed_pool=confirmation, which judges it (these are on main)" in err
    assert not Path("elsewhere").exists()


def test_claims_of_two_pools_are_judged_on_both(bench, claims):
    claims.write_text(CLAIMS.replace("  critic_learns:", "  critic_learns:\n    seed_pool: confirmation"))
    assert bench(*OWN, "study.name=mine", "max_pairs=20")[0] == 0
    planned = {row["name"]: [cell["path"] for cell in row["cells"]] for row in ledger.read(MINE)[0]["rows"]}
    pools = {path: blocks.read(next((MINE / path).glob("seeds-*"))).record["seed_pool"]
             for paths in planned.values() for path in paths}  # fmt: skip
    judged = {name: {pools[path] for path in paths} for name, paths in planned.items()}
    assert judged == {
        "file.group_is_lower": {"main"}, "file.none_learns_more": {"main"}, "file.critic_learns": {"confirmation"},
        "file.steps": {"main"},
    }  # fmt: skip
    assert len(pools) == 4  # the critic's arm on either pool, each other one where it is compared


@pytest.mark.slow
def test_a_claims_file_that_changed_is_named(bench, claims):
    assert bench(*OWN, "study.name=mine", "max_pairs=40")[0] == 0
    before = rows()
    claims.write_text(CLAIMS.replace("title: T", "title: Another"))
    assert verify(bench) == (0, ["note: results/mine/ledger.jsonl: file.yaml was changed since the last look"])
    claims.write_text(CLAIMS.replace("sesoi: 0.05", "sesoi: 0.2"))
    code, said = verify(bench)
    assert code == 1
    assert (
        "file.group_is_lower on weekly_exam: its margin is 0.05 in the ledger, and 0.2 where it was planned" in said[0]
    )
    code, _, err = bench(*OWN, "study.name=mine")
    assert (code, err.count("\n")) == (2, 1)
    assert "file.group_is_lower on weekly_exam: its margin is 0.2, and 0.05 was sealed in" in err
    claims.write_text(CLAIMS.replace("  elsewhere:", "  more:"))
    assert bench(*OWN, "study.name=mine")[0] == 0
    assert rows() == before


@pytest.mark.slow
def test_code_that_changes_between_looks_is_written_down(bench, learner, monkeypatch):
    def stop(*_: Any) -> None:
        if len(learner.calls) > 3:
            raise ValueError("enough")

    learner.before = stop
    assert bench(*STUDY)[0] == 1
    learner.before = lambda: None
    monkeypatch.setattr(looks, "code_hash", lambda: "0" * 64)
    assert bench(*STUDY)[0] == 0
    assert [line["kind"] for line in ledger.read(MINE)] == ["design", "look", "changed", "look", "look", "end"]
    assert "note: results/mine/ledger.jsonl: changed after 1 look: code" in verify(bench)[1]


def test_a_look_waits_for_what_another_process_trains(bench, monkeypatch):
    """The first sweep finds one cell in training elsewhere, which ends while this process waits."""
    monkeypatch.setattr(looks, "WAIT", 0.0)
    sweeps = []
    trained = looks._trained

    def elsewhere(cells, sweep, say):
        def counting(cells):
            report = sweep(cells)
            sweeps.append(len(cells))
            report.elsewhere = 1 if len(sweeps) == 1 else 0
            return report

        return trained(cells, counting, say)

    monkeypatch.setattr(looks, "_trained", elsewhere)
    code, _, err = bench(*OWN, "study.name=mine", "max_pairs=20")
    assert code == 0
    assert "waiting for 1 cell in training by another process" in err
    assert sweeps == [3, 3]


@pytest.mark.slow
def test_what_training_broke_off_is_not_judged(bench, learner):
    def broken(*_: Any) -> None:
        if len(learner.calls) == 2:
            raise ValueError("broken")

    learner.before = broken
    code, out, err = bench(*STUDY)
    assert code == 1
    assert "the look at 20 pairs waits for weekly_exam" in err
    assert "look at" not in out
    assert [line["kind"] for line in ledger.read(MINE)] == ["design"]
    learner.before = lambda: None
    assert bench(*STUDY)[0] == 0
    assert verify(bench) == (0, [])


@pytest.mark.slow
def test_a_real_study_is_judged(bench, monkeypatch):
    """Two arms of the learner itself, which hardly train: what is judged are their exact returns."""
    monkeypatch.setattr(execute, "train", REAL)
    own = [word for word in OWN if not word.startswith(("baseline", "evaluation", "budget"))]
    code, _, err = bench(*own, "baseline=none,critic", "budget=2000", "study.name=mine", "max_pairs=40")
    assert code == 0, err
    assert [line["kind"] for line in ledger.read(MINE)] in (
        ["design", "look", "look", "end"],
        ["design", "look", "end"],
    )
    assert all(row["exact"] for row in rows().values())
    assert verify(bench) == (0, [])


def test_a_report_has_the_verdicts_of_the_ledger(bench, claims):
    """Interval and pairs of the look at which a row stopped, though its arms have more."""
    assert bench(*OWN, "study.name=mine", "max_pairs=160")[0] == 0
    records = load.read(["mine"], "results")
    assert not records.problems
    judged = {each.name: each for each in verdicts.judge(comparisons.hypotheses.read(claims), records)}
    found = {name.removeprefix("file."): row for name, row in rows().items()}
    for name, own in found.items():
        row = next(row for row in judged[name].rows if row.task == "weekly_exam")
        assert (row.word, row.text, row.pairs, row.p) == (own["word"], own["text"], own["pairs"], own["p"])
        assert (row.effect, row.low, row.high, row.level) == (own["effect"], own["low"], own["high"], 0.05 / 8)
        assert (row.looks, row.planned, row.asked) == ((20, 40, 80, 160)[: len(row.looks)], "planned", 160)
        assert row.looks[-1] == row.pairs
    assert {row["pairs"] for row in found.values()} > {20}  # of one cell, rows stopped at several looks
    withdrawn, unbounded = judged["not_any_more"].rows[0], judged["steps_of_the_policy"].rows[0]
    assert (withdrawn.text, withdrawn.level) == ("withdrawn: it was never meant", 0.05 / 8)
    assert unbounded.pairs == 20  # as it was asked for: no look judged it
    assert "elsewhere" not in judged


@pytest.mark.usefixtures("bench")
def test_a_report_on_a_forged_ledger_says_so(ended):
    shutil.copytree(ended, "results")
    compared = against_control(load.read(["mine"], "results"))
    assert {each.row.arm: each.row.planned for each in compared} == {NONE: "planned", GROUP: "planned"}
    assert {each.row.arm: each.row.pairs for each in compared} == {NONE: 20, GROUP: 80}
    found = lines()
    better(found)
    write(found, rechained=True)
    records = load.read(["mine"], "results")
    assert "did not judge the comparisons that were open" in str(records.problems[0])
    assert {each.row.planned for each in against_control(records)} == {
        "not planned: the ledger is not what its blocks give"
    }
    (MINE / ledger.LEDGER).write_text("{}\n")  # no other interval takes the place of the one that cannot be read
    assert {each.row.text for each in against_control(load.read(["mine"], "results"))} == {
        "missing: the ledger of its looks is damaged"
    }
