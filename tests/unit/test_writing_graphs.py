"""Models that write, as graphs: what they say of known tokens, and the texts that are searched with them, are those of the model itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_generation import LIMITS, TEXTS, WAYS

from pretune.backbones.text.limits import max_length_of
from pretune.backbones.writing.generation import Marks, generate, marks_of, write_tokens
from pretune.backbones.writing.token_search import Search, search_tokens
from pretune.export.graphs.writer import GraphWriter, open_graph
from pretune.export.writing_graphs import export_writer
from pretune.tasks.written.text_to_text import TextToText
from pretune.types import Example
from tiny import tiny_encoder, tiny_writer_backbone


@pytest.mark.parametrize("penalty", [0.0, 0.8, 1.0, 2.0])
@pytest.mark.parametrize("beams", [1, 2, 5])
def test_the_search_is_that_of_transformers(beams: int, penalty: float) -> None:
    """On random chains of tokens, rows of several limits at once."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(beams)
    config = GPT2Config(vocab_size=9, n_positions=64, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=1)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8.0 if weight.ndim > 1 else 1.0)
    ids = torch.tensor([[2, 5], [3, 7], [8, 4], [6, 6]])
    limits = [3, 12, 7, 9]
    how = Search(
        ends=(1,), ends_at_limit=True, beam_size=beams, length_penalty=penalty, no_repeat_ngram=3 if beams == 5 else 0
    )

    class Alone:
        def step(self, ids_RL: np.ndarray, state: Any, mask_RL: Any = None) -> tuple[np.ndarray, Any]:
            whole = np.concatenate([state["ids"], ids_RL], axis=1)
            with torch.inference_mode():
                logits = model(torch.from_numpy(whole)).logits[:, -1:].numpy()
            return logits, {"ids": whole}

    with torch.inference_mode():
        theirs = write_tokens(
            model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, how, limits, Marks(0, 1, 0)
        )
    steps: Any = Alone()
    mine = search_tokens(steps, steps.step(ids.numpy(), {"ids": ids.numpy()[:, :0]}), how, limits, before=ids.tolist())
    cut = [[*row[: row.index(1)], 1] if 1 in row else row for row in theirs]
    assert mine == cut
    assert len({tuple(row) for row in mine}) > 1


@pytest.fixture(scope="module", params=["seq2seq-tiny", "t5-tiny"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    backbone = tiny_writer_backbone(request.param)
    task = TextToText(
        tiny_encoder(backbone), marks_of(backbone.config, backbone.tokenizer), most=max_length_of(backbone)
    )
    model, _ = task.build(backbone, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0 if weight.ndim > 1 else 1.0)
    path = tmp_path_factory.mktemp(request.param) / "model.onnx"
    signature = export_writer(model.eval(), path)
    return task, model, open_graph(path, threads=1), signature


@pytest.mark.slow
def test_the_graphs_say_what_the_model_says_of_known_tokens(exported: Any) -> None:
    task, model, graph, signature = exported
    assert isinstance(graph, GraphWriter)
    assert {one["name"] for one in signature["encoder"]["inputs"]} == {"input_ids", "attention_mask"}
    for texts in (TEXTS, TEXTS[:1]):
        batch = task.collate([task.encode(Example(text, {"text": text}))[0] for text in texts])
        with torch.inference_mode():
            torch.testing.assert_close(task.logits_of(graph, batch), task.logits_of(model, batch), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_graphs_write_what_the_model_writes(exported: Any, way: str) -> None:
    task, model, graph, _ = exported
    batch = task.collate([task.encode(Example(text, {"text": text}))[0] for text in TEXTS])
    read = {name: batch.inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        mine, theirs = (generate(one, read, WAYS[way], limits_B=LIMITS, marks=task.marks) for one in (graph, model))
        graph.alone = True
        alone = generate(graph, read, WAYS[way], limits_B=LIMITS, marks=task.marks)
        graph.alone = False
    assert mine == theirs == alone
