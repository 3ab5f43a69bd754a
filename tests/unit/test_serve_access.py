"""Who may ask, and how much: the token, requests that are refused before they are read, rows that the page shows."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from clocks import steps_of
from pretune.errors import UsageError
from pretune.modalities import Modality
from pretune.serve import guard
from pretune.serve.guard import problem_response
from pretune.serve.intake import Takes, read_body
from pretune.serve.limits import Limits
from pretune.serve.problems import Problem
from pretune.serve.samples import samples_of
from pretune.verbs.serve import ServeSettings, _samples, _token
from serving import asked, served_as

TOKEN = "0123456789abcdef-Token"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 200), (f"bearer  {TOKEN} ", 200), (basic("", TOKEN), 200), (basic("anyone", TOKEN), 200),
        (None, 401), ("", 401), ("Bearer", 401), ("Bearer ", 401), (f"Bearer {TOKEN}x", 401), (f"Bearer {TOKEN[:-1]}", 401),
        (TOKEN, 401), (f"Token {TOKEN}", 401), (basic(TOKEN, ""), 200), ("Basic %%%", 401), ("Bearer \xff", 401), (basic("", TOKEN.lower()), 401),
    ],
)  # fmt: skip
def test_every_address_asks_for_the_token(header: str | None, status: int) -> None:
    with asked(served_as("text"), token=TOKEN) as (client, service):
        headers = {} if header is None else {"Authorization": header.encode("latin-1")}
        for method, address in (
            ("GET", "/"),
            ("GET", "/health"),
            ("GET", "/openapi.json"),
            ("GET", "/samples"),
            ("GET", "/none"),
        ):
            found = client.request(method, address, headers=headers)
            assert found.status_code == (404 if (address, status) == ("/none", 200) else status)
        found = client.post("/predict", json={"text": "a"}, headers=headers)
        assert found.status_code == status
        assert service.worker.answered == (status == 200)
        if status == 401:
            assert "Bearer" in found.headers["WWW-Authenticate"]
            assert "Basic" in found.headers["WWW-Authenticate"]
            assert TOKEN not in found.text
            assert "token" in found.json()["error"]


def test_the_token_is_compared_in_constant_time_and_is_in_nothing_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = guard.hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(guard.hmac, "compare_digest", compare)
    with asked(served_as("text"), token=TOKEN) as (client, _):
        client.get("/health", headers={"Authorization": "Bearer x"})
        right = {"Authorization": f"Bearer {TOKEN}"}
        texts = [client.get(address, headers=right).text for address in ("/", "/health", "/openapi.json")]
    assert [(len(one), len(other)) for one, other in compared] == [(32, 32)] * 4
    assert not any(TOKEN in text for text in texts)
    assert '"securitySchemes"' in texts[2]
    assert '"asks_token":true' in texts[1].replace(" ", "")


@pytest.mark.parametrize(
    ("host", "given", "environment", "found"),
    [
        ("127.0.0.1", None, "", None), ("::1", None, "", None), ("localhost", TOKEN, "", TOKEN), ("127.0.0.1", None, TOKEN, TOKEN),
        ("0.0.0.0", TOKEN, "", TOKEN), ("0.0.0.0", None, TOKEN, TOKEN), ("0.0.0.0", "none", TOKEN, None),
        ("0.0.0.0", None, "", "--auth-token"), ("192.0.2.1", None, "", "--auth-token"), ("::", None, "", "--auth-token"),
        ("127.0.0.1", "short", "", "16 letters"), ("127.0.0.1", "with a space in it", "", "16 letters"),
        ("0.0.0.0", "ünïcödé-ünïcödé-ünïcödé", "", "16 letters"), ("0.0.0.0", None, "short", "16 letters"),
    ],
)  # fmt: skip
def test_other_machines_are_let_in_with_a_token_only(
    monkeypatch: pytest.MonkeyPatch, host: str, given: str | None, environment: str, found: str | None
) -> None:
    monkeypatch.setenv("PRETUNE_AUTH_TOKEN", environment)
    settings = ServeSettings(run="r", host=host, auth_token=given)
    if found in (None, TOKEN):
        assert _token(settings) == found
        return
    with pytest.raises(UsageError) as caught:
        _token(settings)
    assert str(found) in f"{caught.value.problem} {caught.value.fix}"
    assert str(given) not in caught.value.problem


def test_no_rows_are_shown_to_other_machines_unless_that_is_asked_for() -> None:
    asked_for = [_samples(ServeSettings(run="r", host=host, samples=count)) for host in ("127.0.0.1", "0.0.0.0") for count in (None, 0, 3)]  # fmt: skip
    assert asked_for == [6, 0, 3, 0, 0, 3]


class Sending:
    """A client that says how much it will send, and sends pieces for ever."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers, self.pieces = headers, 0

    async def receive(self) -> dict[str, Any]:
        self.pieces += 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}


