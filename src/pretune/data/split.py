"""Splits made by content: a row's side depends on what it says, never on where it stands.

Every unit (rows of equal content, or of one group) has a number u in [0, 1) from a hash of its content and the seed:
u below the test fraction is test, then validation, then train. Rows that are added later therefore move no other row,
except the few that keep the classes in proportion.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.answers import ANSWERS, Answer, Label, answers_in
from pretune.config import DataSettings
from pretune.data.checks.rows import column_values
from pretune.data.columns.roles import kinds_in
from pretune.data.splits import Splits
from pretune.errors import DataError, UsageError
from pretune.wording import counted

if TYPE_CHECKING:
    import datasets

__all__ = [
    "complete_splits",
    "content_key",
    "content_keys",
    "held_out",
    "label_places",
    "row_units",
    "strata",
    "unit_numbers",
    "whole_column",
]

_CHUNK_ROWS = 10_000
_TRAIN, _VALIDATION, _TEST = 0, 1, 2
_SIDES = ("train", "validation", "test")


def content_key(text: str, text_pair: str | None = None) -> int:
    """64-bit hash of the normalised text (and pair): NFKC, case folded, runs of white space as one space."""
    words = _normal(text)
    if text_pair is not None:
        words += b"\x00" + _normal(text_pair)
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "little")


def _normal(text: str) -> bytes:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")


def content_keys(dataset: datasets.Dataset) -> np.ndarray:
    """(N,) uint64: rows of equal normalised text, or of equal bytes of a picture or clip, have equal keys."""
    if "content" in dataset.column_names:
        return whole_column(dataset, "content")
    keys_N = np.empty(len(dataset), dtype=np.uint64)
    pairs = "text_pair" in dataset.column_names
    for start in range(0, len(dataset), _CHUNK_ROWS):
        rows = dataset[start : start + _CHUNK_ROWS]
        firsts, seconds = rows["text"], rows["text_pair"] if pairs else [None] * len(rows["text"])
        keys_N[start : start + len(firsts)] = [content_key(*both) for both in zip(firsts, seconds, strict=True)]
    return keys_N


def row_units(dataset: datasets.Dataset) -> np.ndarray:
    """(N,) the number of each row's unit: rows of equal content (on either side, where texts are written from texts) or of one
    group, directly or through others, are one.
    """
    keys_N, links = content_keys(dataset), _links(dataset)
    return _joined(keys_N, links)[0] if links is not None else np.unique(keys_N, return_inverse=True)[1]


def _links(dataset: datasets.Dataset) -> list[list[int]] | None:
    """By row the keys of what it shares with others beside its content: its group, texts of its answer; None where there is none of that."""
    kinds = [kind for kind in kinds_in(dataset.column_names) if ANSWERS[kind].contents is not Answer.contents]
    if "group" not in dataset.column_names and not kinds:
        return None
    found: list[list[int]] = [[] for _ in range(len(dataset))]
    if "group" in dataset.column_names:
        for keys, group in zip(found, _column(dataset, "group"), strict=True):
            keys += [] if group is None else [_hash64(b"group\x00" + group.encode())]
    for kind in kinds:
        for keys, answer in zip(found, _answers(dataset, kind), strict=True):
            keys += (
                []
                if answer is None
                else [_hash64(kind.encode() + b"\x00" + _normal(text)) for text in answer.contents()]
            )
    return found


def whole_column(dataset: datasets.Dataset, name: str) -> np.ndarray:
    """(N,) the numbers of a column that misses none."""
    table: Any = dataset.select_columns([name]).with_format("arrow")[:]
    return table.column(name).to_numpy()


def complete_splits(splits: Splits, settings: DataSettings) -> Splits:
    """Make the missing validation and test splits from train; those given stay as they are.

    Classes keep their proportions, and a class of three units or more is in every split (where rows have several labels, the
    rarest of each row is its class). Train has every label. Data without labels is left as it is. Raises :class:`DataError`
    for a label that only validation or test have, and when there is no train, :class:`UsageError` for fractions that leave
    no train.
    """
    fractions = {"validation": settings.validation_fraction, "test": settings.test_fraction}
    made = [name for name, fraction in fractions.items() if name not in splits and fraction > 0]
    if sum(fractions[name] for name in made) >= 1:
        raise UsageError(
            f"--validation-fraction {fractions['validation']:g} and --test-fraction {fractions['test']:g} leave nothing to train on",
            "together they have to be less than 1",
        )
    given = [name for name in splits if name != "unlabelled"]
    facts: dict[str, Any] = {"given": given, "made": [], "notes": []}
    if not given:
        facts["notes"].append("There are no labels, so nothing was split; pre-training holds rows out by itself.")
        return splits.replace(splits, split=facts)
    if "train" not in splits:
        if made:
            raise DataError(
                f"{settings.place} has no train split, only {', '.join(given)}",
                "name a file or folder train, give --train FILE, or give one file, which is then split",
            )
        return splits.replace(splits, split=facts)
    result = dict(splits)
    if made:
        result, how = _split_train(splits, {name: fractions[name] for name in made}, settings)
        facts.update(made=made, seed=settings.split_seed, fractions={name: fractions[name] for name in made}, **how)
        facts["notes"] += _made_notes(made, result, settings.split_seed)
    labels = {name: _label_counts(rows) for name, rows in result.items() if name != "unlabelled"}
    kinds = kinds_in(result["train"].column_names)
    unseen = _unseen(labels)
    if unseen and any(ANSWERS[kind].closed for kind in kinds):
        if settings.unseen_labels == "refuse" or any(
            ANSWERS[kind].closed and ANSWERS[kind] is not Label for kind in kinds
        ):
            raise _unlearnable(unseen, list(labels["train"]), settings.place)
        facts["unseen_labels"] = sorted({label for names in unseen.values() for label in names})
    facts["rows"] = {name: len(rows) for name, rows in result.items()}
    facts["labels"] = labels
    facts["notes"] += [_unseen_note(name, names, kinds[0]) for name, names in unseen.items()]
    facts["notes"] += _small_notes(made, labels, "group" in result["train"].column_names)
    return splits.replace(result, split=facts)


def held_out(dataset: datasets.Dataset, fraction: float, seed: int) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Cut a share of the rows off by content: ``(rest, held out)``; rows of equal content stay on one side.

    Raises :class:`DataError` when there are not two different rows.
    """
    keys_U, unit_N = np.unique(content_keys(dataset), return_inverse=True)
    if len(keys_U) < 2:
        raise DataError(f"{len(keys_U)} different rows cannot be cut in two", "give more text")
    # Another purpose than "split": with the same numbers, the rows under the fraction are those the split took away already.
    u_U = unit_numbers(keys_U, seed, "held out")
    out_U = u_U < fraction
    if not out_U.any():
        out_U[np.argmin(u_U)] = True
    if out_U.all():
        out_U[np.argmax(u_U)] = False
    out_N = out_U[unit_N]
    return dataset.select(np.flatnonzero(~out_N)), dataset.select(np.flatnonzero(out_N))


