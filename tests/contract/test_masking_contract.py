"""What masking promises: the right share, never a special token, a function of (seed, epoch, row), heads only where asked."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from pretune.backbones.adaptation.adapt import plan_adaptation
from pretune.backbones.heads import heads_at
from pretune.engine.randomness import row_keys
from pretune.errors import DataError
from pretune.modalities.text.encoder import TextPiece
from pretune.modalities.text.store import TokenStore, encode_dataset
from pretune.modalities.text.words import whole_words
from pretune.objectives.text.masked_text import MaskedText
from tiny import Rig, dataset_of, largest_difference, tiny_backbone, tiny_encoder, uneven_rows, weights_of

KINDS: dict[str, dict[str, Any]] = {"tokens": {}, "words": {"mask_whole_words": True}, "packs": {"pack_tokens": 64}}


@pytest.fixture(params=list(KINDS), scope="module")
def rig(request: pytest.FixtureRequest) -> Rig:
    return Rig("pretrain", rows=60, **KINDS[request.param])


def objective(family: str = "bert", **options: Any) -> MaskedText:
    backbone = tiny_backbone(family)
    model, _ = backbone.build("AutoModelForMaskedLM", seed=0)
    return MaskedText(tiny_encoder(backbone), plan_adaptation(model, "full", weight_decay=0.0), **options)


def store_of(made: MaskedText, rows: int = 60) -> TokenStore:
    return encode_dataset(dataset_of(uneven_rows(rows)), made.encoder, fingerprint=f"masking-{rows}")


def many_masks(made: MaskedText, length: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One row of ordinary tokens masked ``count`` times: before (T,), after (count, T), chosen (count, T) bool."""
    ids = np.concatenate([[2], made.ordinary_ids[100 : 100 + length], [3]]).astype(np.int32)
    assert {2, 3} <= set(made.special_ids.tolist())
    masked = made.mask([TextPiece(ids)] * count, row_keys(0, "many", 0, np.arange(count)))
    chosen = np.zeros((count, len(ids)), dtype=bool)
    for row, places in enumerate(masked.chosen):
        chosen[row, places] = True
    return ids, np.stack([piece.input_ids for piece in masked.pieces]), chosen


@pytest.mark.parametrize("fraction", [0.15, 0.4])
def test_the_masked_share_and_what_becomes_of_the_chosen(fraction: float) -> None:
    made = objective(mask_fraction=fraction)
    before, after, chosen = many_masks(made, 40, 4000)
    total = chosen.sum()
    assert total / (4000 * 40) == pytest.approx(fraction, abs=0.003)
    assert (after[~chosen] == np.broadcast_to(before, after.shape)[~chosen]).all()
    now, old = after[chosen], np.broadcast_to(before, after.shape)[chosen]
    assert (now == made.mask_id).mean() == pytest.approx(0.8, abs=0.015)
    stayed = (now == old).mean()
    assert stayed == pytest.approx(0.1 + 0.1 / len(made.ordinary_ids), abs=0.012)
    drawn = now[(now != made.mask_id) & (now != old)]
    assert not np.isin(drawn, made.special_ids).any()
    assert len(set(drawn.tolist())) > 0.8 * len(made.ordinary_ids)


@pytest.mark.parametrize("options", [{}, {"mask_whole_words": True}], ids=["tokens", "words"])
def test_every_place_is_chosen_as_often(options: dict[str, Any]) -> None:
    made = objective(**options)
    if made.starts is not None:
        made.starts = np.ones_like(made.starts)  # each token a word
    _, _, chosen = many_masks(made, 10, 6000)
    shares = chosen[:, 1:-1].mean(axis=0)
    np.testing.assert_allclose(shares, 0.15, atol=0.02)
    assert not chosen[:, [0, -1]].any()


def test_a_short_row_has_one_masked_token_and_an_empty_one_none() -> None:
    made = objective()
    _, _, chosen = many_masks(made, 2, 50)
    assert (chosen.sum(axis=1) == 1).all()
    _, after, none = many_masks(made, 0, 3)
    assert not none.any()
    assert (after == [2, 3]).all()


def test_a_batch_of_rows_without_a_token_has_a_loss_of_zero_and_no_gradient_that_is_not_finite() -> None:
    rig = Rig("pretrain")
    batch = rig.objective.collate(
        [TextPiece(np.array([2, 3], dtype=np.int32))] * 2, np.arange(2, dtype=np.uint64), ["a", "b"]
    )
    assert batch.num_items == 0
    loss = rig.loss(batch)
    loss.total.backward()
    assert loss.total.item() == 0.0
    assert all(torch.isfinite(p.grad).all() for p in rig.model.parameters() if p.grad is not None)


