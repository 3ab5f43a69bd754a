"""A tag for each word: where words are read, windows, what is counted and refused, what is shown, and the exported reader."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn import functional

from pretune.answers import Tags
from pretune.backbones.load import Backbone
from pretune.config import TaskSettings
from pretune.data.splits import Splits
from pretune.data.text.words import first_tokens, owners, words_of
from pretune.errors import DataError
from pretune.metrics.base import values_of
from pretune.modalities.text.encoder import TextEncoder
from pretune.report.blocks import render_block
from pretune.tasks import TokenClassification, find_task
from pretune.tasks.predicting import predict_items
from pretune.tasks.spans.token_classification import IGNORED
from pretune.types import Encoded, Example, Prediction
from tiny import CPU, TAGS, Rig, dataset_of, tagged, tiny_backbone, tiny_encoder, uneven_rows

HOSTILE = '<script>alert("x")</script>'


def sentence_pieces() -> Any:
    """A tokenizer of SentencePiece's kind, of texts whose blanks are part of the next token."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocab += [(sign, -3.0) for sign in "北京队赢Annwetoslo."] + [("北京", -1.0), ("▁went", -1.0), ("▁to", -1.0)]
    backend = Tokenizer(models.Unigram(vocab, unk_id=2))
    backend.normalizer, backend.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


def encoder_named(kind: str, **options: Any) -> TextEncoder:
    if kind == "sentence pieces":
        return TextEncoder(sentence_pieces(), max_length=options.get("max_length", 64), long_text="windows")
    return tiny_encoder(tiny_backbone(kind), long_text="windows", **options)


KINDS = ("bert", "roberta", "sentence pieces")


def task(kind: str = "bert", *, labels: tuple[str, ...] = TAGS, **options: Any) -> TokenClassification:
    return TokenClassification(labels, encoder_named(kind, **options))


def example_of(text: str, tags: list[str] | None = None, words: list[list[int]] | None = None) -> Example:
    inputs = {"text": text} if words is None else {"text": text, "words": words}
    return Example("r1", inputs, None if tags is None else Tags(tuple(tags)))


# --- words and their tokens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ann went to Oslo.", ["Ann", "went", "to", "Oslo", "."]),
        ("北京队 beat Oslo", ["北", "京", "队", "beat", "Oslo"]),
        ("カタカナ3個", [*"カタカナ", "3", "個"]),
        ("Это Москва, 2021", ["Это", "Москва", ",", "2021"]),
        ("don't", ["don", "'", "t"]),
        ("ไทย ok", ["ไ", "ท", "ย", "ok"]),
        ("  \n", []),
        ("", []),
    ],
)
def test_words_of_texts_in_several_scripts(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in words_of(text)] == words


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["Ann went to Oslo.", "北京队 went  to\tOslo", " Ann"])
def test_a_word_is_read_at_its_first_token(kind: str, text: str) -> None:
    made = task(kind)
    (item,) = made.encode(example_of(text))
    words = words_of(text)
    ((_, places),) = made.encoder.locate(text)
    spans = {word: places[at] for word, at in zip(item.arrays["words"].tolist(), item.arrays["places"], strict=True)}
    for word, place in spans.items():
        assert place is not None
        start, _ = words[word]
        assert place.start <= start < place.stop, "the token has the word's first sign"
        before = [one for one in places[: places.index(place)] if one is not None]
        assert all(one.stop <= start or one.stop <= one.start for one in before), "and none before it has"
    assert {*spans} == {*range(len(words))}, "two words of one token are both read there"


def test_a_token_of_two_words_belongs_to_the_one_that_begins_in_it() -> None:
    assert first_tokens([None, (0, 3), (3, 8), (8, 9), None], [[0, 3], [4, 6], [6, 9]]) == {0: 1, 1: 2, 2: 2}
    assert first_tokens([(0, 0), (0, 2), (2, 4)], [[0, 4]]) == {0: 1}
    assert first_tokens([(0, 4)], []) == {}


