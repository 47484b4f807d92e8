"""What a library takes: its algorithm is built once before anything runs, so that a mistake costs one line of error."""

import inspect

from bench.config.schema import Config
from bench.errors import UserError, first_line, nearest
from bench.peers.library import batch_steps, build, class_name, library_class, library_streams
from bench.tasks.registry import make


def check(config: Config) -> None:
    """Build the peer once, before anything runs. Raises `UserError` for what its library does not take."""
    name, parameters = class_name(config), config.algorithm.parameters
    accepted = inspect.signature(library_class(config)).parameters
    for key in parameters:
        if key not in accepted:
            raise UserError(f"algorithm.parameters.{key}: {name} has no such argument{nearest(key, accepted)}")
    try:
        with library_streams(0):
            model, _ = build(config, make(config.task), 0)
    except UserError:
        raise
    except Exception as error:  # whatever a library raises for settings it does not like
        refused = f"algorithm={config.algorithm.name}: {name} refuses these settings"
        raise UserError(f"{refused} ({first_line(error)})") from error
    batch = batch_steps(model)
    if batch > config.budget:
        raise UserError(f"budget={config.budget}: not one batch of {batch} steps fits; use at least {batch}")
