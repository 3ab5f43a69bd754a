"""The other side: ``transformers.Trainer`` with its defaults, or tuned with bf16 and length grouping.

Changed from the defaults: batch size, epochs, learning rate and seed (the plan's, the same for all sides); saving,
reporting and the progress bar are off. The collators are the ones the library's own examples use.
"""

from __future__ import annotations

import json
from typing import Any

from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from benchmarks.job import (
    Job,
    Measured,
    StepClock,
    count_right_labels,
    count_right_tokens,
    read_rows,
)


class _Clock(TrainerCallback):
    def __init__(self) -> None:
        self.clock = StepClock()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.clock.begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.step()


def _arguments(job: Job, batch_size: int, learning_rate: float) -> TrainingArguments:
    tuned: dict[str, Any] = (
        {"bf16": True, "use_cpu": True, "train_sampling_strategy": "group_by_length"} if job.side == "tuned" else {}
    )
    return TrainingArguments(
        output_dir="out",
        per_device_train_batch_size=batch_size,
        num_train_epochs=job.epochs,
        learning_rate=learning_rate,
        seed=job.seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **tuned,
    )


def _freeze(model: Any, kind: str) -> None:
    """What rests in each kind: nothing; all but the head; all but the head, the pooler and the two upper layers."""
    if kind == "head":
        model.base_model.requires_grad_(False)
    if kind == "top":
        model.base_model.embeddings.requires_grad_(False)
        model.base_model.encoder.layer[:-2].requires_grad_(False)


def fine_tune(job: Job) -> Measured:
    from datasets import Dataset

    labels = json.loads((job.data / "facts.json").read_text())["classes"]["labels"]
    set_seed(job.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.data / "encoder")
    model = AutoModelForSequenceClassification.from_pretrained(
        job.data / "encoder",
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    _freeze(model, job.kind)
    texts, truths = read_rows(job.classes / "train.csv")
    encoded = tokenizer(texts, truncation=True, max_length=job.plan.max_length)
    rows = Dataset.from_dict({**encoded, "labels": [labels.index(truth) for truth in truths]})
    clock = _Clock()
    Trainer(
        model,
        _arguments(job, job.plan.batch_size, job.learning_rate),
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[clock],
    ).train()
    measured = clock.clock.measured(len(rows) * job.epochs)
    measured.right, measured.asked = count_right_labels(model, tokenizer, job)
    return measured


def pretrain(job: Job) -> Measured:
    from datasets import Dataset

    tokenizer = AutoTokenizer.from_pretrained(job.data / "masked")
    model = AutoModelForMaskedLM.from_pretrained(job.data / "masked")
    texts = json.loads((job.data / "split.json").read_text())["train"]
    rows = Dataset.from_dict(dict(tokenizer(texts, truncation=True, max_length=job.plan.max_length)))
    clock = _Clock()
    Trainer(
        model,
        _arguments(job, job.plan.corpus_batch_size, job.plan.corpus_learning_rate),
        data_collator=DataCollatorForLanguageModeling(tokenizer),
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[clock],
    ).train()
    measured = clock.clock.measured(len(rows))
    measured.right, measured.asked = count_right_tokens(model, tokenizer, job)
    return measured


def predict(job: Job) -> Measured:
    """``Trainer.predict`` with its batch of 8; encoding is not timed on either side."""
    from datasets import Dataset

    place = job.data / "classifier" / "model"
    tokenizer = AutoTokenizer.from_pretrained(place)
    model = AutoModelForSequenceClassification.from_pretrained(place)
    texts, _ = read_rows(job.data / "new.csv")
    rows = Dataset.from_dict(dict(tokenizer(texts, truncation=True, max_length=job.plan.max_length)))
    arguments = TrainingArguments(output_dir="out", report_to="none", disable_tqdm=True)
    trainer = Trainer(model, arguments, processing_class=tokenizer)
    clock = StepClock()
    clock.begin()
    found = trainer.predict(rows).predictions  # type: ignore[arg-type]
    clock.step()
    measured = clock.measured(len(texts))
    measured.steps = 0
    measured.labels = [model.config.id2label[int(number)] for number in found.argmax(-1)]
    return measured


SIDES = {"fine-tune": fine_tune, "head": fine_tune, "top": fine_tune, "pretrain": pretrain, "predict": predict}
