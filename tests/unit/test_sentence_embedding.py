"""Sentence embeddings: the loss by hand, ranks, a whole update, folders that sentence-transformers reads, and runs of pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretune.answers import TargetText, Vector
from pretune.backbones.load import save_model
from pretune.errors import DataError, ModelError, UsageError
from pretune.metrics.base import values_of
from pretune.metrics.texts.embedding import EmbeddingMetric, ranks_of
from pretune.objectives.supervised import Supervised
from pretune.tasks.sentence_embedding import TEMPERATURE, SentenceEmbedding
from pretune.types import Encoded, Example
from tiny import tiny_backbone, tiny_encoder

BACKBONE = tiny_backbone()
WIDTH = BACKBONE.config.hidden_size


def task_of(**options: Any) -> SentenceEmbedding:
    return SentenceEmbedding(tiny_encoder(BACKBONE), pooling=("mean",), width=WIDTH, **options)


def pairs(*texts: tuple[str, str]) -> list[Encoded]:
    task = task_of()
    return [
        item
        for number, (one, other) in enumerate(texts)
        for item in task.encode(Example(str(number), {"text": one}, TargetText((other,))))
    ]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_the_loss_is_symmetric_infonce_without_what_stands_there_twice() -> None:
    task, rng = task_of(), np.random.default_rng(0)
    batch = task.collate(
        pairs(("the bank", "a rate"), ("the bank", "a loan"), ("the probe", "a moon"), ("the team", "a moon"))
    )
    first_BD, second_BD = (unit(rng.normal(size=(4, WIDTH))) for _ in range(2))
    logits = torch.from_numpy(np.concatenate([first_BD, second_BD], axis=1)).float()
    found = task.hard_losses(logits, batch).numpy()
    apart = {(0, 1), (1, 0), (2, 3), (3, 2)}
    scores = first_BD @ second_BD.T / TEMPERATURE
    for row in range(4):
        ways = []
        for at in (scores[row], scores[:, row]):
            kept = [at[other] for other in range(4) if (row, other) not in apart]
            ways.append(np.log(np.exp(kept).sum()) - scores[row, row])
        assert found[row] == pytest.approx(np.mean(ways), rel=1e-4)


def test_with_scores_each_row_learns_by_itself() -> None:
    task = task_of(scale=(1.0, 5.0))
    assert not task.ties_rows
    (item,) = task.encode(Example("a", {"text": "the bank", "text_pair": "a rate"}, _value(4.0)))
    assert item.target == pytest.approx(0.75)
    batch = task.collate([item])
    vector = torch.zeros(1, WIDTH)
    vector[0, 0] = 1.0
    assert task.hard_losses(torch.cat([vector, vector], dim=1), batch).item() == pytest.approx(0.25**2)


def _value(number: float) -> Any:
    from pretune.answers import Value

    return Value(number)


def test_an_update_is_never_cut_and_rows_of_it_are_a_function_of_seed_and_step() -> None:
    from pretune.engine.batching import Feeds

    class Rows(list[Encoded]):
        lengths_N = np.full(6, 400)

    rows: Any = Rows(pairs(*((f"the bank ({n})", f"a rate ({n})") for n in range(6))))
    plan: Any = None
    streams = Supervised(task_of(), plan).streams(rows, batch_size=6, group_by_length=True)
    first, again = (Feeds(streams, seed=3, max_tokens=64).micro_feeds() for _ in range(2))
    assert len(first) == 1
    assert first[0][1]["labelled"].ids == again[0][1]["labelled"].ids
    with pytest.raises(UsageError, match="--micro-batch-size"):
        Feeds(streams, seed=3, max_tokens=64, micro_batch_size=2)


def test_ranks_count_what_is_nearer_and_another_text() -> None:
    angles = np.array([0.0, 1.0, 2.0, 2.0])
    text_ND = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    pair_ND = np.stack([np.cos(angles + 0.6), np.sin(angles + 0.6)], axis=1)
    pair_ND[1] = text_ND[0]
    assert ranks_of(text_ND, pair_ND).tolist() == [2, 2, 1, 1]
    assert ranks_of(text_ND[[0, 0]], pair_ND[[0, 1]]).tolist() == [1, 1], "both are right for the same text"
    scores = values_of(EmbeddingMetric().of_ranks(np.array([1, 2, 11, 1])))
    assert scores == {"recall_at_1": 0.5, "recall_at_10": 0.75, "mrr": pytest.approx((1 + 0.5 + 1 / 11 + 1) / 4)}


def test_vectors() -> None:
    one = Vector((0.6, 0.8))
    assert one.same(Vector((1.2, 1.6)))
    assert not one.same(Vector((0.8, 0.6)), 1e-3)
    assert not one.same(Vector((0.6, 0.8, 0.0)), 1.0)
    assert Vector.read("[1, 2]", "row 1") == Vector((1.0, 2.0))
    with pytest.raises(DataError, match="row 1"):
        Vector.read("[1, x]", "row 1")


def test_a_folder_reads_in_sentence_transformers(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    task = task_of()
    model, _ = task.build(BACKBONE, seed=0)
    save_model(model, BACKBONE.tokenizer, tmp_path)
    assert [part["type"].rpartition(".")[2] for part in json.loads((tmp_path / "modules.json").read_text())] == [
        "Transformer", "Pooling", "Normalize",
    ]  # fmt: skip
    texts = ["the bank raised its rate", "a moon"]
    items = [item for number, one in enumerate(texts) for item in task.encode(Example(str(number), {"text": one}))]
    with torch.inference_mode():
        own = [one.answer for one in task.predict(model.eval(), task.collate(items))]
    theirs = library.SentenceTransformer(str(tmp_path), device="cpu").encode(texts)
    np.testing.assert_allclose(own, theirs, atol=1e-5)
    assert json.loads((tmp_path / "config.json").read_text()).get("pooled") is None


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ModelError, match="layers:N"):
        task_of().check_teacher(SentenceEmbedding(tiny_encoder(BACKBONE), pooling=("first", "mean"), width=2 * WIDTH))
