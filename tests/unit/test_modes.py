"""A model asked for answers while it learns is given back as it was."""

from __future__ import annotations

import pytest
from torch import nn

from pretune.backbones.adaptation.modes import evaluating


def model_with_a_resting_part() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2)).train()
    model[2].eval()
    return model


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_every_part_answers_within_and_has_its_own_mode_again_after() -> None:
    model = model_with_a_resting_part()
    with evaluating(model):
        assert not any(modes(model))
    assert modes(model) == [True, True, True, False]


def test_an_error_leaves_no_part_in_another_mode() -> None:
    model = model_with_a_resting_part()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        raise ZeroDivisionError
    assert modes(model) == [True, True, True, False]
