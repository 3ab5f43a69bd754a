"""From a passport's figures to plain sentences, each with a count and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pretune.data.checks.answers import answer_findings
from pretune.data.checks.finding import SEVERITIES, finding
from pretune.data.checks.findings_labels import conflict_findings, label_findings
from pretune.data.checks.groups import group_findings
from pretune.data.checks.media import media_findings
from pretune.data.checks.siblings import sibling_findings
from pretune.data.near.pairs import WORDS
from pretune.wording import agree, counted

__all__ = ["findings"]

_LEAK_ERROR_SHARE = 0.01
_FEW_TEST_ROWS = 50
_LONG_ROW = 100_000
_TROUBLES = {
    "replacement_character": (
        "hold the replacement character U+FFFD, bytes that could not be decoded",
        "read the file with the right --encoding",
    ),
    "mojibake": ("show signs of a wrong encoding, such as “Ã©” for “é”", "read the file with the right --encoding"),
    "control_character": ("hold control characters", "--clean unicode removes them"),
    "invisible_character": ("hold invisible characters", "--clean unicode removes them"),
    "surrogate": (
        "hold half of a surrogate pair, a broken emoji or rare character",
        "--clean unicode removes the characters; escapes written out stay",
    ),
}
_KINDS = {
    "email": "e-mail addresses",
    "iban": "bank account numbers (IBAN)",
    "cn_id": "Chinese identity numbers",
    "card": "payment card numbers",
    "us_ssn": "US social security numbers",
    "ip": "IP addresses",
    "phone": "phone numbers",
    "cn_plate": "Chinese number plates",
}


_WORDS_FIX = "mend the words in the file, before it is read: their tags stand at their places in the text"
"""In place of cleaning, which is refused where words have places."""


def findings(passport: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Everything worth telling about a passport, the most severe first.

    Each is severity (error, warning, note), code, message, count, rows (the first ids) and fix.
    """
    found = [
        *_sizes(passport),
        *(told for part in ("read", "split") for told in passport["facts"].get(part, {}).get("findings", ())),
        *label_findings(passport),
        *answer_findings(passport),
        *_leaks(passport),
        *conflict_findings(passport),
        *group_findings(passport),
        *sibling_findings(passport),
        *_repeats(passport),
        *_rows(passport),
        *media_findings(passport),
        *_limits(passport),
    ]
    if any("words" in split["columns"] for split in passport["splits"].values()):
        found = [one | {"fix": _WORDS_FIX} if one["fix"].startswith(("--clean", "--redact")) else one for one in found]
    return sorted(found, key=lambda one: SEVERITIES.index(one["severity"]))