@dataclass(frozen=True)
class _Units:
    """U units of N rows: ``of_row`` (N,) is each row's unit; by unit (U,), ``rows`` counts its rows, ``classes`` is the
    commonest class of them and ``numbers`` its place in [0, 1).
    """

    of_row: np.ndarray
    rows: np.ndarray
    classes: np.ndarray
    numbers: np.ndarray


def _split_train(
    splits: Splits, fractions: dict[str, float], settings: DataSettings
) -> tuple[dict[str, datasets.Dataset], dict[str, Any]]:
    train = splits["train"]
    classes = strata(train)
    names = sorted(set(classes))
    number = {name: place for place, name in enumerate(names)}
    class_N = np.fromiter(map(number.__getitem__, classes), np.int64, len(classes))
    units = _units(train, class_N, settings.split_seed)
    side_U = np.full(len(units.numbers), _TRAIN)
    moved = 0
    for c in range(len(names)):
        of_class = np.flatnonzero(units.classes == c)
        order = of_class[np.argsort(units.numbers[of_class], kind="stable")]
        side_U[order], changed = _class_sides(units.numbers[order], units.rows[order], fractions)
        moved += changed
    moved += _keep_labels_in_train(side_U, units, *label_places(train))
    side_N = side_U[units.of_row]
    result = dict(splits)
    for side, name in enumerate(_SIDES):
        if name == "train" or name in fractions:
            chosen = train.select(np.flatnonzero(side_N == side))
            if len(chosen):
                result[name] = chosen
    how = {
        "unit": _unit_words(train),
        "units": len(side_U),
        "units_moved_to_keep_proportions": moved,
    }
    return result, how


