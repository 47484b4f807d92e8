"""Designs of settings from the command line: what is trained, recorded, refused, resumed and verified."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import bench as package
from analysis.cli import main as analyse
from analysis.load import pull
from bench.commands.main import main
from bench.config.design import seed_of, setting_of
from bench.config.parse import parse
from bench.errors import UserError
from bench.execution import execute
from bench.learner import PolicyGradient
from bench.records import block as blocks
from bench.records import files, mirror, provenance
from tests.analysis.load.mirrored import read
from tests.fake_learner import FakeLearner

Bench = Callable[..., tuple[int, str, str]]

MADE = """\
# @package _global_
# A small one.
design:
  name: made
  settings: 3
  scramble: 1
  judged: 0
  space:
    learning_rate: {log_uniform: [1.0e-04, 1.0e-02]}
    critic.learning_rate: {log_uniform: [3.0e-04, 3.0e-02]}
    gae_lambda: {uniform: [0.8, 1.0]}
    gamma: {choice: [0.9, 0.99]}
  strata:
    few: {weight: 3, keys: {collect: episodes, group.groups: 1}}
    pieces: {keys: {collect: segments, batch.n_envs: 3}}
seeds: [0, 4]
seed_pool: tuning
"""
SMALL = (
    "task=cartpole", "task.time_limit=20", "budget=400", "batch.n_steps=30", "batch.epochs=2", "hidden=[8,8]",
    "group.size=2", "evaluation.points=2", "evaluation.episodes=2", "wandb=disabled", "hydra/launcher=basic",
)  # fmt: skip
ARMS = ("baseline=critic,batch_mean", "advantage=gae,monte_carlo")
DESIGN = ("design=made", *SMALL, *ARMS)


@pytest.fixture
def bench(monkeypatch, tmp_path, capsys) -> Bench:
    """Run a command line in a folder of its own, with a design; → exit code, stdout, stderr."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "HYDRA_FULL_ERROR", provenance.COMMAND):
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)
    write(MADE)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["--config-dir", "mine", *arguments] if "=" in arguments[0] else arguments)
        return code, *capsys.readouterr()

    return run


