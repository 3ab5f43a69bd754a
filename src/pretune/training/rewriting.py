"""``--rewrite``: training texts once more, with words that a masked model chose, where a classifier that never saw the row does not change its mind.

Shapes: N training rows, M of them and their versions, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.cache import get_or_create
from pretune.errors import ModelError, UsageError
from pretune.files import read_json, write_json
from pretune.interface.outcome import Say
from pretune.wording import counted

if TYPE_CHECKING:
    from pretune.data.splits import Splits
    from pretune.training.settings import FinetuneSettings

__all__ = ["with_rewrites"]

_FORMAT, _FILE = 1, "texts.json"


def with_rewrites(data: Splits, settings: FinetuneSettings, say: Say) -> Splits:
    """The data with versions of training rows behind them: the same label, some words chosen by the model of ``--rewrite``.

    A version stays where it is new, stands in no other split, and a classifier of terms that was fitted on other rows answers to it as
    to the row itself. Raises :class:`UsageError` for rows that are not texts of one class each, :class:`ModelError` for a model without a
    masked head.
    """
    from pretune.data.changes.more_rows import with_more_rows
    from pretune.tasks import find_task
    from pretune.tasks.classes.classification import Classification
    from pretune.tasks.inputs.texts import OfTexts

    settings.refuse_given(
        {"folds", "dp_epsilon"}, "needs rows that nothing else was made of, and --rewrite makes some of others"
    )
    train, kind = data["train"], find_task(data, settings.task)
    if not (issubclass(kind, OfTexts) and issubclass(kind, Classification)):
        raise UsageError(f"--rewrite writes texts of one class each anew, and these rows are of {kind.name}", "leave it out")  # fmt: skip
    rows = [place for place, label in enumerate(train["label"]) if label is not None]
    texts, labels = [train["text"][row] for row in rows], [train["label"][row] for row in rows]
    versions = _versions(texts, settings, say)
    sources = [number for number in range(len(rows)) for _ in range(settings.rewrites)]
    held = {_plain(text) for name in data if name not in ("train", "unlabelled") for text in data[name]["text"]}
    fresh, held_out = _fresh(versions, texts, held)
    pairs = [train[row].get("text_pair") or "" for row in rows]
    same = _same_answers(
        [f"{text} {pair}" for text, pair in zip(texts, pairs, strict=True)], labels,
        [f"{versions[one]} {pairs[sources[one]]}" for one in fresh], [sources[one] for one in fresh],
    )  # fmt: skip
    kept = [number for number, is_same in zip(fresh, same, strict=True) if is_same]
    told = {
        "made": len(versions), "unchanged": len(versions) - len(fresh) - held_out, "held_out": held_out,
        "changed_mind": len(fresh) - len(kept), "kept": len(kept), "model": settings.rewrite,
    }  # fmt: skip
    say.note(
        f"--rewrite: {counted(len(kept), 'version')} of {counted(len(rows), 'training row')} are learned from too; of {told['made']:,} that were made {told['unchanged']:,} were no new text, "
        f"{told['held_out']:,} stand in other splits, and to {told['changed_mind']:,} a classifier that had not seen the row answers otherwise than to the row"
    )
    added = [_as_version(train[rows[sources[one]]], versions[one], one % settings.rewrites) for one in kept]
    return data.replace({**data, "train": with_more_rows(train, added)}, rewritten=told)


def _fresh(versions: Sequence[str], texts: Sequence[str], held: set[str]) -> tuple[list[int], int]:
    """Which versions are new texts that no other split holds, and how many of the others these hold (``held``, as :func:`_plain` has them)."""
    seen, fresh, held_out = {_plain(text) for text in texts}, list[int](), 0
    for number, plain in enumerate(map(_plain, versions)):
        held_out += plain in held
        if plain not in held and plain not in seen:
            seen.add(plain)
            fresh.append(number)
    return fresh, held_out


def _as_version(row: dict[str, Any], text: str, number: int) -> dict[str, Any]:
    return {**row, "id": f"{row['id']} rewritten {number + 1}", "text": text}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _versions(texts: Sequence[str], settings: FinetuneSettings, say: Say) -> list[str]:
    """``--rewrites`` versions of each text, those of one text behind each other; from the cache when it has them."""
    import numpy as np

    assert settings.rewrite is not None, "versions were asked for"
    model, encoder, identity = _masked_model(settings.rewrite)
    digest = hashlib.blake2b(json.dumps([*texts]).encode("utf-8", "backslashreplace"), digest_size=12).hexdigest()

    def write(folder: Path) -> None:
        from pretune.modalities.text.rewriter import Rewriter

        many = [text for text in texts for _ in range(settings.rewrites)]
        rngs = [np.random.default_rng([settings.seed, number]) for number in range(len(many))]
        bar = say.progress(len(many), f"writing training texts anew with {settings.rewrite}")
        found = Rewriter(model, encoder)(many, rngs, bar.update)
        bar.close()
        write_json(folder / _FILE, {"texts": found})

    name = f"{_FORMAT}:{identity}:{digest}:{settings.rewrites}:{settings.seed}"
    return get_or_create("rewrites", name, lambda folder: _Kept(read_json(folder / _FILE)["texts"]), write).texts


class _Kept:
    """Texts that were kept; a plain list would not tell the cache when it is let go."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts


