"""Which language legacy bytes seem to be: Chinese by its frequent characters, others to be named in a hint."""

from __future__ import annotations

import codecs
import importlib

__all__ = ["guessed_encoding", "looks_chinese"]

_FREQUENT = frozenset(
    "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王果亲界及今京务制解各任至清物台象记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青管夫连远资队跟带花快条院变联言权往展该领传近留红治决周保达办运武半候七必城父强步完革深区即求品士转量空甚众技轻程告江语英基派满式李息写呢识极令黄德收脸钱党倒未持取设始版双历越史商千片容研像找友孩站广改议形委早房音火际则首单据导影失拿网香似斯专石若兵弟谁校读志飞观争究包组造落视济喜离虽坏兴切低规验跑助易层质选推需格企超引胜确备约况严标投具显价格局股基"
    "，。、！？：；“”《》（）"
    "這們個來說時會對過還後國沒為裡麼樣無開關與學長書"
)
"""The five hundred most frequent characters of written Chinese, with usual marks and some traditional forms."""

_CHINESE_SHARE = 0.3
"""Measured over characters beyond ASCII: Chinese news, reviews, dialogues and poems of the Tang 0.44 to 0.80; Korean, Japanese,
Thai, Russian, Greek, Hebrew and Arabic in their own encodings, read as GB 18030, at most 0.17."""

_MOST_BYTES = 2**17
_PAIRS = {
    "euc_kr": ("\uac00", "\ud7a3", 0.6),
    "euc_jp": ("\u3041", "\u30ff", 0.25),
    "shift_jis": ("\u3041", "\u30ff", 0.25),
}
"""Encodings in pairs of bytes, with the range that the characters of their language fill, and by what share."""


def looks_chinese(evidence: bytes, encoding: str = "gb18030") -> bool:
    """Whether these bytes, read in this encoding, hold the frequent characters of Chinese."""
    beyond = [character for character in evidence.decode(encoding, "ignore") if character > "\x7f"]
    sample = beyond[:: max(1, len(beyond) // 20_000)]
    return sum(character in _FREQUENT for character in sample) >= _CHINESE_SHARE * max(1, len(sample))


def guessed_encoding(evidence: bytes) -> str | None:
    """An encoding to try first, for a hint: by letters of Korean and Japanese, frequent characters of Chinese, or what
    ``charset-normalizer`` says where it is installed.
    """
    for encoding, (first, last, share) in _PAIRS.items():
        beyond = _decoded(evidence, encoding)
        if beyond and sum(first <= character <= last for character in beyond) >= share * len(beyond):
            return encoding
    if _decoded(evidence, "big5") and looks_chinese(evidence, "big5"):
        return "big5"
    try:
        normalizer = importlib.import_module("charset_normalizer")
    except ImportError:
        return None
    best = normalizer.from_bytes(evidence[:_MOST_BYTES]).best()
    return None if best is None else str(best.encoding)


def _decoded(evidence: bytes, encoding: str) -> str:
    """The characters beyond ASCII, "" where the bytes are not of this encoding."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(evidence)  # the last character may be cut
        return "".join(character for character in text if character > "\x7f")
    except UnicodeDecodeError:
        return ""
