"""Errors that are the user's to mend: one line, exit code 2, never a traceback."""

import difflib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

# What the extras of pyproject.toml hold: no index knows their names, for the suite itself is on none.
EXTRAS: Mapping[str, str] = {
    "peers": "gymnax==0.0.9 jax==0.10.2 rejax==0.1.3 sbx-rl==0.28.0",
    "ray": "hydra-ray-launcher",
    "render": "pygame",
    "slurm": "hydra-submitit-launcher",
    "tensorboard": "tensorboard",
    "video": "moviepy",
}


class UserError(Exception):
    """A mistake in what the user asked for: what is wrong, the value given, what is allowed, the nearest match.

    `details` are further lines, where there are several things of a kind to be mended, such as illegal cells.
    """

    def __init__(self, line: str, details: Sequence[str] = ()) -> None:
        super().__init__(line)
        self.details = tuple(details)

    def __str__(self) -> str:
        return "\n  ".join([one_line(str(self.args[0])), *map(one_line, self.details)])


class DamagedCheckpoint(Exception):
    """A checkpoint that cannot be read, or is of another model: what began there must begin again."""


class RunWarning(UserWarning):
    """What a user should know of a run that goes on all the same."""


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def one_line(text: str) -> str:
    """Return a text in which line breaks, control characters and what no terminal can show are escaped."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def exit_code(command: Callable[[list[str]], int], words: Sequence[str]) -> int:
    """Run a command of these words and return its exit code: 2 after a `UserError`, which is printed in one line.

    Where whoever reads the standard output has closed it, as `head` does, it is that of a process that a closed pipe
    ends, and nothing is said.
    """
    try:
        for word in words:
            if one_line(word) != word:
                raise UserError(f"'{word}': it has a line break, a control character, or bytes that are not UTF-8")
        code = command(list(words))
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # or of a pipe to another process
        if not _reader_is_gone():
            raise
        return 128 + signal.SIGPIPE
    return code


def _reader_is_gone() -> bool:
    """Return whether the standard output is closed, and see to it that nothing fails when Python flushes it at exit."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # it is no file
        return False
    state = select.poll()
    state.register(output, 0)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in state.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return gone


def nearest(given: object, allowed: Iterable[object], cutoff: float = 0.5) -> str:
    """`"; did you mean 'x'?"` for the option closest to `given`, or `""` where none is close."""
    match = difflib.get_close_matches(str(given), [str(option) for option in allowed], n=1, cutoff=cutoff)
    return f"; did you mean '{match[0]}'?" if match else ""


def install(extra: str) -> str:
    """Return the command that installs what an extra holds, from wherever the suite itself came."""
    return f"pip install {EXTRAS[extra]}"


def unknown(kind: str, given: object, allowed: Iterable[object]) -> UserError:
    """The error for a name that does not exist, with the names that do."""
    options = [str(option) for option in allowed]
    return UserError(f"unknown {kind} '{given}': allowed are {', '.join(options)}{nearest(given, options)}")


def shortened(lines: Sequence[str], most: int = 20, further: str = "") -> list[str]:
    """Return the first of many lines of a kind, and a last one that says how many there are beyond, and where."""
    rest = len(lines) - most
    return list(lines) if rest <= 0 else [*lines[:most], f"and {rest} more{further}"]


def counted(number: int, what: str, several: str | None = None) -> str:
    """Return the number and what it counts, in the plural unless it is 1: `1 cell`, `2 cells`."""
    return f"{number} {what}" if number == 1 else f"{number} {several or f'{what}s'}"
