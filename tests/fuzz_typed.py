"""Random command lines and files of studies, and what must hold for each: a plan, or one line with what is wrong.

    python -m tests.fuzz_typed 2000 [SEED]

The command lines are mutations of legal ones. Nothing is trained: every line ends in dry_run=true.
"""

import contextlib
import io
import os
import random
import shlex
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from bench.commands.main import main
from bench.config import options
from bench.config.aliases import KEYS, VALUES, keys
from bench.config.identity import said
from bench.config.parse import to_mapping
from bench.config.schema import Config
from bench.execution import dry_run

Words = list[str]
LEGAL: Sequence[Words] = (
    ["task=weekly_exam", "baseline=none,critic", "advantage=gae", "seeds=3", "budget=20000"],
    ["preset=ppo", "task=cartpole", "collect.n_envs=4", "learning_rate=3e-4", "seeds=[3,5]"],
    ["preset=grpo", "task=exam_question", "group.size=4", "seeds=1"],
    ["baseline=group", "advantage=monte_carlo", "group.scale=std", "group.ddof=1", "gamma=0.9,1.0", "seeds=1"],
    ["study=quick", "task=weekly_exam", "seeds=2", "budget=15000"],
    ["study=quick", "task=weekly_exam", "until=decided", "max_pairs=40"],
    ["study=honest,mountain_car", "name=published,honest", "seeds=1"],
    ["update=kl_penalty", "kl_target=0.02", "advantage=nstep", "n_step=3", "task=acrobot", "seeds=2"],
    ["reference=initial", "reference.coef=0.1", "reference.kind=k2", "reference.placement=loss", "seeds=1"],
    ["task=pendulum", "exploration=sde", "exploration.sample_freq=4", "hidden=[32,32]", "norm_obs=true", "seeds=1"],
    ["baseline=vine", "advantage=monte_carlo", "task=weekly_exam", "vine.every=4", "vine.rollouts=2", "seeds=1"],
    ["task=weekly_exam_cheat", "task.reward=true", "critic.target=same", "evaluation.points=5", "seeds=1"],
    ["baseline=batch_mean", "collect=segments", "advantage=td0", "critic.epochs=3", "batch.minibatches=2", "seeds=1"],
    ["preset=ppo,null", "task=weekly_exam", "name=mine", "study.name=mine", "results=elsewhere", "seeds=1"],
)
NUMBERS = (
    "0", "1", "-1", "3", "7", "0.5", "1e-9", "1e4", "1e30", "1e400", "nan", "-inf", "99999999999999999999999",
    "0x10", "1_000", "007", "1.0", "--1", "1/2",
)  # fmt: skip
WORDS = (
    "null", "true", "False", "none", "''", '""', "text", "a b", "ü", "a=b", "a,b", ",", "[]", "[1,2]", "[[1],2]", "{}",
    "{a:1}", "{a:{b:[1]}}", "[8", "8]", "{a:1", "(1", "'x", '"x', "glob(*)", "glob([a-c]*)", "range(3)", "range()",
    "range(1,3)", "range(0,1,0.25)", "range(0,1e9)", "interval(0,1)", "choice()", "choice(1,2)", "sort(3,1)",
    "shuffle(1,2)", "tag(x,1)", "int(3.5)", "float(x)", "str(3)", "bool(x)", "json_str({})", "extend_list(1)",
    "${gamma}", "${nowhere}", "${oc.env:NOWHERE}", "${oc.decode:x}", "${", "}", "???", "\\", "$", "~", "!", "*", "a/b",
    "../x", "/", ".", "..", ":", "@", "#", "a@b", "-", "--", "+", "x" * 300, "\N{GREEK SMALL LETTER LAMDA}", "\x00",
    "a\nb", "\udcff", "CartPole-v1", "my_envs:My-v0", "os:system", "__import__('os')", "1,2,3", "null,null",
)  # fmt: skip
PREFIXES = ("+", "++", "~", "-", "--", "@", " ", "=", "'")
FLAGS = (
    "--multirun", "-m", "--run", "--cfg", "--algo", "--seed=3", "--lr", "--config-name=x", "--config-dir", "--package",
    "--resolve", "--experimental-rerun=x", "--hydra", "-v", "--", "-", "--version", "-x=3", "--dry-run",
)  # fmt: skip
OF_HYDRA = (
    "hydra.run.dir=x", "hydra.sweep.dir=x", "hydra.verbose=true", "hydra.job.chdir=true", "hydra.launcher.n_jobs=2",
    "hydra.launcher.n_jobs=0", "hydra.launcher.x=2", "hydra/launcher=basic", "hydra/launcher=x", "hydra/sweeper=basic",
    "hydra.mode=RUN", "hydra.job.env_set.A=b", "hydra=3", "hydra.x.y=3", "hydra.launcher=3",
    "hydra.launcher.n_jobs=1,2",
    "hydra.searchpath=[nowhere]", "hydra.callbacks.x=3", "hydra.output_subdir=x", "hydra/job_logging=default",
)  # fmt: skip
STUDY = """\
# @package _global_
# A study of one's own.
defaults:
  - override /collect: episodes
study:
  name: own
  title: Mine
  control: none-gae-clip
  grids:
    - &grid
      baseline: [none, critic]
      advantage: gae
      task: [weekly_exam, exam_question]
    - <<: *grid
      baseline: group
      group.size: [2, 4]
      advantage: monte_carlo
seeds: 2
illegal: skip
critic:
  target: same
"""


