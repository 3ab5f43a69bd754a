"""Learning from rows without labels: which answers are accepted, what the loss counts, that a resumed run goes on alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretune.backbones.adaptation.adapt import plan_adaptation
from pretune.engine.average import Average
from pretune.objectives.consistency import METHODS, Consistency, accepted
from pretune.tasks import TextClassification
from tiny import LABELS, dataset_of, tiny_backbone, tiny_encoder, uneven_rows


def made(method: str, *, threshold: float = 0.0, weight: float = 1.0) -> tuple[Consistency, torch.nn.Module, dict]:
    """The objective on a tiny text model, with rows that have labels and rows that have none."""
    backbone = tiny_backbone()
    plain, strong = (TextClassification(LABELS, tiny_encoder(backbone), augment=level) for level in ("none", "strong"))
    model, _ = plain.build(backbone, seed=0)
    adaptation = plan_adaptation(model, "full", weight_decay=0.0, llrd_decay=0.9)
    objective = Consistency(
        plain, plain, strong if METHODS[method].varies else plain, adaptation, method=METHODS[method],
        threshold=threshold, weight=weight, ratio=2, shares_C=np.full(len(LABELS), 1 / len(LABELS)),
    )  # fmt: skip
    rows = uneven_rows(12)
    labelled = plain.encode_rows(dataset_of(rows[:6]), fingerprint="consistency-labelled")
    bare = [{key: value for key, value in row.items() if key != "label"} for row in rows[6:]]
    unlabelled = plain.encode_rows(dataset_of(bare), fingerprint="consistency-bare")
    streams = objective.streams(labelled, unlabelled, batch_size=3, group_by_length=False)
    keys = np.arange(6, dtype=np.uint64)
    feed = {**streams["labelled"].collate(np.arange(3), keys[:3]), **streams["unlabelled"].collate(np.arange(6), keys)}
    return objective, model.eval(), feed


def test_answers_that_are_sure_enough_are_accepted() -> None:
    classes, sure = accepted(torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.05, 0.95]]), 0.9)
    assert classes.tolist() == [0, 0, 1]
    assert sure.tolist() == [True, False, True]


@pytest.mark.parametrize("method", [name for name in METHODS if not METHODS[name].averages])
def test_the_loss_is_that_of_labels_and_of_its_own_answers(method: str) -> None:
    objective, model, feed = made(method)
    assert feed["labelled"].counts == {"labelled": 3.0}
    assert feed["strong"].counts["unlabelled"] == 6.0
    loss = objective.loss(model, feed, torch.Generator())
    by_hand = objective.plain.loss(model, feed["labelled"]).total
    assert loss.terms["labelled"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert loss.log["accepted"] == 6, "a threshold of 0 accepts all"
    with torch.no_grad():
        weak = objective.weak.logits_of(model, feed["weak"]).softmax(dim=1)
        strong = objective.strong.logits_of(model, feed["strong"]).log_softmax(dim=1)
    answers = weak
    if METHODS[method].aligns:
        shares = 1 / len(LABELS)
        answers = weak * (shares / (0.9 * shares + 0.1 * weak.mean(dim=0)))
    wanted = -strong[torch.arange(6), answers.argmax(dim=1)].sum()
    assert loss.terms["unlabelled"].item() == pytest.approx(wanted.item(), rel=1e-4)


def test_a_mean_teacher_answers_with_averaged_weights_and_learns_nothing_itself() -> None:
    objective, model, feed = made("mean-teacher")
    teacher = Average(model, 0.99)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        answers_UC = objective.weak.logits_of(model, feed["weak"]).softmax(dim=1)
        for parameter in model.parameters():
            parameter.mul_(1.5)
        strong_UC = objective.strong.logits_of(model, feed["strong"]).softmax(dim=1)
    objective.teacher = teacher
    loss = objective.loss(model, feed, torch.Generator())
    wanted = ((strong_UC - answers_UC) ** 2).sum().item()
    assert wanted > 1e-6, "the two differ"
    assert loss.terms["unlabelled"].item() == pytest.approx(wanted, rel=1e-4)
    loss.terms["unlabelled"].backward()
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert all(torch.equal(teacher.tensors()[name], before[name]) for name in teacher.tensors())


def test_no_answer_is_sure_enough_and_nothing_is_learned_from_it() -> None:
    objective, model, feed = made("pseudo-labels", threshold=1.1)
    loss = objective.loss(model, feed, torch.Generator())
    assert loss.terms["unlabelled"].item() == 0
    assert loss.log["accepted"] == 0


def test_rows_without_labels_have_their_labels_left_out() -> None:
    _, _, feed = made("fixmatch")
    assert (feed["weak"].targets < 0).all()
    assert (feed["labelled"].targets >= 0).all()
    assert feed["weak"].ids == feed["strong"].ids, "two variations of the same rows"


def test_running_means_go_into_checkpoints() -> None:
    objective, model, feed = made("fixmatch")
    objective.loss(model, feed, torch.Generator())
    other, _, _ = made("fixmatch")
    other.load_state_dict(objective.state_dict())
    one, two = (each.loss(model, feed, torch.Generator()).terms["unlabelled"].item() for each in (objective, other))
    assert one == two
