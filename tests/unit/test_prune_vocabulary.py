"""Fewer tokens, the same answers: every kind of vocabulary, Chinese, bytes, and texts never seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import make_rows
from pretune.backbones.load import Backbone, load_backbone, save_model
from pretune.compress.pruning.vocabulary import keep_embeddings, reduced_tokenizer
from pretune.errors import ModelError
from pretune.modalities.text.template import plain_backend
from pretune.modalities.text.tokenizers.train import train_tokenizer
from tiny import CPU, LABELS, dataset_of, tiny_encoder

ENGLISH = [row["text"] for row in make_rows(300, seed=4)]
CHINESE = [
    f"{who}{did}{what}{more}"
    for who in ("中国银行", "球队", "研究人员", "教育部", "上海股市")
    for did in ("宣布", "发现了", "赢得", "公布", "讨论")
    for what in ("新的计划", "比赛结果", "基因图谱", "高考分数", "下跌原因")
    for more in ("。", "，记者报道", "！NBA 2024")
]
MIXED = ["Zürich — naïve café №5", "naïve 中文 and ünïcödé", "emoji 🙂 stays", "tab\tand  spaces", "MiXeD CaSe"]
NEW = ["never-seen wording xylophone", "全新的句子量子纠缠", "Ωμέγα 🚀", "", "   ", "a"]


def trained(kind: str, texts: Sequence[str]) -> Any:
    return train_tokenizer(lambda: texts, kind=kind, vocab_size=None if kind == "wordpiece" else 600)


def unigram(texts: Sequence[str]) -> Any:
    """SentencePiece's kind of vocabulary, as XLM-R has it, with bytes for what is unknown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    made.decoder = decoders.Metaspace()  # type: ignore[assignment]
    trainer = trainers.UnigramTrainer(vocab_size=500, special_tokens=specials, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    roles = {
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "mask_token": "<mask>",
    }
    return PreTrainedTokenizerFast(tokenizer_object=made, model_input_names=["input_ids", "attention_mask"], **roles)


CASES = {
    "wordpiece": (lambda: trained("wordpiece", [*ENGLISH, *MIXED]), ENGLISH[:40]),
    "wordpiece-chinese": (lambda: trained("wordpiece", [*CHINESE, *ENGLISH]), CHINESE[:20]),
    "bytes": (lambda: trained("bpe", [*ENGLISH, *MIXED]), [*ENGLISH[:40], *MIXED]),
    "bytes-chinese": (lambda: trained("bpe", [*CHINESE, *ENGLISH]), CHINESE[:20]),
    "unigram": (lambda: unigram([*ENGLISH, *CHINESE]), [*ENGLISH[:20], *CHINESE[:10]]),
}


def encoded(tokenizer: Any, text: str, pair: str | None = None) -> list[int]:
    return plain_backend(tokenizer).encode(text, pair).ids


@pytest.mark.parametrize("case", CASES)
def test_rows_are_cut_as_before(case: str):
    make, rows = CASES[case]
    tokenizer = make()
    reduced, kept = reduced_tokenizer(tokenizer, lambda: rows)
    assert len(reduced) == len(kept) < len(tokenizer)
    for text in rows:
        assert [kept[i] for i in encoded(reduced, text)] == encoded(tokenizer, text)
        assert [kept[i] for i in encoded(reduced, text, rows[0])] == encoded(tokenizer, text, rows[0])
    tokens = [tokenizer.convert_ids_to_tokens(int(i)) for i in kept]
    assert reduced.convert_ids_to_tokens(list(range(len(reduced)))) == tokens
    used = {i for text in rows for i in encoded(tokenizer, text)}
    assert len(kept) < len(used) + 700, "little beside what the rows use: characters, bytes, steps, special tokens"


@pytest.mark.parametrize("case", CASES)
def test_any_text_still_encodes(case: str):
    """What the old vocabulary knew, letter by letter if need be, the new one knows too; and decodes to the same text."""
    make, rows = CASES[case]
    tokenizer = make()
    reduced, _ = reduced_tokenizer(tokenizer, lambda: rows)
    for text in [*NEW, *ENGLISH, *CHINESE, *MIXED]:
        before, after = encoded(tokenizer, text), encoded(reduced, text)
        assert after.count(reduced.unk_token_id) <= before.count(tokenizer.unk_token_id), text
        assert plain_backend(reduced).decode(after) == plain_backend(tokenizer).decode(before), text


@pytest.mark.parametrize("case", CASES)
def test_special_tokens_keep_their_roles(case: str):
    make, rows = CASES[case]
    tokenizer = make()
    reduced, kept = reduced_tokenizer(tokenizer, lambda: rows)
    for role in ("pad", "unk", "cls", "sep", "mask"):
        assert kept[getattr(reduced, f"{role}_token_id")] == getattr(tokenizer, f"{role}_token_id")
        assert getattr(reduced, f"{role}_token") == getattr(tokenizer, f"{role}_token")
    assert reduced.model_input_names == tokenizer.model_input_names
    assert reduced.model_max_length == tokenizer.model_max_length


@pytest.mark.parametrize(
    ("family", "case"), [("bert", "wordpiece-chinese"), ("roberta", "bytes"), ("xlm-roberta", "unigram")]
)
def test_predictions_are_the_same(family: str, case: str, tmp_path: Path):
    """Before and after, and after it was written and read by transformers alone."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    from pretune.tasks import TextClassification
    from pretune.tasks.predicting import predict_rows

    make, rows = CASES[case]
    tokenizer = make()
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer) + 3, hidden_size=32, intermediate_size=64, num_attention_heads=2, num_hidden_layers=1,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.get_input_embeddings().weight.data.mul_(20)

    def answers(model: Any, tokenizer: Any) -> np.ndarray:
        task = TextClassification(LABELS, tiny_encoder(Backbone("tiny", "scratch", model.config, tokenizer)))
        data = dataset_of([{"id": str(place), "text": text} for place, text in enumerate(rows)])
        found = predict_rows(task, model, task.encode_rows(data, fingerprint=f"{case}-{len(tokenizer)}"), CPU)
        return np.array([one.outputs_C for one in found])

    before, size = answers(model, tokenizer), sum(p.numel() for p in model.parameters())
    reduced, kept = reduced_tokenizer(tokenizer, lambda: rows)
    keep_embeddings(model, kept)
    assert model.config.vocab_size == len(reduced)
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert sum(p.numel() for p in model.parameters()) == size - 32 * (len(tokenizer) + 3 - len(kept))
    np.testing.assert_array_equal(answers(model, reduced), before)
    save_model(model, reduced, tmp_path)
    np.testing.assert_allclose(
        answers(AutoModelForSequenceClassification.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)),
        before, rtol=1e-6,
    )  # fmt: skip
    ours = load_backbone(str(tmp_path))
    assert len(ours.tokenizer) == len(kept)


def test_a_real_vocabulary(minilm_dir: Path):
    """30,522 tokens of a real BERT: unused ones leave, rows of several languages are cut as before."""
    tokenizer = load_backbone(str(minilm_dir)).tokenizer
    rows = [*ENGLISH, *CHINESE, *MIXED]
    reduced, kept = reduced_tokenizer(tokenizer, lambda: rows)
    assert len(kept) < 5000
    assert type(reduced) is type(tokenizer)
    for text in rows:
        assert [kept[i] for i in encoded(reduced, text, "Zürich")] == encoded(tokenizer, text, "Zürich")


@pytest.mark.shared_data
def test_real_chinese_titles(shared_data: Path):
    """A trained vocabulary of thousands of characters, and titles it was not reduced on."""
    lines = (shared_data / "text" / "thucnews" / "train.csv").read_text(encoding="utf-8").splitlines()[1:4001]
    tokenizer = trained("wordpiece", lines)
    reduced, kept = reduced_tokenizer(tokenizer, lambda: lines[:300])
    assert len(kept) <= len(tokenizer)
    for text in lines[300:600]:
        after = encoded(reduced, text)
        assert after.count(reduced.unk_token_id) <= encoded(tokenizer, text).count(tokenizer.unk_token_id)


def test_other_vocabularies_are_refused():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    )
    with pytest.raises(ModelError, match="WordLevel") as caught:
        reduced_tokenizer(words, lambda: ["a"])  # type: ignore[arg-type]
    assert "--vocabulary keep" in caught.value.fix
    marked = models.BPE({"a": 0, "b</w>": 1}, [], end_of_word_suffix="</w>")
    ends = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(marked))
    with pytest.raises(ModelError, match="end of words"):
        reduced_tokenizer(ends, lambda: ["ab"])  # type: ignore[arg-type]
