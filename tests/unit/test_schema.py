"""The fields of a file are checked where it is read: what is wrong, where, and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from pretune.errors import CorruptFile
from pretune.schema import Check, flag, listed, mapped, maybe, number, record, require, text, whole

ABOUT = record(
    {
        "task": text(),
        "labels": listed(text(), least=2, unique=True),
        "temperature?": number(above=0),
        "image_size?": maybe(whole(1, 8192)),
        "long_text?": text("truncate", "windows"),
        "scores?": mapped(record({"value": number(0, 1)})),
        "rows_alone?": flag,
    }
)
WHOLE = {"task": "t", "labels": ["a", "b"]}


def test_what_fits_is_given_back():
    value = {**WHOLE, "temperature": 2, "image_size": None, "scores": {"acc": {"value": 1}}, "other": object()}
    assert require(value, ABOUT, "pretune.json") is value


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"task": None}, "task is null, and must be a text"),
        ({"labels": None}, "labels is null, and must be a list"),
        ({"labels": ["a"]}, "labels has 1 entries, and must have 2 at least"),
        ({"labels": ["a", "b", "a"]}, "labels names 'a' twice"),
        ({"labels": ["a", 7]}, "labels[1] is 7, and must be a text"),
        ({"temperature": 0}, "temperature is 0, and must be above 0"),
        ({"temperature": -1.5}, "temperature is -1.5, and must be above 0"),
        ({"temperature": float("nan")}, "temperature is nan, and must be a number"),
        ({"temperature": float("inf")}, "temperature is inf, and must be a number"),
        ({"temperature": True}, "temperature is True, and must be a number"),
        ({"temperature": "1"}, "temperature is '1', and must be a number"),
        ({"image_size": 0}, "image_size is 0, and must be at least 1 and at most 8192"),
        ({"image_size": 1.5}, "image_size is 1.5, and must be a whole number"),
        ({"long_text": "cut"}, "long_text is 'cut', allowed: truncate, windows"),
        ({"scores": {"acc": {"value": 2}}}, "scores.acc.value is 2, and must be at least 0 and at most 1"),
        ({"scores": {"acc": {}}}, "scores.acc.value is missing"),
        ({"scores": []}, "scores is a list, and must be an object"),
        ({"rows_alone": "yes"}, "rows_alone is 'yes', and must be true or false"),
        ({"labels": ["a", {"b": "c"}]}, "labels[1] is an object, and must be a text"),
        ({"task": "x" * 200}, ""),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], told: str):
    if not told:
        require({**WHOLE, **changes}, ABOUT, "pretune.json")
        return
    with pytest.raises(CorruptFile) as caught:
        require({**WHOLE, **changes}, ABOUT, "pretune.json")
    assert caught.value.problem == f"pretune.json is not as pretune wrote it: {told}"
    assert caught.value.fix


@pytest.mark.parametrize(
    ("value", "check", "told"),
    [
        ({"labels": []}, ABOUT, "task is missing"),
        ([], ABOUT, "it is a list, and must be an object"),
        ([["a"], ["b", 3]], listed(listed(text())), "[1][1] is 3, and must be a text"),
        (["x" * 100], listed(whole()), f"[0] is '{'x' * 59} ..., and must be a whole number"),
    ],
)
def test_the_way_to_it_is_told(value: Any, check: Check, told: str):
    with pytest.raises(CorruptFile) as caught:
        require(value, check, "a.json")
    assert caught.value.problem == f"a.json is not as pretune wrote it: {told}"
