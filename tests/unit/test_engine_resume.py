"""A run cut anywhere and taken up from its checkpoint ends in the same bits as the straight one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pretune.engine import checkpoint
from pretune.engine.checkpoint import load_weights
from pretune.errors import CorruptFile
from tiny import Rig, weights_of

STEPS = 10
CUTS = (1, 3, 5, 6, 9)
"""24 rows in batches of 8: after 3, 6 and 9 updates an epoch ends."""

SETTINGS: dict[str, dict[str, Any]] = {
    "full": {},
    "gradual": {"adapt": "gradual", "layers": 3},
    "llrd, cosine": {"adapt": "llrd", "schedule": "cosine"},
    "top:1": {"adapt": "top:1"},
    "head": {"adapt": "head"},
    "lora": {"adapt": "lora"},
    "micro-batches": {"micro_batch_size": 3, "schedule": "constant"},
    "features of sound": {"kind": "speech", "hears": "features", "augment": "strong"},
    "distilled, inner states too": {"kind": "distil", "hidden": True, "attention": True},
    "masked": {"kind": "pretrain"},
    "masked words, gradual": {"kind": "pretrain", "mask_whole_words": True, "adapt": "gradual"},
    "replaced": {"kind": "replaced-text"},
    "mixed": {"kind": "mixed", "mix": "masked=2,replaced=1,contrastive=1"},
    "masked packs": {"kind": "pretrain", "pack_tokens": 64, "rows": 48, "batch_size": 6},
}

QUICK = ("full", "gradual", "lora")


def finish(rig: Rig, start: int) -> None:
    for _ in rig.steps(start_step=start):
        pass


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SETTINGS])
def test_a_resumed_run_ends_in_the_same_bits(name: str, tmp_path: Path) -> None:
    options = {"dropout": 0.1, "steps": STEPS, **SETTINGS[name]}
    straight = Rig(**options)
    saved: dict[int, Path] = {}
    for step in straight.steps():
        if step.number in CUTS:
            state = {"data": dict(step.data_state)}
            here = checkpoint.Checkpoint(
                step.number, dict(straight.model.state_dict()), straight.optim.tensors(), state
            )
            saved[step.number] = checkpoint.save(tmp_path / str(step.number), here)
    wanted, moments = weights_of(straight.model), straight.optim.tensors()
    for cut in CUTS:
        found = checkpoint.load_last(tmp_path / str(cut))
        assert found is not None
        assert found.step == cut
        rig = Rig(**options)
        load_weights(rig.model, found.model)
        rig.optim.load_tensors(found.optimizer)
        rig.feeds.updates = found.state["data"]["updates"]
        finish(rig, cut)
        for key, value in weights_of(rig.model).items():
            assert torch.equal(value, wanted[key]), f"{key} differs after a cut at {cut}"
        assert rig.optim.tensors().keys() == moments.keys()
        assert all(torch.equal(value, moments[key]) for key, value in rig.optim.tensors().items())


def test_two_straight_runs_are_equal_and_another_seed_is_not() -> None:
    runs = []
    for seed in (0, 0, 1):
        rig = Rig(dropout=0.1, steps=4, seed=seed)
        rig.train()
        runs.append(weights_of(rig.model))
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not all(torch.equal(runs[0][name], runs[2][name]) for name in runs[0])


def test_torchs_own_state_does_not_matter() -> None:
    runs = []
    for noise in (0, 5):
        rig = Rig(dropout=0.1, steps=4)
        for _ in rig.steps():
            torch.manual_seed(noise)
            torch.rand(noise + 1)
        runs.append(weights_of(rig.model))
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_a_checkpoint_of_another_model_is_refused_by_name() -> None:
    small, large = Rig(), Rig(layers=3)
    with pytest.raises(CorruptFile, match=r"layer\.2"):
        load_weights(small.model, dict(large.model.state_dict()))
    large.train()
    with pytest.raises(CorruptFile, match=r"layer\.2"):
        small.optim.load_tensors(large.optim.tensors())
    one_more = dict(small.model.state_dict())
    one_more["classifier.weight"] = torch.zeros(4, 32)
    with pytest.raises(CorruptFile, match=r"classifier\.weight.*4, 32.*3, 32"):
        load_weights(small.model, one_more)