def line(rng: random.Random) -> Words:
    """A command line: a legal one with up to four mutations."""
    words = list(rng.choice(LEGAL))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        rng.choice(MUTATIONS)(words, rng)
    return [*words, "dry_run=true"]


def _place(words: Words, rng: random.Random) -> int:
    return rng.randrange(len(words)) if words else words.append("gamma=0.9") or 0  # type: ignore[func-returns-value]


def _value(words: Words, rng: random.Random) -> None:
    at = _place(words, rng)
    words[at] = f"{words[at].partition('=')[0]}={rng.choice((*NUMBERS, *WORDS))}"


def _key(words: Words, rng: random.Random) -> None:
    at = _place(words, rng)
    words[at] = f"{rng.choice((*keys(), *KEYS))}={words[at].partition('=')[2]}"


def _new(words: Words, rng: random.Random) -> None:
    key = rng.choice((*keys(), *KEYS, *VALUES))
    usual = [*VALUES.get(key, ()), *(options.options(key) if key in options.groups() else ())]
    words.append(f"{key}={rng.choice([*NUMBERS, *WORDS, *usual, *usual])}")


def _misspelt(words: Words, rng: random.Random) -> None:
    at = _place(words, rng)
    key, equals, value = words[at].partition("=")
    text, turn = (key, 0) if rng.random() < 0.5 else (value, 1)
    where = rng.randrange(len(text) + 1)
    text = rng.choice((text[:where] + text[where + 1 :], text[:where] + rng.choice("aZ_-.9 /'[]{}$@~+") + text[where:]))
    words[at] = f"{text}{equals}{value}" if turn == 0 else f"{key}{equals}{text}"


def _prefixed(words: Words, rng: random.Random) -> None:
    at = _place(words, rng)
    words[at] = rng.choice(PREFIXES) + words[at]


def _packaged(words: Words, rng: random.Random) -> None:
    at = _place(words, rng)
    key, equals, value = words[at].partition("=")
    words[at] = f"{key}@{rng.choice(('_global_', 'x', 'task', 'a:b', ''))}{equals}{value}"


def _twice(words: Words, rng: random.Random) -> None:
    words.append(words[_place(words, rng)])


def _listed(words: Words, rng: random.Random) -> None:
    at = _place(words, rng)
    words[at] += f",{rng.choice((*NUMBERS, *WORDS))}"


