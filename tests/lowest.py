"""The lowest version of everything that pyproject.toml allows, as pins for pip: `make lowest` installs and tests under them.

What people install is pinned, the extras they may ask for too; the tools of development are nobody's to install, so their ranges are not held to.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
OURS = {"dev", "docs"}


def lowest(ranges: list[str]) -> dict[str, str]:
    """Each package's lower end; a range without one stays out."""
    pins = {}
    for each in map(Requirement, ranges):
        for bound in each.specifier:
            if bound.operator in (">=", "==", "~="):
                pins[each.name] = bound.version
    return pins


def pins() -> dict[str, str]:
    """What people install, with its extras, at its lowest."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for name, many in project["optional-dependencies"].items() if name not in OURS for each in many]
    return lowest(project["dependencies"] + extras)


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in sorted(pins().items()))