def test_a_word_without_a_token_gets_no_entity_and_is_counted() -> None:
    text, words = "Ann \u00ad went", [[0, 3], [4, 5], [6, 10]]
    made = task()
    (item,) = made.encode(example_of(text, ["B-MONEY", "O", "O"], words))
    assert item.arrays["words"].tolist() == [0, 2], "a soft hyphen is nothing to the tokenizer"
    assert item.target == (TAGS.index("B-MONEY"), TAGS.index("O"))
    rows = dataset_of([{"id": "r1", "text": text, "words": words, "tags": ["B-MONEY", "O", "O"]}])
    ledger = made.encode_rows(rows, fingerprint="soft hyphen").ledger
    assert ledger["truncated_tokens"] == 1
    (found,) = made.merge([Prediction("r1", ["B-MONEY", None, "O"], (), {"words": [[0, 3], None, [6, 10]]})])
    assert found.answer == ["B-MONEY", "O", "O"]
    line = made.record(found)
    assert line["words"] == [[0, 3], None, [6, 10]]
    assert line["entities"] == [{"start": 0, "end": 3, "type": "MONEY"}]


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_word_is_read_once_where_it_has_most_text_around_it(kind: str) -> None:
    made = task(kind, max_length=14)
    text = "Ann went to Oslo. " * 6
    items = made.encode(example_of(text))
    assert len(items) > 2
    read = [word for item in items for word in item.arrays["words"].tolist()]
    assert sorted(read) == [*range(len(words_of(text)))]
    located = made.encoder.locate(text)
    found = [
        first_tokens([None if place is None else (place.start, place.stop) for place in places], words_of(text))
        for _, places in located
    ]
    for number, item in enumerate(items):
        for word in item.arrays["words"].tolist():
            rooms = [
                min(at[word], len(piece.input_ids) - 1 - at[word]) if word in at else -1
                for at, (piece, _) in zip(found, located, strict=True)
            ]
            assert rooms[number] == max(rooms)
    assert {item.cost for item in items} == {14}


def test_the_first_window_of_equals_owns_a_word() -> None:
    assert owners([{0: 1, 1: 4}, {1: 1, 2: 3}], [6, 6], 4) == [0, 0, 1, -1]
    assert owners([{0: 2}, {0: 2}], [5, 5], 1) == [0]


def test_windows_weigh_as_one_row_and_each_word_counts_once() -> None:
    made, text = task(max_length=14), "Ann went to Oslo. " * 6
    words = words_of(text)
    items = made.encode(example_of(text, ["O"] * len(words)))
    assert sum(item.weight for item in items) == pytest.approx(1.0)
    batch = made.collate(items)
    assert batch.num_items == pytest.approx(len(words))
    assert made.item_weights(batch).sum().item() == pytest.approx(len(words))
    half = [Encoded(i.id, i.arrays, i.cost, i.target, i.weight / 2) for i in items]
    assert made.collate(half).num_items == pytest.approx(len(words) / 2)


def test_windows_merge_in_any_order() -> None:
    made = task()
    first = Prediction("r1", ["B-MONEY", "I-MONEY", None, None], (), {"words": [[0, 1], [2, 3], None, None]})
    second = Prediction("r1", [None, None, "I-MONEY", "O"], (), {"words": [None, None, [4, 5], [6, 7]]})
    other = Prediction("r2", ["O"], (), {"words": [[0, 1]]})
    (one, rest), (again, _) = made.merge([first, second, other]), made.merge([second, first, other])
    assert one == again
    assert one.answer == ["B-MONEY", "I-MONEY", "I-MONEY", "O"]
    assert rest.answer == ["O"]


def test_entities_begin_with_b() -> None:
    said = ["I-MONEY", "I-MONEY", "O", "I-SPORT", "I-MONEY", "B-MONEY"]
    (found,) = task().merge([Prediction("r1", said, (), {"words": [[2 * i, 2 * i + 1] for i in range(6)]})])
    assert found.answer == ["B-MONEY", "I-MONEY", "O", "B-SPORT", "B-MONEY", "B-MONEY"]
    assert [one["type"] for one in task().record(found)["entities"]] == ["MONEY", "SPORT", "MONEY", "MONEY"]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_unequal_words_and_tags_are_refused_by_row() -> None:
    with pytest.raises(DataError, match="row r1 has 5 words and 2 tags"):
        task().encode(example_of("Ann went to Oslo.", ["O", "O"]))


