"""Models that write: every token is told once, packs do not leak, a text does not depend on its neighbours."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from conftest import make_rows
from pretune.backbones.blocks import BlockEncoder
from pretune.backbones.cpu.fast import make_fast
from pretune.backbones.heads import token_losses
from pretune.backbones.load import load_backbone
from pretune.backbones.writing.causal import packs_exactly, told_in_packs, told_in_rows
from pretune.errors import DataError, UsageError
from pretune.modalities.text.encoder import Ledger, TextPiece
from pretune.objectives import find_pretraining
from pretune.objectives.text.causal_text import CausalText
from pretune.tasks.predicting import predict_items
from pretune.tasks.written.text_generation import TextGeneration
from pretune.tasks.written.writing import Writing, Written, go_on
from pretune.types import Example
from tiny import CPU, Rig, dataset_of, tiny_backbone, uneven_rows

FAMILIES = ["gpt", "llama"]
PROMPTS = [
    "The coach",
    "The central bank raised interest on",
    "",
    "The striker scored twice against the league champions",
]


def encoder_of(family: str, max_length: int = 128) -> BlockEncoder:
    return BlockEncoder(tiny_backbone(family).tokenizer, max_length=max_length)


def model_of(family: str, *, fast: bool = True) -> Any:
    model, _ = tiny_backbone(family).build("AutoModelForCausalLM", seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0 if weight.ndim > 1 else 1.0)  # one that has something to say
    return (make_fast(model) if fast else model).eval()


# --- blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [8, 9, 13, 512])
def test_every_token_of_a_text_is_told_once(most: int) -> None:
    encoder = encoder_of("gpt", most)
    texts = [row["text"] for row in uneven_rows(20)]
    ledger = Ledger()
    for text, pieces in zip(texts, encoder.encode(texts, ledger=ledger), strict=True):
        told = [token for piece in pieces for token in piece.input_ids[1:].tolist()]
        assert all(2 <= len(piece.input_ids) <= most for piece in pieces)
        assert encoder.tokenizer.decode(told[:-1]) == text
        assert told[-1:] == list(encoder.end)
        for before, after in itertools.pairwise(pieces):
            assert before.input_ids[-1] == after.input_ids[0]
    assert ledger.truncated_tokens == 0
    assert ledger.rows == 20


def test_marks_are_the_tokenizers_own_or_its_begin_and_end_tokens() -> None:
    encoder = encoder_of("gpt")
    assert encoder.tokenizer.convert_ids_to_tokens([*encoder.start, *encoder.end]) == ["<s>", "</s>"]
    assert encoder.encode(["</s>"])[0][0].input_ids.tolist().count(encoder.end[0]) == 1, "what a person writes is text"
    (empty,) = encoder.encode([""])[0]
    assert empty.input_ids.tolist() == [*encoder.start, *encoder.end]


# --- packs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_a_pack_neither_see_each_other_nor_what_follows(family: str, fast: bool) -> None:
    model, encoder = model_of(family, fast=fast), encoder_of(family)
    pieces = [row[0] for row in encoder.encode([row["text"] for row in uneven_rows(5)])]

    def said(rows: list[TextPiece]) -> torch.Tensor:
        told = told_in_packs([rows], encoder.padding)
        return model(**told.inputs, use_cache=False).logits.flatten(0, 1)[told.positions_M]

    packed = said(pieces)
    alone = told_in_rows(pieces, encoder.padding)
    logits = model(**alone.inputs, use_cache=False).logits.flatten(0, 1)[alone.positions_M]
    torch.testing.assert_close(packed, logits, atol=2e-4, rtol=1e-4)
    other = [pieces[0], TextPiece(pieces[1].input_ids[::-1].copy()), *pieces[2:]]
    changed, counts = said(other), np.cumsum([0, *(len(piece.input_ids) - 1 for piece in pieces)])
    apart = (changed - packed).abs().amax(dim=1)
    assert apart[counts[1] : counts[2]].max() > 0.1
    assert apart[: counts[1]].max() == apart[counts[2] :].max() == 0.0
    late = pieces[0].input_ids.copy()
    late[5] = late[5] + 1
    assert (said([TextPiece(late), *pieces[1:]]) - packed).abs().amax(dim=1)[:5].max() == 0.0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_packs_exactly_is_known_by_trying(family: str) -> None:
    model = model_of(family)
    assert packs_exactly(model, encoder_of(family).padding)
    model.forward = lambda *a, attention_mask=None, **k: type(model).forward(model, *a, **k)  # forgets who may see whom
    assert not packs_exactly(model, encoder_of(family).padding)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_in_pieces_is_the_whole_head(family: str) -> None:
    rig = Rig("causal-text", family=family)
    batch, found = rig.batch(range(12)), []
    assert len(batch.targets) > 2 * 64
    for most in (1 << 25, 1):
        rig.model.zero_grad()
        losses, right = token_losses(
            rig.model, batch.inputs, batch.extras["positions"], batch.targets, most_logits=most
        )
        losses.sum().backward()
        found.append((losses.detach(), right, {n: p.grad.clone() for n, p in rig.model.named_parameters()}))
    (whole, right, grads), (parts, same, others) = found
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-5)
    assert torch.equal(right, same)
    for name, grad in grads.items():
        torch.testing.assert_close(grad, others[name], atol=1e-3, rtol=1e-4)


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [12, 128])
def test_statistics_are_the_likelihood_of_whole_rows(most: int) -> None:
    rig = Rig("causal-text", family="gpt", max_length=most)
    rows = uneven_rows(24)
    stored = rig.objective.encode_rows(dataset_of(rows), fingerprint=f"whole-{most}")
    stats = rig.objective.statistics(stored, CPU)
    assert stats[:, 2].tolist() == [len(row["text"].encode()) for row in rows]
    if most == 128:
        ids = torch.from_numpy(rig.objective.encoder.encode([rows[3]["text"]])[0][0].input_ids.astype(np.int64))
        with torch.no_grad():
            logits = rig.model.eval()(input_ids=ids[None]).logits[0]
        assert stats[3, 0] == pytest.approx(
            functional.cross_entropy(logits[:-1], ids[1:], reduction="sum").item(), rel=1e-4
        )
    scores = rig.objective.scores(stats.sum(axis=0))
    assert scores["bits_per_byte"] == pytest.approx(stats[:, 0].sum() / math.log(2) / stats[:, 2].sum())
    assert scores["perplexity"] == pytest.approx(math.exp(stats[:, 0].sum() / stats[:, 1].sum()))
    predictions = predict_items(
        TextGeneration(rig.objective.encoder), rig.model, [stored[i] for i in range(len(stored))], CPU
    )
    assert [p.detail["nll"] for p in predictions] == pytest.approx(stats[:, 0].tolist(), rel=1e-4)
    assert [p.detail["bytes"] for p in predictions] == stats[:, 2].tolist()


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_text_does_not_depend_on_its_neighbours(family: str, temperature: float) -> None:
    model, encoder = model_of(family), encoder_of(family, 40)
    writing = Writing(temperature=temperature, max_new_tokens=24)
    prompts = [encoder.prompt(text) for text in PROMPTS]
    together = go_on(model, prompts, encoder, writing)
    assert together == [go_on(model, [prompt], encoder, writing)[0] for prompt in prompts]
    assert together[::-1] == go_on(model, prompts[::-1], encoder, writing)
    if temperature:
        assert len({one.text for one in together}) == len(PROMPTS)
        other = Writing(temperature=temperature, max_new_tokens=24, sampling_seed=1)
        assert go_on(model, prompts, encoder, other) != together


def next_shares(model: Any, encoder: BlockEncoder, prompt: np.ndarray, temperature: float) -> torch.Tensor:
    """Probabilities (V,) of what follows, control tokens left out."""
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(prompt.astype(np.int64))[None]).logits[0, -1] / temperature
    logits[[i for i in encoder.tokenizer.all_special_ids if i not in encoder.end]] = -torch.inf
    return torch.softmax(logits, dim=-1)


def long_one(model: Any, encoder: BlockEncoder) -> tuple[np.ndarray, Written]:
    """A prompt whose likeliest text has 20 tokens and more, and that text."""
    greedy = Writing(temperature=0.0, max_new_tokens=20)
    made = ((prompt, go_on(model, [prompt], encoder, greedy)[0]) for prompt in map(encoder.prompt, _BEGINNINGS))
    return next((prompt, text) for prompt, text in made if text.reason == "length" and "\ufffd" not in text.text)


_BEGINNINGS = [row["text"][:8] for row in make_rows(30)]


def test_texts_are_drawn_by_the_models_probabilities() -> None:
    model, encoder = model_of("gpt"), encoder_of("gpt")
    prompt, _ = long_one(model, encoder)
    shares = next_shares(model, encoder, prompt, 0.5)
    best = int(shares.argmax())
    one_token = Writing(temperature=0.5, top_p=1.0, max_new_tokens=1)
    texts = [
        go_on(model, [prompt], encoder, dataclasses.replace(one_token, sampling_seed=seed))[0].text
        for seed in range(300)
    ]
    word = encoder.tokenizer.decode([best])
    assert 0.02 < shares[best] < 0.98
    assert texts.count(word) / 300 == pytest.approx(float(shares[best]), abs=3.5 * math.sqrt(0.25 / 300))
    greedy = go_on(model, [prompt], encoder, dataclasses.replace(one_token, top_k=1))[0]
    assert greedy.text == word


def test_a_text_ends_at_its_mark_before_a_stop_word_or_at_the_most_tokens() -> None:
    model, encoder = model_of("gpt"), encoder_of("gpt", 32)
    prompt, plain = long_one(model, encoder)
    greedy = Writing(temperature=0.0, max_new_tokens=20)
    assert plain.num_tokens == 20
    middle = plain.text[3:6]
    stopped = go_on(model, [prompt], encoder, dataclasses.replace(greedy, stop=(middle,)))[0]
    assert stopped.reason == "stop"
    assert stopped.text == plain.text[: plain.text.find(middle)]
    full = go_on(model, [prompt], encoder, dataclasses.replace(greedy, max_new_tokens=500))[0]
    assert (full.reason, full.num_tokens) == ("length", 32 - len(prompt))
    encoder.end = (int(next_shares(model, encoder, prompt, 1.0).argmax()),)
    ended = go_on(model, [prompt], encoder, greedy)[0]
    assert ended == ("", 0, "end")


def test_a_prompt_that_fills_the_context_is_refused_by_its_row() -> None:
    task = TextGeneration(encoder_of("gpt", 16))
    with pytest.raises(DataError, match="prompt of row seven has") as caught:
        task.encode(Example("seven", {"text": "The coach " * 30}))
    assert caught.value.fix == "shorten it"


# --- which models -----------------------------------------------------------------------------------------------------


def test_decoders_learn_by_what_follows_and_encoders_by_what_is_hidden() -> None:
    texts = [row["text"] for row in make_rows(60)]
    found = {
        name: load_backbone(f"scratch:{name}", texts=lambda: texts) for name in ("gpt-nano", "llama-nano", "bert-tiny")
    }
    assert find_pretraining(found["gpt-nano"]) is find_pretraining(found["llama-nano"]) is CausalText
    assert find_pretraining(found["bert-tiny"]) is not CausalText
    with pytest.raises(UsageError, match="causal-text does not fit"):
        find_pretraining(found["bert-tiny"], "causal-text")
    with pytest.raises(UsageError, match="masked-text does not fit"):
        find_pretraining(found["gpt-nano"], "masked-text")


def test_a_small_model_of_stories_goes_on(shared_data: Path) -> None:
    """Llama's tokenizer writes a space before its first token: the text behind a prompt keeps its own."""
    backbone = load_backbone(str(shared_data / "hub" / "stories260k"))
    model, _ = backbone.build("AutoModelForCausalLM", seed=0)
    encoder = BlockEncoder(backbone.tokenizer, max_length=64)
    assert backbone.tokenizer.convert_ids_to_tokens([*encoder.start, *encoder.end]) == ["<s>", "</s>"]
    assert packs_exactly(model, encoder.padding)
    (text,) = go_on(
        model.eval(), [encoder.prompt("Once upon a time")], encoder, Writing(temperature=0.0, max_new_tokens=16)
    )
    assert text.text.startswith(", there was a little")
