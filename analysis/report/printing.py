"""`report.pdf`: the page as a browser without a window prints it."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from analysis.report.report import write_file

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 300  # seconds
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-pdf-header-footer")
_DATE = re.compile(rb"\(D:\d{14}")


class NotPrinted(Exception):
    """Why there is no PDF, in one line."""


def browser() -> str | None:
    """The command of a Chromium on this machine, None where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def pdf(page: Path) -> Path:
    """Print `page` into a PDF beside it; the same page gives the same bytes. Raises `NotPrinted`."""
    command = browser()
    if command is None:
        raise NotPrinted("report.pdf not written: it needs Chromium or Chrome on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder) / "page.pdf"
        target = [f"--user-data-dir={folder}/profile", f"--print-to-pdf={printed}"]
        try:
            subprocess.run(
                [command, *FLAGS, *target, page.resolve().as_uri()],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
                timeout=PATIENCE,
            )
            content = printed.read_bytes()
        except (OSError, subprocess.SubprocessError) as error:
            raise NotPrinted(f"report.pdf not written: {Path(command).name} failed ({type(error).__name__})") from error
    return write_file(page.with_name("report.pdf"), _DATE.sub(b"(D:20000101000000", content))
