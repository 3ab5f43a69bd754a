"""Packing: every row once, none over the capacity, and the same hidden states as one row at a time."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from pretune.backbones.load import load_backbone
from pretune.backbones.text.limits import position_offset
from pretune.errors import UsageError
from pretune.modalities.text.encoder import TextEncoder, collate_text
from pretune.modalities.text.packing import collate_packed, pack

TEXTS = ["one two three", "four", "five six seven eight nine ten eleven", "", "twelve thirteen", "one one one one"]


@cache
def backbone(name: str) -> Any:
    return load_backbone(name, texts=lambda: TEXTS * 20)


@pytest.mark.parametrize("preset", ["scratch:bert-tiny", "scratch:roberta-tiny"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_hidden_states_equal_unpacked(preset: str, attention: str) -> None:
    found = backbone(preset)
    model, _ = found.build("AutoModel", seed=0)
    model.set_attn_implementation(attention)
    model.eval()
    encoder = TextEncoder(found.tokenizer, max_length=64)
    pieces = [row[0] for row in encoder.encode(TEXTS, TEXTS[::-1])]
    groups = [[pieces[row] for row in group] for group in pack(np.array([len(p.input_ids) for p in pieces]), 40)]
    assert 1 < len(groups) < len(pieces)
    batch = collate_packed(
        groups, encoder.padding, position_offset=position_offset(model), additive_mask=attention == "eager"
    )
    with torch.no_grad():
        packed = model(**batch.inputs).last_hidden_state
        for piece, (pack_index, start) in zip([p for g in groups for p in g], batch.starts.tolist(), strict=True):
            alone = model(**collate_text([piece], encoder.padding).inputs).last_hidden_state
            length = len(piece.input_ids)
            torch.testing.assert_close(packed[pack_index, start : start + length], alone[0, :length], atol=1e-5, rtol=0)
    assert packed.isfinite().all()
    assert batch.num_tokens == sum(len(piece.input_ids) for piece in pieces)


def test_every_row_is_packed_once_within_the_capacity() -> None:
    rng = np.random.default_rng(0)
    for capacity, count in ((64, 1), (64, 500), (512, 3000)):
        lengths = rng.integers(1, capacity + 1, count)
        groups = pack(lengths, capacity)
        assert sorted(np.concatenate(groups).tolist()) == list(range(count))
        assert max(int(lengths[group].sum()) for group in groups) <= capacity
        assert len(groups) <= 1.25 * lengths.sum() / capacity + 2
        assert [group.tolist() for group in pack(lengths, capacity)] == [group.tolist() for group in groups]
    assert pack(np.array([], dtype=int), 8) == []
    with pytest.raises(UsageError, match="9 tokens"):
        pack(np.array([3, 9]), 8)


def test_packing_takes_the_tightest_room() -> None:
    assert [group.tolist() for group in pack(np.array([5, 6, 3, 2, 2]), 8)] == [[1, 3], [0, 2], [4]]
    assert [group.tolist() for group in pack(np.array([4, 4, 4, 4, 8]), 8)] == [[4], [0, 1], [2, 3]]
