"""What ``pretune selftrain`` says of its model: no more of a gain than the paired comparison shows."""

from __future__ import annotations

from typing import Any

import pytest

from pretune.verbs.selftrain import kept_text


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"kept": "parent"}, "was not shown to help"),
        ({"kept": "own", "comparison": {"better": "b"}}, "is better on validation"),
        ({"kept": "own", "comparison": {"better": None}}, "that it is better was not shown"),
    ],
)
def test_a_gain_is_claimed_where_it_was_shown(told: dict[str, Any], says: str) -> None:
    assert says in kept_text(told)
