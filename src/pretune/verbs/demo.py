"""``pretune demo``: the whole story on real text that is on every machine where pretune runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pretune.interface.declare import load_verb, verb
from pretune.interface.outcome import Outcome, Say
from pretune.options import Settings, option
from pretune.runfolder import RunFolder

__all__ = ["DemoSettings", "demo"]


_BACKBONE = "scratch:bert-tiny"
"""Small enough to get past the first plateau of masked learning (some thousand updates) in minutes on two cores."""

_LEARNING: dict[str, Any] = {"batch_size": 128, "learning_rate": 2e-3, "vocab_size": 4000, "bag_of_words": 1.0}
"""A classifier reads the first position; without the bag of words, minutes of pre-training harm (docs/decisions.md, D74)."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Settings):
    """Settings of ``pretune demo``."""

    verb: ClassVar[str] = "demo"

    out: str = option("runs/demo", "folder for the data and the runs", metavar="FOLDER")
    minutes: float = option(5.0, "minutes of pre-training", low=0.05, high=600)
    labels: int = option(600, "labelled rows to fine-tune with", low=50)
    seed: int = option(0, "seed of every draw", low=0)


@verb(DemoSettings)
def demo(settings: DemoSettings, *, say: Say) -> Outcome:
    """The whole story on real text, with no network: is pre-training worth it when labels are few?

    The text is the docstrings of the Python standard library and of the libraries pretune stands on; the label is the
    library a paragraph is from (its name is masked). A tokenizer and a tiny BERT are trained on all training
    paragraphs without labels; then a few labelled rows are learned twice, from scratch and from that model, and both
    are tested on files that neither saw.

    Examples::

        pretune demo
        pretune demo --minutes 10 --labels 300 --out runs/demo-300
    """
    began = time.monotonic()
    folder = Path(settings.out)
    data = _corpus(folder, settings.seed, say)
    # Paragraphs of one file stay on one side of the split: neighbours repeat each other's words.
    rows: dict[str, Any] = {"data": str(data), "group": "group"}
    _tell(
        say,
        "1. look at the data",
        load_verb("inspect")(str(data), group="group", out=str(folder / "passport"), say=say),
    )
    base, scratch, tuned = (str(folder / name) for name in ("base", "from-scratch", "pre-trained"))
    learned = load_verb("pretrain")(
        _BACKBONE, **rows, **_LEARNING, out=base, minutes=settings.minutes, seed=settings.seed, say=say
    )
    _tell(say, "2. pre-train on unlabelled text", learned)
    few: dict[str, Any] = {
        "max_train_samples": settings.labels,
        "seed": settings.seed,
        "epochs": 20,
        "learning_rate": 5e-4,
        "eval_every": "1epoch",
    }
    finetune, evaluate = load_verb("finetune"), load_verb("evaluate")
    # The model from scratch gets the same tokenizer: what differs is the pre-trained weights alone.
    _tell(
        say,
        "3. fine-tune from scratch",
        finetune(_BACKBONE, **rows, **few, tokenizer=base, out=scratch, say=say),
    )
    _tell(say, "4. fine-tune the pre-trained model", finetune(base, **rows, **few, out=tuned, say=say))
    _tell(say, "5. test both", evaluate(scratch, say=say), evaluate(tuned, say=say))
    verdict = load_verb("compare")(scratch, tuned, say=say)
    _tell(say, "6. compare them on the same rows", verdict)
    page = load_verb("report")(tuned, say=say)
    load_verb("report")(base, say=say)
    load_verb("report")(scratch, say=say)
    minutes = (time.monotonic() - began) / 60
    scores = {name: _tested(place) for name, place in (("from scratch", scratch), ("pre-trained", tuned))}
    lines = [
        f"{name}: test accuracy {100 * s['value']:.1f} % [{100 * s['low']:.1f}, {100 * s['high']:.1f}], n = {s['n']}"
        for name, s in scores.items()
    ]
    text = "\n".join([*lines, verdict.text, f"the whole took {minutes:.1f} minutes; {page.text}"])
    return Outcome(
        text=text, facts={"scores": scores, "verdict": verdict.text, "minutes": round(minutes, 2), **page.facts}
    )


def _tested(place: str) -> dict[str, Any]:
    """The accuracy of a run on the rows that nothing saw."""
    return RunFolder(Path(place)).metrics["test"]["scores"]["accuracy"]


def _corpus(folder: Path, seed: int, say: Say) -> Path:
    """The docstrings as a CSV file; written once."""
    from pretune.data.docstrings import write_docstring_corpus

    path = folder / "docstrings.csv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        say.note("reading the docstrings of the installed libraries")
        facts = write_docstring_corpus(path, seed=seed)
        say.note(f"{facts['rows']} paragraphs of {len(facts['labels'])} libraries, in {path}")
    return path


def _tell(say: Say, chapter: str, *outcomes: Outcome) -> None:
    say.note(f"== {chapter}")
    for outcome in outcomes:
        for line in outcome.text.splitlines():
            say.note(f"   {line}")
