"""What stands before the endpoints: an error that was foreseen is the client's alone, a defect is told on the terminal too."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pretune.data.media.base import BrokenMedia
from pretune.errors import DataError
from pretune.serve.guard import Guard


@pytest.mark.parametrize(
    ("error", "status", "is_defect"),
    [
        (BrokenMedia("empty", "the clip"), 422, False),
        (DataError("the text is of no kind", "send another"), 422, False),
        (RuntimeError("shape mismatch"), 500, True),
    ],
    ids=["a broken file", "a row that does not fit", "a defect"],
)
def test_only_defects_reach_the_terminal(error: Exception, status: int, is_defect: bool) -> None:
    heard: list[Exception] = []
    sent: list[Any] = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise error

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": [(b"host", b"127.0.0.1")]}
    asyncio.run(Guard(app, local_only=True, on_defect=heard.append)(scope, receive, send))
    assert sent[0]["status"] == status
    assert "error" in json.loads(sent[1]["body"])
    assert heard == ([error] if is_defect else [])
