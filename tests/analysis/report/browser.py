"""A real browser without a window: what a script sees on a page, and how many pages it prints."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--allow-file-access-from-files",
)
_PROBE = """
<script>
addEventListener("load", async () => {
  const seen = await (async () => { %s })();
  const probe = document.createElement("pre");
  probe.id = "probe";
  probe.textContent = JSON.stringify(seen);
  document.body.append(probe);
});
</script>
"""


def seen(page: Path, script: str, *flags: str, before: str = "") -> Any:
    """What a script returns on a page; `before` is a script that is there first."""
    path = page.with_name(f"probed-{page.name}")
    first = f"<script>{before}</script>" if before else ""
    path.write_text(page.read_text().replace("</body>", f"{first}{_PROBE % script}</body>"))
    done = _run(path, "--dump-dom", "--virtual-time-budget=20000", *flags)
    found = re.search(r'<pre id="probe">(.*?)</pre>', done, re.DOTALL)
    assert found, done[-2000:]
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def printed_pages(page: Path, pdf: Path) -> int:
    """How many pages of A4 or letter paper it prints."""
    _run(page, "--no-pdf-header-footer", f"--print-to-pdf={pdf}")
    return len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))


def _run(page: Path, *flags: str) -> str:
    command = [str(CHROMIUM), *FLAGS, *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
