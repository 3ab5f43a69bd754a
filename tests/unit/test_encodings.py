"""Encodings of other languages: what was written in pairs of bytes for Korean or Japanese never passes for Chinese."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from pretune.config import DataSettings
from pretune.data.read import read
from pretune.data.text.encodings_guess import guessed_encoding, looks_chinese
from pretune.errors import DataError

KOREAN = (
    "오늘은 날씨가 매우 좋아서 친구와 함께 공원에 갔습니다",
    "이 영화는 처음부터 끝까지 정말 재미있었다",
    "서비스가 느리고 음식도 맛이 없어서 다시 가지 않겠습니다",
)
JAPANESE = (
    "今日は天気がとても良いので友達と公園に行きました",
    "この映画は最初から最後まで本当に面白かった",
    "料理がおいしくないので二度と行きません",
)
THAI = (
    "วันนี้อากาศดีมากฉันจึงไปสวนสาธารณะกับเพื่อน",
    "หนังเรื่องนี้สนุกมากตั้งแต่ต้นจนจบ",
    "อาหารไม่อร่อยและบริการช้ามาก",
)
RUSSIAN = ("Сегодня очень хорошая погода и мы пошли в парк", "Этот фильм был очень интересным", "Обслуживание плохое")
CHINESE = ("今天天气很好所以我和朋友去了公园", "这部电影从头到尾都很有意思", "服务很慢饭菜也不好吃我不会再来了")
TRADITIONAL = ("今天天氣很好所以我和朋友去了公園", "這部電影從頭到尾都很有意思", "服務很慢飯菜也不好吃我不會再來了")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def write(path: Path, texts: tuple[str, ...], encoding: str) -> Path:
    lines = "".join(f"{text} {i},{'ab'[i % 2]}\n" for i in range(6) for text in texts)
    path.write_bytes(("text,label\n" + lines).encode(encoding))
    return path


@pytest.mark.parametrize(
    ("texts", "encoding", "hint"),
    [
        (KOREAN, "euc_kr", "euc_kr"),
        (JAPANESE, "euc_jp", "euc_jp"),
        (JAPANESE, "shift_jis", "shift_jis"),
        (TRADITIONAL, "big5", "big5"),
        (THAI, "cp874", ""),
        (RUSSIAN, "cp1251", ""),
        (RUSSIAN, "koi8_r", ""),
    ],
)
def test_other_languages_are_refused_with_a_hint(
    texts: tuple[str, ...], encoding: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)  # as where it is not installed
    path = write(tmp_path / "a.csv", texts, encoding)
    with pytest.raises(DataError, match=r"the encoding of a\.csv was not found") as caught:
        read(DataSettings(data=str(path)))
    assert f"--encoding {hint}" in caught.value.fix
    rows = read(DataSettings(data=str(path), encoding=encoding))["train"]
    assert rows[0]["text"] == f"{texts[0]} 0"


@pytest.mark.parametrize(("texts", "encoding"), [(CHINESE, "gb2312"), (CHINESE, "gb18030"), (TRADITIONAL, "gb18030")])
def test_chinese_is_found(texts: tuple[str, ...], encoding: str, tmp_path: Path) -> None:
    splits = read(DataSettings(data=str(write(tmp_path / "a.csv", texts, encoding))))
    assert splits["train"][0]["text"] == f"{texts[0]} 0"
    assert splits.facts["read"]["encoding"] == {"a.csv": "gb18030"}
    assert "found by evidence" in " ".join(splits.facts["read"]["notes"])


def test_a_library_that_is_there_may_name_the_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    class Guess:
        encoding = "cp874"

    library = types.ModuleType("charset_normalizer")
    library.from_bytes = lambda data: types.SimpleNamespace(best=lambda: Guess)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "charset_normalizer", library)
    assert guessed_encoding(THAI[0].encode("cp874")) == "cp874"
    library.from_bytes = lambda data: types.SimpleNamespace(best=lambda: None)  # type: ignore[attr-defined]
    assert guessed_encoding(THAI[0].encode("cp874")) is None


def test_a_character_cut_at_the_end_of_the_evidence() -> None:
    assert guessed_encoding("".join(KOREAN).encode("euc_kr")[:-1]) == "euc_kr"
    assert looks_chinese("".join(CHINESE).encode("gb18030")[:-1])
