"""What is left of a text when spaces, punctuation, case, width, accents and look-alike letters are set aside.

Letters, marks and digits stay, as code points. L letters of B texts.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np

from pretune.data.text.scripts import code_points

__all__ = ["Letters", "folded", "weights"]

_TABLE_SIZE = 0x20000  # the planes with case and punctuation; later planes hold rare Han, kept as they are
_AS_THEY_ARE = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xAC00, 0xD7A4))  # Han and Hangul: no case, no look-alikes
_ACCENTS = range(
    0x0300, 0x0370
)  # written over a letter of any script; vowel signs of Indic scripts and Thai are others
_LOOK_ALIKE = {
    # letters of other scripts, in lower case, that are drawn like these: Unicode Technical Standard 39, section 4
    "a": "аαɑᴀ",
    "b": "вβʙᏼ",
    "c": "сᴄϲ",
    "d": "ԁᴅđ",
    "e": "еεᴇҽ",
    "g": "ɡցɢ",
    "h": "һнհʜħ",
    "i": "іιıɪɩ",
    "j": "јʝᴊϳ",
    "k": "кκᴋ",
    "l": "ӏłʟ",
    "m": "мᴍ",
    "n": "пηոɴ",
    "o": "оοօσᴏø",
    "p": "рρᴘ",
    "q": "ԛզ",
    "r": "гʀᴦ",
    "s": "ѕꜱ",
    "t": "тτᴛ",
    "u": "υսᴜʋ",
    "v": "νѵᴠ",
    "w": "ԝωᴡѡ",
    "x": "хχ",
    "y": "уүγʏ",
    "z": "ᴢ",
}


@cache
def _folded() -> np.ndarray:
    """Code point to the code point it counts as, 0 for what is no letter, mark or digit."""
    like = {ord(other): ord(letter) for letter, others in _LOOK_ALIKE.items() for other in others}
    table = np.arange(_TABLE_SIZE, dtype=np.uint32)
    kept_as_is = {code for low, high in _AS_THEY_ARE for code in range(low, high)}
    for code in range(_TABLE_SIZE):
        if code not in kept_as_is:
            table[code] = _counts_as(code, like)
    return table


def _counts_as(code: int, like: dict[int, int]) -> int:
    character = chr(code)
    if unicodedata.category(character)[0] not in "LMN" or code in _ACCENTS:
        return 0
    small = unicodedata.normalize("NFD", character.casefold())
    plain = unicodedata.normalize("NFC", "".join(part for part in small if ord(part) not in _ACCENTS))
    return like.get(ord(plain), ord(plain)) if len(plain) == 1 else code


@dataclass(frozen=True, slots=True)
class Letters:
    """The folded letters (L,) uint32 of B texts in turn, the text (L,) of each, whether a word (L,) begins there, and how many
    letters (B,) each text has.
    """

    codes: np.ndarray
    text_of: np.ndarray
    begins: np.ndarray
    counts: np.ndarray

    def strings(self) -> list[str]:
        """Each text as its letters alone."""
        whole = self.codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
        ends = np.cumsum(self.counts).tolist()
        return [whole[end - count : end] for end, count in zip(ends, self.counts.tolist(), strict=True)]

    def words(self) -> list[list[str]]:
        """The words of each text: letters between what is none."""
        whole = self.codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
        starts = np.flatnonzero(self.begins)
        ends = np.append(starts[1:], len(self.codes))
        words = [whole[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        last = np.cumsum(np.bincount(self.text_of[starts], minlength=len(self.counts))).tolist()
        return [words[start:end] for start, end in zip([0, *last[:-1]], last, strict=True)] if last else []

    def sizes(self) -> np.ndarray:
        """(B,) int64: how much each text says, in letters of an alphabet."""
        return np.bincount(self.text_of, weights=weights(self.codes), minlength=len(self.counts)).astype(np.int64)


def folded(texts: list[str]) -> Letters:
    """What of the texts is compared."""
    normal = [text if text.isascii() else unicodedata.normalize("NFKC", text) for text in texts]
    codes = code_points("".join(normal))
    text_of_code = np.repeat(np.arange(len(texts)), [len(text) for text in normal])
    table = _folded()
    small = np.where(codes < _TABLE_SIZE, table[np.minimum(codes, _TABLE_SIZE - 1)], codes)
    kept = np.flatnonzero(small)
    text_of = text_of_code[kept]
    begins = np.ones(len(kept), dtype=bool)
    begins[1:] = (np.diff(kept) > 1) | (np.diff(text_of) > 0)
    return Letters(small[kept], text_of, begins, np.bincount(text_of, minlength=len(texts)))


def weights(codes: np.ndarray) -> np.ndarray:
    """(L,) int64: how much a letter says, in letters of an alphabet: Han 3, kana and Hangul syllables 2, others 1."""
    found = np.ones(len(codes), dtype=np.int64)
    found[((codes >= 0x3040) & (codes < 0x3100)) | ((codes >= 0xAC00) & (codes < 0xD7A4))] = 2
    found[((codes >= 0x3400) & (codes < 0xA000)) | ((codes >= 0xF900) & (codes < 0xFB00)) | (codes >= 0x20000)] = 3
    return found
