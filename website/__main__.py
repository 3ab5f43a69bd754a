"""``python -m website``: put the pages together in ``build/pages`` and build the site in ``build/site`` (mkdocs)."""

from __future__ import annotations

import shutil
import subprocess
import sys

from website.pages import ROOT, assemble


def main() -> int:
    """The exit code of mkdocs, for which every warning is an error."""
    pages = ROOT / "build" / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    assemble(pages)
    return subprocess.call([sys.executable, "-m", "mkdocs", "build", "--strict", "--clean"], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
