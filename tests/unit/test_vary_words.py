"""Words are hidden in the share that was asked for, whole, and a text is never emptied."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from pretune.modalities.text.vary import WORD_VARIATIONS, WordVariation, WordVarier
from pretune.modalities.text.words import whole_words, word_starts
from tiny import tiny_backbone

TEXT = (
    "the committee adjourned before anybody unanimously agreed on refurbishing the old swimming pool behind the school"
)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_backbone().tokenizer


def encoded(tokenizer, *texts: str) -> np.ndarray:
    return np.array(tokenizer(*texts)["input_ids"], dtype=np.int32)


def draws(varier: WordVarier, ids: np.ndarray, count: int = 2000) -> list[np.ndarray]:
    return [varier(ids, None, np.random.default_rng(number))[0] for number in range(count)]


def test_one_word_in_ten_is_hidden_and_only_whole_ones(tokenizer) -> None:
    ids = encoded(tokenizer, TEXT)
    words = whole_words(ids, word_starts(tokenizer), np.array(tokenizer.all_special_ids))
    inside = np.unique(words[1:-1])
    hidden = 0
    for varied in draws(WordVarier(WORD_VARIATIONS["light"], tokenizer), ids):
        assert len(varied) == len(ids)
        changed = varied != ids
        assert (varied[changed] == tokenizer.mask_token_id).all()
        assert not changed[[0, -1]].any(), "special tokens stay"
        for word in inside:
            assert changed[words == word].all() or not changed[words == word].any()
        hidden += len(np.unique(words[changed]))
    assert max(np.bincount(words)) > 1, "a word of several pieces"
    assert hidden / (2000 * len(inside)) == pytest.approx(0.1, abs=0.01)


def test_a_quarter_of_the_texts_is_a_stretch_of_words(tokenizer) -> None:
    ids = encoded(tokenizer, TEXT)
    level = WordVariation("cut", stretches=0.25)
    cut = [varied for varied in draws(WordVarier(level, tokenizer), ids) if len(varied) < len(ids)]
    assert len(cut) / 2000 == pytest.approx(0.25, abs=0.03)
    whole, lengths = ids[1:-1].tolist(), set()
    for varied in cut:
        assert (varied[[0, -1]] == ids[[0, -1]]).all()
        inner = varied[1:-1].tolist()
        assert inner
        assert any(whole[at : at + len(inner)] == inner for at in range(len(whole)))
        lengths.add(len(inner))
    assert {1, len(whole) // 2} <= lengths, "short ones and long ones"


def test_pairs_stay_pairs_and_segments_stay_beside_their_tokens(tokenizer) -> None:
    ids = encoded(tokenizer, TEXT, TEXT)
    middle = int(np.flatnonzero(np.isin(ids, tokenizer.all_special_ids))[1])
    segments = (np.arange(len(ids)) > middle).astype(np.uint8)
    varier = WordVarier(WordVariation("cut", hidden=0.1, stretches=1.0), tokenizer)
    for number in range(200):
        varied, marks = varier(ids, segments, np.random.default_rng(number))
        assert len(varied) == len(ids), "a part of one text would answer to the whole of another"
        assert marks is not None
        assert (marks == segments).all()


def test_without_a_mask_token_words_are_left_out(tokenizer) -> None:
    maskless = copy.deepcopy(tokenizer)
    maskless.mask_token = None
    ids = encoded(tokenizer, TEXT)
    segments = np.arange(len(ids)).astype(np.uint8)
    varied, marks = WordVarier(WordVariation("some", hidden=0.5), maskless)(ids, segments, np.random.default_rng(0))
    assert marks is not None
    assert 2 < len(varied) < len(ids)
    assert (ids[marks] == varied).all(), "a segment id goes with its token"


@pytest.mark.parametrize("text", ["pool", "", "the pool"])
def test_something_is_always_left(tokenizer, text: str) -> None:
    ids = encoded(tokenizer, text)
    for varied in draws(WordVarier(WordVariation("all", hidden=1.0, stretches=1.0), tokenizer), ids, 50):
        assert len(varied) >= min(3, len(ids))
        assert tokenizer.mask_token_id not in varied


def test_the_same_draw_gives_the_same_text(tokenizer) -> None:
    varier, ids = WordVarier(WORD_VARIATIONS["strong"], tokenizer), encoded(tokenizer, TEXT)
    first, again = draws(varier, ids, 20), draws(varier, ids, 20)
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    assert len({varied.tobytes() for varied in first}) > 10
