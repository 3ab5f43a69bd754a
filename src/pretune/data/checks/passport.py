"""The data passport: what is in the splits and what is wrong with them, before any time is spent on training."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

from pretune.data.checks.answers import answer_figures
from pretune.data.checks.contents import Contents
from pretune.data.checks.duplicates import across, inside, read_contents
from pretune.data.checks.findings import findings
from pretune.data.checks.groups import shared_groups
from pretune.data.checks.labels import balance, conflicts, label_codes, list_balances
from pretune.data.checks.media import media_scan
from pretune.data.checks.near import near_facts
from pretune.data.checks.rows import scan
from pretune.data.checks.siblings import siblings
from pretune.data.split import content_keys
from pretune.data.splits import Splits
from pretune.machine import peak_memory_bytes

if TYPE_CHECKING:
    import datasets
    import numpy as np

__all__ = ["passport"]

_MANY_ROWS = 100_000
"""Among more, near duplicates are looked for where that is asked for: it takes minutes."""


def passport(
    splits: Splits, *, near_duplicates: bool | None = None, corpus: datasets.Dataset | None = None
) -> dict[str, Any]:
    """The data passport, as JSON values.

    ``splits`` (rows, columns, labels, answers of other kinds, lengths, writing systems, duplicates, encoding, personal data by kind and row id,
    HTML), ``across`` (what stands in two splits, for every ordered pair), ``conflicting_labels``, ``shared_groups``, ``siblings`` (names of files that begin alike in two splits), ``near_duplicates``
    (how they were looked for, as ``near_duplicates`` says, and where it says nothing in up to 100,000 rows; None when not), ``rows``, ``seconds``, ``peak_memory_bytes``, ``facts`` and ``findings``.
    Pictures and clips have sizes, lengths and rates in place of what only text has (see ``check_media``).
    ``corpus`` is text for pre-training (columns ``id`` and ``text``, or as many of ``COLUMNS``), checked against the splits under that name.
    Excerpts are short and redacted; values of personal data are never in it.
    """
    began = time.monotonic()
    parts = dict(splits) if corpus is None else {**splits, "corpus": corpus}
    if near_duplicates is None:
        near_duplicates = sum(map(len, parts.values())) <= _MANY_ROWS
    rows, exact = {}, {}
    for name, dataset in parts.items():
        rows[name], exact[name] = scan(dataset) if "text" in dataset.column_names else ({}, None)
        rows[name] |= media_scan(dataset)
    keys = {name: content_keys(dataset) for name, dataset in parts.items()}
    exact |= {name: keys[name] for name, dataset in parts.items() if "content" in dataset.column_names}
    contents = read_contents(parts, keys, near_duplicates=near_duplicates)
    label_names, codes = label_codes(dict(splits))
    single = {name: codes_N for name, codes_N in codes.items() if "label" in splits[name].column_names}
    labels = {name: balance(label_names, codes_N) for name, codes_N in single.items()} | list_balances(dict(splits))
    result: dict[str, Any] = {
        "rows": sum(len(dataset) for dataset in parts.values()),
        "splits": {name: _split(name, contents, rows[name], exact[name], labels.get(name)) for name in parts},
        "across": [across(contents, exact, ours, theirs) for ours, theirs in itertools.permutations(parts, 2)],
        "conflicting_labels": conflicts(splits, keys, label_names, codes),
        "shared_groups": shared_groups(splits),
        "siblings": siblings(splits),
        "near_duplicates": near_facts(contents),
        "facts": splits.facts,
    }
    result["findings"] = findings(result)
    result["seconds"] = round(time.monotonic() - began, 3)
    result["peak_memory_bytes"] = peak_memory_bytes()
    return result


def _split(
    name: str,
    contents: Contents,
    rows: dict[str, Any],
    exact_N: np.ndarray,
    labels: dict[str, Any] | None,
) -> dict[str, Any]:
    dataset = contents.splits[name]
    return {
        "rows": len(dataset),
        "columns": list(dataset.column_names),
        "labels": labels,
        **({"answers": figures} if (figures := answer_figures(dataset)) else {}),
        **rows,
        **inside(contents, name, exact_N),
    }
