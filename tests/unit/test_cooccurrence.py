"""Embeddings counted from the rows: right by the textbook, only for tokens that were seen, and the start of fresh models alone."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import make_rows
from pretune.backbones.load import load_backbone, save_model
from pretune.config import PretrainingSettings
from pretune.data.splits import Splits
from pretune.errors import UsageError
from pretune.files import cache_dir
from pretune.modalities.text import cooccurrence
from pretune.modalities.text.cooccurrence import cached_vectors, cooccurrence_vectors
from pretune.modalities.text.store import TokenStore, encode_dataset
from pretune.objectives.text.masked_text_pretraining import MaskedTextPretraining
from tiny import dataset_of, tiny_backbone, tiny_encoder, uneven_rows

BACKBONE = tiny_backbone()
SPECIAL = np.array(sorted(BACKBONE.tokenizer.all_special_ids))
SIZE = len(BACKBONE.tokenizer)


def store_of(texts: list[str]) -> TokenStore:
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    return encode_dataset(dataset_of(rows), tiny_encoder(BACKBONE), fingerprint=f"cooccurrence-{texts}")


def vectors_of(texts: list[str], width: int = 32, *, seed: int = 0) -> np.ndarray:
    return cooccurrence_vectors(store_of(texts), vocabulary=SIZE, width=width, ignored=SPECIAL, seed=seed)


def textbook(texts: list[str]) -> np.ndarray:
    """Positive pointwise mutual information, pair by pair."""
    counts = np.zeros((SIZE, SIZE))
    store = store_of(texts)
    for index in range(len(store)):
        ids = [one for one in store.piece(index).input_ids.tolist() if one not in SPECIAL]
        for start in range(0, len(ids), 32):
            stretch = ids[start : start + 32]
            for token, other in itertools.permutations(stretch, 2):
                counts[token, other] += 1
    share = counts.sum(axis=0) ** 0.75 / (counts.sum(axis=0) ** 0.75).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        told = np.log(counts / counts.sum(axis=1, keepdims=True) / share)
    return np.where(counts > 0, np.maximum(told, 0), 0)


TEXTS = [row["text"] for row in make_rows(60, seed=3)] + [" ".join(row["text"] for row in make_rows(8, seed=4))]


def test_vectors_are_the_leading_directions_of_the_textbook_matrix() -> None:
    matrix = textbook(TEXTS)
    left, values, _ = np.linalg.svd(matrix)
    expected = left * np.sqrt(values)
    found = vectors_of(TEXTS, width=SIZE)
    seen = np.abs(expected).sum(axis=1) > 1e-6
    assert (found.any(axis=1) == matrix.any(axis=1)).all()
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-9)
    apart = np.abs(found @ found.T - expected @ expected.T)[np.ix_(seen, seen)]
    assert apart.max() < 1e-4


def test_what_was_not_seen_stays_empty_and_what_was_has_length_one() -> None:
    found = vectors_of(TEXTS)
    seen = np.unique(np.concatenate([store_of(TEXTS).piece(i).input_ids for i in range(len(TEXTS))]))
    assert not found[SPECIAL].any()
    assert not found[np.setdiff1d(np.arange(SIZE), seen)].any()
    lengths = np.linalg.norm(found, axis=1)
    assert ((np.abs(lengths - 1) < 1e-5) | (lengths == 0)).all()
    assert (lengths > 0).sum() > 50
    assert found.dtype == np.float32


def test_tokens_of_one_subject_lie_together() -> None:
    words = [chr(97 + number) for number in range(20)]
    draw = random.Random(0)
    texts = [" ".join(draw.choices(words[:10] if number % 2 else words[10:], k=12)) for number in range(300)]
    found = vectors_of(texts, width=8)
    ids = [BACKBONE.tokenizer.convert_tokens_to_ids(word) for word in words]
    alike = found[ids] @ found[ids].T
    assert alike[:10, :10].min() > 0.5
    assert alike[10:, 10:].min() > 0.5
    assert alike[:10, 10:].max() < 0.2


def test_the_same_rows_and_seed_give_the_same_bits_and_no_rows_give_nothing() -> None:
    assert (vectors_of(TEXTS) == vectors_of(TEXTS)).all()
    assert not vectors_of(["", "a"]).any()


def test_of_too_many_rows_some_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cooccurrence, "_TOKENS_READ", 40)
    some, others = vectors_of(TEXTS, seed=0), vectors_of(TEXTS, seed=1)
    assert 0 < some.any(axis=1).sum() < 40
    assert (some.any(axis=1) != others.any(axis=1)).any()


def test_the_same_rows_are_counted_once_and_again_where_the_file_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    def count(*words: Any, **options: Any) -> np.ndarray:
        counted.append(options["width"])
        return cooccurrence_vectors(*words, **options)

    monkeypatch.setattr(cooccurrence, "cooccurrence_vectors", count)
    store = store_of(TEXTS)

    def kept(width: int = 8, fingerprint: str = "kept") -> np.ndarray:
        return cached_vectors(
            store, vocabulary=SIZE, width=width, ignored=SPECIAL, seed=0, fingerprint=fingerprint
        )  # fmt: skip

    first = kept()
    assert (kept() == first).all()
    assert (first == vectors_of(TEXTS, width=8)).all()
    assert counted == [8]
    kept(width=4)
    kept(fingerprint="other rows")
    assert counted == [8, 4, 8]
    (entry,) = [one for one in (cache_dir("embeddings")).iterdir() if np.load(one / "vectors.npy").shape[1] == 4]
    (entry / "vectors.npy").write_bytes(b"broken")
    assert kept(width=4).shape == (SIZE, 4)
    assert counted == [8, 4, 8, 4]


def started(backbone: Any, **options: Any) -> MaskedTextPretraining:
    rows = uneven_rows(40)
    data = Splits({"train": dataset_of(rows)}, {})
    return MaskedTextPretraining.start(data, backbone, PretrainingSettings(**options), seed=0)


def test_fresh_embeddings_begin_from_the_rows_and_nothing_else_changes() -> None:
    made, plain = started(tiny_backbone()), started(tiny_backbone())
    rows = made.encode_rows(dataset_of(uneven_rows(40)), fingerprint="begin")
    told = made.begin(rows, fingerprint="begin")
    own, others = (one.model.get_input_embeddings().weight for one in (made, plain))
    changed = (own != others).any(dim=1)
    assert told == f"{int(changed.sum())} of {SIZE} token embeddings, by which tokens stand together"
    assert 20 < changed.sum() < SIZE
    assert not changed[torch.from_numpy(SPECIAL)].any()
    spread = own[changed].pow(2).mean(dim=1).sqrt()
    assert torch.allclose(spread, torch.full_like(spread, 0.08), rtol=1e-4)
    assert made.model.get_output_embeddings().weight is own
    rest = dict(plain.model.named_parameters())
    assert all(torch.equal(value, rest[name]) for name, value in made.model.named_parameters() if value is not own)


def test_noise_is_left_where_it_is_asked_for_and_learned_embeddings_are_kept(tmp_path: Path) -> None:
    rows = started(tiny_backbone()).encode_rows(dataset_of(uneven_rows(40)), fingerprint="begin")
    assert started(tiny_backbone(), embeddings="random").begin(rows, fingerprint="begin") == ""
    made = started(tiny_backbone())
    save_model(made.model, BACKBONE.tokenizer, tmp_path)
    learned = load_backbone(str(tmp_path))
    assert started(learned).begin(rows, fingerprint="begin") == ""
    with pytest.raises(UsageError, match="is for fresh weights") as caught:
        started(learned, embeddings="cooccurrence")
    assert "leave --embeddings out" in caught.value.fix
