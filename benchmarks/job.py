"""One measurement in a process of its own: ``python -m benchmarks.job JOB.json``. What both sides share stands here."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.plan import FROZEN, PICTURE_KINDS, Plan


@dataclass(frozen=True)
class Job:
    """What to do: ``kind`` and ``side`` of the plan, over the prepared ``folder``, writing into ``work``."""

    kind: str
    side: str
    folder: str
    work: str
    seed: int
    plan: Plan

    @classmethod
    def read(cls, path: Path) -> Job:
        values = json.loads(path.read_text())
        return cls(**{**values, "plan": Plan(**values["plan"])})

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @property
    def data(self) -> Path:
        return Path(self.folder)

    @property
    def classes(self) -> Path:
        """The labelled rows of this kind."""
        return self.data / ("frozen" if self.kind in FROZEN else "classes")

    @property
    def epochs(self) -> int:
        if self.kind in PICTURE_KINDS:
            return self.plan.picture_epochs
        return self.plan.frozen_epochs if self.kind in FROZEN else 1

    @property
    def learning_rate(self) -> float:
        """A head alone learns at a larger rate."""
        return self.plan.head_learning_rate if self.kind == "head" else self.plan.learning_rate


@dataclass
class Measured:
    """What a side found: seconds of the measured work (of the clock, and of all threads), what it was, its quality."""

    seconds: float
    cpu_seconds: float
    steps: int = 0
    examples: int = 0
    right: int = 0
    asked: int = 0
    peak_memory_bytes: int = 0
    labels: list[str] = field(default_factory=list)
    threads: int = 0


class StepClock:
    """Time from the start of the first optimizer step to the end of the last one."""

    def __init__(self) -> None:
        self.began = self.cpu_began = self.cpu_end = 0.0
        self.ends: list[float] = []

    def begin(self) -> None:
        self.began, self.cpu_began = time.perf_counter(), time.process_time()

    def step(self) -> None:
        self.cpu_end = time.process_time()
        self.ends.append(time.perf_counter())

    def measured(self, examples: int) -> Measured:
        """Peak memory is taken here, so that checking the quality afterwards does not count."""
        import torch

        return Measured(
            seconds=self.ends[-1] - self.began,
            cpu_seconds=self.cpu_end - self.cpu_began,
            steps=len(self.ends),
            examples=examples,
            peak_memory_bytes=peak_memory_bytes(),
            threads=torch.get_num_threads(),
        )


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_rows(path: Path) -> tuple[list[str], list[str]]:
    """Texts and labels of a prepared file."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Sources and targets of a prepared file."""
    with open(path, encoding="utf-8", newline="") as file:
        return [(row["source"], row["target"]) for row in csv.DictReader(file)]


def count_right_labels(model: Any, tokenizer: Any, job: Job) -> tuple[int, int]:
    """Right labels of the test rows, and rows: the same plain fp32 loop for every side."""
    import torch

    texts, labels = read_rows(job.data / "classes" / "test.csv")
    order = np.argsort([len(text) for text in texts])
    model.eval()
    right = 0
    for at in range(0, len(order), 32):
        chosen = [int(i) for i in order[at : at + 32]]
        batch = tokenizer([texts[i] for i in chosen], truncation=True, max_length=job.plan.max_length, padding=True, return_tensors="pt")  # fmt: skip
        with torch.inference_mode():
            found = model(**batch).logits.argmax(-1).tolist()
        right += sum(model.config.id2label[f] == labels[i] for f, i in zip(found, chosen, strict=True))
    return right, len(order)


def count_right_tokens(model: Any, tokenizer: Any, job: Job) -> tuple[int, int]:
    """Right tokens of 15 % that are masked in the held-out rows, by one fixed draw: the same fp32 loop for every side."""
    import torch

    texts = sorted(json.loads((job.data / "split.json").read_text())["held"], key=len)
    draw = np.random.default_rng(0)
    model.eval()
    right = asked = 0
    for at in range(0, len(texts), 16):
        batch = tokenizer(texts[at : at + 16], truncation=True, max_length=job.plan.max_length, padding=True, return_special_tokens_mask=True, return_tensors="pt")  # fmt: skip
        ordinary = ~batch.pop("special_tokens_mask").bool()
        masked = ordinary & torch.from_numpy(draw.random(tuple(ordinary.shape)) < 0.15)
        truth = batch["input_ids"][masked]
        batch["input_ids"][masked] = tokenizer.mask_token_id
        with torch.inference_mode():
            found = model(**batch).logits[masked].argmax(-1)
        right += int((found == truth).sum())
        asked += len(truth)
    return right, asked


def count_next_tokens(model: Any, tokenizer: Any, job: Job) -> tuple[int, int]:
    """Right tokens of the held-out rows, each told from those before it, and tokens: the same fp32 loop for every side."""
    import torch

    texts = sorted(json.loads((job.data / "split.json").read_text())["held"], key=len)
    model.eval()
    right = asked = 0
    for at in range(0, len(texts), 16):
        batch = tokenizer(texts[at : at + 16], truncation=True, max_length=job.plan.max_length, padding=True, padding_side="right", return_tensors="pt")  # fmt: skip
        ids, real = batch["input_ids"], batch["attention_mask"].bool()
        with torch.inference_mode():
            found = model(input_ids=ids, attention_mask=batch["attention_mask"]).logits.argmax(-1)
        right += int(((found[:, :-1] == ids[:, 1:]) & real[:, 1:]).sum())
        asked += int(real[:, 1:].sum())
    return right, asked


def count_written_tokens(model: Any, tokenizer: Any, job: Job) -> tuple[int, int]:
    """Right tokens of the held-out targets, each behind the right ones, and tokens: the same fp32 loop for every side."""
    import torch

    pairs = sorted(read_pairs(job.data / "pairs" / "validation.csv"), key=lambda pair: len(pair[1]))
    cut: dict[str, Any] = {"truncation": True, "max_length": job.plan.max_length, "padding": True, "padding_side": "right", "return_tensors": "pt"}  # fmt: skip
    model.eval()
    right = asked = 0
    for at in range(0, len(pairs), 16):
        sources, targets = zip(*pairs[at : at + 16], strict=True)
        read, told = tokenizer(list(sources), **cut), tokenizer(list(targets), **cut)
        real = told["attention_mask"].bool()
        labels = told["input_ids"].masked_fill(~real, -100)
        with torch.inference_mode():
            found = model(input_ids=read["input_ids"], attention_mask=read["attention_mask"], labels=labels).logits
        right += int(((found.argmax(-1) == labels) & real).sum())
        asked += int(real.sum())
    return right, asked


def main() -> None:
    job = Job.read(Path(sys.argv[1]))
    if job.side == "pretune":
        from benchmarks.ours import SIDES
    elif job.side == "torchvision":
        from benchmarks.reference import SIDES
    else:
        from benchmarks.trainer import SIDES
    Path(job.work).mkdir(parents=True, exist_ok=True)
    os.chdir(job.work)
    found = SIDES[job.kind](job)
    (Path(job.work) / "measured.json").write_text(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main()
