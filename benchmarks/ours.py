"""pretune's side: the verbs themselves, as a person calls them. Nothing here trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.job import (
    Job,
    Measured,
    StepClock,
    count_next_tokens,
    count_right_labels,
    count_right_tokens,
    count_written_tokens,
    read_rows,
)
from benchmarks.pictures import CLASSES, count_found, read_boxed
from benchmarks.plan import FROZEN, PICTURE_KINDS

RUN = Path("run")
Count = Callable[[Any, Any, Job], tuple[int, int]]
ONCE = "running what does not learn once"


class _Listening:
    """A ``Say`` that notes when the training bar moves; running what rests once is part of the training."""

    def __init__(self, *, frozen: bool = False) -> None:
        self.clock, self.frozen = StepClock(), frozen

    def note(self, text: str) -> None:
        print(text)

    warn = note

    def progress(self, total: int | None, description: str) -> Any:
        if description == ONCE and self.frozen:
            self.clock.begin()
        if description != "training":
            return _Bar(StepClock())
        if not self.clock.began:
            self.clock.begin()
        return _Bar(self.clock)


class _Bar:
    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def update(self, n: int = 1, text: str = "") -> None:
        self.clock.step()

    def close(self) -> None:
        pass


def _same_recipe(job: Job) -> dict[str, Any]:
    """Trainer's own recipe: linear to zero without warm-up or weight decay, norm limit 1, nothing chosen in between."""
    return {
        "epochs": job.epochs,
        "max_length": job.plan.max_length,
        "weight_decay": 0.0,
        "warmup": "0%",
        "eval_every": "100%",
        "seed": job.seed,
        "out": str(RUN),
    }


def fine_tune(job: Job, adapt: str = "full") -> Measured:
    import pretune

    say = _Listening(frozen=job.kind in FROZEN)
    pretune.finetune(
        job.data / "encoder",
        data=job.classes,
        adapt=adapt,
        batch_size=job.plan.batch_size,
        learning_rate=job.learning_rate,
        say=say,
        **_same_recipe(job),
    )
    measured = say.clock.measured(len(read_rows(job.classes / "train.csv")[0]) * job.epochs)
    measured.right, measured.asked = _counted("AutoModelForSequenceClassification", count_right_labels, job)
    return measured


def pretrain(job: Job, place: str, auto: str, count: Count) -> Measured:
    import pretune

    say = _Listening()
    pretune.pretrain(
        job.data / place,
        data=job.data / "corpus",
        batch_size=job.plan.corpus_batch_size,
        learning_rate=job.plan.corpus_learning_rate,
        say=say,
        **_same_recipe(job),
    )
    measured = say.clock.measured(len(json.loads((job.data / "split.json").read_text())["train"]))
    measured.right, measured.asked = _counted(auto, count, job)
    return measured


def write(job: Job) -> Measured:
    import pretune

    say = _Listening()
    pretune.finetune(
        job.data / "writer",
        data=job.data / "pairs",
        task="text-to-text",
        batch_size=job.plan.corpus_batch_size,
        learning_rate=job.plan.corpus_learning_rate,
        label_smoothing=0.0,
        max_new_tokens=8,  # of the held-out rows after the last update, which nobody times
        say=say,
        **_same_recipe(job),
    )
    measured = say.clock.measured(job.plan.pair_rows)
    measured.right, measured.asked = _counted("AutoModelForSeq2SeqLM", count_written_tokens, job)
    return measured


def detect(job: Job) -> Measured:
    import pretune

    rests = job.kind == "boxes-frozen"
    say = _Listening(frozen=rests)
    pretune.finetune(
        job.data / "taught" if rests else "scratch:mobilenet-v2",  # weights in a folder are taken for trained ones
        data=job.data / "pictures",
        adapt=PICTURE_KINDS[job.kind],
        augment="none" if rests else "light",
        batch_size=job.plan.picture_batch_size,
        epochs=job.epochs,
        eval_every="100%",
        seed=job.seed,
        out=str(RUN),
        say=say,
    )
    measured = say.clock.measured(job.plan.picture_rows * job.epochs)
    rows = read_boxed(job.data, "test")
    answers = pretune.load(RUN).predict([row.file for row in rows])
    told = [[(one["score"], CLASSES.index(one["label"]), one["box"]) for one in answer["boxes"]] for answer in answers]
    measured.right, measured.asked = count_found(rows, told)
    return measured


def _counted(auto: str, count: Count, job: Job) -> tuple[int, int]:
    """What the plain loop finds of the model that the run keeps."""
    import transformers

    model = getattr(transformers, auto).from_pretrained(RUN / "model")
    return count(model, transformers.AutoTokenizer.from_pretrained(RUN / "model"), job)


def predict(job: Job) -> Measured:
    """What ``pretune predict`` does with a window of rows; encoding is not timed on either side."""
    from pretune.runfolder import open_run
    from pretune.runs.proven import load_proven
    from pretune.tasks.predicting import predict_items
    from pretune.types import Example
    from pretune.verbs.predict.story import PredictSettings

    texts, _ = read_rows(job.data / "new.csv")
    run = job.data / "classifier"
    proven = load_proven(open_run(run), PredictSettings(run=str(run), data=str(job.data / "new.csv")))
    items = [item for n, text in enumerate(texts) for item in proven.task.encode(Example(str(n), {"text": text}))]
    clock = StepClock()
    clock.begin()
    found = predict_items(proven.task, proven.model, items, proven.device)
    clock.step()
    measured = clock.measured(len(texts))
    measured.steps = 0
    measured.labels = [prediction.answer for prediction in found]
    return measured


SIDES = {
    "fine-tune": fine_tune,
    **{kind: partial(fine_tune, adapt=adapt) for kind, adapt in FROZEN.items()},
    "pretrain": partial(pretrain, place="masked", auto="AutoModelForMaskedLM", count=count_right_tokens),
    "causal": partial(pretrain, place="decoder", auto="AutoModelForCausalLM", count=count_next_tokens),
    "text-to-text": write,
    "predict": predict,
    **dict.fromkeys(PICTURE_KINDS, detect),
}
