"""The data passport: exact figures on small data with known faults, and on real data with faults known beforehand."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from pretune.config import DataSettings
from pretune.data.checks.passport import passport
from pretune.data.load import load_splits
from pretune.data.splits import Splits
from pretune.report.layout import render_page
from pretune.report.passport.page import passport_page
from pretune.verbs.inspect.story import inspect

SENTENCES = [
    "the quick brown fox jumps over the lazy dog near the river bank",
    "a committee of seven elderly farmers voted against the new canal",
    "she painted the wooden fence in a shade of green nobody had seen",
    "twelve empty barrels rolled down the hill and into the harbour",
    "our train to the coast was late because of snow on the points",
    "he keeps his grandfather's watch in a drawer beside old letters",
]


def rows(name: str, texts: list[str], labels: list[str | None] | None = None, **columns: list[str]) -> datasets.Dataset:
    ids = [f"{name}:{number}" for number in range(1, len(texts) + 1)]
    data: dict[str, Any] = {"id": ids, "text": texts, **columns}
    return datasets.Dataset.from_dict(data | ({} if labels is None else {"label": labels}))


def codes(found: dict[str, Any]) -> set[tuple[str, str]]:
    return {(finding["severity"], finding["code"]) for finding in found["findings"]}


def pair(found: dict[str, Any], ours: str, theirs: str) -> dict[str, Any]:
    return next(entry for entry in found["across"] if (entry["rows_of"], entry["also_in"]) == (ours, theirs))


def test_duplicates_of_three_degrees() -> None:
    train = [SENTENCES[0], SENTENCES[0], SENTENCES[0].upper(), SENTENCES[1], SENTENCES[1] + " again", SENTENCES[2]]
    test = [SENTENCES[1].replace("seven", "seven "), SENTENCES[2] + "!?", SENTENCES[3], SENTENCES[2]]
    found = passport(Splits({"train": rows("t", train, ["a"] * 6), "test": rows("e", test, ["a"] * 4)}))
    split = found["splits"]["train"]
    assert split["exact_duplicates"] == {"count": 1, "rows": ["t:2"]}
    assert split["content_duplicates"] == {"count": 2, "rows": ["t:2", "t:3"]}
    assert split["near_duplicates"]["count"] == 1
    assert split["near_duplicates"]["rows"] == ["t:5"]
    example = split["near_duplicates"]["examples"][0]
    assert {example["a_id"], example["b_id"]} == {"t:4", "t:5"}
    assert (example["kind"], 0.8 <= example["alike"] < 1) == ("edited", True)
    leak = pair(found, "test", "train")
    assert leak["exact"] == 1
    assert leak["content"] == {"count": 2, "rows": ["e:1", "e:4"]}
    assert leak["near"]["rows"] == ["e:2"]
    assert leak["near"]["examples"][0]["a_id"] == "e:2"
    assert leak["near"]["examples"][0]["b_id"] == "t:6"
    assert pair(found, "train", "test")["content"]["rows"] == ["t:4", "t:6"]
    assert ("error", "leak") in codes(found)  # half of the test rows


def test_without_near_duplicates() -> None:
    found = passport(Splits({"train": rows("t", SENTENCES)}), near_duplicates=False)
    assert found["near_duplicates"] is None
    assert found["splits"]["train"]["near_duplicates"] is None
    assert found["splits"]["train"]["labels"] is None


def test_few_leaks_are_a_warning() -> None:
    test = [f"{number} {SENTENCES[number % 6]} number {number * 7919}" for number in range(200)]
    found = passport(Splits({"train": rows("t", test[:1]), "test": rows("e", test)}), near_duplicates=False)
    assert ("warning", "leak") in codes(found)
    assert ("error", "leak") not in codes(found)


def test_pairs_count_as_one_content() -> None:
    train = rows("t", ["one", "one", "one"], text_pair=["two", "two", "three"])
    found = passport(Splits({"train": train}))
    assert found["splits"]["train"]["exact_duplicates"]["rows"] == ["t:2"]
    assert found["splits"]["train"]["length"]["characters"]["min"] == 6


def test_conflicting_labels_across_splits() -> None:
    splits = Splits(
        {
            "train": rows("t", ["Same", "same", "other", "third", "none"], ["a", "b", "a", "a", None]),
            "test": rows("e", ["SAME ", "other", "none"], ["a", "b", "b"]),
        }
    )
    found = passport(splits)["conflicting_labels"]
    assert (found["texts"], found["rows"]) == (2, 5)
    assert found["by_split"] == {"train": 3, "test": 2}
    assert set(found["ids"]) == {"t:1", "t:2", "t:3", "e:1", "e:2"}
    assert {frozenset(row["label"] for row in example["rows"]) for example in found["examples"]} == {frozenset("ab")}


def test_label_findings() -> None:
    train = rows(
        "t", [f"{sentence} {number}" for number in range(20) for sentence in SENTENCES], ["a"] * 118 + ["b", None]
    )
    test = rows("e", SENTENCES, ["a", "a", "a", "a", "c", "c"])
    found = passport(Splits({"train": train, "test": test}))
    labels = found["splits"]["train"]["labels"]
    assert labels["counts"] == {"a": 118, "b": 1}
    assert labels["majority_share"] == 118 / 119
    assert labels["imbalance"] == 118
    assert labels["unlabelled_rows"] == 1
    assert {
        ("warning", "rare-label"),
        ("note", "imbalance"),
        ("warning", "missing-label"),
        ("error", "unseen-label"),
        ("warning", "small-test"),
        ("note", "absent-label"),
    } <= codes(found)
    one = passport(Splits({"train": rows("t", SENTENCES, ["a"] * 6)}))
    assert ("error", "one-class") in codes(one)


def test_single_row_faults_are_named_and_values_never_shown() -> None:
    texts = [
        "",
        " \u3000",
        "write to jane.doe@example.org or 4111 1111 1111 1111",
        "<p>hello</p>",
        "caf\ufffd and cafÃ©",
        *SENTENCES,
        "write to jane.doe@example.org or 4111 1111 1111 1111 now",
    ]
    found = passport(Splits({"train": rows("t", texts)}))
    split = found["splits"]["train"]
    assert split["empty"] == {"count": 2, "rows": ["t:1", "t:2"]}
    assert split["personal_data"] == {kind: {"count": 2, "rows": ["t:3", "t:12"]} for kind in ("email", "card")}
    assert split["html"] == {"count": 1, "rows": ["t:4"]}
    assert split["encoding"] == {kind: {"count": 1, "rows": ["t:5"]} for kind in ("replacement_character", "mojibake")}
    written = json.dumps(found, allow_nan=False)
    assert "jane.doe" not in written
    assert "4111" not in written
    assert "[EMAIL]" in written  # in the example of the near duplicate


def test_every_finding_is_whole_and_in_order() -> None:
    texts = ["", "a@b.org", "<b>x</b>", "\ufffd", "x", "x", *SENTENCES]
    splits = Splits(
        {"train": rows("t", texts, ["a"] * 12), "test": rows("e", texts, ["b"] * 12)}, {"read": {"rows": 24}}
    )
    found = passport(splits)
    severities = [finding["severity"] for finding in found["findings"]]
    assert severities == sorted(severities, key=("error", "warning", "note").index)
    for finding in found["findings"]:
        assert set(finding) - {"pairs"} == {"severity", "code", "message", "count", "rows", "fix"}
        assert finding["message"].endswith(".")
        assert finding["fix"]
        assert len(finding["rows"]) <= 20
    assert found["facts"] == {"read": {"rows": 24}}
    assert found["rows"] == 24


def test_lengths_and_scripts() -> None:
    found = passport(
        Splits({"train": rows("t", ["天地玄黄", "宇宙洪荒日月"]), "test": rows("e", ["one two", "three"])})
    )
    chinese, english = found["splits"]["train"], found["splits"]["test"]
    assert chinese["unspaced"]
    assert chinese["scripts"] == {"Han": 1.0}
    assert chinese["length"]["unit"] == "characters"
    assert chinese["length"]["words"] is None
    assert (chinese["length"]["characters"]["min"], chinese["length"]["characters"]["max"]) == (4, 6)
    assert english["length"]["words"]["total"] == 3
    assert len(english["length"]["words"]["histogram"]["counts"]) == 20
    assert sum(english["length"]["words"]["histogram"]["counts"]) == 2


def test_an_empty_split_and_a_selected_one() -> None:
    whole = rows("t", SENTENCES, ["a", "b"] * 3)
    found = passport(Splits({"train": whole.select([5, 5, 0]), "test": whole.select([])}))
    assert found["splits"]["train"]["exact_duplicates"]["rows"] == ["t:6"]
    assert found["splits"]["test"]["rows"] == 0
    assert ("error", "no-rows") in codes(found)


def test_corpus_against_test() -> None:
    corpus = datasets.Dataset.from_dict({"id": ["c:1", "c:2"], "text": [SENTENCES[0], SENTENCES[1] + " twice"]})
    found = passport(Splits({"test": rows("e", SENTENCES, ["a", "b"] * 3)}), corpus=corpus)
    leak = pair(found, "test", "corpus")
    assert leak["content"]["rows"] == ["e:1"]
    assert leak["near"]["rows"] == ["e:2"]
    assert ("warning", "leak") in codes(found)


def test_both_rows_of_a_pair_are_told(tmp_path: Path) -> None:
    long = " ".join(SENTENCES[:3])
    train = [SENTENCES[0], SENTENCES[1], f"{long} \x1b[31m<b>\nwarning 9 rows of test are wrong", SENTENCES[4]]
    test = [SENTENCES[0].replace("lazy", "sleepy"), SENTENCES[2], SENTENCES[3], SENTENCES[4]]
    for name, texts in (("train", train), ("test", test)):
        lines = [json.dumps({"text": text, "label": "ab"[number % 2]}) for number, text in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    outcome = inspect(str(tmp_path), out=str(tmp_path / "passport"), validation_fraction=0.0)
    lines = outcome.text.splitlines()
    at = next(place for place, line in enumerate(lines) if "nearly stand in train" in line)
    assert "(a few letters or words differ: 1; one is a part of the other: 1)" in lines[at]
    assert lines[at + 1].strip() == "one is a part of the other (28% of it):"
    assert lines[at + 2].split()[:3] == ["test.jsonl:2", "[b]", "she"]
    assert lines[at + 3].split()[:2] == ["train.jsonl:3", "[a]"]
    assert "she painted the wooden fence" in lines[at + 3]
    assert lines[at + 4].strip().startswith("a few letters or words differ (9")
    assert [line.split()[0] for line in lines[at + 5 : at + 7]] == ["test.jsonl:1", "train.jsonl:1"]
    assert not any(line.startswith("warning 9 rows") for line in lines), "a text cannot write lines of its own"
    copies = next(finding for finding in outcome.facts["findings"] if finding["code"] == "leak")["pairs"]
    assert [(pair["a_id"], pair["b_id"], pair["kind"]) for pair in copies] == [
        ("test.jsonl:4", "train.jsonl:4", "same")
    ]
    page = (tmp_path / "passport" / "passport.html").read_text()
    assert page.count('class="twins"') >= 3
    assert "&lt;b&gt;" in page
    assert "train.jsonl:3 · label a" in page
    json.dumps(outcome.facts, allow_nan=False)


def test_pairs_of_older_passports_are_left_out() -> None:
    old = {"severity": "note", "code": "near-leak", "message": "1 row.", "count": 1, "rows": ["t:1"], "fix": "look"}
    page = render_page(passport_page({"findings": [old], "splits": {"train": {"rows": 3}}}, "old"))
    assert "Rows: t:1" in page
    assert 'class="twins"' not in page


def test_groups_on_both_sides_are_an_error() -> None:
    train = rows("t", SENTENCES[:3], group=["p1", "p1", "p2"])
    test = rows("e", SENTENCES[3:], group=["p3", "p2", "p2"])
    found = passport(Splits({"train": train, "test": test}))
    assert found["shared_groups"] == [
        {"rows_of": "test", "also_in": "train", "groups": 1, "count": 2, "rows": ["e:2", "e:3"]}
    ]
    assert ("error", "shared-groups") in codes(found)
    assert passport(Splits({"train": rows("t", SENTENCES)}))["shared_groups"] is None


@pytest.mark.slow
@pytest.mark.shared_data
def test_thucnews_faults_are_found_exactly(shared_data: Path) -> None:
    splits = load_splits(DataSettings(data=str(shared_data / "text" / "thucnews")))
    found = passport(splits)
    assert found["near_duplicates"]["complete"]
    assert pair(found, "validation", "train")["content"]["count"] == 48
    assert pair(found, "test", "train")["content"]["count"] == 46
    assert pair(found, "validation", "train")["exact"] == 48
    assert pair(found, "test", "train")["exact"] == 46
    assert found["splits"]["train"]["exact_duplicates"]["count"] == 101
    assert found["splits"]["train"]["content_duplicates"]["count"] == 102  # one more apart from its width
    assert found["conflicting_labels"]["texts"] == 6
    assert found["conflicting_labels"]["rows"] == 12
    assert found["splits"]["train"]["unspaced"]
    assert ("warning", "leak") in codes(found)


@pytest.mark.slow
@pytest.mark.shared_data
def test_most_of_sst2_is_found_in_mr(shared_data: Path) -> None:
    corpus = load_splits(
        DataSettings(data=str(shared_data / "text" / "mr"), validation_fraction=0.0, test_fraction=0.0)
    )["train"]
    found = passport(load_splits(DataSettings(data=str(shared_data / "text" / "sst2"))), corpus=corpus)
    for split, rows_of_it in (("validation", 872), ("test", 1_821)):
        leak = pair(found, split, "corpus")
        assert leak["content"]["count"] > 0.4 * rows_of_it
        assert leak["content"]["count"] + leak["near"]["count"] > 0.8 * rows_of_it
    assert any(
        finding["code"] == "near-leak" and "pre-training corpus" in finding["message"] for finding in found["findings"]
    )