def _sizes(passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, split in passport["splits"].items():
        rows, empty = split["rows"], split.get("empty", {"count": 0})
        if not rows:
            yield finding(
                "error", "no-rows", f"{name} has no rows.", 0, [], "give a file with rows, or leave the split out"
            )
        elif name == "test" and rows < _FEW_TEST_ROWS:
            message = f"test has only {counted(rows)}: the intervals of every score will be wide."
            yield finding(
                "warning", "small-test", message, rows, [], "give more test rows, or a larger --test-fraction"
            )
        if empty["count"]:
            message = f"{counted(empty['count'])} of {name} {agree(empty['count'], 'have', 'has')} no text."
            yield finding(
                "warning",
                "empty-text",
                message,
                empty["count"],
                empty["rows"],
                "fill or remove these rows in the file; they are kept otherwise",
            )
        longest = ((split.get("length") or {}).get("characters") or {"max": 0})["max"]
        if longest > _LONG_ROW and name != "corpus":
            message = f"The longest row of {name} has {longest:,} characters."
            yield finding("note", "very-long-row", message, 1, [], "see --long-text for what a model does with it")


def _leaks(passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for pair in passport["across"]:
        held_out, source = pair["rows_of"], pair["also_in"]
        if held_out not in ("validation", "test") or (held_out, source) == ("validation", "test"):
            continue
        place = "the pre-training corpus" if source == "corpus" else source
        count, rows = pair["content"]["count"], pair["content"]["rows"]
        fix = {
            "train": "--drop-leaks drops the copies from train",
            "unlabelled": "--drop-leaks drops the copies from unlabelled",
            "corpus": f"remove these rows from the corpus before pre-training: {held_out} scores would be too good",
        }.get(source, "remove the copies from one of the two files")
        if count:
            severity = "error" if source == "train" and pair["share"] >= _LEAK_ERROR_SHARE else "warning"
            message = f"{counted(count)} of {held_out} ({pair['share']:.2%}) also {agree(count, 'stand', 'stands')} in {place}."
            yield finding(severity, "leak", message, count, rows, fix, pair["content_pairs"])
        if pair["near"] and pair["near"]["count"]:
            yield _near_leak(passport, pair, place)


def _near_leak(passport: Mapping[str, Any], pair: Mapping[str, Any], place: str) -> dict[str, Any]:
    held_out, near = pair["rows_of"], pair["near"]
    rows = max(passport["splits"][held_out]["rows"], 1)
    together = (near["count"] + pair["content"]["count"]) / rows
    many = near["count"] >= _LEAK_ERROR_SHARE * rows and pair["also_in"] in ("train", "unlabelled", "corpus")
    message = (
        f"{near['count']:,} more {agree(near['count'], 'rows', 'row')} of {held_out} nearly {agree(near['count'], 'stand', 'stands')} in {place} "
        f"({_ways(near)}); with the copies that is {together:.2%} of {held_out}."
    )
    fix = "look at the pairs; where they are copies, keep them together with --group"
    if pair["also_in"] in ("train", "unlabelled"):
        fix += f", or drop them from {pair['also_in']} with --drop-near-leaks"
    return finding(
        "warning" if many else "note", "near-leak", message, near["count"], near["rows"], fix, near["examples"]
    )


def _ways(near: Mapping[str, Any]) -> str:
    """How the rows are alike, and how many in each way."""
    kinds = near["kinds"]
    return "; ".join(WORDS[kind] if len(kinds) == 1 else f"{WORDS[kind]}: {count:,}" for kind, count in kinds.items())


def _repeats(passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, split in passport["splits"].items():
        exact, content, near = split["exact_duplicates"]["count"], split["content_duplicates"], split["near_duplicates"]
        if content["count"]:
            extra = content["count"] - exact
            more = f" ({exact:,} exactly, {extra:,} apart from case, width or white space)" if extra else ""
            severity = "warning" if content["count"] >= _LEAK_ERROR_SHARE * split["rows"] else "note"
            message = f"{counted(content['count'])} of {name} {agree(content['count'], 'repeat', 'repeats')} an earlier row{more}."
            yield finding(
                severity,
                "duplicates",
                message,
                content["count"],
                content["rows"],
                "--deduplicate drops the later copies",
                split["content_pairs"],
            )
        if near and near["count"]:
            message = f"{counted(near['count'])} of {name} nearly {agree(near['count'], 'repeat', 'repeats')} an earlier row ({_ways(near)})."
            yield finding(
                "note",
                "near-duplicates",
                message,
                near["count"],
                near["rows"],
                "look at the pairs; where they are copies, keep them together with --group",
                near["examples"],
            )


def _rows(passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, split in passport["splits"].items():
        for kind, tally in split.get("encoding", {}).items():
            says, fix = _TROUBLES[kind]
            yield finding(
                "warning",
                f"encoding-{kind.replace('_', '-')}",
                f"{counted(tally['count'])} of {name} {says}.",
                tally["count"],
                tally["rows"],
                fix,
            )
        for kind, tally in split.get("personal_data", {}).items():
            message = (
                f"{counted(tally['count'])} of {name} {agree(tally['count'], 'seem', 'seems')} to hold {_KINDS[kind]}."
            )
            yield finding(
                "warning",
                f"personal-{kind.replace('_', '-')}",
                message,
                tally["count"],
                tally["rows"],
                "--redact replaces them by tags, --redact pseudonym by one that tells values apart",
            )
        html = split.get("html", {"count": 0})
        if html["count"]:
            message = (
                f"{counted(html['count'])} of {name} {agree(html['count'], 'hold', 'holds')} HTML tags or entities."
            )
            yield finding("warning", "html", message, html["count"], html["rows"], "--clean html removes them")
        control = split.get("control_tokens", {"count": 0})
        if control["count"]:
            words = ", ".join(f"{word} in {number:,}" for word, number in control["words"].items())
            message = (
                f"{counted(control['count'])} of {name} {agree(control['count'], 'spell', 'spells')} control tokens of language models "
                f"({words}); to the model they are plain text."
            )
            fix = "left-overs of another program? clean the file; otherwise nothing is to be done"
            yield finding("note", "control-tokens", message, control["count"], control["rows"], fix)


def _limits(passport: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    search = passport["near_duplicates"]
    if search and not search["complete"]:
        message = "The search for near duplicates was ended early, there are too many alike rows: its counts are lower bounds."
        yield finding(
            "note",
            "near-search-incomplete",
            message,
            search["pairs"],
            [],
            "--deduplicate first, or clean boilerplate from the texts",
        )
    if search and search.get("cropped") is False:
        message = (
            f"Among so many pictures ({search['contents']:,}) cropped, bordered and turned copies were not looked for."
        )
        yield finding(
            "note", "crops-not-looked-for", message, search["contents"], [], "inspect fewer at a time to find these too"
        )
