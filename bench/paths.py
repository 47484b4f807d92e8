"""Where the suite's own files are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of the checkout
CONF = ROOT / "conf"
