"""What written tokens hang on: sums are whole, nothing comes from later tokens, marks stay, long texts are cut and said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pretune.backbones.text.limits import max_length_of
from pretune.backbones.writing.generation import marks_of
from pretune.explain import written_saliency as module
from pretune.explain.written_attention import token_names
from pretune.explain.written_saliency import written_saliency
from pretune.modalities.text.chat import ChatEncoder
from pretune.report.explained.written import saliency_section
from pretune.tasks import Conversation
from pretune.tasks.written.text_to_text import TextToText
from pretune.tasks.written.writing import Writing
from pretune.types import Example
from tiny import tiny_backbone, tiny_encoder, tiny_writer_backbone

QUESTION, ANSWER = "the coach said that the bank raised its rate", "the striker lost"


def louder(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0 if weight.ndim > 1 else 1.0)
    return model.eval()


def talker(family: str) -> tuple[Any, torch.nn.Module]:
    backbone = tiny_backbone(family)
    task = Conversation(ChatEncoder(backbone.tokenizer, max_length=128), Writing(temperature=0.0, max_new_tokens=10))
    return task, louder(task.build(backbone, seed=4)[0])


def translator(preset: str) -> tuple[Any, torch.nn.Module]:
    backbone = tiny_writer_backbone(preset)
    marks = marks_of(backbone.config, backbone.tokenizer)
    task = TextToText(tiny_encoder(backbone), marks, most=max_length_of(backbone), max_new_tokens=8)
    return task, louder(task.build(backbone, seed=4)[0])


def explained(task: Any, model: torch.nn.Module, answer: str = ANSWER, orders: int = 5) -> Any:
    return written_saliency(task, model, Example("a", {"text": QUESTION}), answer, token_names, orders=orders)


@pytest.mark.parametrize("family", ["gpt", "llama"])
def test_a_decoder_reads_what_was_written_before_and_nothing_later(family: str) -> None:
    found = explained(*talker(family))
    count, read = found.nats_LT.shape
    assert count == len(found.written)
    first = read - count
    for row in range(count):
        assert not found.nats_LT[row, first + row + 1 :].any()
    assert found.nats_LT[-1, first:].any(), "earlier answers count"
    assert found.error < 0.05
    special = [place for place, name in enumerate(found.tokens) if name in ("<s>", "</s>")]
    assert special
    assert not found.nats_LT[:, special].any(), "marks stay on the way, so nothing is theirs"
    assert all(0 < one < 1 for one in found.probabilities_L)


@pytest.mark.parametrize("preset", ["seq2seq-tiny", "t5-tiny"])
def test_an_encoder_decoder_hangs_on_its_source(preset: str) -> None:
    task, model = translator(preset)
    found = explained(task, model)
    (item,) = task.encode(Example("a", {"text": QUESTION}))
    assert len(found.tokens) == item.cost
    assert found.error < 0.05
    steps = task.steps_of(Example("a", {"text": QUESTION}), ANSWER)
    ids = torch.from_numpy(np.array(item.arrays["input_ids"], dtype=np.int64))[None]
    with torch.no_grad():
        logits = model(input_ids=ids, decoder_input_ids=torch.from_numpy(steps.before_L.astype(np.int64))[None]).logits[
            0
        ]
    told = torch.softmax(logits.double(), dim=-1)[torch.arange(len(steps.written_L)), torch.from_numpy(steps.written_L.astype(np.int64))]  # fmt: skip
    assert found.probabilities_L == pytest.approx(told.numpy(), abs=1e-5)


def test_the_test_takes_out_what_was_asked_and_keeps_the_marks() -> None:
    found = explained(*talker("gpt"))
    test = found.faithfulness
    assert (test.orders, test.shares[0], test.shares[-1]) == (5, 0.0, 1.0)
    assert test.important[0] == pytest.approx(float(np.exp(np.log(found.probabilities_L).mean())), rel=1e-4)
    assert explained(*talker("gpt"), orders=0).faithfulness is None


def test_long_texts_are_cut_and_the_page_names_what_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WRITTEN", 2)
    found = explained(*talker("gpt"))
    assert (len(found.written), found.left_out > 0) == (2, True)
    assert found.to_dict()["written"][0]["token"] == found.written[0]
    section = saliency_section(found)
    best = found.tokens[int(found.nats_LT[0].argmax())]
    assert best in str(section.parts[1])
