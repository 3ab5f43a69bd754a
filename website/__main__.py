"""``python -m website``: put the pages together in ``build/pages`` and build the site in ``build/site`` (mkdocs)."""

from __future__ import annotations

import shutil
import subprocess
import sys

from website.pages import ROOT, assemble, finished, language_of


def main() -> int:
    """The exit code of mkdocs, for which every warning is an error."""
    pages, site = ROOT / "build" / "pages", ROOT / "build" / "site"
    shutil.rmtree(pages, ignore_errors=True)
    assemble(pages)
    code = subprocess.call([sys.executable, "-m", "mkdocs", "build", "--strict", "--clean"], cwd=ROOT)
    for page in site.rglob("*.html") if code == 0 else ():
        html = page.read_text(encoding="utf-8")
        language = language_of(page.relative_to(site).with_suffix(".md").as_posix())
        page.write_text(finished(html, language), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
