"""Near duplicates: shingles, estimated candidates, exact similarity, and bounded work."""

import random

import numpy as np
import pytest

from pretune.data import minhash, scripts
from pretune.data.minhash import band_keys, find_near_pairs, jaccard
from pretune.data.shingles import NGRAM_SPACED, NGRAM_UNSPACED, shingle_hashes


def grams(text: str) -> set[str]:
    letters = "".join(filter(str.isalnum, text.casefold()))
    size = NGRAM_UNSPACED if any("\u4e00" <= letter <= "\u9fff" for letter in letters) else NGRAM_SPACED
    return {letters[start : start + size] for start in range(max(1, len(letters) - size + 1))}


def near(texts: list[str], batch: int = 97) -> minhash.NearPairs:
    keys_NK, sizes_N = band_keys((texts[start : start + batch] for start in range(0, len(texts), batch)), len(texts))
    return find_near_pairs(keys_NK, sizes_N, lambda rows: [texts[row] for row in rows])


def varied(count: int, letters: str, length: int, seed: int) -> list[str]:
    """Random texts, each with a copy in which some letters are others."""
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        text = draw.choices(letters, k=length)
        other = list(text)
        for place in draw.sample(range(length), draw.randint(0, length // 8)):
            other[place] = draw.choice(letters)
        texts += ["".join(text), "".join(other)]
    return texts


@pytest.mark.parametrize("letters", ["abcdefghijklmnop ", "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往"])
def test_similarity_is_that_of_the_sets(letters: str) -> None:
    texts = varied(200, letters, 60, seed=1)
    left, right = texts[::2], texts[1::2]
    expected = [len(grams(a) & grams(b)) / len(grams(a) | grams(b)) for a, b in zip(left, right, strict=True)]
    assert np.allclose(jaccard(left, right), expected)


@pytest.mark.parametrize("letters", ["abcdefghijklmnop ", "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往"])
def test_finds_what_comparing_all_with_all_finds(letters: str) -> None:
    texts = varied(150, letters, 50, seed=2)
    sets = [grams(text) for text in texts]
    every = {
        (i, j): len(sets[i] & sets[j]) / len(sets[i] | sets[j])
        for i in range(len(texts))
        for j in range(i + 1, len(texts))
    }
    wanted = {pair for pair, similarity in every.items() if similarity >= 0.8}
    found = near(texts)
    pairs = set(zip(found.left_P.tolist(), found.right_P.tolist(), strict=True))
    assert pairs <= wanted
    assert len(wanted) > 20
    assert len(pairs) >= 0.95 * len(wanted)
    assert found.complete


def test_band_keys_do_not_depend_on_batches() -> None:
    texts = varied(50, "abcdefg ", 40, seed=3)
    assert np.array_equal(band_keys([texts], 100)[0], band_keys(([text] for text in texts), 100)[0])


def test_spaces_punctuation_case_and_width_do_not_matter() -> None:
    assert jaccard(["This is one of Polanski's best films."], ["this is one of ｐｏｌａｎｓｋｉ 's best films"]) == [
        1.0
    ]
    assert jaccard(["abc"], ["abd"]) == [0.0]
    assert jaccard(["!!", ""], ["??", "word"]).tolist() == [1.0, 0.0]


def test_short_and_empty_rows_have_one_shingle() -> None:
    _, starts = shingle_hashes(["", "ab", "abcdef", "天", "天地人", "..."])
    assert np.diff(starts).tolist() == [1, 1, 2, 1, 2, 1]
    assert shingle_hashes([])[1].tolist() == [0]


def test_no_rows_and_one_row() -> None:
    assert len(near([]).left_P) == 0
    assert len(near(["only"]).left_P) == 0


def test_many_alike_rows_are_linked_not_compared_all_with_all() -> None:
    texts = [
        f"the quick brown fox jumps over the lazy dog again and again until number {number}" for number in range(3_000)
    ]
    found = near(texts)
    assert found.linked_buckets > 0
    assert len(set(found.left_P) | set(found.right_P)) == 3_000
    assert len(found.left_P) < 200 * len(texts)


def test_work_is_bounded_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minhash, "_MOST_SHINGLES", 2_000)
    found = near([f"the quick brown fox jumps over the lazy dog number {number}" for number in range(200)])
    assert not found.complete
    assert 0 < len(found.left_P) <= 50


def test_scripts() -> None:
    counts = scripts.count_scripts(["abc 123 天地", "кот, かな 한글"])
    assert scripts.shares(counts) == {
        "Latin": 3 / 12,
        "Cyrillic": 3 / 12,
        "Hangul": 2 / 12,
        "Kana": 2 / 12,
        "Han": 2 / 12,
    }
    assert scripts.shares(scripts.count_scripts(["12 ...", ""])) == {}
    assert scripts.unspaced_mask(scripts.code_points("a天ไ한")).tolist() == [False, True, True, False]
