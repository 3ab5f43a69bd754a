"""The ranges of pyproject.toml: each with a lower end for `make lowest` to hold it to, and the versions of constraints.txt inside."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from lowest import lowest, pins

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_the_lower_end_of_a_range_is_its_pin() -> None:
    assert lowest(["torch>=2.6", "scipy<2,>=1.11.1", "av~=13.0", "jiwer", "ray<3"]) == {
        "torch": "2.6",
        "scipy": "1.11.1",
        "av": "13.0",
    }


def test_whatever_people_install_has_a_lower_end() -> None:
    offered = [each for name, many in EXTRAS.items() if name not in ("dev", "docs") for each in many]
    assert {Requirement(each).name for each in PROJECT["dependencies"] + offered} == set(pins())


def test_tests_run_with_the_ranges_that_people_get() -> None:
    tools = lowest(EXTRAS["dev"])
    assert {name: tools[name] for name in tools.keys() & pins()} == {
        name: pins()[name] for name in tools.keys() & pins()
    }


def test_the_versions_of_the_tests_are_in_their_ranges() -> None:
    tested = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
    )
    outside = [
        each
        for each in map(Requirement, PROJECT["dependencies"] + EXTRAS["dev"])
        if each.name in tested and not each.specifier.contains(tested[each.name], prereleases=True)
    ]
    assert outside == []
