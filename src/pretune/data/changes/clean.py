"""Cleaning that was asked for: each step counted, none silent.

The order is fixed: html, unicode, whitespace, stopwords, redact or pseudonym, deduplicate, drop leaks, drop near leaks. So duplicates are looked for in
the text the model will read. Rows that become empty stay and are counted.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.answers import ANSWERS
from pretune.config import CleanSettings, cleaning_steps
from pretune.data.changes.held_apart import found_in
from pretune.data.changes.redact import NameFinder, Redactor
from pretune.data.changes.relabel import relabelled
from pretune.data.checks.rows import SHOWN_ROWS, column_batches
from pretune.data.columns.roles import kinds_in
from pretune.data.split import content_keys
from pretune.data.splits import Splits
from pretune.data.text.keys import key_at_hand
from pretune.data.text.pseudonyms import name_of_key
from pretune.data.text.scrub import REDACTING, STEPS, cleaner
from pretune.errors import UsageError
from pretune.wording import agree, counted

if TYPE_CHECKING:
    import datasets

__all__ = ["clean", "english_stopwords", "text_cleaner"]

_BATCH_ROWS = 2_000
_NEGATIONS = frozenset(
    "no nor not never none nobody nothing nowhere neither cannot cant without against".split()  # noqa: SIM905 - a table
)


def clean(splits: Splits, settings: CleanSettings, names: NameFinder | None = None) -> Splits:
    """The splits after every step that ``settings`` asks for.

    ``facts["clean"]`` holds, by step and split, the rows changed or dropped and the first ids of them, ``facts["cleaning"]`` the
    same in sentences (``notes``), ``facts["pseudonyms"]`` what their key is called, ``facts["tagger"]`` what found
    the ``names``. Raises :class:`UsageError` for a step that these rows have nothing for.
    """
    asked = cleaning_steps(settings.clean, settings.redact)
    _refuse_without_text(splits, asked)
    key = key_at_hand() if "pseudonym" in asked else None
    facts: dict[str, Any] = {}
    rows = dict(splits)
    with _quiet():
        if settings.relabel is not None:
            rows, told = relabelled(rows, settings.relabel)
            facts |= told
        for step in STEPS:
            if step in asked:
                facts[step] = {}
                for name in [name for name in rows if "text" in rows[name].column_names]:
                    redactor = Redactor(key, names)
                    repair = redactor.texts if step in REDACTING else _each(text_cleaner([step]))
                    repaired = _repair(rows[name], step, repair)
                    values = redactor.facts() if step in REDACTING else {}
                    facts[step][name] = _changes(rows[name], repaired) | values
                    rows[name] = repaired
        if settings.deduplicate:
            rows, facts["deduplicate"] = _deduplicate(rows)
        if settings.drop_leaks or settings.drop_near_leaks:
            rows, facts["drop_leaks"] = _drop_leaks(rows)
        if settings.drop_near_leaks:
            rows, facts["drop_near_leaks"] = _drop_near_leaks(rows)
    told = {"cleaning": {"notes": _sentences(facts)}} if facts else {}
    named = {"pseudonyms": {"key": name_of_key(key)}} if key is not None else {}
    found = {"tagger": dict(names.facts)} if names is not None else {}
    return splits.replace(rows, clean=facts, **told, **named, **found)


_STEPS = {
    "relabel": ("--relabel", "{n} of {split} got another label"),
    "relabel_join": ("--relabel", "{n} of {split} got a label and {were} learned from with train"),
    "relabel_drop": ("--relabel", "{n} of {split} {were} dropped, as it asks"),
    "redact": ("--redact", "{n} of {split} {were} changed"),
    "pseudonym": ("--redact pseudonym", "{n} of {split} {were} changed"),
    "deduplicate": ("--deduplicate", "{n} of {split} {were} dropped, {later} of an earlier one"),
    "drop_leaks": ("--drop-leaks", "{n} of {split} that also {stand} in validation or test {were} dropped"),
    "drop_near_leaks": ("--drop-near-leaks", "{n} of {split} that nearly {stand} in validation or test {were} dropped"),
}
"""By step: its flag, and what it did to so many rows."""


def _sentences(facts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What each step did, in the words of its flag; that it found nothing too."""
    notes = []
    for step, splits in facts.items():
        flag, words = _told_as(step)
        done = []
        for split, found in splits.items():
            count = next((found[word] for word in ("dropped", "changed", "joined") if word in found), 0)
            verbs = {
                "stand": agree(count, "stand", "stands"),
                "later": agree(count, "copies", "a copy"),
                "were": agree(count, "were", "was"),
            }
            told = words.format(n=counted(count), split=split, **verbs)
            if emptied := found.get("emptied"):
                told += f", {counted(emptied)} of them to nothing"
            if other := found.get("other_label"):
                told += f", {counted(other)} of them with another label than the one that was kept"
            if values := found.get("values"):
                told += f" ({', '.join(f'{kind} {number:,}' for kind, number in values.items())})"
            done += [told] if count else []
        notes.append(f"{flag}: {'; '.join(done) or 'there was nothing to do'}.")
    return notes


