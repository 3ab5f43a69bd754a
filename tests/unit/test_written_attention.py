"""Where a model that writes looks: cross attention of each step, rows that sum to 1, and the causal rows of a decoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version

from pretune.backbones.blocks import BlockEncoder
from pretune.backbones.cpu.fast import make_fast
from pretune.backbones.text.limits import max_length_of
from pretune.backbones.writing.generation import marks_of
from pretune.explain.attention import strongest
from pretune.explain.written_attention import written_attention
from pretune.tasks.written.text_generation import TextGeneration
from pretune.tasks.written.text_to_text import TextToText
from pretune.tasks.written.writing import Writing
from pretune.types import Example
from tiny import CPU, tiny_backbone, tiny_encoder, tiny_writer_backbone

TEXT = "the bank raised its rate"


def loud(model: torch.nn.Module) -> torch.nn.Module:
    """One that has something to say."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3.0 if weight.ndim > 1 else 1.0)
    return model.eval()


@pytest.mark.parametrize("preset", ["seq2seq-tiny", "t5-tiny"])
def test_a_written_token_looks_where_the_step_that_wrote_it_looked(preset: str) -> None:
    backbone = tiny_writer_backbone(preset)
    marks = marks_of(backbone.config, backbone.tokenizer)
    task = TextToText(tiny_encoder(backbone), marks, most=max_length_of(backbone), max_new_tokens=8)
    plain, ordinary = loud(task.build(backbone, seed=1)[0]), make_fast(loud(task.build(backbone, seed=1)[0]))
    found = written_attention(task, plain, ordinary, Example("a", {"text": TEXT}), CPU)
    if preset == "t5-tiny" and Version(transformers.__version__) < Version("5.18"):
        pytest.skip("up to 5.17 transformers shows no attention of T5")
    assert found.attention is not None
    reading, layers = found.attention.reading, found.attention.layers
    source = sum(not name.startswith("→ ") for name in reading.tokens)
    assert 0 < source < len(reading.tokens)
    for weights in (*layers, *(one[None] for one in found.attention.rolled)):
        assert np.allclose(weights.sum(axis=-1), 1, atol=1e-4)
    for layer in layers:
        assert not layer[:, :, source:].any(), "nobody looks at what is written: that is the decoder's own attention"
    assert found.attention.difference < 1e-3
    ids = task.writer.encode([found.text])[0][0].input_ids.tolist()
    inputs = {name: reading.inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        told = plain(**inputs, decoder_input_ids=torch.tensor([[marks.start, *ids[:2]]]), output_attentions=True)  # type: ignore[operator]
    expected = told.cross_attentions[-1][0, :, 2, :source].numpy()
    np.testing.assert_allclose(layers[-1][:, source + 2, :source], expected, atol=1e-5)
    assert strongest(found.attention)


def test_a_decoder_looks_back_alone() -> None:
    backbone = tiny_backbone("gpt")
    task = TextGeneration(BlockEncoder(backbone.tokenizer, max_length=64), Writing(max_new_tokens=6, temperature=0.0))
    plain, ordinary = task.build(backbone, seed=0)[0].eval(), make_fast(task.build(backbone, seed=0)[0].eval())
    found = written_attention(task, plain, ordinary, Example("a", {"text": TEXT}), CPU)
    assert found.attention is not None
    assert len(found.attention.reading.tokens) == len(task.encoder.prompt(TEXT + found.text))
    for layer in found.attention.layers:
        assert not np.triu(layer[0], 1).any()
        assert np.allclose(layer.sum(axis=-1), 1, atol=1e-4)
