"""What a kind of planted copy is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["Way"]

Row = TypeVar("Row")
Way = Callable[[Row], Row | None]
"""From a row to a copy of it; None where it cannot be made of this one."""
