"""Several objectives on one trunk: what is shared, what each counts for, what is kept, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pretune.backbones.load import load_backbone, save_model
from pretune.errors import UsageError
from pretune.objectives.mixed import Mixed, shares_of
from tiny import CPU, Rig, dataset_of, uneven_rows

MIX = "masked=2,replaced=1,contrastive=1"


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig("mixed", mix=MIX)


def feed_of(rig: Rig) -> dict[str, Any]:
    rig.feeds.updates = 0
    ((_, feed),) = rig.feeds.micro_feeds()
    return feed


def gradients(rig: Rig, shares: dict[str, float]) -> dict[str, torch.Tensor]:
    """Of the terms divided by their counts, as the loop does, times these."""
    rig.objective.prepare(rig.model, 0.0)
    rig.model.zero_grad()
    feed = feed_of(rig)
    counts = {term: count for batch in feed.values() for term, count in batch.counts.items()}
    loss = rig.objective.loss(rig.model, feed, torch.Generator())
    sum(share * loss.terms[term] / counts[term] for term, share in shares.items()).backward()  # type: ignore[union-attr]
    return {name: value.grad.clone() for name, value in rig.model.named_parameters() if value.grad is not None}


def test_words_and_shares() -> None:
    assert shares_of("masked-text=3, contrastive=1", "text") == {"masked-text": 0.75, "contrastive-text": 0.25}
    for mix, said in (
        ("masked=0.7", "alone"),
        ("masked=1,masked-text=1", "twice"),
        ("masked=0,contrastive=1", "share '0'"),
        ("masked=nan,contrastive=1", "share 'nan'"),
        ("masked,contrastive=1", "share ''"),
        ("maskd=1,contrastive=1", "no objective"),
    ):
        with pytest.raises(UsageError, match=said):
            shares_of(mix, "text")


def test_all_learn_on_one_trunk_and_its_embeddings(rig: Rig) -> None:
    trunks = {id(getattr(model, model.base_model_prefix)) for model in rig.model.models}
    assert len(trunks) == 1
    words = rig.model.base_model.get_input_embeddings().weight
    masked, replaced, _ = rig.model.models
    assert masked.get_output_embeddings().weight is words
    assert replaced.generator.get_output_embeddings().weight is words
    assert sum(one is words for one in rig.model.parameters()) == 1


def test_terms_are_the_parts_own_and_count_for_their_shares(rig: Rig) -> None:
    terms = ("masked-text", "replaced-text.discriminator", "replaced-text.generator", "contrastive-text")
    assert dict(zip(terms, (0.5, 12.5, 0.25, 0.25), strict=True)) == rig.objective.weights
    feed = feed_of(rig)
    loss = rig.objective.loss(rig.model, feed, torch.Generator())
    assert set(loss.terms) == set(terms)
    assert set(loss.log) == set(rig.objective.log_names)
    counted = {name for batch in feed.values() for name in batch.counts}
    assert counted == {*terms, *rig.objective.log_names}


def test_the_gradient_is_the_weighted_sum_of_the_parts(rig: Rig) -> None:
    whole = gradients(rig, dict(rig.objective.weights))
    summed: dict[str, torch.Tensor] = {}
    for term, share in rig.objective.weights.items():
        for name, value in gradients(rig, {term: share}).items():
            summed[name] = summed.get(name, torch.zeros_like(value)) + value
    assert whole.keys() == summed.keys()
    for name, value in whole.items():
        torch.testing.assert_close(value, summed[name], atol=1e-5, rtol=1e-3)


def test_scores_of_all_parts_with_one_that_decides(rig: Rig) -> None:
    objective: Mixed = rig.objective
    rows = objective.encode_rows(dataset_of(uneven_rows(20)), fingerprint="held-out-20")
    scores = {name: float(value) for name, value in objective.measure(rows, CPU).scores().items()}
    assert objective.primary == "masked_accuracy"
    assert {*scores} == {*objective.specs} >= {"masked_accuracy", "replaced_accuracy", "twin_accuracy", "spread"}
    own = objective.parts["contrastive-text"]
    alone = own.scores(own.statistics(rows.parts["contrastive-text"], CPU).sum(axis=0))
    assert scores["twin_accuracy"] == pytest.approx(float(alone["twin_accuracy"]))


def test_the_first_ones_model_is_kept(tmp_path: Path) -> None:
    rig = Rig("mixed", mix="contrastive=1,masked=1")
    trunk = rig.model.base_model
    saved = rig.objective.saved()
    save_model(saved, rig.objective.first.encoder.tokenizer, tmp_path)
    again, report = load_backbone(str(tmp_path)).build("AutoModel", seed=0)
    assert not report.fresh
    ours, theirs = trunk.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_shares_no_trunk_or_is_asked_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="--objective span-text does not fit"):
        Rig("mixed", mix="masked=1,span=1")
    with pytest.raises(UsageError, match="both say"):
        Rig("mixed", mix=MIX, objective="masked-text")
    with pytest.raises(UsageError, match="--augment does nothing for masked-text and contrastive-text"):
        Rig("mixed", mix="masked=1,contrastive=1", augment="light")
    with pytest.raises(UsageError, match="--objective next-sample does not fit"):
        Rig("mixed", mix="masked=1,next-sample=1")
