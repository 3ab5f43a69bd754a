"""pretune: from raw data to a small, proven model.

Each verb of the command line is a function here: ``pretune.finetune("scratch:bert-mini", data="news.csv", epochs=3)``.
A verb is loaded when it is first used, so that ``import pretune`` stays fast. ``run = pretune.load("runs/news")`` is a finished run:
``run.predict(["a text"])``, ``run.scores``, ``run.report()``. ``pretune.open_model("runs/news")`` gives its torch model, task and tokenizer.
``pretune.TextClassifier("runs/base")`` (and of pictures, clips and numbers) is an estimator of scikit-learn.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pretune.errors import PretuneError, PretuneWarning
    from pretune.estimators import (
        AudioClassifier,
        AudioRegressor,
        ImageClassifier,
        ImageRegressor,
        TextClassifier,
        TextRegressor,
    )
    from pretune.study.multitask import multitask
    from pretune.study.run import run
    from pretune.study.study import study
    from pretune.verbs.benchmark import benchmark
    from pretune.verbs.cache import cache
    from pretune.verbs.compare import compare
    from pretune.verbs.demo import demo
    from pretune.verbs.distill import distill
    from pretune.verbs.drift import drift
    from pretune.verbs.evaluate import evaluate
    from pretune.verbs.explain import explain
    from pretune.verbs.export import export
    from pretune.verbs.finetune import finetune
    from pretune.verbs.inspect import inspect
    from pretune.verbs.list import list  # noqa: A004
    from pretune.verbs.loaded import load
    from pretune.verbs.predict import predict
    from pretune.verbs.pretrain import pretrain
    from pretune.verbs.probe import probe
    from pretune.verbs.proven import open_model
    from pretune.verbs.prune import prune
    from pretune.verbs.quantize import quantize
    from pretune.verbs.report import report
    from pretune.verbs.selftrain import selftrain
    from pretune.verbs.serve import serve
    from pretune.verbs.verify import verify

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
    "benchmark",
    "cache",
    "compare",
    "demo",
    "distill",
    "drift",
    "evaluate",
    "explain",
    "export",
    "finetune",
    "inspect",
    "list",
    "load",
    "multitask",
    "open_model",
    "predict",
    "pretrain",
    "probe",
    "prune",
    "quantize",
    "report",
    "run",
    "selftrain",
    "serve",
    "study",
    "verify",
]

# ONNX Runtime 1.29 and later reports its use to its makers from its import on, unless it is told before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_OTHERS = {
    "PretuneError": "pretune.errors",
    "PretuneWarning": "pretune.errors",
    "load": "pretune.verbs.loaded",
    "open_model": "pretune.verbs.proven",
    **dict.fromkeys(
        ("TextClassifier", "ImageClassifier", "AudioClassifier", "TextRegressor", "ImageRegressor", "AudioRegressor"),
        "pretune.estimators",
    ),
}
_VERBS = frozenset(__all__) - {"__version__", *_OTHERS}


def __getattr__(name: str) -> Any:
    if name in _OTHERS:
        return getattr(importlib.import_module(_OTHERS[name]), name)
    if name not in _VERBS:
        raise AttributeError(f"module 'pretune' has no attribute {name!r}")
    from pretune.verbs.declare import load_verb

    function = globals()[name] = load_verb(name)
    return function


def __dir__() -> Any:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """A verb and a room may share a name (``report``): the attribute is the verb, the room is imported by its path."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _VERBS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