def test_whole_words_are_masked_whole() -> None:
    made = objective(mask_whole_words=True)
    assert made.starts is not None
    store = store_of(made)
    pieces = [store.piece(i) for i in range(len(store))]
    masked = made.mask(pieces, row_keys(3, "text", 0, np.arange(len(store))))
    several = 0
    for piece, places in zip(pieces, masked.chosen, strict=True):
        words = whole_words(piece.input_ids, made.starts, made.special_ids)
        for word in set(words[places]):
            mine = np.flatnonzero((words == word) & ~np.isin(piece.input_ids, made.special_ids))
            assert set(mine) <= set(places)
            several += len(mine) > 1
    assert several > 0


def test_masks_depend_on_seed_epoch_and_row_alone(rig: Rig) -> None:
    def masks(rows: list[int], epoch: int = 0) -> dict[str, list[int]]:
        """Targets of each row: what was masked there, wherever the row stands in its batch."""
        return {str(row): rig.batch([row], epoch).targets.tolist() for row in rows}

    rows = list(range(6))
    assert rig.batch(rows).targets.tolist() == [token for found in masks(rows).values() for token in found]
    assert rig.batch(rows[::-1]).targets.tolist() == [token for row in rows[::-1] for token in masks([row])[str(row)]]
    changed = [row for row in rows if masks([row])[str(row)] != masks([row], epoch=1)[str(row)]]
    assert len(changed) >= 5


def test_targets_are_the_tokens_that_stood_there(rig: Rig) -> None:
    store = store_of(rig.objective)
    originals = [store.piece(i).input_ids for i in range(len(store))]
    batch = rig.batch([0, 1, 2])
    seen = batch.inputs["input_ids"].reshape(-1)[batch.extras["positions"]]
    assert not np.isin(batch.targets.numpy(), rig.objective.special_ids).any()
    assert (seen == rig.objective.mask_id).any()
    # Put back, the rows are whole again.
    whole = batch.inputs["input_ids"].clone().reshape(-1)
    whole[batch.extras["positions"]] = batch.targets
    lines = whole.reshape(batch.inputs["input_ids"].shape).tolist()
    wanted = [originals[int(name)].tolist() for name in batch.ids]
    for row in wanted:
        assert any(_inside(row, line) for line in lines)


