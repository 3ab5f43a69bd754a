"""Replaced tokens: who draws what, what counts as replaced, that rows do not depend on each other, and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretune.backbones.load import load_backbone, save_model
from pretune.engine.randomness import row_keys
from pretune.objectives.text.replaced_text import drawn
from tiny import CPU, Rig, dataset_of, largest_difference, uneven_rows, weights_of


@pytest.fixture(scope="module")
def rig() -> Rig:
    made = Rig("replaced-text", fraction=0.3)
    made.model.eval()
    return made


def told(rig: Rig, batch: Any) -> Any:
    with torch.no_grad():
        return rig.objective._told(rig.model, batch, lambda logits: drawn(logits, batch.extras["draws"]))


def test_a_number_in_0_1_is_a_draw_from_the_shares() -> None:
    shares = torch.tensor([0.5, 0.0, 0.3, 0.2])
    draws = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    counts = torch.bincount(drawn(shares.log().repeat(1000, 1), draws), minlength=4)
    assert counts.tolist() == [500, 0, 300, 200]
    ends = drawn(shares.log().repeat(2, 1), torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))
    assert ends.tolist() == [0, 3]


def test_the_generator_stands_on_the_discriminators_embeddings(rig: Rig) -> None:
    words = rig.model.trunk.get_input_embeddings().weight
    assert rig.model.generator.get_input_embeddings().weight is words
    assert rig.model.generator.get_output_embeddings().weight is words
    assert sum(one is words for one in rig.model.parameters()) == 1
    rig.model.zero_grad()
    rig.loss(rig.batch(range(4))).terms["generator"].backward()
    grad = words.grad
    assert grad is not None
    assert float(grad.abs().sum()) > 0
    assert rig.model.head[0].weight.grad is None, "the discriminator is not taught by the generator's loss"
    rig.model.zero_grad()
    rig.loss(rig.batch(range(4))).terms["discriminator"].backward()
    assert rig.model.generator.generator_lm_head.bias.grad is None, "nor the other way round: draws have no gradient"


def test_only_hidden_places_are_replaced_and_a_true_draw_counts_as_true(rig: Rig) -> None:
    batch = rig.batch(range(12))
    said = told(rig, batch)
    hidden = torch.zeros_like(batch.inputs["input_ids"]).flatten().index_fill(0, batch.extras["positions"], 1)
    assert bool(said.is_replaced_RT.any())
    assert not bool((said.is_replaced_RT.flatten() & (hidden == 0)).any())
    assert not np.isin(batch.targets.numpy(), rig.objective.special_ids).any()
    assert (batch.extras["hidden_ids"].flatten()[batch.extras["positions"]] == rig.objective.mask_id).all()
    with torch.no_grad():
        true = rig.objective._told(rig.model, batch, lambda _: batch.targets)
    assert not bool(true.is_replaced_RT.any())


def test_rows_do_not_depend_on_each_other(rig: Rig) -> None:
    together, alone = rig.batch(range(6)), rig.batch([2])
    own = together.extras["owners"] == 2
    assert together.targets[own].tolist() == alone.targets.tolist()
    one, many = told(rig, alone), told(rig, together)
    width = alone.inputs["input_ids"].shape[1]
    assert many.is_replaced_RT[2, :width].tolist() == one.is_replaced_RT[0].tolist()
    real = alone.extras["own"][0]
    torch.testing.assert_close(many.replaced_RT[2, :width][real], one.replaced_RT[0][real], atol=1e-4, rtol=1e-4)
    assert rig.batch([2], epoch=1).targets.tolist() != alone.targets.tolist()
    assert alone.counts == {"discriminator": float(real.sum()), "generator": float(len(alone.targets))}


def test_micro_batches_give_the_update_of_the_whole() -> None:
    runs = []
    for size in (None, 3):
        made = Rig("replaced-text", steps=3, micro_batch_size=size)
        made.train()
        runs.append(weights_of(made.model))
    assert largest_difference(*runs) < 2e-4


def test_a_batch_is_learned_and_held_out_scores_are_sums(rig: Rig) -> None:
    made = Rig("replaced-text", fraction=0.3, learning_rate=5e-3, steps=60, rows=8, batch_size=8)
    rows = made.objective.encode_rows(dataset_of(uneven_rows(24)), fingerprint="rig-24")
    before, again = made.objective.statistics(rows, CPU), made.objective.statistics(rows, CPU)
    assert (before == again).all()
    parts = [step.parts for step in made.steps()]
    assert parts[-1]["generator"] < 0.7 * parts[0]["generator"]
    assert parts[-1]["discriminator"] < 0.8 * parts[0]["discriminator"]
    after = made.objective.statistics(rows, CPU)
    assert (after[:, [0, 2, 4]] == before[:, [0, 2, 4]]).all(), "what is asked is the same at every evaluation"
    batch = made.objective.collate([rows.store.piece(7)], row_keys(0, "held-out", 0, np.array([7])), ["7"])
    assert after[7, 0] + after[7, 2] == batch.counts["discriminator"]
    assert after[7, 4] == batch.counts["generator"]
    scores = made.objective.scores(after.sum(axis=0))
    assert set(scores) == set(made.objective.specs)
    assert scores["replaced_accuracy"] > made.objective.scores(before.sum(axis=0))["replaced_accuracy"] - 0.1
    perfect = made.objective.scores(np.array([10.0, 10, 90, 90, 15, 15, 0]))
    assert (float(perfect["replaced_accuracy"]), float(perfect["generator_perplexity"])) == (1.0, 1.0)


def test_the_discriminator_is_what_is_kept(rig: Rig, tmp_path: Path) -> None:
    save_model(rig.objective.saved(), rig.objective.encoder.tokenizer, tmp_path)
    found = load_backbone(str(tmp_path))
    model, report = found.build("AutoModelForSequenceClassification", seed=0)
    assert all(name.startswith(("classifier.", "bert.pooler.")) for name in report.initialised)
    words = rig.model.trunk.get_input_embeddings().weight
    assert torch.equal(model.get_input_embeddings().weight, words)  # type: ignore[operator]
