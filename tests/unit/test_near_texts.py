"""Copies of texts: what is left of a text, candidates from keys, what is a copy and what is another text, and bounded work."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from pretune.data.near import rare, texts
from pretune.data.near.letters import folded
from pretune.data.near.likeness import numbers, text_likeness
from pretune.data.near.minhash import jaccard
from pretune.data.near.pairs import KINDS, NearPairs
from pretune.data.near.rare import RarePieces
from pretune.data.near.shingles import NGRAM_SPACED, NGRAM_UNSPACED, long_shingles, short_shingles
from pretune.data.near.texts import find_near_texts
from pretune.data.text import scripts

LONG = "the committee of seven elderly farmers voted again last night against the new canal by the mill"
OTHER = "she painted the wooden fence in a shade of green that nobody in the village had ever seen before"
TITLE = "欧洲货运飞船与国际空间站成功对接"
OTHER_TITLE = "中年妇女闹市区裸体逛街致交通拥堵"


def near(rows: list[str], batch: int = 97) -> NearPairs:
    batches = (rows[start : start + batch] for start in range(0, len(rows), batch))
    return find_near_texts(batches, len(rows), lambda chosen: [rows[row] for row in chosen])


def kind_of(one: str, other: str) -> str | None:
    """How two texts are alike among a few others."""
    found = near([one, other, "a train was late because of snow on the points", "基金预告"])
    at = [place for place, pair in enumerate(zip(found.left_P, found.right_P, strict=True)) if pair == (0, 1)]
    assert len(found.left_P) == len(at)
    return KINDS[found.kind_P[at[0]]] if at else None


def sets_of(rows: list[str]) -> list[set[str]]:
    def grams(text: str) -> set[str]:
        letters = "".join(filter(str.isalnum, text.casefold()))
        size = NGRAM_UNSPACED if any("\u4e00" <= letter <= "\u9fff" for letter in letters) else NGRAM_SPACED
        return {letters[start : start + size] for start in range(max(1, len(letters) - size + 1))}

    return [grams(text) for text in rows]


def similarity(left: list[str], right: list[str]) -> np.ndarray:
    return jaccard(short_shingles(folded(left)), short_shingles(folded(right)))[0]


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (LONG, LONG.upper() + "!", "letters"),
        (LONG, LONG.translate(str.maketrans("aeopcxy", "аеорсху")), "letters"),
        ("Café Zürich öffnet früh und schließt spät", "Cafe Zurich offnet fruh und schließt spat", "letters"),
        ("hid\u200bden cha\u200cracters", "hidden characters", "letters"),
        ("2012年 共1,000人 涨1.2%", "2 0 1 2 年 共 1000 人 涨 1 2", "letters"),
        (LONG, " ".join(LONG.split()[9:] + LONG.split()[:9]), "order"),
        (LONG, " ".join(sorted(LONG.split())), "order"),
        (TITLE, TITLE[8:] + TITLE[:8], "order"),
        (LONG, LONG.replace("elderly", "hungry"), "edited"),
        (LONG, LONG.replace("commitee", "comittee").replace("farmers", "framers").replace("canal", "cannal"), "edited"),
        (TITLE, TITLE.replace("站", "舱"), "edited"),
        (TITLE, TITLE + "(图)", "edited"),
        (LONG, " ".join(LONG.split()[3:16]), "part"),
        (LONG, " ".join(LONG.split()[:9]), "part"),
        (TITLE, TITLE[:13], "part"),
        (LONG, f"as the paper wrote: {LONG}, and nobody was surprised by it at all, least of all the miller", "part"),
        (TITLE, f"{OTHER_TITLE}。{TITLE}", "part"),
    ],
)
def test_copies_are_found_and_named(one: str, other: str, kind: str) -> None:
    assert kind_of(one, other) == kind
    assert kind_of(other, one) == kind


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LONG, OTHER),
        ("Apple opens a new store in Beijing", "Apple opens a new store in Shanghai"),
        ("the film is a small wonder", "the film is a small disaster"),
        ("沪深两市今日大幅收涨", "沪深两市今日大幅收跌"),
        ("苹果发布新款手机", "华为发布新款手机"),
        ("内地富豪最喜欢居住的十大中国城市之北京", "内地富豪最喜欢居住的十大中国城市之广州"),
        ("2009年地产人物九宗最组图(6)", "2009年地产人物九宗最组图(3)"),
        ("快讯：恒生指数早盘高开1.2%再创新高", "快讯：恒生指数早盘高开12%再创新高"),
        ("英超曼联2-1切尔西", "英超曼联21切尔西"),
        ("收评：股市周一回暖有色板块上涨", "收评：股市周二回暖有色板块上涨"),
        ("the court heard case 17 on Monday and closed it", "the court heard case 18 on Monday and closed it"),
        ("!!!", "???"),
        ("yes", "yesterday was a fine day for the whole family"),
    ],
)
def test_other_texts_are_no_copies(one: str, other: str) -> None:
    assert kind_of(one, other) is None


def test_what_many_rows_have_makes_no_copies() -> None:
    universities = [
        "北京大学",
        "清华大学",
        "复旦大学",
        "南京大学",
        "四川大学",
        "福州大学",
        "山东大学",
        "中山大学",
        "郑州大学",
        "苏州大学",
    ]
    assert len(near([f"{name}硕士研究生招生简章及专业目录" for name in universities]).left_P) == 0
    twice = near([f"{name}硕士研究生招生简章及专业目录" for name in universities] + [TITLE, TITLE.replace("站", "舱")])
    assert (twice.left_P.tolist(), twice.right_P.tolist()) == ([10], [11])


def test_planted_copies_are_found_among_others() -> None:
    draw = random.Random(4)
    words = ["".join(draw.choices("abcdefghiklmnoprstuvw", k=draw.randint(2, 9))) for _ in range(3_000)]
    rows = [" ".join(draw.choices(words, k=draw.randint(10, 20))) for _ in range(2_000)]
    ways: list[Callable[[list[str]], list[str]]] = [
        lambda parts: parts[: len(parts) // 2],
        lambda parts: [*parts[:4], draw.choice(words), *parts[5:]],
        lambda parts: draw.sample(parts, len(parts)),
        lambda parts: rows[7].split()[:5] + parts + rows[8].split()[:5],
    ]
    plan = [(source, ways[source % 4](rows[source].split())) for source in range(100, 180)]
    found = near(rows + [" ".join(copy) for _, copy in plan])
    pairs = set(zip(found.left_P.tolist(), found.right_P.tolist(), strict=True))
    caught = [(source, 2_000 + number) in pairs for number, (source, _) in enumerate(plan)]
    assert sum(caught) >= 76
    assert all(right >= 2_000 for _, right in pairs), "no row is a copy of another one that was not planted"


@pytest.mark.parametrize("letters", ["abcdefghijklmnop ", "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往"])
def test_similarity_is_that_of_the_sets(letters: str) -> None:
    draw = random.Random(1)
    left = ["".join(draw.choices(letters, k=60)) for _ in range(200)]
    right = ["".join(draw.choice(letters) if draw.random() < 0.05 else letter for letter in text) for text in left]
    ours, theirs = sets_of(left), sets_of(right)
    assert np.allclose(similarity(left, right), [len(a & b) / len(a | b) for a, b in zip(ours, theirs, strict=True)])


def test_results_do_not_depend_on_batches() -> None:
    draw = random.Random(3)
    rows = ["".join(draw.choices("abcdefg ", k=40)) for _ in range(60)]
    rows += [text[:30] for text in rows[:20]]
    few, many = near(rows, batch=7), near(rows, batch=1_000)
    assert few.left_P.tolist() == many.left_P.tolist()
    assert few.right_P.tolist() == many.right_P.tolist()
    assert len(few.left_P) >= 20


def test_spaces_punctuation_case_and_width_do_not_matter() -> None:
    assert similarity(["This is one of Polanski's best films."], ["this is one of ｐｏｌａｎｓｋｉ 's best films"]) == [
        1.0
    ]
    assert similarity(["abc"], ["abd"]) == [0.0]


def test_every_text_has_a_shingle_and_long_ones_say_as_much_in_every_script() -> None:
    rows = ["", "ab", "abcdef", "天", "天地人", "..."]
    assert np.diff(short_shingles(folded(rows))[1]).tolist() == [1, 1, 2, 1, 2, 1]
    assert np.diff(long_shingles(folded(["abcdefghij", "天地玄黄", "가나다라마"]), among=2)[1]).tolist() == [3, 2, 2]
    assert short_shingles(folded([]))[1].tolist() == [0]


def test_words_and_letters_of_texts() -> None:
    found = folded(["Mr. O'Neill's caf\u00e9", "", "北京 ＡＢＣ"])
    assert found.strings() == ["mroneillscafe", "", "北京abc"]
    assert found.words() == [["mr", "o", "neill", "s", "cafe"], [], ["北京", "abc"]]
    assert found.sizes().tolist() == [13, 0, 9]


def test_numbers_of_a_text() -> None:
    assert numbers("涨1.2%，共1,000点，第三，Ⅱ期 2012年") == ["1.2", "1000", "三", "2012"]
    assert numbers("no number at all") == []


def test_no_rows_and_one_row() -> None:
    assert len(near([]).left_P) == 0
    assert len(near(["only"]).left_P) == 0
    assert text_likeness([], [], np.empty(0))[0].tolist() == []


def test_many_alike_rows_are_linked_not_compared_all_with_all() -> None:
    rows = [f"{LONG} {'!' * number}" for number in range(3_000)]
    found = near(rows)
    assert found.linked_buckets > 0
    assert len(set(found.left_P) | set(found.right_P)) == 3_000
    assert len(found.left_P) < 20 * len(rows)


def test_work_is_bounded_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_MOST_LETTERS", 2_000)
    found = near([f"{LONG} {'!' * number}" for number in range(200)])
    assert not found.complete
    assert 0 < len(found.left_P) <= 20


def test_the_index_is_bounded_and_keeps_the_same_pieces_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    rows = draw.integers(0, 2**32, (400, 100), dtype=np.uint32)
    rows[300:] = rows[:100]
    small = RarePieces(most=10_000)
    for number, pieces in enumerate(rows):
        small.add(pieces, np.full(len(pieces), number))
        assert small._size <= 10_000
    left, right, bond, complete = small.pairs(400, least=0.9)
    assert left.tolist() == list(range(100))
    assert right.tolist() == list(range(300, 400))
    assert bond.min() > 0.9
    assert complete
    monkeypatch.setattr(rare, "_MOST_PAIRS", 10)
    many = RarePieces()
    many.add(np.repeat(np.arange(20, dtype=np.uint32), 5), np.tile(np.arange(5), 20))
    assert not many.pairs(5, least=0.1)[3]


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
