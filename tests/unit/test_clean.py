"""Cleaning: each step does what it says, is counted, and leaves the rest alone."""

import datasets
import pytest

from pretune.config import CleanSettings
from pretune.data.changes.clean import clean, text_cleaner
from pretune.data.splits import Splits
from pretune.data.text import scrub, troubles


def rows(
    name: str, texts: list[str], labels: list[str | None] | None = None, pairs: list[str] | None = None
) -> datasets.Dataset:
    columns: dict[str, list] = {"id": [f"{name}:{number}" for number in range(1, len(texts) + 1)], "text": texts}
    columns |= {} if pairs is None else {"text_pair": pairs}
    columns |= {} if labels is None else {"label": labels}
    return datasets.Dataset.from_dict(columns)


@pytest.mark.parametrize(
    ("dirty", "tidy"),
    [
        ("<p>One</p><p>two</p>", " One  two "),
        ("a <b>bold</b> word", "a bold word"),
        ("x < y and a <b and c> d", "x < y and a  d"),  # a known name in angle brackets is a tag
        ("if 1 <2 and 3> 2", "if 1 <2 and 3> 2"),
        ("<script>alert('<p>')</script>text<!-- no -->", " text "),
        ("AT&amp;T &lt;b&gt; caf&eacute; &#x4e2d;&#25991;", "AT&T <b> café 中文"),
        ("R&D; Q&A &copycat; &nosuch;", "R&D; Q&A &copycat; &nosuch;"),
        ("List<String> x; vector<int>", "List<String> x; vector<int>"),
    ],
)
def test_html(dirty: str, tidy: str) -> None:
    assert scrub.strip_html(dirty) == tidy


@pytest.mark.parametrize(
    ("dirty", "tidy"),
    [
        (f'<p>hello <img src="data:image/png;base64,{"A" * 5000}"/> there</p>', " hello  there "),
        (f"<!--{'x' * 200_000}-->a<script>{'y' * 200_000}</SCRIPT >b", " a b"),
        (f"<!doctype html {'z' * 900}>c", " c"),
        ("<!-- open <b>bold</b>", "<!-- open bold"),
        ("<style>p {}</style ><style>never closed", " never closed"),
        ("<scripted>a</scripted> <br/>", "<scripted>a</scripted>  "),
    ],
)
def test_html_of_any_length(dirty: str, tidy: str) -> None:
    """A tag of more than 2,000 characters, such as one with a picture in it, was kept without a word."""
    assert scrub.strip_html(dirty) == tidy


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", ["<!--", "<script>", "<a ", "</script", "<style><", "<a" + " " * 50, "<!doctype"])
def test_html_that_never_ends_is_looked_at_once(part: str) -> None:
    """A search from every beginning to the end would take hours: the time grows as the text does."""
    assert scrub.strip_html(part * 100_000) == scrub.strip_html(part) * 100_000
    assert scrub.has_html(part * 100_000) == scrub.has_html(part)


@pytest.mark.parametrize(
    ("dirty", "tidy"),
    [
        ("cafe\u0301", "café"),
        ("a\x00b\x1fc\x0bd", "ab c d"),
        ("zero\u200bwidth\ufeff so\u00adft", "zerowidth soft"),
        ("family \U0001f468\u200d\U0001f469", "family \U0001f468\u200d\U0001f469"),  # joiners have a meaning
        ("real\x97she can\x92t", "real—she can’t"),  # cp1252 read as latin-1
        ("Ã© stays", "Ã© stays"),  # never guessed
        ("line\nbreak\ttab", "line\nbreak\ttab"),
        ("全角ＡＢＣ", "全角ＡＢＣ"),  # NFC, not NFKC
    ],
)
def test_unicode(dirty: str, tidy: str) -> None:
    assert scrub.normalise_unicode(dirty) == tidy


def test_whitespace_and_stopwords() -> None:
    assert scrub.collapse_whitespace(" a\u3000b\n\n c\t") == "a b c"
    remove = text_cleaner(["stopwords"])
    assert remove("The film is not a good one, and they're late") == "film not good , they're late"
    assert remove("他的目的是好的吗") == "他目的是好"


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("plain café 中文 – “quotes” Ångström", ()),
        ("broken \ufffd", ("replacement_character",)),
        ("cafÃ© donâ€™t", ("mojibake",)),
        ("锟斤拷", ("mojibake",)),
        ("ÖÐ¹úÈËÃñ bank", ("mojibake",)),
        ("bell \x07", ("control_character",)),
        ("zero\u200bwidth", ("invisible_character",)),
        (r"half \ud83d of an emoji", ("surrogate",)),
        ("L'été à la plage, ÇA ET LÀ; çãõ", ()),
    ],
)
def test_encoding_troubles(text: str, kinds: tuple[str, ...]) -> None:
    assert troubles.encoding_troubles(text) == kinds


