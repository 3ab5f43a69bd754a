"""Units of a voice's decoder: what is gone is gone for all that read it, what each is worth is the derivative of the loss by its gate."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import torch

from pretune.answers import Wave
from pretune.backbones.parts.units import RECURRENT, keep_parts, units_of
from pretune.compress.pruning.importance import part_scores
from pretune.compress.pruning.plan import Shares, apply_plan, choose_parts, plan_of
from pretune.types import Encoded, Example
from tiny import CPU, spoken_rows, tiny_voice

GONE = [0, 5, 17]


def voice() -> tuple[Any, Any, list[Encoded]]:
    task, backbone = tiny_voice()
    model = task.build(backbone, seed=0)[0].eval()
    clips = ["data:audio/wav;base64," + base64.b64encode(row["audio"]["bytes"]).decode() for row in spoken_rows(3)]
    rows = [
        Example(row["id"], {"text": row["text"], "speaker": row["speaker"]}, Wave(clip))
        for row, clip in zip(spoken_rows(3), clips, strict=True)
    ]
    return task, model, [item for row in rows for item in task.encode(row)]


def silenced(model: Any) -> None:
    """Units of both cells without weights that make them: they are 0 at every step."""
    with torch.no_grad():
        for cell in (model.tacotron.query_cell, model.tacotron.decoder_cell):
            rows = torch.cat([torch.tensor(GONE) + gate * cell.hidden_size for gate in range(4)])
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(cell, name)[rows] = 0.0


def test_units_that_say_nothing_are_taken_out_unheard() -> None:
    task, model, items = voice()
    silenced(model)
    batch = task.collate(items)
    with torch.inference_mode():
        before, said = task.logits_of(model, batch), task.said(model, batch)
    units = units_of(model)
    assert [(unit.name, unit.kind, unit.count) for unit in units] == [
        ("query_cell", RECURRENT, 48),
        ("decoder_cell", RECURRENT, 48),
    ]
    for unit in units:
        keep_parts(unit, [place for place in range(unit.count) if place not in GONE])
    assert model.tacotron.decoder_cell.hidden_size == 45
    with torch.inference_mode():
        torch.testing.assert_close(task.logits_of(model, batch), before, atol=1e-5, rtol=1e-5)
        for one, other in zip(task.said(model, batch), said, strict=True):
            np.testing.assert_allclose(one.mel_FM, other.mel_FM, atol=1e-4)


def test_a_unit_is_worth_the_derivative_by_its_gate() -> None:
    task, model, items = voice()
    found = part_scores(task, model, _Rows(items), [0, 1, 2], CPU)
    for name in ("query", "decoder"):
        gates = torch.ones(48, requires_grad=True)
        module = getattr(model.tacotron, f"{name}_dropout")
        handle = module.register_forward_hook(lambda _module, _inputs, given, gates=gates: given * gates)
        expected = sum(
            torch.autograd.grad(task.loss(model, task.collate([item])).total, gates)[0].double() ** 2 for item in items
        )
        handle.remove()
        np.testing.assert_allclose(found[f"{name}_cell"], np.asarray(expected) / 3, rtol=1e-3)


def test_the_config_says_what_stays() -> None:
    task, model, items = voice()
    silenced(model)
    units = units_of(model)
    plan = plan_of(model, model.config, Shares(1.0, 1.0, 0.5), first_counts={unit.name: unit.count for unit in units})
    assert plan.counts == {"query_cell": plan.config.decoder_size, "decoder_cell": plan.config.decoder_size}
    assert plan.config.decoder_size == pytest.approx(48 * 0.5**0.5, abs=1)
    kept = choose_parts(units, plan, part_scores(task, model, _Rows(items), [0, 1, 2], CPU))
    assert all(not {*GONE} & {*places} for places in kept.values()), "units that say nothing go first"
    apply_plan(model, plan, kept)
    again = type(model)(model.config)
    again.load_state_dict(model.state_dict())
    batch = task.collate(items)
    with torch.inference_mode():
        torch.testing.assert_close(task.logits_of(again.eval(), batch), task.logits_of(model.eval(), batch))


class _Rows:
    def __init__(self, items: list[Encoded]) -> None:
        self.items, self.ledger = items, {}
        self.lengths_N = np.array([item.cost for item in items])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int, /) -> Encoded:
        return self.items[index]
