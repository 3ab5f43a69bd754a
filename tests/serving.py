"""Tiny models of every kind, ready to be served, and rows to ask them about."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from starlette.testclient import TestClient

from clocks import HANG_SECONDS
from pretune.explain.attributions import explain_example
from pretune.explain.patience import Patience
from pretune.modalities.image.transform import image_transform_of
from pretune.serve.app import Served, Service, make_app
from pretune.serve.intake import Takes
from pretune.serve.limits import Limits
from pretune.tasks import (
    ImageClassification,
    ImageMultilabelClassification,
    TextClassification,
    TextMultilabelClassification,
)
from pretune.tasks.predicting import example_of
from tiny import (
    CPU,
    LABELS,
    make_rows,
    tiny_backbone,
    tiny_clips,
    tiny_encoder,
    tiny_image_backbone,
    tiny_pictures,
    tiny_sound_task,
)

KINDS = ("text", "pairs", "text-labels", "image", "image-labels", "sound", "sound-labels", "speech")


def served_as(
    kind: str, labels: tuple[str, ...] = LABELS, *, explain_seconds: float = 60.0,
    around: Callable[[torch.nn.Module], torch.nn.Module] = lambda model: model,
) -> Served:  # fmt: skip
    """A model with weights drawn at random, in what ``around`` makes of it."""
    if kind.startswith("image"):
        backbone = tiny_image_backbone("vit-micro")
        made: Any = ImageMultilabelClassification if kind.endswith("labels") else ImageClassification
        task: Any = made(labels, image_transform_of(backbone.processor))
    elif kind in ("sound", "sound-labels", "speech"):
        task, backbone = tiny_sound_task(kind)
    else:
        backbone = tiny_backbone()
        made = TextMultilabelClassification if kind.endswith("labels") else TextClassification
        task = made(labels, tiny_encoder(backbone))
    model, _ = task.build(backbone, seed=3)
    model = around(model).eval()
    if isinstance(task, TextClassification):
        task.temperature = 2.0

    def explain(
        row: Mapping[str, Any], label: str | None, tests: bool, is_wanted: Callable[[], bool]
    ) -> Mapping[str, Any]:
        found = explain_example(
            task, model, example_of(row, "0"), CPU, label=label, orders=3 if tests else 0,
            patience=Patience(explain_seconds, is_wanted),
        )  # fmt: skip
        return found.to_dict()

    takes = Takes(task.modality, kind == "pairs")
    return Served("tiny", task, model, CPU, takes, standing="right in 50 % of rows", explain=explain)


def rows_for(kind: str, count: int) -> list[dict[str, Any]]:
    """Rows as they are read, with ids of their own."""
    if kind.startswith("image"):
        return [{"id": f"p{row['id']}", "image": row["image"]} for row in tiny_pictures(count)]
    if kind in ("sound", "sound-labels", "speech"):
        return [{"id": f"c{row['id']}", "audio": row["audio"]} for row in tiny_clips(count)]
    texts = make_rows(2 * count)
    if kind == "pairs":
        return [{"id": f"t{i}", "text": texts[i]["text"], "text_pair": texts[count + i]["text"]} for i in range(count)]
    return [{"id": f"t{i}", "text": texts[i]["text"]} for i in range(count)]


def sent(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as JSON."""
    return {
        key: base64.b64encode(value["bytes"]).decode() if key in ("image", "audio") else value
        for key, value in row.items()
    }


HERE = "http://127.0.0.1"


@contextlib.contextmanager
def asked(served: Any, limits: Limits | None = None, **options: Any) -> Iterator[tuple[TestClient, Service]]:
    """A client of the service in this process, and the service."""
    app, service = make_app(served, limits or Limits(), style="p { margin: 0 }", **options)
    with TestClient(app, base_url=HERE) as client:
        try:
            yield client, service
        finally:
            service.worker.close()


class Held(torch.nn.Module):
    """A model that waits before each batch until it is let go. ``batches`` counts them."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model, self.go, self.batches = model, threading.Event(), 0
        self.began = threading.Event()

    def forward(self, **inputs: torch.Tensor) -> Any:
        self.began.set()
        assert self.go.wait(HANG_SECONDS)
        self.batches += 1
        return self.model(**inputs)


@dataclass(frozen=True)
class Running:
    """A service in a process of its own."""

    address: str
    process: subprocess.Popen[str]

    @property
    def place(self) -> tuple[str, int]:
        host, _, port = self.address.removeprefix("http://").rstrip("/").rpartition(":")
        return host, int(port)


def started_service(run: Path, *flags: object, **held: object) -> subprocess.Popen[str]:
    """``pretune serve RUN`` as a person starts it, or ``held`` as ``held_serve.py`` says."""
    program = [str(Path(__file__).with_name("held_serve.py"))] if held else ["-m", "pretune"]
    words = ["serve", run, "--port", 0, "--json", "--threads", 1, "--precision", "fp32", *flags]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **{name: str(value) for name, value in held.items()}},
    )  # fmt: skip


def fetched(address: str, body: Any = None) -> str:
    """What stands at an address; ``body`` is sent as JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"} if data else {})
    with urllib.request.urlopen(request, timeout=HANG_SECONDS) as reply:
        return reply.read().decode()


_KINDS = {"string": str, "number": (int, float), "integer": int, "array": list, "object": dict, "null": type(None), "boolean": bool}  # fmt: skip


def misfit(value: Any, schema: Mapping[str, Any], at: str = "answer") -> str:
    """Where a value is not as a JSON schema says (types, names, bounds below, required fields); nothing where it is."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(isinstance(value, _KINDS[kind]) for kind in kinds):
        return f"{at} is no {' or '.join(kinds)}"
    if value not in schema.get("enum", [value]) or (isinstance(value, int) and value < schema.get("minimum", value)):
        return f"{at} is {value!r}"
    parts: list[tuple[str, Any, Mapping[str, Any]]] = []
    if isinstance(value, dict):
        missing = [f"{at}.{name} is missing" for name in schema.get("required", []) if name not in value]
        if missing:
            return missing[0]
        parts = [
            (f"{at}.{name}", value[name], one) for name, one in schema.get("properties", {}).items() if name in value
        ]
    if isinstance(value, list):
        parts = [(f"{at}[{number}]", one, schema.get("items", {})) for number, one in enumerate(value)]
    return next((said for name, one, own in parts if (said := misfit(one, own, name))), "")


@contextlib.contextmanager
def running(run: Path, *flags: object, **held: object) -> Iterator[Running]:
    """See :func:`started_service`; it must end by itself on SIGTERM, with code 0 and without a traceback."""
    process = started_service(run, *flags, **held)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.stderr.read())
        yield Running(json.loads(line)["address"], process)
    finally:
        process.terminate()
        try:
            _, told = process.communicate(timeout=HANG_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0, told
    assert "Traceback" not in told, told