def _masked_model(place: str) -> tuple[Any, Any, str]:
    """The model, how texts are cut for it, and what it is known by."""
    from pretune.backbones.load import load_backbone
    from pretune.backbones.states.fingerprint import note_weights
    from pretune.backbones.text.limits import max_length_of
    from pretune.backbones.text_kinds import fills_in
    from pretune.modalities.text.encoder import TextEncoder

    advice = "give a run of pretune pretrain on texts (bert, roberta), or the folder of such a model"
    if place.startswith("scratch:"):
        raise UsageError(f"--rewrite {place} has learned nothing yet", advice)
    backbone = load_backbone(place)
    if not fills_in(backbone.config):
        raise UsageError(f"--rewrite {place} is no masked language model ({backbone.config.model_type})", advice)
    model, report = backbone.build("AutoModelForMaskedLM", seed=0)
    if report.initialised:
        raise ModelError(f"--rewrite {place} lacks the head that fills masked words: {report.initialised[0]}", advice)
    encoder = TextEncoder(backbone.tokenizer, max_length=max_length_of(backbone), segments=backbone.uses_segments)
    digest = hashlib.blake2b(encoder.identity().encode(), digest_size=12)
    note_weights(digest, model)
    return model, encoder, digest.hexdigest()


def _same_answers(
    texts: Sequence[str], labels: Sequence[str], versions: Sequence[str], sources: Sequence[int]
) -> list[bool]:
    """Is each version answered as the text it was made of (``sources``: its number), by logistic regression on the terms of other texts?"""
    import numpy as np

    from pretune.tasks.linear.fit import SPARSE_STRENGTH, rotated_logits

    classes = {name: number for number, name in enumerate(dict.fromkeys(labels))}
    units_M = np.array([*range(len(texts)), *sources])
    labels_M = np.array([classes[label] for label in labels])[units_M]
    weights_M = np.repeat([1.0, 0.0], [len(texts), len(versions)])
    logits_MC = rotated_logits(
        _terms(texts, [*texts, *versions]), labels_M, weights_M, units_M, len(classes), SPARSE_STRENGTH, lambda _rows: None
    )  # fmt: skip
    if logits_MC is None:
        raise UsageError(
            "--rewrite needs a classifier that has not seen a row, and the training rows are too few to hold some out in turn",
            "leave --rewrite out, or give two rows of each class at least",
        )
    answers_M = logits_MC.argmax(axis=1)
    return (answers_M[len(texts) :] == answers_M[units_M[len(texts) :]]).tolist()


def _terms(known: Sequence[str], texts: Sequence[str]) -> Any:
    """The TF-IDF values of ``texts``, a sparse matrix, over the terms of the ``known`` ones."""
    import numpy as np
    from scipy.sparse import csr_matrix

    from pretune.data.text.scripts import count_scripts, mostly_unspaced, shares
    from pretune.modalities.text.terms import count_terms

    terms, _ = count_terms(known, unspaced=mostly_unspaced(shares(count_scripts([*known]))))
    numbers = terms.numbers()
    found = [terms.encode(text, numbers) for text in texts]
    ends = np.cumsum([0, *(len(ids_T) for ids_T, _ in found)])
    ids, values = (np.concatenate(part) for part in zip(*found, strict=True))
    return csr_matrix((values, ids - 1, ends), shape=(len(texts), len(terms.names)))
