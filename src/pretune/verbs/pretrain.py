"""``pretune pretrain``: learn from unlabelled text, from scratch or on from a model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import option
from pretune.errors import DataError
from pretune.runfolder import RunFolder
from pretune.verbs.declare import verb
from pretune.verbs.outcome import Outcome, Say
from pretune.verbs.setup import LearnSettings

if TYPE_CHECKING:
    import numpy as np

    from pretune.data.splits import Splits
    from pretune.verbs.learning import Learning
    from pretune.verbs.setup import Setup

__all__ = ["PretrainSettings", "pretrain"]

_HELD_OUT_SHARE, _HELD_OUT_ROWS = 0.05, 2000
_SCRATCH_EPOCHS, _CONTINUED_EPOCHS = 10.0, 3.0
_PACK_TOKENS = 128


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(LearnSettings):
    """Settings of ``pretune pretrain``."""

    verb: ClassVar[str] = "pretrain"

    batch_size: int = option(64, "rows per optimizer update, over all processes", low=1, high=1_000_000)
    mask_fraction: float = option(0.15, "share of tokens to mask", low=0.01, high=0.9)
    mask_whole_words: bool = option(False, "mask all tokens of a word together")
    pack: str = option(
        "auto",
        "put several short rows into one sequence (they do not see each other); auto: where rows are short and padding would be computed",
        choices=("auto", "yes", "no"),
    )


@verb(PretrainSettings)
def pretrain(settings: PretrainSettings, *, say: Say) -> Outcome:
    """Learn from unlabelled text by predicting masked words, from scratch or on from a model.

    Texts of the splits ``train`` and ``unlabelled`` are learned from, labels are not looked at, validation and test rows
    are left out. With ``scratch:`` the tokenizer is trained first. Held-out rows give masked accuracy and pseudo-perplexity.

    Examples::

        pretune pretrain scratch:bert-mini --data corpus.txt --out runs/base
        pretune pretrain scratch:roberta-small --data news.csv --out runs/base --minutes 30
        pretune pretrain MODEL_DIR --data clinic-notes/ --out runs/adapted --epochs 3
    """
    from pretune.engine.parallel import join_cluster
    from pretune.verbs.setup import forecast, open_together

    cluster = join_cluster()
    if settings.dry_run:
        return forecast(
            settings, lambda run: build_learning(settings, run, read_corpus(settings, say), say, cluster)[1]
        )
    with open_together(settings, cluster) as (settings, run, state):
        if state == "finished":
            return _outcome(run, "was finished before; nothing was computed")
        return _learn(settings, run, say, cluster, resumed=state == "resumed")


def _learn(settings: PretrainSettings, run: RunFolder, say: Say, cluster: Any, *, resumed: bool) -> Outcome:
    from pretune.verbs.record import finish_model, prepare_run, write_model

    began = time.monotonic()
    data = read_corpus(settings, say)
    setup, learning = build_learning(settings, run, data, say, cluster)
    if cluster.is_first:
        prepare_run(run, settings, data, setup, learning, resumed=resumed, say=say)
    for note in learning.resume():
        say.warn(note)
    learning.go()
    if cluster.is_first:
        write_model(
            run,
            learning.model,
            setup.backbone.tokenizer,
            {"task": "masked-language-modelling", "max_length": setup.objective.encoder.max_length},
        )
        run.write_metrics("held-out", held_out_evaluation(setup, learning))
        finish_model(
            run, learning, seconds=time.monotonic() - began, result={"metric": "masked_accuracy", **learning.best}
        )
    cluster.barrier()
    return _outcome(run, "is finished")


def read_corpus(settings: PretrainSettings, say: Say) -> Splits:
    """``train`` (texts to learn from) and ``held-out`` (at most 2,000 rows, 5 %), equal texts on one side."""
    from datasets import concatenate_datasets

    from pretune.data.load import load_splits
    from pretune.data.split import held_out
    from pretune.data.splits import Splits

    data = load_splits(settings)
    columns = ("id", "text", "text_pair")
    parts = [
        data[name].select_columns([c for c in columns if c in data[name].column_names])
        for name in ("train", "unlabelled")
        if name in data and len(data[name])
    ]
    if not parts:
        raise DataError("there is no text to learn from", "pretune inspect DATA shows what was read")
    corpus = concatenate_datasets(parts)
    share = min(_HELD_OUT_SHARE, _HELD_OUT_ROWS / len(corpus))
    train, held = held_out(corpus, share, settings.seed)
    if len(train) == 0 or len(held) == 0:
        raise DataError(
            f"{len(corpus)} rows are too few to hold some out", "pre-training wants hundreds of rows at least"
        )
    say.note(f"{len(train)} rows to learn from, {len(held)} held out")
    return Splits({"train": train, "validation": held}, data.facts)


def build_learning(
    settings: PretrainSettings, run: RunFolder, data: Splits, say: Say, cluster: Any
) -> tuple[Setup, Learning]:
    """Backbone, tokenizer, model, objective, optimizer and loop."""
    from pretune.backbones.load import position_offset
    from pretune.backbones.store import encode_dataset
    from pretune.objectives.masked_text import MaskedText
    from pretune.verbs.rows import data_fingerprint
    from pretune.verbs.setup import choose, find_backbone, make_encoder, make_learning

    device = choose(settings, run, cluster)
    fingerprint = data_fingerprint(data)
    with cluster.first_before_others():
        backbone = find_backbone(settings, data)
    encoder = make_encoder(backbone, settings)
    with cluster.first_before_others():
        stores = {
            name: encode_dataset(data[name], encoder, fingerprint=f"{fingerprint}:{name}")
            for name in ("train", "validation")
        }
    model, report = backbone.build("AutoModelForMaskedLM", seed=settings.seed)
    pack_tokens = _pack_tokens(settings, stores["train"].lengths, encoder.max_length)
    offset = position_offset(model)

    def objective(adaptation: Any) -> MaskedText:
        return MaskedText(
            encoder, adaptation, mask_fraction=settings.mask_fraction, mask_whole_words=settings.mask_whole_words,
            pack_tokens=pack_tokens, position_offset=offset,
        )  # fmt: skip

    def evaluate(on_batch: Callable[[int], None]) -> dict[str, float]:
        sums_K = setup.objective.held_out_statistics(model, stores["validation"], device, on_batch=on_batch).sum(axis=0)
        return {name: float(value) for name, value in masked_scores(sums_K).items()}

    setup, learning = make_learning(
        settings, run, backbone, model, report, device, cluster, say,
        objective=objective,
        streams=lambda learner: learner.streams(stores["train"], batch_size=settings.batch_size, group_by_length=settings.group_by_length),
        goal={"metric": "masked_accuracy", "higher_is_better": True, "evaluate": evaluate, "split": "held-out"},
        default_epochs=_SCRATCH_EPOCHS if backbone.kind == "scratch" else _CONTINUED_EPOCHS,
    )  # fmt: skip
    setup.rows, setup.fingerprint = stores, fingerprint
    setup.encoded = {name: (store.lengths, store.ledger.to_dict()) for name, store in stores.items()}
    return setup, learning


def _pack_tokens(settings: PretrainSettings, lengths_N: np.ndarray, max_length: int) -> int | None:
    """Tokens of a pack, or None for padded rows. Rows sorted by length pad little, so auto packs only unsorted ones."""
    if settings.pack == "no" or (settings.pack == "auto" and settings.group_by_length):
        return None
    return min(max_length, max(_PACK_TOKENS, int(lengths_N.max())))


def masked_scores(sums_K: np.ndarray) -> dict[str, Any]:
    """Of (..., 3) sums (masked tokens, right ones, loss): masked accuracy and perplexity of the masked tokens."""
    import numpy as np

    tokens = np.maximum(sums_K[..., 0], 1e-12)
    return {
        "masked_accuracy": sums_K[..., 1] / tokens,
        "masked_perplexity": np.exp(np.minimum(sums_K[..., 2] / tokens, 700)),
    }


def pseudo_scores(sums_K: np.ndarray) -> dict[str, Any]:
    """Of (..., 2) sums (tokens, negative log-likelihood): pseudo-perplexity (Salazar et al. 2020, section 2.3)."""
    import numpy as np

    return {"pseudo_perplexity": np.exp(np.minimum(sums_K[..., 1] / np.maximum(sums_K[..., 0], 1e-12), 700))}


def held_out_evaluation(setup: Setup, learning: Learning) -> dict[str, Any]:
    """The evaluation of the held-out rows, with intervals over rows."""
    from pretune.evaluation.evaluate import Scoring, evaluate_rows, jsonable
    from pretune.evaluation.intervals import bootstrap

    better = {"masked_accuracy": True, "masked_perplexity": False}
    scoring = Scoring(
        task="masked-language-modelling",
        scores=masked_scores,
        higher_is_better=better,
        primary="masked_accuracy",
        limits={"masked_accuracy": (0.0, 1.0)},
    )
    held = setup.rows["validation"]
    stats = setup.objective.held_out_statistics(learning.model, held, learning.device)
    evaluation = evaluate_rows(stats, scoring, split="held-out", seeds=(learning.seed,))
    pseudo = setup.objective.pseudo_perplexity_statistics(learning.model, held, learning.device)
    if len(pseudo):
        found = bootstrap(pseudo, pseudo_scores)
        evaluation["scores"].update(jsonable({name: score.to_dict() for name, score in found.items()}))
        evaluation["notes"].append(
            f"Pseudo-perplexity masks one token at a time, on {len(pseudo)} of the held-out rows."
        )
    return evaluation


def _outcome(run: RunFolder, said: str) -> Outcome:
    record, scores = run.record, run.metrics.get("held-out", {}).get("scores", {})
    parts = [
        f"{name.replace('_', ' ')} {score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
        for name, score in scores.items()
    ]
    text = f"{run.path} {said}: held out, {', '.join(parts)}. Next: pretune finetune {run.path} --data DATA"
    return Outcome(
        text=text,
        facts={"run": str(run.path), "status": record["status"], "scores": scores, "model": str(run.model_dir)},
    )
