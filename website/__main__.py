"""``python -m website``: put the pages together in ``build/pages`` and build the site in ``build/site`` (mkdocs)."""

from __future__ import annotations

import shutil
import subprocess
import sys

from website.pages import PAGES, ROOT, assemble, finished
from website.twins import TWINS


def main() -> int:
    """The exit code of mkdocs, for which every warning is an error."""
    pages, site = ROOT / "build" / "pages", ROOT / "build" / "site"
    shutil.rmtree(pages, ignore_errors=True)
    assemble(pages)
    code = subprocess.call([sys.executable, "-m", "mkdocs", "build", "--strict", "--clean"], cwd=ROOT)
    chinese = {(site / PAGES[page]).with_suffix(".html") for page in TWINS.values()}
    for page in site.rglob("*.html") if code == 0 else ():
        html = page.read_text(encoding="utf-8")
        page.write_text(finished(html, "zh-Hans" if page in chinese else "en"), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
