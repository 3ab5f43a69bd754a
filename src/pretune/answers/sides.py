"""What the names of points say of left and right, of a torso, and of which points are joined by a bone."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["bones_of", "mirrored_places", "parts_of", "side_of", "torso_of"]

_SIDED = re.compile(r"(?P<before>.*?)(?<![a-z])(?P<side>left|right|l|r|左|右)(?![a-z])(?P<behind>.*)", re.I)
_JOINED = re.compile(r"(?P<side>left|right|左|右)(?P<behind>.+)", re.I)
_OTHER = {"left": "right", "l": "r", "左": "右"}
_OTHER |= {other: one for one, other in _OTHER.items()}
_BONES = (
    ("ankle", "knee"), ("knee", "hip"), ("hip", "shoulder"), ("shoulder", "elbow"), ("elbow", "wrist"), ("eye", "ear"),
)  # fmt: skip
_ACROSS = ("hip", "shoulder", "eye")
_MIDDLE = (("neck", "head_top"), ("neck", "head"), ("neck", "thorax"), ("thorax", "pelvis"))


def _parts(name: str) -> tuple[str, str, str] | None:
    """What stands before the side's word, the word, what stands behind; None for a name without a side."""
    plain = name.strip().lower().replace("_", " ").replace("-", " ").replace(".", " ")
    match = _SIDED.fullmatch(plain)
    if match is not None:
        return match["before"].strip(), match["side"], match["behind"].strip()
    joined = _JOINED.fullmatch(plain)
    return None if joined is None else ("", joined["side"], joined["behind"].strip())


def side_of(name: str) -> str:
    """``left``, ``right`` or ``""``."""
    parts = _parts(name)
    return "" if parts is None else "left" if parts[1] in ("left", "l", "左") else "right"


def mirrored_places(names: Sequence[str]) -> list[int] | None:
    """For each point the place of the one that it becomes in a mirrored picture; None where names do not tell: no pair of left and right
    is named, or a point of one side has no partner.
    """
    keys = [_parts(name) for name in names]
    places = {key: place for place, key in enumerate(keys) if key is not None}
    if not places:
        return None
    found = []
    for place, key in enumerate(keys):
        partner = place if key is None else places.get((key[0], _OTHER[key[1]], key[2]))
        if partner is None:
            return None
        found.append(partner)
    return found


def parts_of(names: Sequence[str]) -> list[str]:
    """What each name says beside its side: ``wrist`` of ``left_wrist``."""
    split = [_parts(name) for name in names]
    return [
        name.strip().lower().replace(" ", "_") if parts is None else " ".join(filter(None, (parts[0], parts[2])))
        for name, parts in zip(names, split, strict=True)
    ]


def _by_part(names: Sequence[str]) -> dict[tuple[str, str], int]:
    """Places by side and the rest of the name; points without a side have the side ``""``."""
    return {(side_of(name), part): place for place, (name, part) in enumerate(zip(names, parts_of(names), strict=True))}


def torso_of(names: Sequence[str]) -> list[tuple[int, int]]:
    """The places of each shoulder and the opposite hip; empty where there are none."""
    places = _by_part(names)
    ends = [(("left", "shoulder"), ("right", "hip")), (("right", "shoulder"), ("left", "hip"))]
    return [(places[one], places[other]) for one, other in ends if one in places and other in places]


def bones_of(names: Sequence[str]) -> list[tuple[int, int]]:
    """The points that a body joins, of those that there are."""
    places = _by_part(names)
    pairs = [((side, one), (side, other)) for side in ("left", "right") for one, other in _BONES]
    pairs += [(("left", part), ("right", part)) for part in _ACROSS]
    pairs += [(("", one), ("", other)) for one, other in _MIDDLE]
    pairs += [(("", "neck"), (side, "shoulder")) for side in ("left", "right")]
    return [(places[one], places[other]) for one, other in pairs if one in places and other in places]