def _unit_words(train: datasets.Dataset) -> str:
    """What a unit is, in words."""
    if "group" in train.column_names:
        return "rows of one group, and rows of equal content"
    return "rows of equal content" if _links(train) is None else "rows that share a text on either side"


def strata(train: datasets.Dataset) -> list[str]:
    """What is kept in proportion: what the kind of answer says; one class for all where there are transcripts."""
    kind = next(iter(kinds_in(train.column_names)), None)
    return [""] * len(train) if kind is None else ANSWERS[kind].strata(_answers(train, kind))


def _answers(dataset: datasets.Dataset, kind: str) -> list[Any]:
    return answers_in(kind, _column(dataset, kind))


def _names_by_row(dataset: datasets.Dataset) -> list[tuple[str, ...]]:
    """The names of each row's answer, of the first kind that has names; nothing where there is none."""
    kind = next((kind for kind in kinds_in(dataset.column_names) if ANSWERS[kind].is_class), None)
    if kind is None:
        return []
    answers = _answers(dataset, kind)
    distinct = {id(answer): answer for answer in answers}
    names = {place: () if answer is None else answer.names() for place, answer in distinct.items()}
    return [names[id(answer)] for answer in answers]


def label_places(train: datasets.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (M,) and label numbers (M,) by name, one pair for every label (or tag) of every row."""
    names = _names_by_row(train)
    number = {name: place for place, name in enumerate(sorted({name for several in names for name in several}))}
    label_M = [number[name] for several in names for name in several]
    row_M = np.repeat(np.arange(len(names)), [len(several) for several in names])
    return row_M, np.array(label_M, dtype=np.int64)


def _column(dataset: datasets.Dataset, name: str) -> list[Any]:
    """The cells; words that are equal are one object."""
    known: dict[str, str] = {}
    cells = column_values(dataset, name)
    return [known.setdefault(cell, cell) if isinstance(cell, str) else cell for cell in cells]


def _units(train: datasets.Dataset, class_N: np.ndarray, seed: int) -> _Units:
    keys_N = content_keys(train)
    if (links := _links(train)) is not None:
        of_row_N, keys_U = _joined(keys_N, links)
    else:
        keys_U, of_row_N = np.unique(keys_N, return_inverse=True)
    rows_U = np.bincount(of_row_N, minlength=len(keys_U))
    classes = int(class_N.max(initial=0)) + 1
    pairs, counts = np.unique(of_row_N.astype(np.int64) * classes + class_N, return_counts=True)
    unit_Q, class_Q = np.divmod(pairs, classes)
    order = np.lexsort((class_Q, -counts, unit_Q))  # by unit, the commonest class first
    first = order[np.unique(unit_Q[order], return_index=True)[1]]
    return _Units(of_row_N, rows_U, class_Q[first], unit_numbers(keys_U, seed))


def _joined(keys_N: np.ndarray, links: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Units of rows that share content or a link, directly or through others; the least hash of their links names the unit, of
    rows without a link that of their content."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    row_M = np.repeat(np.arange(len(keys_N)), [max(1, len(own)) for own in links])
    link_M = np.array([key for own, content in zip(links, keys_N, strict=True) for key in own or (content,)], np.uint64)
    contents, content_N = np.unique(keys_N, return_inverse=True)
    names, name_M = np.unique(link_M, return_inverse=True)
    size = len(contents) + len(names)
    pairs = (content_N[row_M], len(contents) + name_M)
    graph = coo_matrix((np.ones(len(row_M), dtype=np.int8), pairs), shape=(size, size))
    count, component = connected_components(graph, directed=False)
    of_row_N = component[content_N]
    least_U = np.full(count, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(least_U, of_row_N[row_M], link_M)
    return of_row_N, least_U


def _hash64(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def unit_numbers(keys_U: np.ndarray, seed: int, purpose: str = "split") -> np.ndarray:
    """(U,) numbers in [0, 1) from the keys, the seed and what they are for, the same on every machine."""
    salt = f"{purpose} {seed} ".encode()
    hashes = (_hash64(salt + int(key).to_bytes(8, "little")) for key in keys_U)
    return np.fromiter(hashes, np.uint64, len(keys_U)) / 2.0**64


def _class_sides(u_U: np.ndarray, rows_U: np.ndarray, fractions: dict[str, float]) -> tuple[np.ndarray, int]:
    """Sides of one class's units, in order of u, and how many lie on another side than u alone says."""
    ends_U = np.concatenate([[0], np.cumsum(rows_U)])
    total, units = int(ends_U[-1]), len(u_U)
    first, second = fractions.get("test", 0.0), fractions.get("validation", 0.0)
    plain_test = int(np.searchsorted(u_U, first))
    plain_validation = int(np.searchsorted(u_U, first + second))
    spare = units - 1 if units < 3 else units - 1 - (second > 0)
    least = 1 if units >= 3 else 0
    test = _fit(ends_U, 0, plain_test, first * total, least, spare) if first else 0
    validation = (
        _fit(ends_U, test, max(test, plain_validation), second * total, test + least, units - 1) if second else test
    )
    plain_U = np.where(
        np.arange(units) < plain_test, _TEST, np.where(np.arange(units) < plain_validation, _VALIDATION, _TRAIN)
    )
    side_U = np.where(np.arange(units) < test, _TEST, np.where(np.arange(units) < validation, _VALIDATION, _TRAIN))
    return side_U, int((plain_U != side_U).sum())


def _fit(ends_U: np.ndarray, start: int, end: int, wanted_rows: float, low: int, high: int) -> int:
    """The end nearest to ``end``, inside [low, high], whose rows from ``start`` are within 1 row or 10 % of those wanted."""
    end = min(max(end, low), high)
    tolerance = max(1.0, 0.1 * wanted_rows)

    def off(at: int) -> float:
        return float(ends_U[at] - ends_U[start]) - wanted_rows

    while end > low and off(end) > tolerance and abs(off(end - 1)) <= abs(off(end)):
        end -= 1
    while end < high and off(end) < -tolerance and abs(off(end + 1)) <= abs(off(end)):
        end += 1
    return end


def _keep_labels_in_train(side_U: np.ndarray, units: _Units, row_M: np.ndarray, label_M: np.ndarray) -> int:
    """Move units back so that train has every label; the number moved."""
    moved = 0
    for label in range(label_M.max(initial=-1) + 1):
        holders = np.unique(units.of_row[row_M[label_M == label]])
        if not (side_U[holders] == _TRAIN).any():
            side_U[holders[np.argmax(units.numbers[holders])]] = _TRAIN
            moved += 1
    return moved


def _label_counts(dataset: datasets.Dataset) -> dict[str, int]:
    return dict(sorted(Counter(name for names in _names_by_row(dataset) for name in names).items()))


def _unseen(labels: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """By split the names that train does not have, with the rows of each."""
    found = {
        name: {label: count for label, count in labels.get(name, {}).items() if label not in labels["train"]}
        for name in ("validation", "test")
    }
    return {name: names for name, names in found.items() if names}


def _shown(names: Mapping[str, int]) -> str:
    return ", ".join(f"{label!r} ({counted(count)})" for label, count in list(names.items())[:5])


def _unlearnable(unseen: Mapping[str, Mapping[str, int]], known: Sequence[str], place: str) -> DataError:
    name, strange = next(iter(unseen.items()))
    return DataError(
        f"{place}: {name} has labels that train does not have: {_shown(strange)}; a model could never learn them",
        f"mend the label or remove these rows from {name} (train has: {', '.join(known[:10])}); where a row has one label, --unseen-labels missed keeps them as rows to which no answer is right",
    )


def _unseen_note(name: str, unseen: Mapping[str, int], kind: str) -> str:
    more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
    return f"{name} has {kind} that train does not have, which no model can learn there: {_shown(unseen)}{more}."


def _made_notes(made: Sequence[str], result: Mapping[str, datasets.Dataset], seed: int) -> list[str]:
    """That splits were made: the data named none of them."""
    sizes = [f"{name} ({len(result[name]):,} rows)" for name in made if name in result]
    if not sizes:
        return []
    which = "the data names no such split" if len(sizes) == 1 else "the data names no such splits"
    return [
        f"{' and '.join(sizes)} {'was' if len(sizes) == 1 else 'were'} cut from the training rows by content (--split-seed {seed}): {which}."
    ]


def _small_notes(made: Sequence[str], labels: Mapping[str, Mapping[str, int]], grouped: bool) -> list[str]:
    few = "groups" if grouped else "rows"
    notes = [f"There were too few {few} to make a {name} split." for name in made if name not in labels]
    for name in made:
        absent = [label for label in labels["train"] if label not in labels.get(name, labels["train"])]
        if absent:
            few = "groups" if grouped else "different rows"
            notes.append(f"{name} has no row of {', '.join(absent[:10])}: too few {few} of that class.")
    return notes
