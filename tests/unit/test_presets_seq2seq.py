"""Fresh encoder-decoders: what their tokenizers put around a row, and that a saved folder is the same model."""

from __future__ import annotations

import pytest

from pretune.backbones.load import load_backbone
from pretune.backbones.presets.seq2seq import SENTINELS, SEQ2SEQ_PRESETS
from pretune.errors import UsageError

TEXTS = [f"Ein Hund läuft über die Straße, a dog number {n} runs across the street." for n in range(40)]


def test_a_row_ends_and_has_no_mark_before_it():
    found = load_backbone("scratch:seq2seq-tiny", texts=lambda: TEXTS).tokenizer
    ids = found("Ein Hund").input_ids
    assert ids[-1] == found.eos_token_id
    assert not {found.bos_token_id, found.pad_token_id} & set(ids)
    assert found.decode(ids[:-1]) == "Ein Hund"


def test_only_t5_has_sentinels_and_no_text_makes_them():
    t5 = load_backbone("scratch:t5-tiny", texts=lambda: TEXTS)
    marks = t5.tokenizer.convert_tokens_to_ids([f"<extra_id_{n}>" for n in range(SENTINELS)])
    assert len(set(marks)) == SENTINELS
    assert max(marks) < t5.config.vocab_size
    assert not set(t5.tokenizer("so <extra_id_3> it is").input_ids) & set(marks)
    other = load_backbone("scratch:seq2seq-tiny", texts=lambda: TEXTS).tokenizer
    assert "<extra_id_0>" not in other.get_vocab()


@pytest.mark.parametrize("preset", ["seq2seq-tiny", "t5-tiny"])
def test_a_saved_folder_is_the_same_model(tmp_path, preset):
    backbone = load_backbone(f"scratch:{preset}", texts=lambda: TEXTS)
    model, report = backbone.build("AutoModelForSeq2SeqLM", seed=0)
    assert report.fresh
    model.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    again = load_backbone(str(tmp_path))
    same, told = again.build("AutoModelForSeq2SeqLM", seed=1)
    assert not told.initialised
    assert all((one == other).all() for one, other in zip(model.parameters(), same.parameters(), strict=True))
    assert again.tokenizer("Ein Hund").input_ids == backbone.tokenizer("Ein Hund").input_ids


def test_a_tokenizer_that_lower_cases_cannot_write():
    with pytest.raises(UsageError, match="wordpiece"):
        load_backbone("scratch:seq2seq-tiny", texts=lambda: TEXTS, tokenizer="wordpiece")


def test_every_preset_has_heads_that_divide_its_width():
    assert all(size.hidden % size.heads == 0 for size in SEQ2SEQ_PRESETS.values())
