"""The ledger of a reading: what was left out, of every kind, from the facts that readers and cleaning leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pretune.data.columns.roles import lack_of
from pretune.data.dialogue.turns import TURNS_FIX, unusable_in
from pretune.data.media.base import reason_words
from pretune.errors import DataError
from pretune.wording import agree, counted

__all__ = ["Loss", "losses", "notes_of", "refuse_mostly_lost"]

_NOUNS = {"image": "picture", "audio": "clip"}
_SHOWN = 3
_LABELS = {
    "labels_literally_missing": ("row", "have a word such as nan for no label", "has a word such as nan for no label"),
    "label_indices_without_name": (
        "row",
        "have the number of a class that has no name",
        "has the number of a class that has no name",
    ),
    "missing_labels_in_lists": ("label", "in lists are missing", "in a list is missing"),
}


@dataclass(frozen=True)
class Loss:
    """``count`` things that are not learned from or answered. ``rows``: each would have been a row; ``fix`` may say what to do."""

    count: int
    sentence: str
    rows: bool = False
    fix: str = ""


def losses(read: Mapping[str, Any]) -> Iterator[Loss]:
    """What the facts of a reading (``facts["read"]``) say was left out: files of rows, other files, labels."""
    media = read.get("media", {})
    noun = _NOUNS.get(media.get("kind", ""), "file")
    for reason, told in media.get("left_out", {}).items():
        yield Loss(
            told["count"], f"{counted(told['count'], noun)} {reason_words(reason, told['count'])}{_named(told)}", True
        )
    for told in read.get("left_out", ()):
        files = f"{counted(told['count'], 'file')} {agree(told['count'], 'were', 'was')} not read"
        sentence = f"{files}: {told['why']}{_named(told)}"
        yield Loss(told["count"], sentence, told["rows"], told["fix"])
    counts = read.get("counts", {})
    for name, (noun, several, one) in _LABELS.items():
        if count := counts.get(name):
            yield Loss(count, f"{counted(count, noun)} {agree(count, several, one)}")
    for reason, count in unusable_in(counts).items():
        yield Loss(
            count,
            f"{counted(count)} {agree(count, 'are no conversations', 'is no conversation')}: {reason}",
            True,
            TURNS_FIX,
        )
    lack = lack_of(read.get("answers", ()))
    for split, count in read.get("moved_to_unlabelled", {}).items():
        words = agree(count, f"have no {lack}: they are", f"has no {lack}: it is")
        yield Loss(count, f"{counted(count)} of {split} {words} in the split unlabelled")


def _named(told: Mapping[str, Any]) -> str:
    """The first names in brackets."""
    names = list(told.get("files", ()))[:_SHOWN]
    more = " ..." if told["count"] > len(names) else ""
    return f" ({', '.join(names)}{more})" if names else ""


def refuse_mostly_lost(read: Mapping[str, Any]) -> None:
    """Raise :class:`DataError` where more rows were lost, by all causes together, than are left."""
    left = sum(read["rows"].values())
    lost = [loss for loss in losses(read) if loss.rows]
    count = sum(loss.count for loss in lost)
    if count > left:
        fixes = list(dict.fromkeys(loss.fix for loss in lost if loss.fix))
        raise DataError(
            f"{read['place']}: {count} of {count + left} rows would be lost: {'; '.join(loss.sentence for loss in lost)}",
            "; ".join([*fixes, "mend these files, or give a folder without them"]),
        )


def notes_of(facts: Mapping[str, Any]) -> list[str]:
    """The sentences of a reading that are worth a line in every verb: what was found, made and cleaned; losses left aside."""
    told = [note for part in ("cleaning", "read", "split") for note in facts.get(part, {}).get("notes", ())]
    lost = ("Left out:", "Counted as no label")
    return [
        note for note in told if not note.startswith(lost) and "they were moved to the split unlabelled" not in note
    ]
