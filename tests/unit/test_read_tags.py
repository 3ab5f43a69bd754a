"""Rows with words and tags: every way they are written comes to one text, the places of its words, and IOB2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from pretune.config import DataSettings
from pretune.data.load import load_splits
from pretune.data.read import read
from pretune.data.reading import Reading
from pretune.data.splits import Splits
from pretune.data.stream import stream_rows
from pretune.errors import DataError, UsageError
from pretune.verbs.inspect.story import InspectSettings

DATA = Path(__file__).parents[3] / "shared" / "data" / "text"
IOB1 = ["I-ORG", "O", "I-MISC", "B-MISC", "O"]
IOB2 = ["B-ORG", "O", "B-MISC", "B-MISC", "O"]
BIOES = ["S-ORG", "O", "S-MISC", "S-MISC", "O"]
WORDS = ["EU", "rejects", "German", "British", "lamb"]
TEXT = "EU rejects German British lamb"
PLACES = [[0, 2], [3, 10], [11, 17], [18, 25], [26, 30]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def notes(splits: Splits) -> str:
    return " ".join(splits.facts["read"]["notes"])


def conll(
    path: Path, tags: list[str], times: int = 4, mark: str = " ", cells: str = "NNP I-NP", begin: str = ""
) -> Path:
    sentence = "".join(mark.join([word, *cells.split(), tag]) + "\n" for word, tag in zip(WORDS, tags, strict=True))
    path.write_text(begin + f"{sentence}\n" * times)
    return path


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def first(splits: Splits, split: str = "train") -> dict[str, Any]:
    return {key: value for key, value in splits[split][0].items() if key in ("text", "words", "tags")}


WHOLE = {"text": TEXT, "words": PLACES, "tags": IOB2}


@pytest.mark.parametrize("name", ["eng.train", "a.conll", "a.iob", "a.bio", "a.txt", "a.tsv"])
@pytest.mark.parametrize(
    ("tags", "scheme"), [(IOB1, "IOB1"), (IOB2, "IOB2"), (BIOES, "BIOES"), (["U-ORG", *BIOES[1:]], "BIOES")]
)
def test_columns_of_words_and_tags(tmp_path: Path, name: str, tags: list[str], scheme: str) -> None:
    splits = get(conll(tmp_path / name, tags, mark="\t" if name.endswith("tsv") else " "))
    assert first(splits) == WHOLE
    assert f"Tags are written in {scheme}" in notes(splits)
    assert ("turned into IOB2" in notes(splits)) == (scheme != "IOB2")
    assert splits.facts["read"]["files"][0]["tags"] == scheme
    assert splits["train"]["id"][:] == [f"{name}:{line}" for line in (1, 7, 13, 19)], (
        "a row is called by its first line"
    )


def test_documents_are_groups_and_comments_are_left_out(tmp_path: Path) -> None:
    path = conll(tmp_path / "a.conll", IOB2, times=2, begin="-DOCSTART- -X- O O\n\n# id 7 domain=en x\n")
    path.write_text(path.read_text() * 2)
    splits = get(path)
    assert len(splits["train"]) == 4
    assert splits["train"]["group"][:] == ["a.conll document 1"] * 2 + ["a.conll document 2"] * 2
    assert "2 lines -DOCSTART- begin documents" in notes(splits)
    assert "2 lines of comments (#) were left out" in notes(splits)


def test_a_hash_among_words_is_a_word(tmp_path: Path) -> None:
    path = conll(tmp_path / "a.conll", IOB2, cells="")
    path.write_text(path.read_text() + "we O\n# O\n# B-MISC\n")
    assert get(path)["train"][4]["text"] == "we # #"


def test_another_column_of_tags_can_be_named_and_has_no_scheme(tmp_path: Path) -> None:
    splits = get(conll(tmp_path / "a.conll", IOB2), column=("tags=1",))
    assert splits["train"][0]["tags"] == ["NNP"] * 5
    assert "words without a scheme" in notes(splits)


def test_a_line_of_other_width_is_named(tmp_path: Path) -> None:
    path = conll(tmp_path / "a.conll", IOB2)
    path.write_text(path.read_text() + "lonely\n")
    with pytest.raises(DataError, match=r"a\.conll:25 has 1 cells where other lines have 4"):
        get(path)


def test_any_words_are_tags_where_the_format_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("the DT\ndog NN\n\nit PRP\nbarks VBZ\n")
    splits = get(path, format="conll")
    assert splits["train"]["tags"][:] == [["DT", "NN"], ["PRP", "VBZ"]]


def test_splits_are_told_by_the_names_of_files(tmp_path: Path) -> None:
    for name, tags in (("eng.train", IOB1), ("eng.testa", IOB2), ("eng.testb", IOB1)):
        conll(tmp_path / name, tags)
    splits = get(tmp_path)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 4, "validation": 4, "test": 4}
    assert all(first(splits, name) == WHOLE for name in splits), "each file has a scheme of its own"
    assert "Tags in eng.testa are written in IOB2" in notes(splits)


def test_a_tag_out_of_place_begins_an_entity_and_is_counted(tmp_path: Path) -> None:
    splits = get(
        jsonl(tmp_path / "a.jsonl", {"tokens": WORDS, "tags": IOB2}, {"tokens": ["of", "EU"], "tags": ["O", "I-ORG"]})
    )
    assert splits["train"][1]["tags"] == ["O", "B-ORG"]
    assert "1 tag cannot stand there" in notes(splits)


@pytest.mark.parametrize("words", ["words", "tokens"])
@pytest.mark.parametrize("tags", ["tags", "ner_tags", "labels", "slots"])
def test_lists_of_words_and_tags(tmp_path: Path, words: str, tags: str) -> None:
    row = {words: WORDS, tags: IOB2, "pos_tags": ["NN"] * 5}
    splits = get(jsonl(tmp_path / "a.jsonl", row, row))
    assert first(splits) == WHOLE
    assert "columns left out: pos_tags" in notes(splits)


@pytest.mark.parametrize("written", [json.dumps, str, " ".join])
def test_lists_written_out_in_a_table(tmp_path: Path, written: Any) -> None:
    datasets.Dataset.from_list([{"tokens": written(WORDS), "tags": written(IOB2)}] * 3).to_csv(tmp_path / "a.csv")
    assert first(get(tmp_path / "a.csv")) == WHOLE


def test_numbers_of_classes_are_named_by_the_file(tmp_path: Path) -> None:
    names = ["O", "B-ORG", "B-MISC"]
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "ner_tags": datasets.Sequence(datasets.ClassLabel(names=names)),
        }
    )
    rows = [{"tokens": WORDS, "ner_tags": [names.index(tag) for tag in IOB2]}] * 3
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "a.parquet")
    assert first(get(tmp_path / "a.parquet")) == WHOLE
    with pytest.raises(DataError, match="has numbers as tags"):
        get(jsonl(tmp_path / "a.jsonl", {"tokens": WORDS, "tags": [1, 0, 2, 2, 0]}))


@pytest.mark.parametrize("column", ["entities", "spans", "labels", "label", "marks"])
@pytest.mark.parametrize("form", [list, lambda s: dict(zip(("start", "end", "label"), s, strict=True))])
def test_spans_of_characters(tmp_path: Path, column: str, form: Any) -> None:
    spans = [form(span) for span in ([0, 2, "ORG"], [11, 17, "MISC"], [18, 25, "MISC"])]
    splits = get(jsonl(tmp_path / "a.jsonl", {"text": TEXT, column: spans}, {"text": "of lamb", column: []}))
    assert first(splits) == WHOLE
    assert splits["train"][1]["tags"] == ["O", "O"]


def test_spans_cut_words_lose_blanks_and_leave_out_those_inside_others(tmp_path: Path) -> None:
    spans = [[0, 4, "LOC"], [6, 10, "PER"], [0, 2, "X"]]
    row = {"text": "北京大学的 Jane's dog", "entities": [*spans, [6, 10, "PER"]]}
    splits = get(jsonl(tmp_path / "a.jsonl", row, {"text": "x", "entities": None}))
    assert splits["train"][0]["tags"] == ["B-LOC", "I-LOC", "I-LOC", "I-LOC", "O", "B-PER", "O", "O", "O"]
    assert [row["text"][start:end] for start, end in splits["train"][0]["words"]][:6] == [*"北京大学的", "Jane"]
    assert "1 span began or ended in a blank" not in notes(splits)
    assert "2 spans lay over" in notes(splits)
    assert splits["unlabelled"].column_names == ["id", "text"], "a row without spans has no tags"
    assert "1 rows of train have no tags" in notes(splits)


@pytest.mark.parametrize("span", [[0, 99, "ORG"], [2, 2, "ORG"], [-3, 2, "ORG"], [2, 3, "ORG"]])
def test_a_span_of_nothing_is_named(tmp_path: Path, span: list[Any]) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl:2 has the span .* holds nothing of its text"):
        get(jsonl(tmp_path / "a.jsonl", {"text": TEXT, "entities": []}, {"text": TEXT, "entities": [span]}))


def test_twin_files(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "seq.in").write_text(f"{TEXT}\n" * 3)
        (tmp_path / split / "seq.out").write_text(f"{' '.join(IOB2)}\n" * 3)
        (tmp_path / split / "label").write_text("news\n" * 3)
    splits = get(tmp_path)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 3, "validation": 3}
    assert first(splits, "validation") == WHOLE
    assert splits["train"]["id"][0] == "train/seq.in:1"
    assert "--column label=label reads them" in notes(splits)
    labelled = load_splits(DataSettings(data=str(tmp_path), column=("label=label",)))["validation"]
    assert labelled[0] | {"id": "", "words": []} == {"id": "", "text": TEXT, "words": [], "label": "news"}
    assert labelled["id"] == splits["validation"]["id"]
    (tmp_path / "dev" / "label").write_text("news\n")
    with pytest.raises(DataError, match=r"dev/seq\.in has more lines than dev/label, which ends at line 1"):
        get(tmp_path)
    (tmp_path / "dev" / "label").write_text("news\n" * 3)
    (tmp_path / "dev" / "seq.out").write_text("O\n")
    with pytest.raises(DataError, match=r"dev/seq\.in has more lines than dev/seq\.out, which ends at line 1"):
        get(tmp_path)


def test_words_and_tags_of_other_number_are_named(tmp_path: Path) -> None:
    rows = [{"tokens": WORDS, "tags": IOB2}] * 20
    with pytest.raises(DataError, match=r"a\.jsonl:21 has 5 words and 4 tags"):
        get(jsonl(tmp_path / "a.jsonl", *rows, {"tokens": WORDS, "tags": IOB2[:4]}))


def test_a_tag_of_no_scheme_is_named(tmp_path: Path) -> None:
    rows = [{"tokens": WORDS, "tags": IOB2}] * 2_001
    with pytest.raises(DataError, match=r"a\.jsonl:2002 has the tag 'PER'"):
        get(jsonl(tmp_path / "a.jsonl", *rows, {"tokens": ["Jane"], "tags": ["PER"]}))


def test_rows_are_read_again_as_they_are_stored(tmp_path: Path) -> None:
    assert first(get(jsonl(tmp_path / "a.jsonl", WHOLE, WHOLE))) == WHOLE
    with pytest.raises(DataError, match="words that are no places in its text"):
        get(jsonl(tmp_path / "b.jsonl", {**WHOLE, "text": "EU"}))


def test_a_blank_word_goes_with_its_tag(tmp_path: Path) -> None:
    splits = get(
        jsonl(
            tmp_path / "a.jsonl",
            {"tokens": ["EU", " ", "talks"], "tags": ["O", "B-X", "I-X"]},
            {"tokens": WORDS, "tags": IOB2},
        )
    )
    assert splits["train"][0] | {"id": ""} == {
        "id": "",
        "text": "EU talks",
        "words": [[0, 2], [3, 8]],
        "tags": ["O", "B-X"],
    }
    assert "1 word held nothing but blanks" in notes(splits)


def test_what_was_no_row_of_tags_is_none_now(tmp_path: Path) -> None:
    row = {"text": "a long text of words", "tags": ["news", "sport"], "tokens": 5, "label": "x"}
    assert "tags" not in get(jsonl(tmp_path / "a.jsonl", row, row | {"label": "y"}))["train"].column_names
    row = {"text": "a long text of words", "tokens": ["a", "long"], "label": "x"}
    splits = get(jsonl(tmp_path / "b.jsonl", row, row | {"label": "y"}))
    assert splits["train"].column_names == ["id", "text", "label"]


def test_cleaning_that_would_move_words_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[WHOLE | {"text": f"{TEXT} {number}"} for number in range(20)])
    settings = {"data": str(path), "clean": ("whitespace",)}
    with pytest.raises(UsageError, match="--clean whitespace changes texts, and the tags"):
        load_splits(InspectSettings(**settings))
    assert len(load_splits(InspectSettings(data=str(path), deduplicate=True))["train"]) > 10


def test_splits_that_are_made_keep_every_tag_in_train_and_unseen_ones_are_told(tmp_path: Path) -> None:
    rows = [{"tokens": [f"w{i}", "x"], "tags": ["O", f"B-{'RARE' if i == 7 else 'MANY'}"]} for i in range(40)]
    splits = load_splits(DataSettings(data=str(jsonl(tmp_path / "a.jsonl", *rows))))
    assert "B-RARE" in {tag for tags in splits["train"]["tags"][:] for tag in tags}
    test = jsonl(tmp_path / "t.jsonl", {"tokens": ["new"], "tags": ["B-NEW"]})
    splits = load_splits(DataSettings(train=(str(tmp_path / "a.jsonl"),), test=(str(test),)))
    assert (
        "test has tags that train does not have, which no model can learn there: 'B-NEW' (1 row)."
        in splits.facts["split"]["notes"]
    )


def test_rows_to_predict(tmp_path: Path) -> None:
    learned = Reading(found={"words": "0", "tags": "3"}, needed=("text",))
    plain = jsonl(tmp_path / "plain.jsonl", {"text": TEXT})
    assert list(stream_rows(str(plain), learned=learned)) == [{"id": "plain.jsonl:1", "text": TEXT}]
    tokens = jsonl(tmp_path / "tokens.jsonl", {"tokens": WORDS, "tags": IOB2})
    assert next(iter(stream_rows(str(tokens), learned=learned))) == {
        "id": "tokens.jsonl:1",
        "text": TEXT,
        "words": PLACES,
    }
    columns = conll(tmp_path / "a.conll", IOB1)
    assert next(iter(stream_rows(str(columns)))) == {"id": "a.conll:1", **WHOLE}


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_real_files() -> None:
    splits = get(DATA / "conll2003")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 14041, "validation": 3250, "test": 3453}
    entities = sum(tag.startswith("B-") for tags in splits["test"]["tags"][:] for tag in tags)
    assert entities == 5648, "as the shared task counts them"
