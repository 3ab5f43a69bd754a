"""``pretune audit``: can it be told from a model which rows it learned from?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.config import AnsweringSettings
from pretune.errors import DataError, UsageError
from pretune.interface.declare import verb
from pretune.interface.next_steps import next_line
from pretune.interface.outcome import Outcome, Say
from pretune.options import option
from pretune.runfolder import RunFolder, open_run
from pretune.wording import counted

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from pretune.runs.proven import Proven

__all__ = ["AuditSettings", "audit"]

_FEWEST = 50
_DELTA = 1e-5


@dataclass(frozen=True, kw_only=True)
class AuditSettings(AnsweringSettings):
    """Settings of ``pretune audit``."""

    verb: ClassVar[str] = "audit"

    run: str = option(help="run folder of a fine-tuned model", positional=True, metavar="RUN")
    split: str = option(
        "auto",
        "the run's rows that it did not learn from; auto: test, else validation",
        choices=("auto", "test", "validation"),
    )
    max_rows: int = option(
        20_000, "training rows and held-out rows looked at, drawn at random", low=_FEWEST, high=1_000_000
    )
    resamples: int = option(2000, "resamples of the intervals", low=100, high=100_000)
    seed: int = option(0, "seed of the rows drawn and of resamples", low=0, high=2**32 - 1)
    strict: bool = option(False, "exit with 1 where training rows can be told from others")
    out: str | None = option(None, "page to write; default: RUN/audit.html", metavar="FILE")


@verb(AuditSettings)
def audit(settings: AuditSettings, *, say: Say) -> Outcome:
    """Say whether it can be told which rows a run learned from: membership inference, canaries, a lower bound of epsilon.

    The likelihood that the model gives the right answer of a training row is held against that of held-out rows: the AUC, and the
    share of training rows found where 1 in 100 others is taken for one. From the same guesses follows an epsilon below which no guarantee of
    this training can lie. Of a run with --canaries the exposure of the planted rows is told; of a private run its guarantee beside it.

    Examples::

        pretune audit runs/news
        pretune audit runs/news --split validation --json
        pretune audit runs/private --strict
    """
    if settings.out is not None and Path(settings.out).is_dir():
        raise UsageError(f"--out {settings.out} is a folder", "give a file")
    from pretune.report.pages.audit import write_audit_page
    from pretune.report.privacy_words import AUDIT_FILE, audit_lines
    from pretune.runs.proven import load_proven, refuse_lacking

    run = open_run(settings.run)
    refuse_lacking(run, "audit")
    facts = _looked_at(settings, run, load_proven(run, settings), say)
    out = Path(settings.out) if settings.out else run.path / "audit.html"
    write_audit_page(facts, out)
    run.write(AUDIT_FILE, {**facts, "run": run.path.name})
    lines = [*audit_lines(facts), f"the page is {out}. {next_line('report', run=str(run.path))}"]
    return Outcome(
        text="\n".join(lines),
        facts={**facts, "out": str(out)},
        exit_code=1 if settings.strict and facts["told_apart"] else 0,
    )


def _looked_at(settings: AuditSettings, run: RunFolder, proven: Proven, say: Say) -> dict[str, Any]:
    """Everything that is told, as JSON values."""
    from pretune.evaluation.evaluate import chosen_by
    from pretune.evaluation.membership import NOTABLE_SHARE, exposure, membership
    from pretune.runs.reading import own_data

    data = own_data(run)
    split = settings.split
    if split == "auto":
        split = next((name for name in ("test", "validation") if len(data.get(name, ()))), "validation")
    if not len(data.get(split, ())):
        raise DataError(f"the data of {run.path} has no {split} rows", f"--split takes one of: {', '.join(data)}")
    notes: list[str] = [*chosen_by(split)]
    members, others = _sides(settings, run, data["train"], data[split], proven.task.answer, notes)
    if split == "test":
        run.count_look("test", "audit")
    privacy = run.record.get("privacy")
    delta = privacy["delta"] if privacy else _DELTA
    scores_M, scores_O = (_scores(proven, rows, say) for rows in (members, others))
    found = membership(scores_M, scores_O, delta=delta, resamples=settings.resamples, seed=settings.seed)
    facts: dict[str, Any] = {
        "run": str(run.path), "task": proven.task.name, "split": split, **found,
        "told_apart": not found["auc"]["low"] <= 0.5 <= found["auc"]["high"] or found["found"]["low"] > NOTABLE_SHARE, "notes": notes,
    }  # fmt: skip
    if count := run.record["settings"].get("canaries"):
        planted_C, unplanted_C = (_scores(proven, rows, say) for rows in _canaries(proven, run, members, count))
        of_canaries = membership(planted_C, unplanted_C, delta=delta, resamples=settings.resamples, seed=settings.seed)
        facts["canaries"] = {"exposure": exposure(planted_C, unplanted_C), **of_canaries}
    if privacy:
        lows = [found["epsilon"]["low"], *([facts["canaries"]["epsilon"]["low"]] if "canaries" in facts else [])]
        facts["guarantee"] = {**privacy, "holds": max(lows) <= privacy["epsilon"]}
    return facts


def _sides(
    settings: AuditSettings, run: RunFolder, train: Dataset, held: Dataset, answer: str, notes: list[str]
) -> tuple[Dataset, Dataset]:
    """Training rows, and rows that were not learned from; some of many. Raises :class:`DataError` where there are too few."""
    import numpy as np

    from pretune.runs.keys import leaked_rows

    known_N = leaked_rows(run, held)[0]
    if known_N.any():
        notes.append(f"{counted(int(known_N.sum()), 'held-out row')} that also stand in train are left out.")
        held = held.select(np.flatnonzero(~known_N))
    labelled = [
        rows.select([place for place, cell in enumerate(rows[answer]) if cell is not None]) for rows in (train, held)
    ]
    sides = []
    for rows, what in zip(labelled, ("training rows", "held-out rows"), strict=True):
        if len(rows) < _FEWEST:
            raise DataError(
                f"{run.path} has {len(rows)} {what} with an answer, and {_FEWEST} are needed to say anything",
                "split more rows off with --test-fraction, or give a larger test split",
            )
        if len(rows) > settings.max_rows:
            chosen = np.random.default_rng(settings.seed).permutation(len(rows))[: settings.max_rows]
            notes.append(f"{settings.max_rows:,} of {len(rows):,} {what} were drawn.")
            rows = rows.select(np.sort(chosen))
        sides.append(rows)
    return sides[0], sides[1]


def _scores(proven: Proven, rows: Dataset, say: Say) -> np.ndarray:
    """The log likelihood of each row's right answer, (N,); of several labels the mean over classes."""
    import numpy as np

    from pretune.tasks.predicting import predict_rows
    from pretune.verbs.evaluate.story import fingerprint_of

    task: Any = proven.task
    encoded = task.encode_rows(rows, fingerprint=fingerprint_of(rows))
    bar = say.progress(len(encoded), "answering")
    predictions = predict_rows(task, proven.model, encoded, proven.device, on_batch=bar.update)
    bar.close()
    given_NC = np.clip(np.array([prediction.outputs_C for prediction in predictions]), 1e-12, 1.0)
    truths: Sequence[Any] = task.truths(rows)
    is_right_NC = np.array([[label in _named(truth) for label in task.labels] for truth in truths])
    if not any(isinstance(truth, list) for truth in truths):
        return np.log(given_NC[is_right_NC])
    return np.where(is_right_NC, np.log(given_NC), np.log(np.maximum(1 - given_NC, 1e-12))).mean(axis=1)


def _named(truth: Any) -> tuple[str, ...]:
    return tuple(truth) if isinstance(truth, list) else (truth,)


def _canaries(proven: Proven, run: RunFolder, like: Dataset, count: int) -> list[Dataset]:
    """The rows that were planted, and as many that were not."""
    from pretune.data.changes.canaries import canaries
    from pretune.data.changes.more_rows import with_more_rows

    both = canaries(like.column_names, count, proven.task.labels, run.record["settings"]["seed"])
    return [with_more_rows(like.select([]), rows) for rows in both]
