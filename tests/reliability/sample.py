"""Something small to learn: a few rows, and a backbone whose update takes 20 milliseconds."""

from __future__ import annotations

import csv
import random
from pathlib import Path

__all__ = ["make_model", "write_rows"]


def write_rows(path: Path, count: int = 150) -> None:
    """A CSV of ``count`` rows in three classes, told apart by two words each."""
    rng = random.Random(0)
    words = {label: [f"{label}{number}" for number in range(12)] for label in ("red", "green", "blue")}
    noise = [f"word{number}" for number in range(40)]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "text", "label"))
        for number in range(count):
            label = rng.choice(list(words))
            said = rng.choices(noise, k=rng.randrange(3, 12)) + rng.choices(words[label], k=2)
            rng.shuffle(said)
            writer.writerow((f"row-{number + 1}", f"{' '.join(said)} {number}", label))


def make_model(folder: Path, rows: Path, *, dropout: float) -> Path:
    """A Hugging Face folder: BERT with 2 layers, 32 wide, random weights."""
    import torch
    from transformers import AutoModelForMaskedLM

    from pretune.backbones.load import load_backbone, save_model

    torch.set_num_threads(1)
    lines = rows.read_text(encoding="utf-8").splitlines()
    backbone = load_backbone("scratch:bert-tiny", texts=lambda: iter(lines), vocab_size=300)
    config = backbone.config
    config.update(
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
        }
    )
    torch.manual_seed(0)
    save_model(AutoModelForMaskedLM.from_config(config), backbone.tokenizer, folder)
    return folder