def _inside(row: list[int], line: list[int]) -> bool:
    return any(line[at : at + len(row)] == row for at in range(len(line) - len(row) + 1))


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_heads_at_places_is_the_full_head_picked(family: str) -> None:
    rig = Rig("pretrain", family=family)
    batch = rig.batch(range(5))
    rig.model.eval()
    places = batch.extras["positions"]
    with torch.no_grad():
        full = rig.model(**batch.inputs).logits
        with heads_at(rig.model, places):
            picked = rig.model(**batch.inputs).logits
        after = rig.model(**batch.inputs).logits
    assert picked.shape == (1, len(places), full.shape[-1])
    torch.testing.assert_close(picked[0], full.reshape(-1, full.shape[-1])[places], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(after, full)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_rows_in_a_pack_do_not_see_each_other(family: str) -> None:
    """The loss and its gradients of packs are those of the same masked rows padded."""
    rig = Rig("pretrain", family=family, pack_tokens=128)
    packs = rig.batch(range(4))
    assert len(packs.ids) > packs.inputs["input_ids"].shape[0]
    store = store_of(rig.objective, 24)
    keys_R = row_keys(0, "text", 0, np.arange(4))
    groups = [[int(i) for i in rig.batch([pack]).ids] for pack in range(4)]
    keys = np.concatenate(
        [
            row_keys(int(key >> np.uint64(1)), "pack", 0, np.array(group))
            for key, group in zip(keys_R, groups, strict=True)
        ]
    )
    rows = [row for group in groups for row in group]
    padded = rig.objective.collate([store.piece(row) for row in rows], keys, [str(row) for row in rows])
    assert padded.targets.tolist() == packs.targets.tolist()
    grads = []
    for batch in (packs, padded):
        rig.model.zero_grad()
        loss = rig.loss(batch)
        loss.total.backward()
        grads.append(
            ({n: p.grad.clone() for n, p in rig.model.named_parameters() if p.grad is not None}, loss.total.item())
        )
    assert grads[0][1] == pytest.approx(grads[1][1], rel=1e-5)
    scale = max(g.abs().max().item() for g in grads[0][0].values())
    assert largest_difference(grads[0][0], grads[1][0]) < 1e-5 * scale


def test_held_out_statistics_are_sums_over_rows_with_the_same_masks_each_time() -> None:
    rig = Rig("pretrain")
    from tiny import CPU

    store = store_of(rig.objective, 24)
    before = weights_of(rig.model)
    stats = rig.objective.held_out_statistics(rig.model, store, CPU)
    again = rig.objective.held_out_statistics(rig.model, store, CPU, budget_tokens=64)
    np.testing.assert_allclose(stats, again, rtol=1e-5)
    assert (stats[:, 0] >= 1).all()
    assert (stats[:, 1] <= stats[:, 0]).all()
    row = rig.objective.collate([store.piece(7)], row_keys(0, "held-out", 0, np.array([7])), ["7"])
    assert rig.loss(row).total.item() == pytest.approx(stats[7, 2], rel=1e-4)
    assert largest_difference(before, weights_of(rig.model)) == 0.0


def test_pseudo_perplexity_scores_each_token_masked_alone() -> None:
    from tiny import CPU

    rig = Rig("pretrain")
    made, store = rig.objective, store_of(rig.objective, 24)
    stats = made.pseudo_perplexity_statistics(rig.model, store, CPU, max_tokens=30)
    chosen = np.argsort(row_keys(0, "pseudo-perplexity", 0, np.arange(len(store))), kind="stable")[0]
    ids = torch.tensor(store.piece(int(chosen)).input_ids).long()
    places = [i for i, token in enumerate(ids.tolist()) if token not in made.special_ids]
    expected = 0.0
    for place in places:
        masked = ids.clone()
        masked[place] = made.mask_id
        with torch.no_grad():
            logits = rig.model(input_ids=masked[None], attention_mask=torch.ones(1, len(ids), dtype=torch.long)).logits
        expected += functional.cross_entropy(logits[0, place], ids[place]).item()
    assert stats[0].tolist() == pytest.approx([len(places), expected], rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"pack_tokens": 64}], ids=["padded", "packed"])
def test_the_first_position_tells_the_masked_tokens_of_its_own_row(options: dict[str, Any]) -> None:
    """The second loss is that of plain heads at the first tokens, each masked token held against its own row's."""
    plain, telling = Rig("pretrain", **options), Rig("pretrain", bag_of_words=0.5, **options)
    batch = telling.batch(range(4))
    tokenizer = telling.objective.encoder.tokenizer
    firsts, owners = batch.extras["firsts"], batch.extras["owners"]
    seen = batch.inputs["input_ids"].reshape(-1)
    assert len(firsts) == len(batch.ids)
    assert (seen[firsts] == tokenizer.cls_token_id).all()
    # A masked place lies behind the first token of its row and before that of the next.
    ends = torch.cat([firsts[1:], torch.tensor([len(seen)])])
    places = batch.extras["positions"]
    assert ((places > firsts[owners]) & (places < ends[owners])).all()
    logits = telling.model(**batch.inputs).logits.reshape(len(seen), -1)
    expected = functional.cross_entropy(logits[firsts][owners], batch.targets, reduction="sum").item()
    loss, without = telling.loss(batch), plain.loss(batch)
    assert loss.log["bag_of_words"] == pytest.approx(expected, rel=1e-4)
    assert loss.total.item() == pytest.approx(without.total.item() + 0.5 * expected, rel=1e-4)
    assert loss.log["correct"] == without.log["correct"]
    assert set(loss.log) == set(telling.objective.log_names)
    assert set(without.log) == set(plain.objective.log_names) == {"correct"}


def test_a_tokenizer_without_a_first_token_cannot_tell_a_bag_of_words() -> None:
    backbone = tiny_backbone("bert")
    encoder = copy.deepcopy(tiny_encoder(backbone))  # its tokenizer is the other tests' too
    encoder.tokenizer.cls_token = None
    model, _ = backbone.build("AutoModelForMaskedLM", seed=0)
    plan = plan_adaptation(model, "full", weight_decay=0.0)
    MaskedText(encoder, plan)
    with pytest.raises(DataError, match="no token before a row") as caught:
        MaskedText(encoder, plan, bag_of_words=1.0)
    assert caught.value.fix == "leave --bag-of-words out"
