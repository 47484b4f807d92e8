"""`report.pdf`: the page as a browser without a window prints it."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from analysis.report import write_file

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
    return Printing(page).finish()


class Printing:
    """A page being printed by a browser, beside whatever else goes on."""

    def __init__(self, page: Path) -> None:
        """Start the browser. Raises `NotPrinted` where there is none."""
        command = browser()
        if command is None:
            raise NotPrinted("report.pdf not written: it needs Chromium or Chrome on the PATH")
        self._page, self._name = page, Path(command).name
        self._folder = tempfile.TemporaryDirectory()
        self._printed = Path(self._folder.name) / "page.pdf"
        target = [f"--user-data-dir={self._folder.name}/profile", f"--print-to-pdf={self._printed}"]
        arguments = [command, *FLAGS, *target, page.resolve().as_uri()]
        try:
            self._process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except OSError as error:
            self._folder.cleanup()
            raise self._failed(error) from error

    def finish(self) -> Path:
        """Wait until it is printed; the PDF's path. Raises `NotPrinted`."""
        with self._folder:
            try:
                if self._process.wait(PATIENCE) != 0:
                    raise subprocess.CalledProcessError(self._process.returncode, self._name)
                content = self._printed.read_bytes()
            except (OSError, subprocess.SubprocessError) as error:
                self._process.kill()
                raise self._failed(error) from error
        return write_file(self._page.with_name("report.pdf"), _DATE.sub(b"(D:20000101000000", content))

    def _failed(self, error: Exception) -> NotPrinted:
        return NotPrinted(f"report.pdf not written: {self._name} failed ({type(error).__name__})")
