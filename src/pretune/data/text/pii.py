"""Personal data in text: where it stands, and the text without it.

Patterns only propose; check digits (Luhn, ISO 7064, ISO 13616), known number plans and the signs around a match decide.
Plain numbers, prices, dates and version numbers are left alone, so some numbers written without any mark are missed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator

__all__ = ["KINDS", "Found", "find", "redact", "replaced"]

Found = tuple[str, int, int]
"""A piece of personal data: its kind, its first character and the one behind its last."""
KINDS = ("email", "iban", "cn_id", "card", "us_ssn", "ip", "phone", "cn_plate")
"""Kinds found; where two overlap the earlier one is taken."""

_TAGS = {
    "email": "EMAIL",
    "iban": "IBAN",
    "cn_id": "ID",
    "card": "CARD",
    "us_ssn": "ID",
    "ip": "IP",
    "phone": "PHONE",
    "cn_plate": "PLATE",
}
# Texts without any of these hold nothing to find; this one search is all that most texts cost.
_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_WORTH_LOOKING = re.compile(rf"[{_PROVINCES}][A-Z]|" r"@|\d(?:[ .\-()/]{0,3}\d){6}|\d\.\d{1,3}\.\d|:[0-9A-Fa-f]{0,4}:")

_EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9][A-Za-z0-9._+%-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])",
    re.ASCII,
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Za-z0-9]){11,28}")
_CN_ID = re.compile(
    r"(?<!\d)[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?![\dA-Za-z])", re.ASCII
)
_CARD = re.compile(
    r"(?<![\d.,$-])[2-6]\d{3}([ -]?)(?:\d{4}\1\d{4}\1\d{4}(?:\1?\d{3})?|\d{6}\1\d{4,5})(?![\d.,]?\d)", re.ASCII
)
_SSN = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])", re.ASCII)
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:.])", re.ASCII)
_VERSION_BEFORE = re.compile(r"(?:(?<![A-Za-z])v|version|release|ver\.?|版本|[A-Za-z]-|\bEC:?)\s*$", re.IGNORECASE)
_PHONES = tuple(
    re.compile(pattern, re.ASCII | re.IGNORECASE)
    for pattern in (
        r"(?<![\w+.,-])(?:\+[1-9]\d{0,2}[ .\-]?|00[1-9]\d{0,2}[ .\-])(?:[ .\-]?\(?\d{1,5}\)?){2,6}(?!\d)",  # international
        r"(?<![\w.,$¥€£+-])1[3-9]\d([ -]?)\d{4}\1\d{4}(?![\d.,-]?\d|[a-f]|-\w|[ ]?[元万亿%])",  # Chinese mobile
        r"(?<![\w-])(?:0\d{2,3}-\d{7,8}|[(（]0\d{2,3}[)）] ?\d{7,8}|[48]00-\d{3}-\d{4}|[48]00-\d{4}-\d{3})(?![a-f\d]|-\w)",  # Chinese landline and service
        r"(?<![\w(.-])(?:1[-. ])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}([-.]))[2-9]\d{2}(?(1)\1|[-. ])\d{4}(?![\w-])",  # North America
        r"(?<![\w.,-])0[1-9](?:([ .])\d{2})(?:\1\d{2}){3}(?![\w.,]?\d)",  # France
        r"(?<![\w.,-])0[1-9]\d{1,3}(?:[ /]\d{3,4}[ -]?\d{3,5}|[/-]\d{6,8})(?!\d|[.,]\d)",  # Britain, Germany and like them
    )
)
_PHONE_AFTER_WORD = re.compile(
    r"(?:\b(?:tel|telephone|phone|mobile|fax|whatsapp)\b\.?(?: (?:no|number)\b\.?)?|电话|手机|手机号|热线|传真|微信)(?:号码|号)?(?:是|为| is)?[ :：]{0,3}"
    r"(?P<number>\(?\d(?:[ .\-()]{0,2}\d){6,14})(?!\d|[.,]\d)",
    re.IGNORECASE | re.ASCII,
)
# GA 36: province, authority, five letters or digits (six of cars that drive electrically: D or F, and five digits), never I or O.
_CN_PLATE = re.compile(
    rf"[{_PROVINCES}][A-HJ-NP-Z][·• -]?(?:[DF]\d{{5}}|\d{{5}}[DF]|[A-HJ-NP-Z0-9]{{4}}[A-HJ-NP-Z0-9挂学警港澳])(?![A-Za-z0-9])"
)
_LETTERS_OF_A_PLATE = 3
_IBAN_LENGTHS = {
    # ISO 13616 registry: country to number of characters.
    "NO": 15,
    "BE": 16,
    **dict.fromkeys(("DK", "FI", "FO", "GL", "NL"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "XK"), 20),
    **dict.fromkeys(("CH", "CR", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HU", "LB", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU"), 30),
    "MT": 31,
    "LC": 32,
}


def find(text: str) -> list[Found]:
    """Every piece of personal data in order of appearance, none overlapping another."""
    if not _WORTH_LOOKING.search(text):
        return []
    taken: list[Found] = []
    for kind in KINDS:
        for start, end in _FINDERS[kind](text):
            if all(end <= other_start or start >= other_end for _, other_start, other_end in taken):
                taken.append((kind, start, end))
    return sorted(taken, key=lambda found: found[1])


def _no_suffix(kind: str, value: str) -> str:
    return ""


def redact(text: str, suffix: Callable[[str, str], str] = _no_suffix) -> str:
    """The text with every piece of personal data replaced by its tag, such as [EMAIL]: see :func:`replaced`."""
    return replaced(text, find(text), suffix)


def replaced(text: str, found: Iterable[Found], suffix: Callable[[str, str], str] = _no_suffix) -> str:
    """The text with a tag in place of each piece that was ``found`` (in order of appearance); ``suffix``, of the kind and the value, is
    what stands in the tag behind its name.
    """
    pieces, done = [], 0
    for kind, start, end in found:
        pieces += [text[done:start], f"[{_TAGS.get(kind, kind.upper())}{suffix(kind, text[start:end])}]"]
        done = end
    return "".join([*pieces, text[done:]]) if pieces else text


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _emails(text: str) -> Iterator[tuple[int, int]]:
    if "@" in text:
        yield from (match.span() for match in _EMAIL.finditer(text))


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for match in _IBAN.finditer(text):
        length = _IBAN_LENGTHS.get(match[0][:2])
        places = [place for place in range(*match.span()) if text[place] != " "]
        if length is None or len(places) < length:
            continue
        end = places[length - 1] + 1
        if not text[end : end + 1].isalnum() and _mod97("".join(text[place] for place in places[:length])) == 1:
            yield match.start(), end


def _mod97(iban: str) -> int:
    return int("".join(str(int(letter, 36)) for letter in iban[4:] + iban[:4])) % 97


def _cn_ids(text: str) -> Iterator[tuple[int, int]]:
    """Resident identity numbers (GB 11643) whose check character is right."""
    for match in _CN_ID.finditer(text):
        total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(match[0][:17]))
        if "10X98765432"[total % 11] == match[0][17].upper():
            yield match.span()


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        digits = _digits(match[0])
        if _issued(digits) and _luhn(digits):
            yield match.span()


def _issued(digits: str) -> bool:
    """Does a card scheme issue numbers with this start and length."""
    two, four = int(digits[:2]), int(digits[:4])
    if two in (34, 37):
        return len(digits) == 15
    if two in (36, 38, 30):
        return len(digits) == 14
    if digits[0] == "4" or 51 <= two <= 55 or 2221 <= four <= 2720 or four == 6011 or two == 65:
        return len(digits) == 16
    return (two == 62 and 16 <= len(digits) <= 19) or (two == 35 and len(digits) == 16)


def _luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _ssns(text: str) -> Iterator[tuple[int, int]]:
    yield from (match.span() for match in _SSN.finditer(text))


def _ips(text: str) -> Iterator[tuple[int, int]]:
    for match in _IPV4.finditer(text):
        parts = match[0].split(".")
        if (
            any(len(part) > 1 for part in parts)
            and not _VERSION_BEFORE.search(text, max(0, match.start() - 12), match.start())
            and _is_host(match[0])
        ):
            yield match.span()
    for match in _IPV6.finditer(text):
        groups = [group for group in match[0].split(":") if group]
        if len(groups) >= 3 and any(map(str.isdigit, match[0])) and _is_host(match[0]):
            yield match.span()


def _is_host(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast)


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for number, pattern in enumerate(_PHONES):
        for match in pattern.finditer(text):
            count = len(_digits(match[0]))
            if number or (10 <= count <= 15 and not _digits(match[0]).endswith("000000")):
                yield match.span()
    for match in _PHONE_AFTER_WORD.finditer(text):
        yield match.span("number")


def _cn_plates(text: str) -> Iterator[tuple[int, int]]:
    for match in _CN_PLATE.finditer(text):
        if sum(map(str.isalpha, match[0][2:])) <= _LETTERS_OF_A_PLATE:
            yield match.span()


_FINDERS: dict[str, Callable[[str], Iterator[tuple[int, int]]]] = {
    "email": _emails,
    "iban": _ibans,
    "cn_id": _cn_ids,
    "card": _cards,
    "us_ssn": _ssns,
    "ip": _ips,
    "phone": _phones,
    "cn_plate": _cn_plates,
}
