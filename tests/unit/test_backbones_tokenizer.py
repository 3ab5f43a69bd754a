"""Tokenizers trained on any script: nothing unknown, the same each time, the same after saving."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pretune.backbones.loading.library import save_model
from pretune.backbones.presets.named import preset_config
from pretune.errors import DataError, UsageError
from pretune.modalities.text.tokenizers.train import count_texts, default_vocab_size, train_tokenizer

SCRIPTS = {
    "english": "The quick brown fox jumps over the lazy dog, again and again; e-mail it (now)!",
    "chinese": "我们今天去北京大学图书馆看书,然后回家吃饭。价格是1234元",
    "japanese": "東京タワーはとても高いですが、プログラミングが好きです。",
    "thai": "วันนี้อากาศดีมากเราไปเที่ยวทะเลกันเถอะน้ำใสมาก",
    "khmer": "ខ្ញុំស្រឡាញ់ប្រទេសកម្ពុជាណាស់ហើយភាសាខ្មែរ",
    "lao": "ຂ້ອຍຮັກປະເທດລາວແລະພາສາລາວຫຼາຍ",
    "korean": "오늘은 날씨가 매우 좋아서 공원에 갔습니다",
    "hindi": "मुझे हिन्दी में किताबें पढ़ना बहुत अच्छा लगता है",
    "arabic": "أحب قراءة الكتب في المساء مع القهوة",
    "vietnamese": "Tôi thích đọc sách vào buổi tối và uống cà phê",
}
CORPUS = [text for text in SCRIPTS.values() for _ in range(3)]


def corpus() -> list[str]:
    return CORPUS


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_nothing_of_the_training_texts_is_unknown(kind: str) -> None:
    tokenizer = train_tokenizer(corpus, kind=kind)
    backend = tokenizer.backend_tokenizer
    for name, text in SCRIPTS.items():
        ids = backend.encode(text).ids
        assert tokenizer.unk_token_id not in ids, name
        shown = backend.decode(ids).replace(" ", "")
        assert shown == (text.lower() if kind == "wordpiece" else text).replace(" ", ""), name


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
@pytest.mark.parametrize("preset", ["bert-tiny", "roberta-tiny"])
def test_auto_tokenizer_reads_it_back_with_the_same_ids(kind: str, preset: str, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = train_tokenizer(corpus, kind=kind)
    model = AutoModel.from_config(preset_config(preset, tokenizer))
    save_model(model, tokenizer, tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    for text in SCRIPTS.values():
        assert tokenizer(text, "pair").data == again(text, "pair").data
    for name in ("pad", "unk", "cls", "sep", "mask"):
        assert getattr(again, f"{name}_token_id") == getattr(tokenizer, f"{name}_token_id") is not None
    assert again.mask_token_id in again(f"a {again.mask_token} b", split_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("kind", ["wordpiece", pytest.param("bpe", marks=pytest.mark.slow)])
def test_the_same_texts_give_the_same_tokenizer_in_another_process(kind: str) -> None:
    script = (
        "import json,sys\nfrom pretune.modalities.text.tokenizers.train import train_tokenizer\n"
        "texts=json.loads(sys.stdin.read())\n"
        f"print(train_tokenizer(lambda: texts, kind={kind!r}, vocab_size=700).backend_tokenizer.to_str())"
    )
    # Many ties: every word is as frequent as the others.
    texts = json.dumps([f"{a}{b}ing {b}{a}er" for a in "abcdefgh" for b in ("mon", "tue", "wed", "sat")] * 2)
    out = [
        subprocess.run([sys.executable, "-c", script], input=texts, capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    ]
    assert len(out[0]) > 1000
    assert out[0] == out[1] == out[2]


def test_long_words_and_new_positions_of_letters_are_not_unknown() -> None:
    tokenizer = train_tokenizer(lambda: ["zebra xylophone quiet jam"] * 20, kind="wordpiece")
    for text in ("a" * 5000, "maz", "xx" * 300 + "q", "jzx"):
        assert tokenizer.unk_token_id not in tokenizer.backend_tokenizer.encode(text).ids


def test_wordpiece_keeps_accents_and_no_case() -> None:
    found = train_tokenizer(lambda: ["Crème Brûlée Straße"] * 20, kind="wordpiece")
    assert found.backend_tokenizer.encode("Crème").ids == found.backend_tokenizer.encode("CRÈME").ids
    assert found.backend_tokenizer.encode("Crème").ids != found.backend_tokenizer.encode("Creme").ids
    composed, decomposed = "Crème", "Cre\u0300me"
    assert found.backend_tokenizer.encode(composed).ids == found.backend_tokenizer.encode(decomposed).ids


def test_the_vocabulary_size_is_kept() -> None:
    texts = [f"word{index} other{index % 7} thing" for index in range(500)] * 2
    for size in (100, 300):
        assert len(train_tokenizer(lambda: texts, kind="wordpiece", vocab_size=size)) <= size
    assert len(train_tokenizer(lambda: texts, kind="bpe", vocab_size=300)) <= 300
    chinese = ["".join(chr(0x4E00 + 7 * k + j) for k in range(300)) for j in range(3)]
    assert len(train_tokenizer(lambda: chinese, kind="wordpiece", vocab_size=400)) == 400
    with pytest.raises(UsageError, match="at least"):
        train_tokenizer(lambda: texts, kind="bpe", vocab_size=100)


def test_hardly_any_text_is_refused() -> None:
    for texts in ([], [""], ["short"]):
        with pytest.raises(DataError, match="at least 200 characters"):
            train_tokenizer(lambda texts=texts: texts, kind="bpe")


def test_the_default_size_grows_with_the_text() -> None:
    assert [default_vocab_size(n) for n in (0, 1_000_000, 10**9)] == [1000, 8000, 30000]
    assert count_texts(["ab", "b"]).characters == {"a": 1, "b": 2}