def test_an_unknown_tag_teaches_nothing_and_counts_as_missed() -> None:
    (item,) = task().encode(example_of("Ann went", ["O", "B-PLACE"]))
    assert item.target[1] == IGNORED
    rows = dataset_of(
        [
            {"id": "r1", "text": "Ann", "words": [[0, 3]], "tags": ["B-PLACE"]},
            {"id": "r2", "text": "Bo", "words": [[0, 2]], "tags": ["B-SPORT"]},
        ]
    )
    truths = task().truths(rows)
    assert truths == [["B-PLACE"], ["B-SPORT"]]
    records = [
        {"id": "r1", "tags": ["B-SPORT"], "truth": truths[0]},
        {"id": "r2", "tags": ["B-SPORT"], "truth": truths[1]},
    ]
    assert task().metric.measure(records).scores()["exact"] == 0.5
    assert task().warnings(records)[0].startswith("1 word of the rows has tags that the model never learned (B-PLACE)")
    with pytest.raises(DataError, match='"B-PLACE", which the model never learned, and none that it did'):
        task().truths(rows.select([0]))
    with pytest.raises(DataError, match="tags=NAME"):
        task().truths(dataset_of([{"id": "1", "text": "x"}]))


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"tags": [["O", "O"], ["O"]]}, "all words of the training rows have one tag (O)"),
        ({"tags": [[], []]}, "have one tag (none)"),
        ({"label": ["a", "b"]}, "the training rows have no"),
    ],
)
def test_rows_that_teach_nothing_are_refused(columns: dict[str, list[Any]], told: str) -> None:
    data = Splits({"train": Dataset.from_dict({"id": ["1", "2"], "text": ["a b", "c"], **columns})}, {})
    with pytest.raises(DataError) as error:
        TokenClassification.check(data)
    assert told in error.value.problem


def test_tags_are_those_of_the_training_rows_nothing_first_and_types_together() -> None:
    rows = [{"id": "1", "text": "a b c d", "tags": ["I-SPORT", "B-SPORT", "O", "B-MONEY"]}]
    data = Splits({"train": dataset_of(rows)}, {})
    assert find_task(data) is TokenClassification
    made = TokenClassification.start(data, tiny_backbone(), TaskSettings())
    assert made.labels == ("O", "B-MONEY", "B-SPORT", "I-SPORT")


