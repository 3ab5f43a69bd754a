"""``python -m acceptance.personal_data patterns``, and ``... names TAGGER CONLL``: how much personal data is found in labelled texts, and how much of what is found is some.

No public set has real phone, card and id numbers of people, and none should. So the values are made: valid ones (check digits, number plans) in the ways people
write them, some of which the patterns are known to miss, set into sentences that we wrote before we measured (``personal_sentences.yaml``), among numbers that are
none: orders, prices, dates, versions. Names are those of CoNLL-2003's test rows, whose texts the tagger reads as anybody's, without being told where words end.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from acceptance.heard_words import share
from pretune.config import DataSettings
from pretune.data.read import read
from pretune.data.text.pii import Found, find
from pretune.runs.tagger import open_tagger

SENTENCES = Path(__file__).with_name("personal_sentences.yaml")
EACH = 12
"""Times that a sentence is said, each with other values."""
NAMES = {"PER": "person", "LOC": "place"}
Labelled = tuple[str, list[Found]]


def main() -> None:
    """Print precision and recall with intervals: of patterns by language and by kind, of names by kind."""
    parser = argparse.ArgumentParser(prog="python -m acceptance.personal_data", description=__doc__)
    parser.add_argument("what", choices=("patterns", "names"))
    parser.add_argument("tagger", nargs="?", help="names: a run of token-classification")
    parser.add_argument("conll", nargs="?", help="names: the folder of CoNLL-2003")
    asked = parser.parse_args()
    if asked.what == "names" and asked.conll is None:
        parser.error("names takes a run and the folder of CoNLL-2003")
    found = of_patterns() if asked.what == "patterns" else of_names(asked.tagger, asked.conll)
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")


def of_patterns() -> dict[str, Any]:
    """By language: what the patterns find, sentences being drawn."""
    told: dict[str, Any] = {}
    for language, sentences in yaml.safe_load(SENTENCES.read_text(encoding="utf-8")).items():
        draw = random.Random(f"personal data, {language}")
        groups = [[said(sentence, draw, language) for _ in range(EACH)] for sentence in sentences]
        told[language] = measured(groups, lambda texts: [find(text) for text in texts])
    return told


def of_names(tagger: str, conll: str) -> dict[str, Any]:
    """What a tagger finds of the persons and places of the test rows, documents being drawn."""
    rows = read(DataSettings(data=conll))["test"]
    documents: dict[str, list[Labelled]] = defaultdict(list)
    for text, words, tags, document in zip(rows["text"], rows["words"], rows["tags"], rows["group"], strict=True):
        documents[document].append((text, named(words, tags)))
    return measured([*documents.values()], open_tagger(tagger))


def named(words: Sequence[Sequence[int]], tags: Sequence[str]) -> list[Found]:
    """The persons and places of a row by their characters."""
    from pretune.answers.schemes import entities_of

    found = entities_of(tags, words)
    return [(NAMES[one["type"]], one["start"], one["end"]) for one in found if one["type"] in NAMES]


def measured(
    groups: Sequence[Sequence[Labelled]], finds: Callable[[Sequence[str]], list[list[Found]]]
) -> dict[str, Any]:
    """``recall``: the values that are taken out to the last character, also by kind; ``precision``: of what is taken out, what touches a
    value; groups are drawn for the intervals, those that hold some.
    """
    covered, right = [], []
    by_kind: dict[str, list[list[bool]]] = defaultdict(list)
    missed: dict[str, dict[str, None]] = defaultdict(dict)
    for group in groups:
        covered.append([])
        right.append([])
        own: dict[str, list[bool]] = defaultdict(list)
        for (text, values), found in zip(group, finds([text for text, _ in group]), strict=True):
            taken = {place for _, start, end in found for place in range(start, end)}
            for kind, start, end in values:
                is_covered = {*range(start, end)} <= taken
                covered[-1].append(is_covered)
                own[kind].append(is_covered)
                if not is_covered:
                    missed[kind][text[start:end]] = None
            right[-1] += [
                any(start < other_end and other < end for _, other, other_end in values) for _, start, end in found
            ]
        for kind, ones in own.items():
            by_kind[kind].append(ones)
    return {
        "precision": share([*filter(None, right)]), "recall": share([*filter(None, covered)]), "texts": sum(map(len, groups)),
        "recall_by_kind": {kind: share(ones) for kind, ones in sorted(by_kind.items())},
        "missed": {kind: [*ones][:6] for kind, ones in sorted(missed.items())},
    }  # fmt: skip


def said(sentence: str, draw: random.Random, language: str) -> Labelled:
    """A sentence with values in the places of ``{kind}``, and where those stand that are personal data."""
    text, values = "", []
    for part in sentence.replace("}", "{").split("{"):
        is_slot = part in MADE
        value = MADE[part](draw, language) if is_slot else part
        if is_slot and part not in DECOYS:
            values.append((part, len(text), len(text) + len(value)))
        text += value
    return text, values


def digits(draw: random.Random, count: int) -> str:
    """So many digits, the first of which is none."""
    return str(draw.randrange(1, 10)) + "".join(str(draw.randrange(10)) for _ in range(count - 1))


def grouped(number: str, sizes: Sequence[int], mark: str) -> str:
    """A number in groups."""
    parts, at = [], 0
    for size in sizes:
        parts.append(number[at : at + size])
        at += size
    return mark.join(parts)


def email(draw: random.Random, language: str) -> str:
    """An address; some with tags, capitals or several domains."""
    name = draw.choice(["ann.lee", "bo", "J.Smith-Jones", "zhang_wei", "li.na+news", "info", "k2000"])
    return f"{name}{draw.randrange(100)}@{draw.choice(['example.org', 'mail.example.co.uk', 'qq.com', '163.com', 'Uni-Example.DE'])}"


def phone(draw: random.Random, language: str) -> str:
    """A number as it is written in the country; some without any mark."""
    if language == "zh":
        mobile = f"1{draw.choice('3456789')}{draw.randrange(10)}{digits(draw, 8)}"
        area = draw.choice(["010", "021", "0755", "0571"])
        return draw.choice([
            mobile, grouped(mobile, (3, 4, 4), "-"), grouped(mobile, (3, 4, 4), " "), f"+86 {mobile}", f"+86-{grouped(mobile, (3, 4, 4), '-')}",
            f"{area}-{digits(draw, 8)}", f"({area}){digits(draw, 8)}", f"{area} {digits(draw, 8)}", f"400-{digits(draw, 3)}-{digits(draw, 4)}",
        ])  # fmt: skip
    area, office, line = (
        draw.choice(["212", "415", "617"]),
        f"{draw.randrange(200, 999)}",
        f"{draw.randrange(10_000):04d}",
    )
    return draw.choice([
        f"({area}) {office}-{line}", f"{area}-{office}-{line}", f"{area}.{office}.{line}", f"+1 {area} {office} {line}", f"{area}{office}{line}",
        f"1-800-{office}-{line}", f"020 7946 {line}", f"07700 900{office}", f"+44 7700 900{office}", f"+49 30 {digits(draw, 8)}", f"0171 {digits(draw, 7)}",
        grouped(f"01{digits(draw, 8)}", (2, 2, 2, 2, 2), " "),
    ])  # fmt: skip


def card(draw: random.Random, language: str) -> str:
    """A card number with the right last digit (Luhn)."""
    start, length = draw.choice([("62", 16), ("62", 19)] if language == "zh" else [("4", 16), ("52", 16), ("37", 15)])
    body = start + digits(draw, length - len(start) - 1)
    total = sum(sum(divmod(int(digit) * (1 + (place % 2 == 0)), 10)) for place, digit in enumerate(reversed(body)))
    number = body + str(-total % 10)
    sizes = (4, 6, 5) if length == 15 else (4,) * (length // 4) + ((length % 4,) if length % 4 else ())
    return draw.choice([number, grouped(number, sizes, " "), grouped(number, sizes, "-")])


def identity(draw: random.Random, language: str) -> str:
    """A Chinese identity number with the right last character (GB 11643), or a US social security number."""
    if language == "en":
        parts = f"{draw.randrange(1, 666):03d}", f"{draw.randrange(1, 100):02d}", f"{draw.randrange(1, 10_000):04d}"
        return draw.choice(["-", "-", "-", " "]).join(parts)
    body = f"{draw.choice(['110105', '310101', '440305', '510107'])}{draw.randrange(1950, 2010)}{draw.randrange(1, 13):02d}{draw.randrange(1, 29):02d}{draw.randrange(1000):03d}"
    last = "10X98765432"[sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(body)) % 11]
    return body + draw.choice([last, last.lower()])


def plate(draw: random.Random, language: str) -> str:
    """A Chinese number plate."""
    start = f"{draw.choice('京沪粤苏浙川')}{draw.choice('ABCDEFGH')}{draw.choice(['', '', '·', ' '])}"
    return start + draw.choice(
        [
            digits(draw, 5),
            f"{draw.choice('KLMN')}{digits(draw, 4)}",
            f"{digits(draw, 3)}{draw.choice('PQRST')}{draw.choice('UVW')}",
            f"D{digits(draw, 5)}",
        ]
    )


def iban(draw: random.Random, language: str) -> str:
    """A German account number with the right check digits (ISO 13616)."""
    body = digits(draw, 18)
    number = f"DE{98 - int(f'{body}131400') % 97:02d}{body}"
    return draw.choice([number, grouped(number, (4, 4, 4, 4, 4, 2), " ")])


def address(draw: random.Random, language: str) -> str:
    """An IP address of a machine."""
    return draw.choice(
        [
            ".".join(str(draw.randrange(10, 250)) for _ in range(4)),
            f"2001:db8:{draw.randrange(16**4):x}::{draw.randrange(16**4):x}:{draw.randrange(1, 16**4):x}",
        ]
    )


MADE: dict[str, Callable[[random.Random, str], str]] = {
    "email": email, "phone": phone, "card": card, "id": identity, "plate": plate, "iban": iban, "ip": address,
    "order": lambda draw, language: draw.choice(["", "A-", "SF"]) + digits(draw, draw.randrange(6, 17)),
    "price": lambda draw, language: f"{draw.choice('¥$€')}{draw.randrange(10, 90_000):,}.{draw.randrange(100):02d}",
    "date": lambda draw, language: f"{draw.randrange(1990, 2030)}{(mark := draw.choice('-/.'))}{draw.randrange(1, 13):02d}{mark}{draw.randrange(1, 29):02d}",
    "version": lambda draw, language: f"v{draw.randrange(20)}.{draw.randrange(20)}.{draw.randrange(200)}.{draw.randrange(20)}",
    "count": lambda draw, language: f"{draw.randrange(10**5, 10**10):,}" if language == "en" else f"{draw.randrange(10**5, 10**10)}",
    "stamp": lambda draw, language: f"{draw.randrange(10**9, 2 * 10**9)}",
    "isbn": lambda draw, language: f"978-{draw.randrange(10)}-{digits(draw, 3)}-{digits(draw, 5)}-{draw.randrange(10)}",
}  # fmt: skip
DECOYS = ("order", "price", "date", "version", "count", "stamp", "isbn")

if __name__ == "__main__":
    main()
