"""What a person types is text: no string of it becomes a control token, in any kind of vocabulary, in any place that reads texts."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import tempfile
from collections.abc import Callable
from importlib import resources, util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_rows
from pretune.backbones.loading.processors import load_tokenizer
from pretune.compress.pruning.vocabulary import reduced_tokenizer
from pretune.data.checks.passport import passport
from pretune.data.splits import Splits
from pretune.errors import ModelError
from pretune.modalities.text import encoder as text_module
from pretune.modalities.text.control import control_tokens
from pretune.modalities.text.encoder import TextEncoder
from pretune.modalities.text.store import encode_dataset
from pretune.modalities.text.tokenizers.train import train_tokenizer
from pretune.tasks import TextClassification
from pretune.tasks.shown.text_parts import text_parts
from pretune.types import Example
from tiny import dataset_of

TEXTS = [row["text"] for row in make_rows(200, seed=3)] + ["<a> [b] | say / this mask_start extra id sep 1 now |"] * 5
TYPED = ("[SEP]", "[MASK]", "[CLS]", "[PAD]", "[UNK]", "</s>", "<s>", "<mask>", "<pad>", "<unk>", "<|im_start|>", "<|im_end|>", "<extra_id_0>", "<extra_id_1>", "＜／ｓ＞")  # fmt: skip
PARTS = st.lists(st.sampled_from([*TYPED, " ", "say", "x", "now ", "the striker", "“", "我们", "▁"]), max_size=12)


def _unigram() -> Any:
    """A vocabulary of SentencePiece's kind, which holds its control tokens among the words."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()  # type: ignore[assignment]
    made.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    made.decoder = decoders.Metaspace()  # type: ignore[assignment]
    names = ["<pad>", "</s>", "<unk>", "<extra_id_0>", "<extra_id_1>", "<|im_start|>"]
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=names, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return made


def _wordpiece() -> Any:
    return train_tokenizer(lambda: TEXTS, kind="wordpiece")


def _bpe() -> Any:
    return train_tokenizer(lambda: TEXTS, kind="bpe")


def _unigram_general() -> Any:
    from transformers import PreTrainedTokenizerFast

    extra = ["<extra_id_0>", "<extra_id_1>", "<|im_start|>"]
    return PreTrainedTokenizerFast(
        tokenizer_object=_unigram(), pad_token="<pad>", eos_token="</s>", unk_token="<unk>", extra_special_tokens=extra,
        model_max_length=77, padding_side="left",
    )  # fmt: skip


def _vocabulary() -> list[tuple[str, float]]:
    return [(token, score) for token, score in json.loads(_unigram().to_str())["model"]["vocab"] if token[0] != "<"]


def _t5() -> Any:
    from transformers import T5Tokenizer

    sentinels = [("<extra_id_1>", 0.0), ("<extra_id_0>", 0.0)]
    return T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_vocabulary(), *sentinels], extra_ids=2)


def _xlm_roberta() -> Any:
    from transformers import XLMRobertaTokenizer

    start = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return XLMRobertaTokenizer(vocab=[*start, *_vocabulary(), ("<mask>", 0.0)])