def test_steps_run_in_order_and_are_counted() -> None:
    splits = Splits(
        {"train": rows("t", ["<p>mail  a@b.org</p>", "fine", "<br>"]), "test": rows("e", ["fine too"])}, {"read": 1}
    )
    cleaned = clean(splits, CleanSettings(clean=("whitespace", "html"), redact=True))
    assert cleaned["train"]["text"][:] == ["mail [EMAIL]", "fine", ""]
    assert cleaned["train"]["id"][:] == ["t:1", "t:2", "t:3"]
    facts = cleaned.facts["clean"]
    assert list(facts) == ["html", "whitespace", "redact"]
    assert facts["html"]["train"] == {"changed": 2, "emptied": 1, "rows": ["t:1", "t:3"]}
    assert facts["redact"] == {
        "train": {"changed": 1, "emptied": 0, "rows": ["t:1"], "values": {"email": 1}},
        "test": {"changed": 0, "emptied": 0, "rows": [], "values": {}},
    }
    assert cleaned.facts["read"] == 1
    assert splits["train"]["text"][0] == "<p>mail  a@b.org</p>"


def test_pairs_are_cleaned_too() -> None:
    cleaned = clean(Splits({"train": rows("t", ["a", "b"], pairs=["<b>x</b>", "y"])}), CleanSettings(clean=("html",)))
    assert cleaned["train"]["text_pair"][:] == ["x", "y"]
    assert cleaned.facts["clean"]["html"]["train"]["changed"] == 1


def test_deduplicate_keeps_the_first_row_and_tells_other_labels() -> None:
    train = rows("t", ["Same text", "other", "same  TEXT", "Same text", "last"], ["a", "b", "a", "c", "c"])
    cleaned = clean(Splits({"train": train, "test": rows("e", ["Same text"], ["a"])}), CleanSettings(deduplicate=True))
    assert cleaned["train"]["id"][:] == ["t:1", "t:2", "t:5"]
    assert len(cleaned["test"]) == 1
    assert cleaned.facts["clean"]["deduplicate"]["train"] == {"dropped": 2, "rows": ["t:3", "t:4"], "other_label": 1}


def test_drop_leaks_drops_from_the_learning_side_only() -> None:
    splits = Splits(
        {
            "train": rows("t", ["one", "two", "three", "TWO "]),
            "validation": rows("v", ["two"]),
            "test": rows("e", ["free", "two"]),
            "unlabelled": rows("u", ["free", "four"]),
        }
    )
    cleaned = clean(splits, CleanSettings(drop_leaks=True))
    assert {name: dataset["id"][:] for name, dataset in cleaned.items()} == {
        "train": ["t:1", "t:3"],
        "validation": ["v:1"],
        "test": ["e:1", "e:2"],
        "unlabelled": ["u:2"],
    }
    assert cleaned.facts["clean"]["drop_leaks"] == {
        "train": {"dropped": 2, "rows": ["t:2", "t:4"]},
        "unlabelled": {"dropped": 1, "rows": ["u:1"]},
    }


LONG = "the quick brown fox jumps over the lazy dog while the cat sleeps on the warm roof of the old house by the river"


def test_near_leaks_are_dropped_where_that_is_asked_for() -> None:
    splits = Splits(
        {
            "train": rows("t", [LONG + " today", "something else altogether", LONG]),
            "validation": rows("v", [LONG]),
            "test": rows("e", ["nothing of the kind, and quite another matter"]),
            "unlabelled": rows("u", [LONG + "!", "free"]),
        }
    )
    plain = clean(splits, CleanSettings(drop_leaks=True))
    assert (len(plain["train"]), "drop_near_leaks" in plain.facts["clean"]) == (2, False)
    cleaned = clean(splits, CleanSettings(drop_near_leaks=True))
    assert {name: dataset["id"][:] for name, dataset in cleaned.items()} == {
        "train": ["t:2"],
        "validation": ["v:1"],
        "test": ["e:1"],
        "unlabelled": ["u:2"],
    }
    assert cleaned.facts["clean"]["drop_leaks"]["train"] == {"dropped": 1, "rows": ["t:3"]}
    assert cleaned.facts["clean"]["drop_near_leaks"] == {
        "train": {"dropped": 1, "rows": ["t:1"]},
        "unlabelled": {"dropped": 1, "rows": ["u:1"]},
    }


def test_without_held_out_rows_there_is_no_near_leak() -> None:
    cleaned = clean(Splits({"train": rows("t", [LONG, LONG + " today"])}), CleanSettings(drop_near_leaks=True))
    assert len(cleaned["train"]) == 2
    assert cleaned.facts["clean"]["drop_near_leaks"] == {}


def test_duplicates_are_looked_for_in_cleaned_text() -> None:
    splits = Splits({"train": rows("t", ["<b>same</b>", "same"])})
    assert len(clean(splits, CleanSettings(deduplicate=True))["train"]) == 2
    assert len(clean(splits, CleanSettings(clean=("html",), deduplicate=True))["train"]) == 1


def test_on_disk_tables_stay_on_disk(tmp_path) -> None:
    rows("t", [f"<b>{number}</b>" for number in range(100)]).save_to_disk(tmp_path / "table")
    table = datasets.load_from_disk(str(tmp_path / "table"))
    for _ in range(2):
        cleaned = clean(Splits({"train": table}), CleanSettings(clean=("html",), deduplicate=True))
        assert cleaned["train"]["text"][99] == "99"
        assert cleaned["train"].cache_files
    assert len(list((tmp_path / "table").glob("cache-*.arrow"))) == 1


def test_nothing_asked_nothing_changed() -> None:
    splits = Splits({"train": rows("t", ["<b>x</b>", "<b>x</b>"])})
    cleaned = clean(splits, CleanSettings())
    assert cleaned["train"] is splits["train"]
    assert cleaned.facts["clean"] == {}
