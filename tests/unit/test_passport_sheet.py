"""The passport's sheet: pictures with what is marked on them, whatever kind of place it is."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset

from pretune.report.passport.page import passport_page
from pretune.report.passport.sheet import sheet_of
from tiny import POINTS, tiny_boxes, tiny_masks, tiny_pictures, tiny_poses


@pytest.mark.parametrize(
    ("rows", "facts"), [(tiny_boxes(12), {}), (tiny_masks(12), {}), (tiny_poses(12), {"classes": POINTS})]
)
def test_pictures_by_chance_have_their_answers_drawn(rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    (block,) = sheet_of({"train": Dataset.from_list(rows)}, facts)
    assert block["title"] == "9 pictures of train by chance, with what is marked on them"
    assert all(row["image"].startswith("data:image/jpeg") for row in block["rows"])
    assert [row["caption"] for row in block["rows"]] == sorted((row["caption"] for row in block["rows"]), key=int)
    page = passport_page({"splits": {"train": {"rows": 12}}}, "cells", [block])
    assert "Pictures and what is marked on them" in [section.title for section in page.sections]


def test_a_picture_that_cannot_be_read_is_left_to_the_findings() -> None:
    rows = tiny_boxes(8)
    rows[1]["image"] = {"bytes": b"no picture", "path": "1.png"}
    (block,) = sheet_of({"train": Dataset.from_list(rows)}, {})
    assert [row["caption"] for row in block["rows"] if not row["image"]] == ["1"]


def test_other_answers_have_no_sheet() -> None:
    assert sheet_of({"train": Dataset.from_list(tiny_pictures(6))}, {}) == []