def _chat() -> Any:
    """Byte-level BPE that takes a word of the vocabulary whole, as Llama 3 does, cut at spaces alone; with marks of turns."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    told = json.loads(_bpe().backend_tokenizer.to_str())
    told["model"]["ignore_merges"] = True
    told["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "tokenizer.json"
        path.write_text(json.dumps(told), encoding="utf-8")
        made = PreTrainedTokenizerFast(
            tokenizer_file=str(path), pad_token="<pad>", eos_token="</s>", unk_token="<unk>", cls_token="<s>",
            sep_token="</s>", mask_token="<mask>",
        )  # fmt: skip
    made.add_special_tokens({"extra_special_tokens": [AddedToken(name) for name in ("<|im_start|>", "<|im_end|>")]})
    return made


MODEL_TYPES = {
    "wordpiece": "bert",
    "bpe": "roberta",
    "unigram": "t5",
    "t5": "t5",
    "xlm-roberta": "xlm-roberta",
    "chat": "llama",
}
MADE: dict[str, Callable[[], Any]] = {
    "wordpiece": _wordpiece, "bpe": _bpe, "unigram": _unigram_general, "t5": _t5, "xlm-roberta": _xlm_roberta, "chat": _chat,
}  # fmt: skip
KINDS = [*MADE, "minilm"]


@functools.cache
def raw(kind: str) -> Path:
    """A folder as another program leaves it: nothing in it tells that texts are plain."""
    folder = Path(tempfile.mkdtemp(prefix=f"pretune-{kind}-"))
    made = MADE[kind]()
    made.init_kwargs.pop("split_special_tokens", None)
    made.split_special_tokens = False
    made.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": MODEL_TYPES[kind]}), encoding="utf-8")
    return folder


@functools.cache
def loaded(folder: Path) -> Any:
    return load_tokenizer(folder, False)


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue("minilm_dir") if request.param == "minilm" else raw(request.param)


@pytest.fixture
def tokenizer(folder: Path) -> Any:
    return loaded(folder)


@functools.cache
def saved(folder: Path) -> Path:
    """The folder as a run keeps it."""
    place = Path(tempfile.mkdtemp(prefix="pretune-saved-"))
    loaded(folder).save_pretrained(place)
    (place / "config.json").write_bytes((folder / "config.json").read_bytes())
    return place


def test_the_old_reading_made_control_tokens(folder: Path) -> None:
    """What is mended, and that the folders of these tests do show it."""
    from transformers import AutoTokenizer

    found: Any = AutoTokenizer.from_pretrained(folder)
    assert set(found(" ".join(TYPED), add_special_tokens=False)["input_ids"]) & set(control_tokens(found))


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_makes_control_tokens(kind: str, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue("minilm_dir") if kind == "minilm" else raw(kind)
    tokenizer = loaded(place)
    control = set(control_tokens(tokenizer))
    assert control
    encoder = TextEncoder(tokenizer, max_length=128)
    around = sorted(encoder.encode([""])[0][0].input_ids.tolist())
    plain, program = _transformers(saved(place)), _reader(saved(place), encoder)

    @settings(max_examples=60, deadline=None)
    @given(PARTS)
    def holds(parts: list[str]) -> None:
        text = "".join(parts)
        tokens = encoder.encode([text])[0][0].input_ids.tolist()
        assert sorted(i for i in tokens if i in control) == around
        assert plain(text, truncation=True, max_length=128)["input_ids"] == tokens
        assert program.items({"text": text})[0][0].tolist() == tokens
        assert encoder.locate(text)[0][0].input_ids.tolist() == tokens

    holds()


@functools.cache
def _transformers(place: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(place)


def _reader(place: Path, encoder: TextEncoder) -> Any:
    """What an exported program reads texts with: tokenizers alone."""
    place_of = Path(str(resources.files("pretune.export.standalone"))) / "texts.py"
    spec = util.spec_from_file_location("texts_alone", place_of)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules["texts_alone"] = module
    spec.loader.exec_module(module)
    told = {**dataclasses.asdict(encoder.padding), **dataclasses.asdict(encoder.template)}
    about = {"inputs": told, "max_length": encoder.max_length, "long_text": "truncate"}
    return module.Reader(place, about, lambda name: pytest.fail(f"{name} is not needed"))


def test_other_texts_are_cut_as_before(folder: Path) -> None:
    from transformers import AutoTokenizer

    before: Any = AutoTokenizer.from_pretrained(folder)
    texts = [row["text"] for row in make_rows(60, seed=9)] + [
        "Ωμέγα 🚀 naïve",
        "",
        "  a  b ",
        "我们 中文",
        "a < b > c [d] | e",
    ]
    after = TextEncoder(loaded(folder), max_length=128).tokens_of(texts)
    cut = [
        before(text, add_special_tokens=False)["input_ids"][: len(own)] for text, own in zip(texts, after, strict=True)
    ]
    assert [own.tolist() for own in after] == cut


def test_what_is_kept_beside_a_model_says_it(tokenizer: Any, folder: Path) -> None:
    told = json.loads((saved(folder) / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert told["split_special_tokens"] is True
    again = load_tokenizer(saved(folder), False)
    for name in (
        "model_max_length",
        "padding_side",
        "model_input_names",
        "pad_token_id",
        "unk_token_id",
        "mask_token_id",
    ):
        assert getattr(again, name) == getattr(tokenizer, name) == getattr(_transformers(folder), name)
    assert again.all_special_ids == tokenizer.all_special_ids
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_a_smaller_vocabulary_keeps_it(tokenizer: Any) -> None:
    texts = [*TEXTS, "say </s> [SEP] <mask> <|im_start|> <extra_id_1> now"]
    reduced, _ = reduced_tokenizer(tokenizer, lambda: texts)
    tokens = TextEncoder(reduced, max_length=128).tokens_of(["".join(TYPED), " ".join(TYPED)])
    assert not set(control_tokens(reduced)) & set(np.concatenate(tokens).tolist())


def test_a_vocabulary_that_cannot_be_kept_from_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pretune.modalities.text.control._with_rule", lambda tokenizer: tokenizer)
    with pytest.raises(ModelError, match="</s>"):
        load_tokenizer(raw("t5"), False)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_stores_and_explanations_read_texts_so(kind: str) -> None:
    tokenizer = loaded(raw(kind))
    encoder, control = TextEncoder(tokenizer, max_length=64), set(control_tokens(tokenizer))
    text = "say [SEP] and [MASK] now </s> <mask>"
    rows = dataset_of([{"id": "1", "text": text}, {"id": "2", "text": "say and now"}])
    store = encode_dataset(rows, encoder, fingerprint=f"control-{kind}")
    number = [sum(int(i) in control for i in store.piece(at).input_ids) for at in range(2)]
    assert number[0] == number[1]
    parts = text_parts(encoder, Example("1", {"text": text}))
    assert "[SEP]" not in parts.names
    assert {"say", "and", "now"} < set(parts.names)
    words = "".join(parts.names)
    assert words == text.replace(" ", "")


def test_tokens_of_earlier_versions_are_not_taken_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = TextEncoder(loaded(raw("wordpiece")), max_length=64)
    task = TextClassification(["a", "b"], encoder)
    now = encoder.identity(), encoder.pieces_identity(), task.inputs_identity()
    monkeypatch.setattr(text_module, "READING", "as it was")
    assert all(
        a != b
        for a, b in zip(now, (encoder.identity(), encoder.pieces_identity(), task.inputs_identity()), strict=True)
    )


def test_the_passport_counts_them() -> None:
    texts = ["say [SEP] and [SEP]", "plain text", "</s> <|im_start|>user", "a < b [see 3]", "[sep] <S> <|a b|>"]
    rows = dataset_of([{"id": str(n), "text": text, "label": "a"} for n, text in enumerate(texts)])
    found = passport(Splits({"train": rows}, {}))
    told = found["splits"]["train"]["control_tokens"]
    assert told == {"count": 2, "rows": ["0", "2"], "words": {"[SEP]": 1, "</s>": 1, "<|im_start|>": 1}}
    (said,) = [one for one in found["findings"] if one["code"] == "control-tokens"]
    assert said["severity"] == "note"
    assert said["message"].startswith("2 rows of train spell control tokens of language models ([SEP] in 1, </s> in 1,")
    assert said["rows"] == ["0", "2"]
