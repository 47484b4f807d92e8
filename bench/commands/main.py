"""`python -m bench VERB …`: one file a verb, in this folder; without a verb, cells are trained."""

import importlib
import itertools
import os
import shlex
from collections.abc import Callable, Sequence
from importlib.metadata import version

from bench.config.aliases import keys, meant_flag, meant_word
from bench.errors import UserError, nearest
from bench.interruption import run_command
from bench.records.provenance import COMMAND, THREADS

USAGE = """\
Trains arms of policy-gradient methods, many seeds at a time, and records what happened below results/.

python -m bench [KEY=VALUE ...]     train one cell; several values (KEY=A,B) train every combination
python -m bench [...] dry_run=true  what there is to train, and how long it will take; or retry=failed
python -m bench study=NAME [...]    train a study's cells that are not done
python -m bench study=NAME until=decided     add seeds until every comparison has a verdict
python -m bench list                factors and their options, presets, tasks, studies
python -m bench results study=NAME  the final scores of a study, with their intervals
python -m bench status study=NAME   what is done, running, failed or missing
python -m bench rerun RUN_DIR       train a block again, beside the results, and compare the numbers
python -m bench verify RESULTS      hold files against their checksums and train a random block again
python -m bench pack study=NAME     one file of a study's records and curves, to hand on
python -m bench enjoy RUN_DIR [seed=3]       an episode as an animation, or as text
python -m bench wandb-sync study=NAME        what Weights & Biases does not have yet
python -m bench lab study=NAME      bias and variance of every estimator against ground truth
python -m bench speed               this suite and its peers, side by side
python -m bench --cfg job [...]     print the composed configuration; --hydra-help for Hydra's other flags

For example: python -m bench baseline=none,critic advantage=gae task=weekly_exam seeds=5 budget=20000
Then `python -m analysis study=NAME` writes the report. Without study=NAME runs go to the study adhoc, with
study.name=mine to one of your own."""
VERBS = ("list", "results", "status", "rerun", "verify", "pack", "enjoy", "wandb-sync", "speed", "lab")
HYDRA_FLAGS = (  # those that are of use here
    "--hydra-help", "--cfg", "-c", "--resolve", "--package", "-p", "--info", "-i", "--multirun", "-m", "--config-dir",
    "-cd", "--shell-completion", "-sc",
)  # fmt: skip
NOT_VERBS = {  # what one may take for a verb, and what to write instead
    **dict.fromkeys(("train", "run", "sweep", "learn", "start", "resume"), "python -m bench KEY=VALUE"),
    **dict.fromkeys(("analysis", "analyse", "analyze", "report", "plot", "compare"), "python -m analysis study=NAME"),
    **dict.fromkeys(("eval", "evaluate", "play", "render", "watch"), "python -m bench enjoy RUN_DIR"),
    **dict.fromkeys(("dry-run", "dry_run", "plan"), "python -m bench KEY=VALUE dry_run=true"),
    **dict.fromkeys(("tune", "optimize", "hpo"), "python -m bench study=tuned"),
    **dict.fromkeys(("sync", "wandb"), "python -m bench wandb-sync study=NAME"),
    **dict.fromkeys(("ls", "show", "options"), "python -m bench list"),
    **dict.fromkeys(("scores", "table", "result"), "python -m bench results study=NAME"),
}


def main(words: Sequence[str]) -> int:
    """Run a command line; the exit code: 0, 1 where a cell failed, 2 for a mistake, 128 + a signal that ended it."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # before NumPy and torch are loaded, here and in the workers
        os.environ[name] = str(THREADS)
    return run_command(_dispatch, words)


def _dispatch(words: list[str]) -> int:
    os.environ[COMMAND] = shlex.join(["python", "-m", "bench", *words])
    first = words[0] if words else ""
    asks_for_help = bool({"-h", "--help"} & set(words))
    if first == "help" or (asks_for_help and first not in VERBS):
        print(USAGE)
        return 0
    if first == "--version":
        print(f"policy-gradient-bench {version('policy-gradient-bench')}")
        return 0
    if first in VERBS:
        if asks_for_help and first != "lab":
            print("\n".join(line for line in USAGE.splitlines() if line.startswith(f"python -m bench {first} ")))
            return 0
        return _verb(first)(words[1:])
    if not words or all(word in ("-m", "--multirun") for word in words):  # nothing is asked for
        print(USAGE)
        return 2
    _check_signs(words)
    for word in words:
        if not word:
            raise UserError("an empty word was typed: write KEY=VALUE")
    if "=" not in first and not first.startswith(("-", "~")):
        hint = f"; did you mean '{NOT_VERBS[first]}'?" if first in NOT_VERBS else nearest(first, VERBS)
        raise UserError(
            f"unknown command '{first}': allowed are {', '.join(VERBS)}, and KEY=VALUE{hint or meant_word(first)}"
        )
    return _verb("train")(words)


def _verb(name: str) -> Callable[[Sequence[str]], int]:
    """Return the `main` of a verb's file, which is imported only now: some of them take seconds."""
    verb: Callable[[Sequence[str]], int] = importlib.import_module(f"bench.commands.{name.replace('-', '_')}").main
    return verb


def _check_signs(words: Sequence[str]) -> None:
    """Refuse what Hydra would answer with its own usage: spaces around a sign, flags it does not have."""
    for first, second in itertools.pairwise(words):
        if second.startswith("=") and "=" not in first:
            raise UserError(f"'{first} {second}': write KEY=VALUE without spaces, such as baseline=group")
    for number, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag.startswith("-") and flag not in HYDRA_FLAGS:
            following = words[number + 1] if number + 1 < len(words) and not equals else value
            plain = f"; settings have no dashes: {flag.lstrip('-')}=VALUE"
            meant = plain if flag.lstrip("-") in keys() else meant_flag(flag, following or None)
            hint = nearest(flag, HYDRA_FLAGS, cutoff=0.7) or meant or plain
            raise UserError(f"unknown flag '{flag}' ('python -m bench --help' shows them){hint}")
