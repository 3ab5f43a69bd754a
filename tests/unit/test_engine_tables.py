"""A table's moments for the rows that were read: the update of the dense optimizer, saved and put back exactly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pretune.backbones.cpu import fast
from pretune.backbones.cpu.fast import make_fast
from pretune.engine import tables
from pretune.engine.optim import Optim
from pretune.errors import CorruptFile
from pretune.types import ParameterGroup
from tiny import Rig, largest_difference

ROWS, WIDTH, UPDATES = 4000, 24, 30


class Reader(nn.Module):
    """A table of which a few rows are read, and a layer above it."""

    def __init__(self, *, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(ROWS, WIDTH, sparse=sparse, padding_idx=0)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(ids).tanh().mean(1))


def rows_of(update: int, micro_batch: int) -> torch.Tensor:
    """Some rows in every update, some in one only, some twice in a text, padding too."""
    draw = torch.Generator().manual_seed(1000 * update + micro_batch)
    some = torch.randint(1, 60, (4, 6), generator=draw)
    return torch.cat(
        (some, 100 * torch.randint(1, 40, (4, 2), generator=draw), torch.zeros(4, 1, dtype=torch.int64)), 1
    )


def optim_of(model: nn.Module, weight_decay: float) -> Optim:
    names, parameters = zip(*model.named_parameters(), strict=True)
    group = ParameterGroup(parameters=parameters, names=names, weight_decay=weight_decay, lr_scale=1.0)
    return Optim([group], learning_rate=0.05, schedule="linear", warmup=0.1, clip=0.5)


def learn(model: nn.Module, optim: Optim, updates: range) -> None:
    for update in updates:
        for micro_batch in range(2):
            model(rows_of(update, micro_batch)).square().sum().backward()
        optim.step((update + 1) / UPDATES, float(optim.gradient_norm()))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sparse_gradients_give_the_weights_and_moments_of_dense_ones(weight_decay: float) -> None:
    sparse, dense = Reader(sparse=True), Reader(sparse=False)
    kept, whole = optim_of(sparse, weight_decay), optim_of(dense, weight_decay)
    before = dense.table.weight.detach().clone()
    learn(sparse, kept, range(UPDATES))
    learn(dense, whole, range(UPDATES))
    assert largest_difference(sparse.state_dict(), dense.state_dict()) < 1e-6
    table = kept.tables[sparse.table.weight]
    assert 60 < len(table.tensors()["rows"]) < 110
    assert largest_difference(table.dense(), dict(whole.adamw.state[dense.table.weight])) < 1e-6
    untouched = sparse.table.weight.detach()[61:99]
    assert torch.equal(untouched, before[61:99]) == (weight_decay == 0.0)


def test_what_is_saved_goes_on_to_the_same_bits() -> None:
    straight, stopped = Reader(sparse=True), Reader(sparse=True)
    first, before = optim_of(straight, 0.01), optim_of(stopped, 0.01)
    learn(straight, first, range(UPDATES))
    learn(stopped, before, range(11))
    resumed, after = Reader(sparse=True), optim_of(stopped, 0.01)
    resumed.load_state_dict(stopped.state_dict())
    after = optim_of(resumed, 0.01)
    saved = {key: value.clone() for key, value in before.tensors().items()}
    assert {"rows/table.weight", "exp_avg/table.weight", "exp_avg/head.weight"} <= saved.keys()
    assert saved["exp_avg/table.weight"].shape[0] < 110
    after.load_tensors(saved)
    learn(resumed, after, range(11, UPDATES))
    assert largest_difference(resumed.state_dict(), straight.state_dict()) == 0.0
    assert largest_difference(after.tensors(), first.tensors()) == 0.0


def test_a_crowded_table_and_one_that_has_whole_gradients_go_on_densely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MOST_SHARE", 70 / ROWS)
    crowded, dense = Reader(sparse=True), Reader(sparse=False)
    kept, whole = optim_of(crowded, 0.01), optim_of(dense, 0.01)
    learn(crowded, kept, range(1))
    assert kept.tables
    learn(crowded, kept, range(1, UPDATES))
    learn(dense, whole, range(UPDATES))
    assert not kept.tables
    assert largest_difference(crowded.state_dict(), dense.state_dict()) < 1e-6
    # A checkpoint of the dense way is taken up by a table with sparse gradients, and the other way round.
    other = Reader(sparse=True)
    other.load_state_dict(crowded.state_dict())
    taken = optim_of(other, 0.01)
    taken.load_tensors({key: value.clone() for key, value in whole.tensors().items()})
    learn(other, taken, range(5))
    learn(dense, whole, range(5))
    assert not taken.tables
    assert largest_difference(other.state_dict(), dense.state_dict()) < 1e-6


def test_dense_gradients_after_sparse_ones_keep_the_moments() -> None:
    sparse, dense = Reader(sparse=True), Reader(sparse=False)
    kept, whole = optim_of(sparse, 0.01), optim_of(dense, 0.01)
    learn(sparse, kept, range(8))
    sparse.table.sparse = False
    learn(sparse, kept, range(8, 16))
    learn(dense, whole, range(16))
    assert not kept.tables
    assert largest_difference(sparse.state_dict(), dense.state_dict()) < 1e-6


def test_nothing_is_moved_by_an_update_that_is_dropped_and_a_nan_is_seen() -> None:
    model = Reader(sparse=True)
    optim = optim_of(model, 0.01)
    (model(rows_of(0, 0)) * float("nan")).sum().backward()
    assert optim.gradient_norm().isnan()
    optim.drop_gradients()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not optim.tables


@pytest.mark.parametrize("spoil", ["a row outside", "another width", "fewer moments"])
def test_moments_that_do_not_fit_are_refused(spoil: str) -> None:
    model = Reader(sparse=True)
    optim = optim_of(model, 0.01)
    learn(model, optim, range(2))
    saved = {key: value.clone() for key, value in optim.tensors().items()}
    if spoil == "a row outside":
        saved["rows/table.weight"][0] = ROWS
    elif spoil == "another width":
        saved["exp_avg/table.weight"] = saved["exp_avg/table.weight"][:, :-1]
    else:
        saved["exp_avg_sq/table.weight"] = saved["exp_avg_sq/table.weight"][:-1]
    with pytest.raises(CorruptFile, match=r"table\.weight"):
        optim_of(Reader(sparse=True), 0.01).load_tensors(saved)


def test_large_tables_alone_get_sparse_gradients_and_tied_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "_LARGE_TABLE", 320 * 32)
    classifier, masked = Rig(fast=True).model, Rig("pretrain", fast=True).model
    found = [
        {name.rsplit(".", 1)[1] for name, module in model.named_modules() if getattr(module, "sparse", False)}
        for model in (classifier, masked)
    ]
    assert found == [{"word_embeddings", "position_embeddings"}, {"position_embeddings"}]
    small = make_fast(nn.Sequential(nn.Embedding(100, 8)))
    assert not small[0].sparse  # type: ignore[index]
