"""Texts are written row by row: a row's answer depends on no other row, each has its own limit."""

from __future__ import annotations

import pytest
import torch

from pretune.backbones.cpu.fast import make_fast
from pretune.backbones.writing.generation import Generation, generate, marks_of
from tiny import tiny_writer_backbone

TEXTS = [
    "the bank",
    "a match was won by the team in the last minute",
    "science",
    "the market fell and the bank lost money",
]
LIMITS = [5, 9, 12, 7]
WAYS = {
    "greedy": Generation(),
    "beams": Generation(beam_size=3, length_penalty=0.8),
    "no repeats": Generation(no_repeat_ngram=2),
    "beams without repeats": Generation(beam_size=2, no_repeat_ngram=1),
}


@pytest.fixture(scope="module", params=["seq2seq-tiny", "t5-tiny"])
def writer(request):
    backbone = tiny_writer_backbone(request.param)
    model, _ = backbone.build("AutoModelForSeq2SeqLM", seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0 if weight.ndim > 1 else 1.0)
    return backbone, make_fast(model).eval(), marks_of(backbone.config, backbone.tokenizer)


def _inputs(tokenizer, texts, extra=0):
    rows = [tokenizer(text).input_ids for text in texts]
    width = max(map(len, rows)) + extra
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])
    return {
        "input_ids": ids,
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
    }


@pytest.mark.parametrize("way", WAYS)
def test_a_row_does_not_depend_on_the_rows_beside_it_nor_on_padding(writer, way):
    backbone, model, marks = writer
    with torch.inference_mode():
        together = generate(model, _inputs(backbone.tokenizer, TEXTS, extra=6), WAYS[way], limits_B=LIMITS, marks=marks)
        alone = [
            generate(model, _inputs(backbone.tokenizer, [text]), WAYS[way], limits_B=[limit], marks=marks)[0]
            for text, limit in zip(TEXTS, LIMITS, strict=True)
        ]
    assert together == alone
    assert all(len(one.ids) < limit for one, limit in zip(together, LIMITS, strict=True))


def test_no_run_of_tokens_comes_twice_where_that_is_asked(writer):
    backbone, model, marks = writer
    with torch.inference_mode():
        found = generate(model, _inputs(backbone.tokenizer, TEXTS), WAYS["no repeats"], limits_B=[30] * 4, marks=marks)
    for one in found:
        pairs = list(zip(one.ids, one.ids[1:], strict=False))
        assert len(pairs) == len(set(pairs))


def test_greedy_answers_are_those_of_plain_transformers(writer):
    backbone, model, marks = writer
    inputs = _inputs(backbone.tokenizer, TEXTS)
    with torch.inference_mode():
        mine = generate(model, inputs, Generation(), limits_B=[12] * 4, marks=marks)
        theirs = model.generate(
            **inputs, max_new_tokens=12, do_sample=False, num_beams=1, decoder_start_token_id=marks.start,
            eos_token_id=marks.end, pad_token_id=marks.pad, forced_eos_token_id=None,
        )[:, 1:].tolist()  # fmt: skip
    for one, row in zip(mine, theirs, strict=True):
        ended = row[: row.index(marks.end)] if marks.end in row else row[:11]
        assert one.ids == ended
