"""Feed-forward neurons of decoders, and of encoder-decoders on both sides, leave, and transformers' own class loads what is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pretune.backbones.load import save_model
from pretune.backbones.parts.units import WRITERS, units_of, weight_read
from pretune.compress.pruning.plan import Shares, apply_plan, choose_parts, plan_of
from tiny import tiny_backbone, tiny_writer_backbone


@pytest.mark.parametrize("preset", ["seq2seq-tiny", "t5-tiny"])
def test_neurons_of_both_sides_go_and_the_config_says_so(preset: str, tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM

    backbone = tiny_writer_backbone(preset)
    model = backbone.build("AutoModelForSeq2SeqLM", seed=0)[0].eval()
    units = units_of(model)
    sides = {"encoder" if "encoder." in unit.name else "decoder" for unit in units}
    assert sides == {"encoder", "decoder"}
    widths = {unit.count for unit in units}
    counts = {unit.name: unit.count for unit in units}
    plan = plan_of(model, backbone.config, Shares(1.0, 0.5, 1.0), first_counts=counts)
    ids = torch.randint(5, 50, (2, 6))
    inputs = {"input_ids": ids, "decoder_input_ids": ids[:, :4]}
    with torch.no_grad():
        before = model(**inputs).logits
        # Neurons that say nothing leave without a trace.
        scores = {}
        for unit in units:
            scores[unit.name] = np.arange(unit.count, dtype=float)
            (reader,) = unit.readers
            reader.module.weight[:, : unit.count - plan.counts[unit.name]] = 0
        silenced = model(**inputs).logits
        apply_plan(model, plan, choose_parts(units, plan, scores))
        after = model(**inputs).logits
    assert not torch.equal(before, silenced)
    torch.testing.assert_close(after, silenced, atol=1e-5, rtol=1e-4)
    assert {unit.count for unit in units_of(model)} == {width // 2 for width in widths}
    assert all(getattr(model.config, name) == max(widths) // 2 for name in WRITERS[model.config.model_type])
    save_model(model, backbone.tokenizer, tmp_path)
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(plain(**inputs).logits, after, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", ["gpt", "llama"])
def test_neurons_of_decoders_go_and_the_config_says_so(family: str, tmp_path: Path) -> None:
    """GPT-2's layers keep their weights the other way round, and a neuron of LLaMA has a gate."""
    from transformers import AutoModelForCausalLM

    backbone = tiny_backbone(family)
    model = backbone.build("AutoModelForCausalLM", seed=0)[0].eval()
    units = units_of(model)
    assert [unit.count for unit in units] == [64, 64]
    assert {len(unit.makers) for unit in units} == {2 if family == "llama" else 1}
    plan = plan_of(model, backbone.config, Shares(1.0, 0.5, 1.0), first_counts={unit.name: 64 for unit in units})
    ids = torch.randint(5, 50, (2, 6))
    with torch.no_grad():
        before = model(input_ids=ids).logits
        for unit in units:
            weight_read(unit.readers[0], unit.count)[:, ::2] = 0  # a view of the weight itself
        silenced = model(input_ids=ids).logits
        scores = {unit.name: np.arange(64) % 2.0 for unit in units}
        apply_plan(model, plan, choose_parts(units, plan, scores))
        after = model(input_ids=ids).logits
    assert not torch.equal(before, silenced)
    torch.testing.assert_close(after, silenced, atol=1e-5, rtol=1e-4)
    assert [unit.count for unit in units_of(model)] == [32, 32]
    save_model(model, backbone.tokenizer, tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(plain(input_ids=ids).logits, after, atol=1e-6, rtol=1e-5)
