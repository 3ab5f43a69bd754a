"""Files whose names begin alike on both sides of a split: clips of one recording, photos of one animal, frames of one film.

Such names go ``fold-recording-take``, ``animal_07_img3``, ``IMG_0001_2``: a beginning that holds a number (or a code), then
what tells the parts apart. Whether names are of that kind is told by all of them together.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pretune.data.checks.finding import finding
from pretune.data.checks.rows import Tally
from pretune.data.media.kinds import kind_of_name
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import datasets

__all__ = ["sibling_findings", "siblings"]

_TOKEN = re.compile(r"[\W_]+|[^\W\d_]+(?=\d+(?:[\W_]|$))|[^\W_]+")
_LONG_NUMBER, _LONG_CODE = 2, 4
_MOST_CUTS, _LEAST_GROUPS = 4, 5
_MOST_ROWS, _MOST_SHARE, _SMALL = 50, 0.1, 6
_UNIQUE_SHARE, _FEWEST, _LEAST_SHARE = 0.9, 2, 0.01


def siblings(splits: Mapping[str, datasets.Dataset]) -> dict[str, Any] | None:
    """How many rows of validation and test have a name that begins as one of train does, and the expression that finds what
    such names share (``--group-from``).

    None where rows are no files, have groups already, or have names that tell nothing of that kind.
    """
    stems = {name: _stems(dataset) for name, dataset in splits.items() if name != "unlabelled"}
    if "train" not in stems or any("group" in splits[name].column_names for name in stems):
        return None
    every = [stem for some in stems.values() for stem in some.values()]
    if not every:
        return None
    labels = [label for name in stems for label in _labels(splits[name], len(stems[name]))]
    cut = _found_cut(every, labels)
    if cut is None:
        return None
    learned: dict[str, str] = {}
    for stem in stems["train"].values():
        learned.setdefault(_beginning(stem, cut), stem)
    found = [_shared(name, stems[name], learned, cut) for name in ("validation", "test") if name in stems]
    return {"group_from": _expression(every, cut), "shared": [one for one in found if one["count"]]}


def _shared(name: str, stems: Mapping[str, str], learned: Mapping[str, str], cut: int) -> dict[str, Any]:
    tally, pair = Tally(), None
    for row_id, stem in stems.items():
        twin = learned.get(_beginning(stem, cut))
        if twin is not None:
            tally.add(row_id)
            pair = pair or [stem, twin]
    return {"rows_of": name, "of": len(stems), "pair": pair, **tally.to_dict()}


def _stems(dataset: datasets.Dataset) -> dict[str, str]:
    """Row id to the name of its file, without folders and suffix; rows that are no files are left out."""
    column = next((kind for kind in ("image", "audio") if kind in dataset.column_names), None)
    if column is None:
        return {}
    found = {}
    for batch in dataset.select_columns(["id", column]).with_format("arrow").iter(1_000):
        table: Any = batch
        ids, paths = table.column("id").to_pylist(), table.column(column).combine_chunks().field("path").to_pylist()
        for row_id, path in zip(ids, paths, strict=True):
            name = row_id if kind_of_name(row_id) else path or ""
            found[row_id] = PurePosixPath(name).stem
    return found


def _labels(dataset: datasets.Dataset, rows: int) -> list[str | None]:
    return list(dataset["label"]) if "label" in dataset.column_names else [None] * rows


def _tokens(stem: str) -> list[str]:
    """Words, numbers, codes and what stands between them: ``img``, ``_``, ``07``; a word and its number are two."""
    return _TOKEN.findall(stem)


def _identifies(token: str) -> bool:
    """Whether a part of a name tells one thing from others: a number of two digits or more, or a code such as 0a7c2a8d."""
    if token.isdigit():
        return len(token) >= _LONG_NUMBER
    return len(token) >= _LONG_CODE and token.isalnum() and any(map(str.isdigit, token))


def _beginning(stem: str, cut: int) -> str:
    """The name up to its ``cut``-th part that identifies something; the whole name where it has fewer."""
    seen = 0
    taken: list[str] = []
    for token in _tokens(stem):
        taken.append(token)
        seen += _identifies(token)
        if seen == cut:
            break
    return "".join(taken)


def _found_cut(stems: Sequence[str], labels: Sequence[str | None]) -> int | None:
    """After how many identifying parts names of one origin are alike; None where names show no such groups.

    The groups have to be many and small, and none may be a whole class. Names that recur were counted anew in each folder.
    """
    if len(set(stems)) < _UNIQUE_SHARE * len(stems):
        return None
    most = max(_SMALL, min(_MOST_ROWS, _MOST_SHARE * len(stems)))
    for cut in range(1, _MOST_CUTS + 1):
        groups = Counter(_beginning(stem, cut) for stem in stems)
        together = {name: rows for name, rows in groups.items() if rows > 1}
        if not together:
            return None
        mean = sum(rows * rows for rows in together.values()) / sum(together.values())
        by_class = {(label, _beginning(stem, cut)) for stem, label in zip(stems, labels, strict=True)}
        is_class = len(by_class) == len({label for label, _ in by_class})
        if len(groups) >= _LEAST_GROUPS and mean <= most and not is_class:
            return cut
    return None


def _expression(stems: Sequence[str], cut: int) -> str:
    """A regular expression that finds the beginnings of the commonest form; empty where no form is common."""
    groups = Counter(_beginning(stem, cut) for stem in stems)
    forms = Counter[str]()
    for name, rows in groups.items():
        if rows > 1:
            forms["^" + "".join(map(_form, _tokens(name)))] += rows
    form, rows = forms.most_common(1)[0]
    pattern = re.compile(form)
    right = sum(
        (match := pattern.search(stem)) is not None and match[0] == _beginning(stem, cut)
        for stem in stems
        if groups[_beginning(stem, cut)] > 1
    )
    return form if right >= _UNIQUE_SHARE * sum(forms.values()) else ""


def _form(token: str) -> str:
    if token.isdigit():
        return r"\d+"
    if token.isalpha():
        return r"[^\W\d_]+"
    return r"[^\W_]+" if token.isalnum() else re.sub(r"\\([ -])", r"\1", re.escape(token))


def sibling_findings(passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of validation and test that may be parts of a recording or a series of photos that train has parts of."""
    found: Mapping[str, Any] = passport.get("siblings") or {"shared": []}
    for one in found["shared"]:
        if one["count"] < max(_FEWEST, _LEAST_SHARE * one["of"]):
            continue
        ours, theirs = one["pair"]
        message = (
            f"{counted(one['count'])} of {one['rows_of']} {agree(one['count'], 'have names that begin', 'has a name that begins')} as names in train do "
            f"({ours} and {theirs}): are they parts of one recording, or pictures of one thing?"
        )
        flag = f"--group-from {shlex.quote(found['group_from'])}" if found["group_from"] else "--group-from REGEX"
        fix = f"{flag} keeps what begins alike on one side of the splits that are made"
        yield finding("warning", "siblings", message, one["count"], one["rows"], fix)
