"""Winners as options of `tuned=<task>/<arm>`: files of conf that compose the judged cell, with where they are from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from bench.config.identity import cell_hash
from bench.config.schema import Config, to_mapping
from bench.errors import UserError
from bench.paths import CONF
from bench.records import files

OVERLAYS = CONF / "tuned"
_FACTORS = ("task", "baseline", "advantage", "update", "reference", "exploration", "collect", "algorithm")
_BOOKKEEPING = (
    "seeds", "seed_pool", "study", "results", "wandb", "wandb_project", "checkpoint_minutes", "retry", "dry_run"
)  # fmt: skip


class NoOverlay(Exception):
    """Why a cell cannot be told as options and settings of conf."""


@dataclass(frozen=True)
class Overlay:
    """Options and settings that compose a cell, and the comment that goes above them."""

    options: Mapping[str, str]
    settings: Mapping[str, Any]
    comment: Sequence[str]

    @property
    def text(self) -> str:
        """The file."""
        head = ["# @package _global_", *(f"# {line}" for line in self.comment)]
        body = yaml.safe_dump(self.content, sort_keys=False, allow_unicode=True)
        return "\n".join([*head, body])

    @property
    def content(self) -> dict[str, Any]:
        """What the file says beside its comment."""
        nested: dict[str, Any] = {"defaults": [{f"override /{key}": value} for key, value in self.options.items()]}
        for key, value in self.settings.items():
            *sections, last = key.split(".")
            place = nested
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = value
        return nested


def overlay(config: Config, values: Mapping[str, Any], comment: Sequence[str]) -> Overlay:
    """The overlay that composes `config`, with the tuned `values` first.

    Raises:
        NoOverlay: where the cell is not made of options and settings alone.
    """
    from bench.cells.composition import compose, written  # Hydra takes a third of a second to import

    options = {key: name for key in _FACTORS if _option(key, name := str(getattr(config, key).name))}

    def composed(settings: Mapping[str, Any]) -> Config:
        chosen = {**options, **settings}
        try:
            return compose([f"{key}={written(value)}" for key, value in chosen.items()])
        except UserError as error:
            raise NoOverlay(str(error)) from error

    usual, wanted = _flat(to_mapping(composed(values))), _flat(to_mapping(config))
    further = {
        key: value
        for key, value in wanted.items()
        if key.partition(".")[0] not in _BOOKKEEPING and (key not in usual or usual[key] != value)
    }
    settings = {**values, **further}
    if cell_hash(composed(settings)) != cell_hash(config):
        raise NoOverlay("its options and settings compose another cell")
    return Overlay(options, settings, comment)


def _option(group: str, name: str) -> bool:
    return (CONF / group / f"{name}.yaml").exists()


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of every setting; an empty section is one."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


Stored = Literal["written", "same", "kept"]


def store(path: Path, overlay: Overlay, *, replace: bool) -> Stored:
    """Write an overlay where there is none, or the same one, or where it may `replace` another; → what was done.

    Raises:
        UserError: where the file cannot be written or read.
    """
    try:
        if path.exists():
            if _content(path) == overlay.content:
                return "same"
            if not replace:
                return "kept"
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, overlay.text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; study.tuning.overlays=none does without") from error
    return "written"


def _content(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError:  # somebody's own: another one
        return None
