"""The other side: ``transformers.Trainer`` (``Seq2SeqTrainer`` for text to text) with its defaults, or tuned with bf16 and length grouping.

Changed from the defaults: batch size, epochs, learning rate and seed (the plan's, the same for all sides); saving,
reporting and the progress bar are off. The collators are the ones the library's own examples use.
"""

from __future__ import annotations

import json
from typing import Any

from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from benchmarks.job import (
    Job,
    Measured,
    StepClock,
    count_next_tokens,
    count_right_labels,
    count_right_tokens,
    count_written_tokens,
    read_pairs,
    read_rows,
)


class _Clock(TrainerCallback):
    def __init__(self) -> None:
        self.clock = StepClock()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.clock.begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.step()


def _arguments(
    job: Job, batch_size: int, learning_rate: float, kind: type[TrainingArguments] = TrainingArguments
) -> Any:
    tuned: dict[str, Any] = (
        {"bf16": True, "use_cpu": True, "train_sampling_strategy": "group_by_length"} if job.side == "tuned" else {}
    )
    return kind(
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
    tokenizer = AutoTokenizer.from_pretrained(job.data / "masked")
    model = AutoModelForMaskedLM.from_pretrained(job.data / "masked")
    measured = _learn_corpus(job, model, tokenizer, DataCollatorForLanguageModeling(tokenizer))
    measured.right, measured.asked = count_right_tokens(model, tokenizer, job)
    return measured


def go_on(job: Job) -> Measured:
    tokenizer = AutoTokenizer.from_pretrained(job.data / "decoder")
    model = AutoModelForCausalLM.from_pretrained(job.data / "decoder")
    measured = _learn_corpus(job, model, tokenizer, DataCollatorForLanguageModeling(tokenizer, mlm=False))
    measured.right, measured.asked = count_next_tokens(model, tokenizer, job)
    return measured


def _learn_corpus(job: Job, model: Any, tokenizer: Any, collator: Any) -> Measured:
    from datasets import Dataset

    set_seed(job.seed)
    texts = json.loads((job.data / "split.json").read_text())["train"]
    rows = Dataset.from_dict(dict(tokenizer(texts, truncation=True, max_length=job.plan.max_length)))
    clock = _Clock()
    Trainer(
        model,
        _arguments(job, job.plan.corpus_batch_size, job.plan.corpus_learning_rate),
        data_collator=collator,
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[clock],
    ).train()
    return clock.clock.measured(len(rows))


def write(job: Job) -> Measured:
    from datasets import Dataset

    set_seed(job.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.data / "writer")
    model = AutoModelForSeq2SeqLM.from_pretrained(job.data / "writer")
    sources, targets = zip(*read_pairs(job.data / "pairs" / "train.csv"), strict=True)
    read = tokenizer(list(sources), text_target=list(targets), truncation=True, max_length=job.plan.max_length)
    rows = Dataset.from_dict({name: read[name] for name in ("input_ids", "attention_mask", "labels")})
    clock = _Clock()
    Seq2SeqTrainer(
        model,
        _arguments(job, job.plan.corpus_batch_size, job.plan.corpus_learning_rate, Seq2SeqTrainingArguments),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[clock],
    ).train()
    measured = clock.clock.measured(len(rows))
    measured.right, measured.asked = count_written_tokens(model, tokenizer, job)
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


SIDES = {
    "fine-tune": fine_tune,
    "head": fine_tune,
    "top": fine_tune,
    "pretrain": pretrain,
    "causal": go_on,
    "text-to-text": write,
    "predict": predict,
}
