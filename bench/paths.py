"""Where the suite's own files are, in a checkout and where the package is installed."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent  # of the checkout; the folder of all packages where it is installed


def _conf() -> Path:
    """Return the folder of the configuration: a wheel holds it inside the package, a checkout beside it."""
    packed = PACKAGE / "conf"
    return packed if packed.is_dir() else ROOT / "conf"


CONF = _conf()