def _dropped(words: Words, rng: random.Random) -> None:
    at = _place(words, rng)
    words[at] = rng.choice(
        (words[at].partition("=")[0], words[at].partition("=")[2], "", "~" + words[at].split("=")[0])
    )


def _swapped(words: Words, rng: random.Random) -> None:
    first, second = _place(words, rng), _place(words, rng)
    keys_of = [words[first].partition("=")[0], words[second].partition("=")[0]]
    values = [words[first].partition("=")[2], words[second].partition("=")[2]]
    words[first], words[second] = f"{keys_of[0]}={values[1]}", f"{keys_of[1]}={values[0]}"


def _foreign(words: Words, rng: random.Random) -> None:
    words.insert(rng.randrange(len(words) + 1), rng.choice((*FLAGS, *OF_HYDRA, *OF_HYDRA)))


def _bookkeeping(words: Words, rng: random.Random) -> None:
    kept = (
        "illegal=skip", "illegal=no", "plugins=json", "plugins=nowhere,json", "plugins=[1]", "retry=failed",
        "wandb=off",
        "study.control=nobody", "study.grids=[{gamma:[0.1,0.2]}]", "study.tuning=3", "seed_pool=tuning", "name=a,b",
    )  # fmt: skip
    words.append(rng.choice(kept))


Mutation = Callable[[Words, random.Random], None]
MUTATIONS: Sequence[Mutation] = (
    _value, _value, _key, _new, _new, _misspelt, _prefixed, _packaged, _twice, _listed, _dropped, _swapped, _foreign,
    _bookkeeping,
)  # fmt: skip


def study(rng: random.Random) -> bytes:
    """The file of a study: a legal one with values, keys, lines or bytes that are others."""
    kind = rng.choice(("bytes", "lines", "values", "values"))
    if kind == "bytes":
        data = bytearray(STUDY.encode())
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = bytes(rng.randrange(256) for _ in range(rng.randrange(3)))
        return bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])
    if kind == "lines":
        lines = STUDY.splitlines()
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(lines))
            change = rng.choice(("drop", "indent", "copy", "swap"))
            if change == "drop":
                del lines[at]
            elif change == "indent":
                lines[at] = rng.choice(("  ", "\t", " ")) + lines[at]
            elif change == "copy":
                lines.insert(rng.randrange(len(lines)), lines[at])
            else:
                other = rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
        return "\n".join(lines).encode()
    content = yaml.safe_load(STUDY)
    for _ in range(rng.randrange(1, 4)):
        _disturb(content, rng)
    return b"# @package _global_\n" + yaml.safe_dump(content).encode()


def _disturb(content: Any, rng: random.Random) -> None:
    """Replace, add or remove something anywhere in a mapping or list."""
    values: list[Any] = [None, True, 0, -3, 1.5, 1e400, "text", "", [], [1], [[]], {}, {"a": 1}, "2001-01-01", 10**30]
    spots = list(_spots(content))
    parent, key = rng.choice(spots)
    change = rng.choice(("value", "value", "key", "drop"))
    if change == "value" or isinstance(parent, list):
        parent[key] = rng.choice(values)
    elif change == "key":
        parent[rng.choice((*keys(), *KEYS, "x", 3, ""))] = parent.pop(key)
    else:
        del parent[key]