@pytest.mark.parametrize("length", [101, 10**14, 10**40])
def test_what_is_declared_too_large_is_refused_before_a_byte_is_read(length: int) -> None:
    request: Any = Sending({"content-length": str(length)})
    with pytest.raises(Problem, match="larger than") as caught:
        asyncio.run(read_body(request, Limits(body_bytes=100), lambda count: None))
    assert (caught.value.status, caught.value.unread, request.pieces) == (413, True, 0)
    assert steps_of(lambda: str(caught.value)) < 10


def test_the_refusal_is_sent_first_and_what_still_comes_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_DISCARD_SECONDS", 60.0)
    events: list[str] = []
    pieces = iter([True, True, False])

    async def receive() -> Any:
        events.append("read")
        return {"type": "http.request", "body": b"x", "more_body": next(pieces)}

    async def send(message: Any) -> None:
        events.append(f"{message['type'].rpartition('.')[2]} {len(message.get('body', b''))}")

    scope: Any = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(problem_response(Problem(413, "a", "b", unread=True))(scope, receive, send))
    assert events == ["start 0", "body 23", "read", "read", "read", "body 0"]


def rows(count: int, **more: Any) -> Dataset:
    return Dataset.from_list([{"id": str(n), "text": f"text {n}", "label": "abc"[n % 3], **more} for n in range(count)])


def test_samples_are_short_rows_of_every_label_in_their_order() -> None:
    held = Dataset.from_list(
        [
            {"id": "0", "text": "x" * 500, "label": "c"},
            *({"id": str(n), "text": f"t{n}", "label": "a"} for n in range(1, 5)),
            {"id": "5", "text": "", "label": "b"},
            {"id": "6", "text": "t6", "label": "b"},
        ]
    )
    takes = Takes(Modality.TEXT)
    assert samples_of(held, takes, 3) == [
        {"text": "t1", "label": "a"}, {"text": "t2", "label": "a"}, {"text": "t6", "label": "b"},
    ]  # fmt: skip
    assert samples_of(held, takes, 0) == []
    assert samples_of(rows(2), Takes(Modality.TEXT, pairs=True), 5) == []
    pairs = rows(2, text_pair="other")
    assert samples_of(pairs, Takes(Modality.TEXT, pairs=True), 1) == [
        {"text": "text 0", "text_pair": "other", "label": "a"}
    ]


def test_samples_of_files_are_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "large.png").write_bytes(b"0" * 2**20)
    cells = [
        {"bytes": None, "path": str(tmp_path / "gone.png")}, {"bytes": None, "path": str(tmp_path / "large.png")},
        {"bytes": None, "path": str(tmp_path / "a.png")}, {"bytes": b"GIF8", "path": "in/b.gif"},
    ]  # fmt: skip
    held = Dataset.from_list([{"id": str(n), "image": cell, "labels": ["x", "y"]} for n, cell in enumerate(cells)])
    assert samples_of(held, Takes(Modality.IMAGE), 9) == [
        {"name": "a.png", "type": "image/png", "data": base64.b64encode(b"\x89PNG").decode(), "label": "x, y"},
        {"name": "b.gif", "type": "image/gif", "data": base64.b64encode(b"GIF8").decode(), "label": "x, y"},
    ]  # fmt: skip


def test_samples_are_looked_for_once_and_only_when_they_are_asked_for() -> None:
    looks: list[int] = []

    def look() -> list[dict[str, Any]]:
        looks.append(1)
        return [{"text": "a", "label": None}]

    with asked(dataclasses.replace(served_as("text"), samples=look)) as (client, _):
        assert looks == []
        for _ in range(3):
            assert client.get("/samples").json() == {"samples": [{"text": "a", "label": None}]}
    assert looks == [1]
    with asked(served_as("text")) as (client, _):
        assert client.get("/samples").json() == {"samples": []}
