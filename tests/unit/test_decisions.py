"""docs/decisions.md: numbers given once, each with a status and one line in the index; the code cites decisions that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
INDEX, BODY = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8").split("\n## 20", maxsplit=1)
DECISION = re.compile(r"^\*\*D(\d+) \(([^)]+)\)\. ", re.MULTILINE)
STATUS = re.compile(r"holds|negative(, overcome by D\d+)?|replaced by D\d+")
CITATION = re.compile(r"docs/decisions\.md((?:, D\d+)*)")


def numbers() -> list[int]:
    return [int(number) for number, _ in DECISION.findall(BODY)]


def test_every_decision_has_a_number_of_its_own_and_a_status() -> None:
    assert len(set(numbers())) == len(numbers())
    bold = [line[:60] for line in BODY.splitlines() if line.startswith("**")]
    assert [line for line in bold if not DECISION.match(line)] == []
    assert [status for _, status in DECISION.findall(BODY) if not STATUS.fullmatch(status)] == []


def test_the_index_lists_each_decision_once_with_its_status() -> None:
    listed = re.findall(r"^- D(\d+) ", INDEX, re.MULTILINE)
    assert sorted(map(int, listed)) == sorted(numbers())
    for number, status in DECISION.findall(BODY):
        [line] = re.findall(rf"^- D{number} .*$", INDEX, re.MULTILINE)
        assert status == "holds" or line.endswith(f"({status})"), line


def test_what_replaced_a_decision_is_there_and_holds() -> None:
    status_of = dict(DECISION.findall(BODY))
    later = [each.rpartition("D")[2] for each in status_of.values() if " by D" in each]
    assert later
    assert {status_of[number] for number in later} == {"holds"}


def test_the_code_cites_decisions_by_numbers_that_exist() -> None:
    cited = {
        (path.name, numbers_cited)
        for folder in ("src", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for numbers_cited in CITATION.findall(path.read_text(encoding="utf-8"))
    }
    assert cited
    assert {name for name, numbers_cited in cited if not numbers_cited} == set()
    assert {int(each) for _, many in cited for each in re.findall(r"D(\d+)", many)} <= set(numbers())
