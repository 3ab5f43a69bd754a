"""pretune: from raw data to a small, proven model.

Each verb of the command line is a function here: ``pretune.finetune("scratch:bert-mini", data="news.csv", epochs=3)``.
A verb is loaded when it is first used, so that ``import pretune`` stays fast (``__init__.pyi`` tells editors their types). ``run = pretune.load("runs/news")`` is a finished run:
``run.predict(["a text"])``, ``run.scores``, ``run.report()``. ``pretune.open_model("runs/news")`` gives its torch model, task and tokenizer.
``pretune.TextClassifier("runs/base")`` (and of pictures, clips and numbers) is an estimator of scikit-learn.
"""

# pyright: reportUnsupportedDunderAll=false
from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "AudioClassifier",
    "AudioRegressor",
    "ImageClassifier",
    "ImageRegressor",
    "PretuneError",
    "PretuneWarning",
    "TextClassifier",
    "TextRegressor",
    "__version__",
    "ask",
    "audit",
    "benchmark",
    "cache",
    "compare",
    "completion",
    "demo",
    "distill",
    "drift",
    "evaluate",
    "explain",
    "export",
    "finetune",
    "inspect",
    "load",
    "multitask",
    "open_model",
    "predict",
    "pretrain",
    "probe",
    "prune",
    "push",
    "quantize",
    "report",
    "review",
    "run",
    "selftrain",
    "serve",
    "study",
    "verify",
]

# ONNX Runtime 1.29 and later reports its use to its makers from its import on, unless it is told before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if sys.platform == "darwin":  # what Apple's GPUs cannot do is done by the processor; torch asks when it is imported
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

_OTHERS = {
    "PretuneError": "pretune.errors",
    "PretuneWarning": "pretune.errors",
    "load": "pretune.verbs.loaded",
    "open_model": "pretune.runs.proven",
    **dict.fromkeys(
        ("TextClassifier", "ImageClassifier", "AudioClassifier", "TextRegressor", "ImageRegressor", "AudioRegressor"),
        "pretune.estimators",
    ),
}
_VERBS = frozenset({*__all__, "list"}) - {"__version__", *_OTHERS}
"""``pretune.list`` is there, but ``from pretune import *`` leaves Python's own ``list`` alone."""


def __getattr__(name: str) -> Any:
    if name in _OTHERS:
        return getattr(importlib.import_module(_OTHERS[name]), name)
    if name not in _VERBS:
        raise AttributeError(f"module 'pretune' has no attribute {name!r}")
    from pretune.interface.declare import load_verb

    function = globals()[name] = load_verb(name)
    return function


def __dir__() -> Any:
    return sorted({*globals(), *__all__, *_VERBS})


class _Package(ModuleType):
    """A verb and a room may share a name (``report``): the attribute is the verb, the room is imported by its path."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _VERBS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