def write(text: str) -> None:
    path = Path("mine/design/made.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def records(study: str = "adhoc") -> list[tuple[Path, dict]]:
    paths = sorted(Path("results", study, "runs").glob("*/*/*/run.json"))
    return [(path.parent, json.loads(path.read_text())) for path in paths]


def table(folder: Path, name: str, run: int) -> list[dict]:
    rows = pq.read_table(folder / name).to_pylist()
    return [{key: value for key, value in row.items() if key != "seed"} for row in rows if row["seed"] == run]


def test_each_run_is_the_same_alone_in_a_cell_with_its_numbers(bench: Bench):
    code, out, err = bench(*DESIGN)
    assert (code, out) == (0, "7 cells, 0 failures: results/adhoc\n"), err
    assert "  batch_mean-monte_carlo-clip in pieces: advantage=monte_carlo with collect=segments" in err
    found = records()
    assert len(found) == 7
    for folder, record in found:
        design = record["design"]
        assert design["weight"] == {"few": 3, "pieces": 1}[design["stratum"]]
        first = {"few": 0, "pieces": 1000}[design["stratum"]]
        assert list(design["settings"]) == [str(first), str(first + 1), str(first + 2)]
        runs = [int(run) for run in record["seeds"]]
        assert sorted(runs) == [first, first + 1, first + 2, 40_000 + first, 40_001 + first, 40_002 + first]
        model = PolicyGradient.load(folder / blocks.POLICY)
        run = runs[-2]
        config = parse(files.parse_yaml((folder / blocks.CONFIG).read_bytes()))
        own = design["settings"][str(setting_of(run))]
        baseline, advantage = (record["factors"][key] for key in ("baseline", "advantage"))
        structure = [f"collect={config.collect.name}", f"group.groups={config.group.groups}", "batch.n_envs=3"]
        values = [f"{key}={value}" for key, value in own.items()]
        alone = package.compose(
            [*SMALL[:-1], f"baseline={baseline}", f"advantage={advantage}", *structure, *values,
             "seed_pool=tuning", f"seeds=[{seed_of(run)}]", "results=alone"]
        )  # fmt: skip
        assert ("critic.learning_rate" in own) == alone.has_critic
        assert ("gae_lambda" in own) == (advantage == "gae")
        single = package.run(alone)
        for name in blocks.NUMBERS:
            assert table(folder, name, run) == table(single, name, seed_of(run)), (folder, name)
        place = model.names.index(run)
        weights = PolicyGradient.load(single / blocks.POLICY).policy.weights()
        for part, tensors in model.policy.weights().items():
            for name, tensor in tensors.items():
                assert tensor[place].equal(weights[part][name][0]), (folder, part, name)
        assert model.numbers.arms[place].gamma == own["gamma"]
        assert model.seeds[place] == 4


def test_all_arms_have_the_same_points_in_their_own_keys(bench: Bench, learner: FakeLearner):
    assert bench(*DESIGN)[0] == 0
    assert len(learner.calls) == 7
    for stratum in ("few", "pieces"):
        own = [record["design"]["settings"] for _, record in records() if record["design"]["stratum"] == stratum]
        for setting in own[0]:
            for key in ("learning_rate", "critic.learning_rate", "gae_lambda", "gamma"):
                values = {each[setting].get(key) for each in own} - {None}
                assert len(values) == 1, (stratum, setting, key)


@pytest.mark.usefixtures("learner")
@pytest.mark.parametrize("instead", ["", "    ent_coef: {log_uniform: [1.0e-04, 1.0e-02]}\n"], ids=["alone", "beside"])
def test_a_number_that_conf_takes_from_another_follows_it(bench: Bench, instead: str):
    """Also beside a number with the same distribution, which it does not follow."""
    write(MADE.replace("    critic.learning_rate: {log_uniform: [3.0e-04, 3.0e-02]}\n", instead))
    assert bench("design=made", *SMALL)[0] == 0
    for _, record in records():
        for own in record["design"]["settings"].values():
            assert own["critic.learning_rate"] == own["learning_rate"] != own.get("ent_coef")


def test_more_settings_and_seeds_are_further_blocks_and_nothing_is_trained_twice(bench: Bench, learner: FakeLearner):
    words = ("design=made", *SMALL, "baseline=critic", "advantage=gae", "study.name=mine")
    assert bench(*words)[0] == 0
    assert bench(*words)[1] == "2 cells, 2 of them done before, 0 failures: results/mine\n"
    assert bench(*words, "design.settings=4", "seeds=[0,4,5]")[0] == 0
    few = [(0, 1, 2, 40_000, 40_001, 40_002), (3, 40_003, 50_000, 50_001, 50_002, 50_003)]
    assert sorted(map(sorted, learner.calls)) == sorted(
        [*map(list, few), *([run + 1000 for run in block] for block in few)]
    )
    cells = json.loads(Path("results/mine/study.json").read_text())
    assert [(cell["design"], cell["stratum"]) for cell in cells["cells"]] == [("made", "few"), ("made", "pieces")]
    assert cells["designs"]["made"]["settings"] == 4
    assert bench("status", "study=mine")[1].startswith("mine: 24 done")


@pytest.mark.usefixtures("learner")
def test_a_design_that_was_changed_after_its_runs_is_refused_and_nothing_is_lost(bench: Bench):
    assert bench("design=made", *SMALL)[0] == 0
    before = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    write(MADE.replace("[0.8, 1.0]", "[0.9, 1.0]"))
    for words in ((), ("dry_run=true",)):
        code, out, err = bench("design=made", *SMALL, *words)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert "design=made: it has been changed since its runs in results/adhoc: its space.gae_lambda was" in err
    assert {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()} == before
    assert bench("design=made", "design.name=narrow", *SMALL)[0] == 0
    assert len(records()) == 4


def test_a_setting_that_fails_is_a_result(bench: Bench, learner: FakeLearner):
    learner.causes = {1: "NaN in the loss", 1001: "NaN in the loss"}
    assert bench("design=made", *SMALL)[:2] == (0, "2 cells, 0 failures: results/adhoc\n")
    assert bench("design=made", *SMALL)[1] == "2 cells, 2 of them done before, 0 failures: results/adhoc\n"
    assert [
        record["seeds"][run]["status"] for run in ("1", "1001") for _, record in records() if run in record["seeds"]
    ] == ["failed"] * 2


def test_many_runs_are_several_blocks(bench: Bench, learner: FakeLearner, monkeypatch):
    monkeypatch.setattr(execute, "TOGETHER", 4)
    assert bench("design=made", *SMALL)[0] == 0
    assert sorted(learner.calls) == [
        (0, 1, 2, 40_000), (1000, 1001, 1002, 41_000), (40_001, 40_002), (41_001, 41_002)
    ]  # fmt: skip


def test_a_block_that_was_killed_goes_on_to_the_same_bytes(bench: Bench, monkeypatch):
    words = ("design=made", *SMALL, "checkpoint_minutes=0")
    assert bench(*words, "results=whole")[0] == 0
    train = execute.train

    class Killed(BaseException):
        """No exception that is recorded."""

    def dying(config, seeds, observer, checkpoint=None):
        saved = observer.on_checkpoint
        times = []

        def on_checkpoint(save):
            if len(times) == 3:
                raise Killed
            times.append(saved(save))

        observer.on_checkpoint = on_checkpoint
        return train(config, seeds, observer, checkpoint)

    monkeypatch.setattr("bench.records.training.CHECKPOINT_SHARE", 1e9)  # saves at once again
    monkeypatch.setattr(execute, "train", dying)
    with pytest.raises(Killed):
        bench(*words)
    assert list(Path("results").rglob("partial.zip"))
    monkeypatch.setattr(execute, "train", train)
    assert bench(*words)[0] == 0
    assert any("resumed" in record for _, record in records())
    names = (*blocks.NUMBERS, blocks.POLICY, blocks.CHECKPOINT)
    for folder, _ in records():
        whole = Path("whole") / folder.relative_to("results")
        assert {name: (folder / name).read_bytes() == (whole / name).read_bytes() for name in names} == dict.fromkeys(
            names, True
        )


def test_blocks_are_verified_and_a_tampered_setting_is_seen(bench: Bench):
    assert bench("design=made", *SMALL)[0] == 0
    code, out, err = bench("verify", "results/adhoc", "rerun=1")
    assert code == 0, out + err
    folder, record = records()[0]
    setting = next(iter(record["design"]["settings"].values()))
    path = folder / blocks.RECORD
    path.write_text(path.read_text().replace(str(setting["learning_rate"]), "0.5"))
    code, out, err = bench("verify", "results/adhoc")
    assert code == 1
    assert "run.json is not" in out + err


@pytest.mark.usefixtures("learner")
def test_a_dry_run_says_how_many_settings_and_runs_there_are(bench: Bench):
    code, out, _ = bench(*DESIGN, "dry_run=true")
    assert code == 0
    # three settings in each of two strata; four arms in one, three in the other, each with two seeds
    assert "design made: 6 settings in 2 strata, 4 arms (arm and task), 42 runs" in out.splitlines()
    assert out.splitlines()[-1] == "no recorded speed on this machine yet: 16,800 environment steps"
    assert bench("design=made", *SMALL)[0] == 0
    assert bench("design=made", *SMALL, "dry_run=true")[1].splitlines()[-1] == "nothing to train"


@pytest.mark.usefixtures("learner")
def test_runs_are_mirrored_each_with_its_own_numbers_and_come_back_as_blocks(bench: Bench, monkeypatch):
    assert bench("design=made", *SMALL, "study.name=mine")[0] == 0
    sent = []
    for folder, record in records("mine"):
        block = blocks.read(folder)
        assert block is not None
        runs = mirror.runs(block, sorted(block.seeds))
        for run, mirrored in runs.items():
            own = record["design"]["settings"][str(setting_of(run))]
            assert mirrored.config["run"] == {"setting": setting_of(run), "seed": seed_of(run), **own}
            assert list(mirrored.config["settings"]["design"]["drawn"].values()) == [own]
            assert list(mirrored.config["record"]["design"]["settings"].values()) == [own]
        sent += [read(run) for run in runs.values()]
    monkeypatch.setattr(pull, "_runs", lambda *_: iter(sent))
    assert analyse(["pull", "somebody/some-project", "study=pulled"]) == 0
    for (folder, record), (original, whole) in zip(records("pulled"), records("mine"), strict=True):
        assert folder.relative_to("results/pulled") == original.relative_to("results/mine")
        assert (record["design"], record["factors"]) == (whole["design"], whole["factors"])
        assert (folder / "curves.parquet").read_bytes() == (original / "curves.parquet").read_bytes()
    mine, pulled = (json.loads(Path("results", name, "study.json").read_text()) for name in ("mine", "pulled"))
    assert pulled["designs"] == mine["designs"]
    assert [cell["stratum"] for cell in pulled["cells"]] == ["few", "pieces"]


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (
            ("gamma: {choice: [0.9, 0.99]}", "update.epochs: {choice: [2, 4]}"),
            (),
            "design.space.update.epochs: it is structural",
        ),
        (("gamma: {choice: [0.9, 0.99]}", "collect: {choice: [2, 4]}"), (), "design.space.collect: it is structural"),
        (("gamma: {choice: [0.9, 0.99]}", "gamme: {choice: [0.9, 0.99]}"), (), "design.space.gamme: unknown key"),
        (("[0.9, 0.99]", "[0.9, 1.01]"), (), "design.space.gamma=choice [0.9, 1.01]: not legal for critic-gae-clip on"),
        (("[0.8, 1.0]", "[0.8, 1.2]"), (), "gae_lambda=1.2: must lie in [0, 1]"),
        (("settings: 3", "settings: 1"), (), "design.settings=1: design made must have 2 to 1000 in each stratum"),
        (("settings: 3", "settings: 1001"), (), "design.settings=1001: design made must have 2 to 1000"),
        (("settings: 3", "settings: many"), (), "design.settings=many: must be a whole number"),
        (("scramble: 1", "scramble: -1"), (), "design.scramble=-1: must be at least 0"),
        (("scramble: 1", "scrabble: 1"), (), "unknown key 'design.scrabble'"),
        (("name: made", "name: a/b"), (), "design.name=a/b: it names a folder"),
        (("group.groups: 1", "learning_rate: 1"), (), "design.strata.few.keys.learning_rate: it is a number"),
        (("group.groups: 1", "group.group: 1"), (), "unknown key 'design.strata.few.keys.group.group'"),
        (("group.groups: 1", "seeds: 1"), (), "design.strata.few.keys.seeds: it is no structure of an arm"),
        (("collect: episodes", "collect: episode"), (), "unknown design.strata.few.keys.collect 'episode'"),
        (("weight: 3", "weight: 0"), (), "design.strata.few.weight=0: must be a number greater than 0"),
        (("weight: 3", "wait: 3"), (), "unknown key of design.strata.few 'wait'"),
        (("", ""), ("gamma=0.9",), "gamma=0.9: design made varies it"),
        (("", ""), ("collect=episodes",), "collect=episodes: design made sets it in its strata"),
        (("", ""), ("algorithm=sb3_ppo",), "design=made with algorithm=sb3_ppo"),
        (("", ""), ("retry=failed",), "retry=failed with design=made"),
        (("", ""), ("until=decided",), "until=decided with design=made"),
        (("", ""), ("seeds=[214748]",), "seeds: seed 214748 is too large for a design; the largest is 214747"),
        (("", ""), ("seeds=4000",), "3 settings of 4000 seeds are more than 10000 runs of a cell"),
        (("few:", "'a/b':"), (), "design.strata.a/b=a/b: it names a folder"),
        (("", ""), ("+design.stratum=few",), "design made: design.stratum, place and drawn are found out"),
        (
            ("", ""),
            ("design.space.ent_coef={uniform:[0.1,0.2]}",),
            "design.space.ent_coef: there is no such key in this design; "
            "write '+design.space={ent_coef: {uniform: [...]}}' to add one",
        ),
        (
            ("", ""),
            ("design.space={critic.gae_lambda:{uniform:[0,1]}}",),
            "design.space.critic.gae_lambda: there is no such key in this design; "
            "write '+design.space={critic.gae_lambda: {uniform: [...]}}' to add one",
        ),
        (
            ("", ""),
            ("design.space.learning_rate={uniform:[0.1,0.2]}",),
            "design.space.learning_rate: it has another distribution; a design of your own may have this one",
        ),
        (
            ("", ""),
            ("design.space.learning_rate={normal:[0,1]}",),
            "design.space.learning_rate.normal: a distribution is one of uniform: [...], log_uniform: [...], choice: [",
        ),
        (("  judged: 0\n", ""), ("design.judged=3",), "design.judged: conf does not set it; add it with a plus sign"),
    ],
)
def test_what_is_no_design_is_refused_in_one_line(
    bench: Bench, learner: FakeLearner, change: tuple[str, str], words: tuple[str, ...], message: str
):
    assert change[0] in MADE
    write(MADE.replace(*change) if change[0] else MADE)
    code, out, err = bench("design=made", *SMALL, *words)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert not learner.calls
    assert not Path("results").exists()


def test_an_empty_space_is_refused(bench: Bench):
    text = MADE.partition("  space:")
    write(text[0] + "  space: {}\n" + "  strata" + text[2].partition("  strata")[2])
    code, _, err = bench("design=made", *SMALL)
    assert (code, err) == (2, "error: design made: design.space is empty; name at least one key and its distribution\n")


def test_a_design_is_no_single_cell():
    with pytest.raises(UserError, match="design=wide: a design is many cells"):
        package.run(package.compose(["design=wide", *SMALL[:-1]]))


@pytest.fixture
def learner(monkeypatch) -> FakeLearner:
    fake = FakeLearner()
    monkeypatch.setattr(execute, "train", fake)
    return fake