def _told_as(step: str) -> tuple[str, str]:
    """The flag of a step, and the words for what it did."""
    return _STEPS.get(step, (f"--clean {step}", "{n} of {split} {were} changed"))


def text_cleaner(steps: Collection[str], *, key: str = "", names: NameFinder | None = None) -> Callable[[str], str]:
    """A function that does these of :data:`pretune.data.text.scrub.STEPS` to a text; pseudonyms with the key that is called ``key``,
    and with ``names`` taken out too.

    Raises :class:`UsageError` where that key is not at hand.
    """
    redactor = Redactor(key_at_hand(key) if "pseudonym" in steps else None, names)
    return cleaner(steps, english=english_stopwords() if "stopwords" in steps else (), redact=redactor)


def _each(repair: Callable[[str], str]) -> Callable[[list[str]], list[str]]:
    return lambda texts: [*map(repair, texts)]


@cache
def english_stopwords() -> tuple[str, ...]:
    """scikit-learn's list, without the words whose loss turns a meaning round ("not good")."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return tuple(sorted(ENGLISH_STOP_WORDS - _NEGATIONS))


def _refuse_without_text(splits: Splits, steps: Sequence[str]) -> None:
    """Raise :class:`UsageError` when text is to be cleaned that is not there, or whose words stand at places that cleaning would move."""
    if not steps:
        return
    flag, _ = _told_as(steps[0])
    if any("turns" in dataset.column_names for dataset in splits.values()):
        raise UsageError(
            f"{flag} changes texts, and the turns of conversations are learned as they were said",
            "clean the turns in the file before it is read; --deduplicate and --drop-leaks work as they are",
        )
    placed = {ANSWERS[kind].placed for dataset in splits.values() for kind in kinds_in(dataset.column_names)} - {""}
    if placed:
        raise UsageError(
            f"{flag} changes texts, and {min(placed)}",
            "clean the texts in the file before it is read; --deduplicate and --drop-leaks keep the places",
        )
    if not any("text" in dataset.column_names for dataset in splits.values()):
        raise UsageError(
            f"{flag} cleans text, and these rows are pictures or clips without text",
            f"leave {flag.split()[0]} out; --deduplicate and --drop-leaks work by the files' bytes",
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of the library; the setting before is restored."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _text_columns(dataset: datasets.Dataset) -> list[str]:
    return [name for name in ("text", "text_pair") if name in dataset.column_names]


def _repair(dataset: datasets.Dataset, step: str, repair: Callable[[list[str]], list[str]]) -> datasets.Dataset:
    """The data set with its text columns repaired; the library writes the result next to a memory-mapped table."""

    columns = _text_columns(dataset)

    def repair_batch(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {name: _repaired(batch[name], repair) for name in columns}

    fingerprint = hashlib.blake2b(f"{dataset._fingerprint} {step}".encode(), digest_size=8).hexdigest()
    return dataset.map(
        repair_batch,
        batched=True,
        batch_size=_BATCH_ROWS,
        features=dataset.features,
        new_fingerprint=fingerprint,  # one file a step, however often it is run
        load_from_cache_file=False,  # and always written anew, as a fingerprint cannot see a change of the repairs
    )


def _repaired(cells: list[str | None], repair: Callable[[list[str]], list[str]]) -> list[str | None]:
    """The cells with their texts repaired, all at once; None stays."""
    repaired = iter(repair([text for text in cells if text is not None]))
    return [None if text is None else next(repaired) for text in cells]


def _changes(before: datasets.Dataset, after: datasets.Dataset) -> dict[str, Any]:
    """How many rows differ, the first ids of them, and how many were emptied."""
    changed, emptied, ids = 0, 0, []
    columns = _text_columns(before)
    batches = zip(column_batches(before, ["id", *columns]), column_batches(after, columns), strict=True)
    for old, new in batches:
        differ = [any(old[name][place] != new[name][place] for name in columns) for place in range(len(old["id"]))]
        for place in np.flatnonzero(differ):
            changed += 1
            emptied += bool((old["text"][place] or "").strip()) and not (new["text"][place] or "").strip()
            if len(ids) < SHOWN_ROWS:
                ids.append(old["id"][place])
    return {"changed": changed, "emptied": emptied, "rows": ids}


def _keep(dataset: datasets.Dataset, kept_N: np.ndarray) -> tuple[datasets.Dataset, dict[str, Any]]:
    dropped = np.flatnonzero(~kept_N)
    ids = dataset.select_columns(["id"]).select(dropped[:SHOWN_ROWS])["id"][:] if len(dropped) else []
    facts = {"dropped": len(dropped), "rows": list(ids)}
    return (dataset.select(np.flatnonzero(kept_N)) if len(dropped) else dataset), facts


def _deduplicate(rows: dict[str, datasets.Dataset]) -> tuple[dict[str, datasets.Dataset], dict[str, Any]]:
    """Keep the first row of each content inside a split, whatever the labels of the later ones."""
    left: dict[str, datasets.Dataset] = {}
    facts: dict[str, Any] = {}
    for name, dataset in rows.items():
        keys_N = content_keys(dataset)
        _, firsts, group_N = np.unique(keys_N, return_index=True, return_inverse=True)
        kept_N = np.zeros(len(dataset), dtype=bool)
        kept_N[firsts] = True
        left[name], facts[name] = _keep(dataset, kept_N)
        if column := next(iter(kinds_in(dataset.column_names)), None):
            facts[name]["other_label"] = _other_labels(dataset, column, np.flatnonzero(~kept_N), firsts[group_N])
    return left, facts


def _other_labels(dataset: datasets.Dataset, column: str, dropped: np.ndarray, first_N: np.ndarray) -> int:
    """How many dropped rows carried another label than the row kept for them."""
    if not len(dropped):
        return 0
    labels = dataset.select_columns([column])
    ours, theirs = labels.select(dropped)[column], labels.select(first_N[dropped])[column]
    return sum(one != other for one, other in zip(ours, theirs, strict=True))


def _drop_leaks(rows: dict[str, datasets.Dataset]) -> tuple[dict[str, datasets.Dataset], dict[str, Any]]:
    """Drop rows of train and unlabelled whose content also stands in validation or test."""
    held_out = [content_keys(rows[name]) for name in ("validation", "test") if name in rows]
    secret = np.unique(np.concatenate(held_out)) if held_out else np.empty(0, dtype=np.uint64)
    left, facts = dict(rows), {}
    for name in ("train", "unlabelled"):
        if name in rows:
            left[name], facts[name] = _keep(rows[name], ~np.isin(content_keys(rows[name]), secret))
    return left, facts


def _drop_near_leaks(rows: dict[str, datasets.Dataset]) -> tuple[dict[str, datasets.Dataset], dict[str, Any]]:
    """Drop rows of train and unlabelled of which a near duplicate stands in validation or test."""
    held = {name: rows[name] for name in ("validation", "test") if len(rows.get(name, ()))}
    left, facts = dict(rows), {}
    for name in ("train", "unlabelled"):
        if name not in rows or not held:
            continue
        _, near_N = found_in(rows[name], held)
        if near_N is None:
            raise UsageError(
                "--drop-near-leaks compares pictures and clips by their sketches, and these were read without",
                "--drop-leaks drops those whose bytes stand in validation or test",
            )
        left[name], facts[name] = _keep(rows[name], ~near_N)
    return left, facts
