"""Transcripts to characters and back; a vocabulary made from the data, or that of the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretune.backbones.load import load_backbone
from pretune.backbones.loading.library import save_model
from pretune.backbones.text.characters import CharVocabulary, find_vocabulary, new_vocabulary, tidy
from pretune.errors import DataError
from pretune.tasks import SpeechRecognition
from tiny import tiny_audio_backbone, tiny_sound_task

TEXTS = ["oh no", " see  the sea ", "naïve", "你好"]


def test_every_character_of_the_transcripts_is_in_the_vocabulary_once() -> None:
    spelling = new_vocabulary(TEXTS)
    assert set("ohnsetaïv你好") < set(spelling.tokens)
    assert len(set(spelling.tokens)) == len(spelling.tokens)
    assert spelling.tokens[spelling.blank_id] == "<pad>"
    assert " " not in spelling.tokens
    for text in TEXTS:
        assert spelling.decode(spelling.encode(text)) == tidy(text)


def test_transcripts_are_composed_and_their_spaces_single() -> None:
    assert tidy("  nai\u0308ve\t text \n") == "naïve text"


def test_unknown_characters_are_the_unknown_token_and_are_not_written() -> None:
    spelling = new_vocabulary(["abc"])
    ids = spelling.encode("axb")
    assert ids[1] == spelling.unknown_id
    assert spelling.decode(ids) == "ab"


def test_a_bar_in_a_transcript_is_not_taken_for_a_space() -> None:
    spelling = new_vocabulary(["a|b c"])
    assert spelling.delimiter != "|"
    assert spelling.decode(spelling.encode("a|b c")) == "a|b c"


@pytest.mark.parametrize("texts", [[], [""], ["  ", "\n"]])
def test_transcripts_without_a_character_are_refused(texts: list[str]) -> None:
    with pytest.raises(DataError, match="all training transcripts are empty"):
        new_vocabulary(texts)


def test_a_column_that_is_no_transcript_is_refused() -> None:
    with pytest.raises(DataError, match="different characters"):
        new_vocabulary(["".join(chr(c) for c in range(0x4E00, 0x4E00 + 20_001))])


def test_the_tokenizer_spells_alike() -> None:
    spelling = new_vocabulary(TEXTS)
    tokenizer = spelling.tokenizer()
    for text in TEXTS:
        ids = list(spelling.encode(text))
        assert tokenizer(tidy(text)).input_ids == ids
        assert tokenizer.decode(ids, group_tokens=False) == spelling.decode(ids)


def test_it_comes_back_from_json_values() -> None:
    spelling = new_vocabulary(TEXTS)
    assert CharVocabulary.from_dict(spelling.to_dict()) == spelling


@pytest.fixture
def ctc_folder(tmp_path: Path) -> Path:
    """A saved CTC model that writes SEE, OH NO and AY in capitals."""
    backbone = tiny_audio_backbone()
    _, made = tiny_sound_task("speech")
    task = SpeechRecognition(new_vocabulary(["SEE", "OH NO", "AY"]), tiny_sound_task("speech")[0].hearing)
    model, _ = task.build(backbone, seed=0)
    save_model(model, task.processor_to_save(made), tmp_path)
    return tmp_path


def test_a_folders_vocabulary_is_kept_where_it_has_all_characters(ctc_folder: Path) -> None:
    backbone = load_backbone(str(ctc_folder))
    found = find_vocabulary(backbone, ["see", "oh", "say"])
    assert found.case == "upper"
    assert found.encode("see") == found.encode("SEE")
    assert found.decode(found.encode("see")) == "SEE" == found.tidied("see")
    assert find_vocabulary(backbone, ["SEE"]).case == ""
    task = SpeechRecognition(found, tiny_sound_task("speech")[0].hearing)
    _, report = task.build(backbone, seed=0)
    assert not report.initialised


def test_a_new_vocabulary_is_made_where_characters_lack(ctc_folder: Path) -> None:
    backbone = load_backbone(str(ctc_folder))
    found = find_vocabulary(backbone, ["quick fox"])
    assert set("quickfox") < set(found.tokens)
    task = SpeechRecognition(found, tiny_sound_task("speech")[0].hearing)
    _, report = task.build(backbone, seed=0)
    assert {"lm_head.weight", "lm_head.bias"} == set(report.initialised)


def test_transformers_loads_the_folder_unedited(ctc_folder: Path) -> None:
    import numpy as np
    import torch
    import transformers

    processor = transformers.AutoProcessor.from_pretrained(ctc_folder)
    model = transformers.AutoModelForCTC.from_pretrained(ctc_folder)
    inputs = processor(np.zeros(4000, dtype=np.float32), sampling_rate=8_000, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs).logits
    (text,) = processor.batch_decode(logits.argmax(-1))
    assert set(text) <= set("SEOHNAY ")
    assert model.config.vocab_size == len(processor.tokenizer)
    assert model.config.pad_token_id == processor.tokenizer.pad_token_id