# --- what is learned --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [False, True])
def test_the_loss_is_the_cross_entropy_of_first_tokens(left: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("tags")
    made = rig.objective.task
    if left:
        monkeypatch.setattr(made.encoder.tokenizer, "padding_side", "left")
    rows = tagged(uneven_rows(24))[:6]
    batch = rig.batch(range(6))
    with torch.no_grad():
        wanted, logits_BTC = 0.0, rig.model(**batch.inputs).logits
        for row, logits_TC in zip(rows, logits_BTC, strict=True):
            (item,) = made.encode(Example(row["id"], {"text": row["text"], "words": row["words"]}))
            own_TC = logits_TC[len(logits_TC) - item.cost :] if left else logits_TC[: item.cost]
            targets = torch.tensor([TAGS.index(tag) for tag in row["tags"]])
            wanted += functional.cross_entropy(own_TC[item.arrays["places"]], targets, reduction="sum").item()
        assert rig.loss(batch).total.item() == pytest.approx(wanted, rel=1e-5)


def test_unlabelled_rows_are_predicted_and_not_learned() -> None:
    made = task()
    batch = made.collate([*made.encode(example_of("Ann went", ["O", "O"])), *made.encode(example_of("to Oslo"))])
    assert made.is_labelled(batch).tolist() == [True, False]
    assert batch.num_items == 2
    assert made.item_weights(batch).tolist() == [2, 2]


def test_a_text_without_words_is_answered_by_no_tags() -> None:
    backbone = tiny_backbone()
    made = TokenClassification(TAGS, tiny_encoder(backbone, long_text="windows"))
    model = made.build(backbone, seed=0)[0].eval()
    (found,) = predict_items(made, model, made.encode(example_of("  ")), CPU)
    assert made.record(found) == {"id": "r1", "tags": []}


# --- parts of speech --------------------------------------------------------------------------------------------------


def test_parts_of_speech_are_scored_by_words() -> None:
    made = task(labels=("NOUN", "VERB", "PUNCT"))
    assert made.scheme == "plain"
    assert made.metric.primary == "token_accuracy"
    assert task().metric.primary == "entity_f1"
    said = ["NOUN", "NOUN", "VERB"]
    (found,) = made.merge([Prediction("r1", said, (), {"words": [[0, 1], [2, 3], [4, 5]]})])
    assert found.answer == said, "they are no entities, and stay as they are"
    scores = values_of(made.metric.measure([{"id": "1", "tags": said, "truth": ["NOUN", "VERB", "VERB"]}]))
    assert scores["token_accuracy"] == pytest.approx(2 / 3)
    blocks = made.blocks([{"id": "1", "tags": said, "truth": ["NOUN", "VERB", "VERB"]}], [
        {"id": "1", "text": "a b c", "words": [[0, 1], [2, 3], [4, 5]]}])  # fmt: skip
    assert [block["title"] for block in blocks] == ["What is taken for what", "Worst rows"]
    assert blocks[0]["rows"] == [["VERB", "NOUN", 1]]


# --- simple methods, words, pages -------------------------------------------------------------------------------------


def test_the_baseline_gives_each_word_its_most_frequent_tag() -> None:
    def row(number: int, text: str, tags: str) -> dict[str, Any]:
        return {"id": str(number), "text": text, "words": words_of(text), "tags": tags.split()}

    train = [row(0, "Ann saw Bob", "B-MONEY O B-SPORT"), row(1, "Bob saw Ann", "B-SPORT O B-MONEY"), row(2, "Bob ran off", "B-MONEY O O")]  # fmt: skip
    held = [row(3, "Bob saw Ann sing", "B-SPORT O B-MONEY O"), row(4, "Bob", "O")]
    found, notes = task().baselines(dataset_of(train), dataset_of(held))
    assert notes == []
    scores = values_of(found["most-frequent-tag"])
    assert scores["token_accuracy"] == pytest.approx(4 / 5)
    assert scores["entity_precision"] == pytest.approx(2 / 3)
    assert scores["entity_recall"] == 1.0


def test_entity_scores_are_those_of_seqeval() -> None:
    seqeval = pytest.importorskip("seqeval.metrics")
    scheme = importlib.import_module("seqeval.scheme").IOB2
    rng = np.random.default_rng(0)
    truths, answers = ([rng.choice(TAGS, size=9).tolist() for _ in range(40)] for _ in range(2))
    records = [
        {"id": str(i), "tags": said, "truth": truth}
        for i, (said, truth) in enumerate(zip(answers, truths, strict=True))
    ]
    scores = values_of(task().metric.measure(records))
    assert scores["entity_f1"] == pytest.approx(seqeval.f1_score(truths, answers, mode="strict", scheme=scheme))
    assert scores["entity_f1_lenient"] == pytest.approx(seqeval.f1_score(truths, answers))


def test_a_model_that_finds_nothing_is_named() -> None:
    def records(tags: list[str], count: int = 12) -> list[dict[str, Any]]:
        return [{"id": str(i), "tags": tags, "truth": ["O", "B-MONEY"]} for i in range(count)]

    (said,) = task().warnings(records(["O", "O"]))
    assert 'All words of 12 rows are given the tag "O"' in said
    assert not task().warnings(records(["O", "B-SPORT"]))
    assert not task().warnings(records(["O", "O"], count=3))


def test_blocks_show_entities_as_text() -> None:
    text = f"Ann {HOSTILE} Bob"
    words = words_of(text)
    truth, said = (["O"] * len(words) for _ in range(2))
    truth[0], said[-1], truth[1], said[1] = "B-MONEY", "B-SPORT", "B-SPORT", "B-MONEY"
    records = [{"id": "1", "tags": said, "truth": truth}, {"id": "2", "tags": ["O"], "truth": ["O"]}]
    types, confused, worst = task().blocks(records, [{"id": "1", "text": text, "words": words}, {"id": "2"}])
    assert [row[:2] for row in types["rows"]] == [["MONEY", 1], ["SPORT", 1]]
    assert confused["rows"] == [
        ["(nothing)", "SPORT", 1], ["MONEY", "(nothing)", 1], ["SPORT", "MONEY", 1],
    ]  # fmt: skip
    assert len(worst["rows"]) == 1
    assert worst["rows"][0]["truth"] == [[0, 3, "MONEY"], [*words[1], "SPORT"]]
    page = "".join(str(render_block(block)) for block in (types, confused, worst))
    assert "<script>" not in page
    assert "&lt;" in page
    assert "1 of 2 rows have a wrong word" in page


# --- kept and carried away --------------------------------------------------------------------------------------------


def test_a_task_comes_back_as_it_was_kept() -> None:
    made = task(max_length=14)
    about = json.loads(json.dumps(made.to_dict()))
    TokenClassification.saved_fields()(about)
    again = TokenClassification.restore(about, tiny_backbone())
    assert again.to_dict() == made.to_dict()
    why, instead = made.unexplained()
    assert "for each word" in why
    assert "pretune report" in instead


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("labels", [TAGS, ("NOUN", "VERB", "PUNCT", "NUM", "X")])
def test_the_exported_reader_answers_as_the_task_does(
    kind: str, left: bool, labels: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pretune.export.program import add_program

    backbone: Backbone = tiny_backbone(kind)
    monkeypatch.setattr(backbone.tokenizer, "padding_side", "left" if left else "right")
    made = TokenClassification(labels, tiny_encoder(backbone, max_length=14, long_text="windows"))
    model = made.build(backbone, seed=0)[0].eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3.0 if weight.ndim > 1 else 1.0)
    backbone.tokenizer.save_pretrained(tmp_path)
    graph = {"inputs": [{"name": name} for name in ("input_ids", "attention_mask")]}
    add_program(tmp_path, made, {**made.to_dict(), "reading": {}}, engine="onnxruntime", graph=graph, reads_pairs=False)
    about = json.loads((tmp_path / "pretune.json").read_text(encoding="utf-8"))
    before = {*sys.modules}
    predict = importlib.util.spec_from_file_location("predict_alone", tmp_path / "predict.py")
    assert predict is not None
    assert predict.loader is not None
    program = importlib.util.module_from_spec(predict)
    sys.modules["predict_alone"] = program
    try:
        predict.loader.exec_module(program)
        reader = program.beside("tagged").Reader(tmp_path, about, program.beside)
        texts = ["Ann went to Oslo. " * 6, "北京队 won", "", "the \u00ad striker"]
        examples = [Example(str(i), {"text": text}) for i, text in enumerate(texts)]
        wanted = [
            made.record(one) for example in examples for one in predict_items(made, model, made.encode(example), CPU)
        ]
        for text, line in zip(texts, wanted, strict=True):
            items = reader.items({"text": text})
            inputs = {name: torch.from_numpy(array) for name, array in reader.inputs(items).items()}
            inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
            with torch.inference_mode():
                logits = model(**inputs).logits.numpy()
            said = reader.answer([reader.real(one, item) for one, item in zip(logits, items, strict=True)], items)
            assert said["tags"] == line["tags"]
            assert [s and list(s) for s in said["words"]] == line.get("words", [])
            assert said["entities"] == line.get("entities", [])
    finally:
        for name in {*sys.modules} - before:
            if name.startswith("predict_"):
                del sys.modules[name]
