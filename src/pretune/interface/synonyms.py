"""Words that people bring from elsewhere: other names of verbs, to guess by, and of options, which are taken."""

from __future__ import annotations

from collections.abc import Container

__all__ = ["VERB_WORDS", "own_flag"]

VERB_WORDS = {
    "train": "finetune", "fit": "finetune", "tune": "finetune", "fine-tune": "finetune",
    "test": "evaluate", "eval": "evaluate", "score": "evaluate", "validate": "evaluate",
    "infer": "predict", "inference": "predict", "generate": "predict", "classify": "predict", "chat": "predict",
    "info": "inspect", "check": "inspect", "profile": "inspect", "convert": "export", "onnx": "export",
    "compress": "distill", "distil": "distill", "quantise": "quantize", "diff": "compare", "deploy": "serve",
}  # fmt: skip
"""What other tools call a verb."""

_FLAGS = {
    "lr": "learning-rate", "num-train-epochs": "epochs", "max-epochs": "epochs", "num-epochs": "epochs",
    "per-device-train-batch-size": "batch-size", "train-batch-size": "batch-size", "bs": "batch-size",
    "max-seq-length": "max-length", "max-seq-len": "max-length", "output-dir": "out", "output": "out", "outdir": "out",
    "overwrite-output-dir": "overwrite", "max-grad-norm": "clip", "lr-scheduler-type": "schedule", "warmup-steps": "warmup",
    "eval-steps": "eval-every", "save-steps": "save-every", "num-beams": "beam-size", "train-file": "train",
    "validation-file": "validation", "test-file": "test", "random-state": "seed", "num-threads": "threads", "dataset": "data",
    "ema-decay": "ema", "adapt-rate": "schedule", "img-size": "image-size", "imgsz": "image-size", "gradient-checkpointing": "activation-checkpointing",
}  # fmt: skip
"""Names of options in transformers' training arguments and other tools, where one of ours means the same and takes the same values."""


def own_flag(flag: str, known: Container[str]) -> str:
    """The flag that is meant: as it stands where it is known, with dashes for underscores, or ours for another tool's name."""
    if flag in known or not flag.startswith("--"):
        return flag
    dashed = f"--{flag[2:].replace('_', '-')}"
    if dashed in known:
        return dashed
    ours = f"--{_FLAGS.get(dashed[2:], '')}"
    return ours if ours in known else flag