def _spots(content: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield content, key
        if isinstance(value, dict | list):
            yield from _spots(value)


class Judge:
    """Runs command lines in a folder of its own and says what is wrong with how one was answered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "conf" / "study").mkdir(parents=True)
        self._planned: list[Config] = []
        self.outcomes: Counter[str] = Counter()

    def command(self, words: Words, rng: random.Random) -> str | None:
        """What is wrong with the answer to a command line, None where nothing is."""
        code, out, err, planned = self._run(words)
        self.outcomes["planned" if code == 0 else "refused" if code == 2 else "failed"] += 1
        if code == 0 and planned:
            return self._ignored(words, planned, err, rng)
        return _refusal_problem(code, out, err)

    def study(self, content: bytes) -> str | None:
        """What is wrong with the answer to the file of a study, None where nothing is."""
        (self._folder / "conf" / "study" / "own.yaml").write_bytes(content)
        code, out, err, planned = self._run(["--config-dir", str(self._folder / "conf"), "study=own", "dry_run=true"])
        self.outcomes["study planned" if code == 0 else "study refused" if code == 2 else "failed"] += 1
        return None if code == 0 and planned else _refusal_problem(code, out, err)

    def _run(self, words: Words) -> tuple[Any, str, str, list[Config]]:
        out, err = io.StringIO(), io.StringIO()
        planned: list[Config] = []

        def keep(cells: Any, _: object) -> str:
            planned.extend(cell.config for cell in cells)
            return "planned"

        before = Path.cwd()
        os.chdir(self._folder)
        try:
            with (
                mock.patch.object(dry_run, "dry_run", keep),
                mock.patch("bench.commands.train.run_cell", _no_training),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                code: Any = main(words)
        except BaseException:  # whatever escapes is what is looked for
            code = traceback.format_exc()
        finally:
            os.chdir(before)
        return code, out.getvalue(), err.getvalue(), planned

    def _ignored(self, words: Words, planned: Sequence[Config], err: str, rng: random.Random) -> str | None:
        """Whether one of the words, taken at random, changed nothing without a warning."""
        word = rng.choice(words[:-1])
        key, equals, _ = word.partition("=")
        if not equals or not key[:1].isalpha() or key.startswith("hydra") or f"{key}" in err:
            return None
        code, _, _, others = self._run([other for other in words if other != word])
        if code != 0 or _plan(others) != _plan(planned):
            return None
        values = [_typed(config, key) for config in planned]
        if any(str(value) in word or value is None for value in values) or word.count("=") > 1:
            return None  # it is what they had anyhow
        return f"{word} changed nothing, and nothing was said; cells have {values[:2]}"


def _plan(configs: Sequence[Config]) -> list[str]:
    return [str((said(config), config.arm_name)) for config in configs]


def _typed(config: Config, key: str) -> Any:
    value: Any = to_mapping(config)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value.get("name", value) if isinstance(value, dict) else value


def _no_training(_: object) -> None:
    raise AssertionError("dry_run=true trained something")


def _refusal_problem(code: Any, out: str, err: str) -> str | None:
    """What is wrong with how a mistake was told, None where nothing is."""
    if code == 0 and (out or err):  # --version, --cfg
        return None
    lines = err.splitlines()
    if code != 2:
        return f"exit code {code}\n{err}"
    if out.startswith("Trains arms"):  # nothing was typed
        return None
    if out or not lines or not lines[0].startswith("error: ") or len(lines[0]) < 20:
        return f"stdout {out!r}, stderr {err!r}"
    if not all(each.startswith("  ") for each in lines[1:]) or (len(lines) > 1 and "not legal" not in lines[0]):
        return f"more than one line: {err!r}"
    return None


def fuzz(number: int, seed: int, folder: Path) -> tuple[list[str], Counter[str]]:
    """The problems of a number of command lines, a fifth of them with a random study's file, and counts of outcomes."""
    rng, judge, problems = random.Random(seed), Judge(folder), []
    for index in range(number):
        if index % 5 == 4:
            content = study(rng)
            problem, what = judge.study(content), content.decode(errors="backslashreplace")
        else:
            words = line(rng)
            problem, what = judge.command(words, rng), shlex.join(words)
        if problem is not None:
            problems.append(f"{index}: {what}\n    {problem}")
    return problems, judge.outcomes


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        found, counts = fuzz(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, Path(place))
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    print("\n".join([*found, f"{dict(counts)}, {len(found)} problems"]))
