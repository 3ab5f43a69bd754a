"""The service as an ASGI application: the page, ``/health``, ``/predict``, ``/explain`` and ``/openapi.json``.

Nothing is logged of what people send, nothing is fetched, nothing is told to anyone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from pretune import __version__
from pretune.serve.guard import Guard, problem_response
from pretune.serve.intake import Takes, read_body, rows_of
from pretune.serve.limits import Limits
from pretune.serve.openapi import body_of, one_row_body, queries, responses_of, stream_responses, with_token
from pretune.serve.page import page_of
from pretune.serve.problems import Gone, Problem
from pretune.serve.streaming import Streaming
from pretune.serve.worker import Job, Worker
from pretune.wording import counted

if TYPE_CHECKING:
    import torch

    from pretune.engine.devices import Device
    from pretune.tasks.base import Task

__all__ = ["Served", "Service", "make_app"]

_STATUSES = (400, 401, 403, 408, 413, 415, 421, 422, 500, 503)
_SILENT: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False}
"""FastAPI can send figures of each request to a collector that the environment names. Here it never does."""


_PARSED_AT_A_TIME = 2
"""JSON can take twenty times its bytes in memory."""

Explain = Callable[[Mapping[str, Any], str | None, bool, Callable[[], bool]], Mapping[str, Any]]
"""From a row, a label (None: the most probable one), whether to test the finding, and what says if anybody still waits for it, to
what the label's probability rests on."""


Stream = Callable[[Mapping[str, Any], Callable[[str], bool]], Mapping[str, Any]]
"""From a row, and what is told the answer so far and says whether anybody still reads it, to the record of the whole answer."""


@dataclass(frozen=True)
class Served:
    """A model that is served. ``standing`` says in a sentence how good it is; ``samples`` gives rows to try (see ``samples.py``); ``explain`` is None where its answers cannot be
    explained, ``stream`` where they are not written token by token, and ``unexplained`` then says why and what to do.
    """

    name: str
    task: Task
    model: torch.nn.Module
    device: Device
    takes: Takes
    standing: str = ""
    explain: Explain | None = None
    stream: Stream | None = None
    samples: Callable[[], list[dict[str, Any]]] | None = None
    unexplained: tuple[str, str] = ("", "")


class Service:
    """The endpoints, over one worker."""

    def __init__(
        self,
        served: Served,
        limits: Limits,
        *,
        style: str,
        asks_token: bool = False,
        on_defect: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self.served, self.limits, self.asks_token, self.on_defect = served, limits, asks_token, on_defect
        self.worker = Worker(served.task, served.model, served.device, most_jobs=limits.waiting, on_defect=on_defect)
        self._began = time.monotonic()
        self._held_bytes = 0
        self._samples: list[dict[str, Any]] | None = None
        self._looking = asyncio.Lock()
        self._parsing = asyncio.Semaphore(_PARSED_AT_A_TIME)
        self._html, self._page_policy = page_of(self.facts(), style)

    def facts(self) -> dict[str, Any]:
        """What the service is, for programs and for the page."""
        served = self.served
        return {
            "model": served.name,
            "task": served.task.name,
            "modality": served.takes.modality,
            "fields": list(served.takes.fields),
            "needed": list(served.takes.needed),
            "titles": dict(served.takes.titles),
            "cleaned": list(served.takes.steps),
            "labels": list(served.task.labels),
            "answer": served.task.answer,
            "explains": served.explain is not None,
            "streams": served.stream is not None,
            "holds_turns": served.takes.turns,
            "unexplained": " ".join(part for part in served.unexplained if part),
            "standing": served.standing,
            "asks_token": self.asks_token,
            "version": __version__,
            "limits": self.limits.to_dict(served.takes.modality),
        }

    async def page(self) -> Response:
        """The page for people."""
        return HTMLResponse(self._html, headers={"Content-Security-Policy": self._page_policy})

    async def health(self) -> Response:
        """Is it ready, what does it serve, how busy is it?"""
        ready = self.worker.is_alive
        seconds = round(time.monotonic() - self._began, 1)
        state = {
            "ready": ready,
            "uptime_seconds": seconds,
            "waiting": self.worker.waiting,
            "answered": self.worker.answered,
        }
        return JSONResponse({**state, **self.facts()}, status_code=200 if ready else 503)

    async def samples(self) -> Response:
        """Rows to try, for the page; looked for when they are first asked for."""
        async with self._looking:
            if self._samples is None:
                given = self.served.samples
                self._samples = [] if given is None else await asyncio.to_thread(given)
        return JSONResponse({"samples": self._samples})

    async def predict(self, request: Request) -> Response:
        """Answers of one row or many, as ``pretune predict`` gives them, in their order."""
        with self._room() as take:
            rows, began = await self._rows(request, take)
            records = await self._finished(request, Job(rows))
        return JSONResponse({"rows": records, "milliseconds": _since(began)})

    async def explain(self, request: Request) -> Response:
        """The answer of one row, and what it (or the ``label`` asked for) rests on; with ``test=true`` also whether to believe it."""
        explain = self.served.explain
        if explain is None:
            raise Problem(501, *self.served.unexplained)
        label, tests = request.query_params.get("label"), request.query_params.get("test", "false").lower()
        if tests not in ("true", "false"):
            raise Problem(422, '"test" is neither true nor false', "leave it out, or give test=true")
        with self._room() as take:
            rows, began = await self._rows(request, take)
            if len(rows) != 1:
                raise Problem(422, f"{counted(len(rows))} are asked about", "ask about one row at a time")
            records = await self._finished(request, Job(rows))
            found = await self._finished(
                request, Job(rows, lambda row, wanted: explain(row, label, tests == "true", wanted))
            )
        return JSONResponse({"row": records[0], "explanation": found, "milliseconds": _since(began)})

    async def stream(self, request: Request) -> Response:
        """The answer of one row as it is written, as lines of JSON (see :mod:`pretune.serve.streaming`)."""
        stream = self.served.stream
        if stream is None:
            raise Problem(501, f"{self.served.task.name} gives its answers whole", "POST /predict")
        with self._room() as take:
            rows, began = await self._rows(request, take)
        if len(rows) != 1:
            raise Problem(422, f"{counted(len(rows))} are asked about", "ask about one row at a time")
        writing = Streaming(rows, stream, self.limits.seconds, lambda: _since(began))
        self.worker.submit(writing.job)
        return StreamingResponse(writing.lines(), media_type="application/x-ndjson")

    async def _rows(self, request: Request, take: Callable[[int], None]) -> tuple[list[dict[str, Any]], float]:
        """The request's rows, and when its last byte was in. Decoding stays out of the event loop."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Problem(415, "the request is compressed", "send it as it is, without Content-Encoding")
        body = await read_body(request, self.limits, take)
        began = time.monotonic()
        content_type, row_id = request.headers.get("content-type", ""), request.query_params.get("id")
        async with self._parsing:
            rows = await asyncio.to_thread(rows_of, body, content_type, row_id, self.served.takes, self.limits)
        return rows, began

    async def _finished(self, request: Request, job: Job) -> Any:
        """What the worker makes of the job. Raises :class:`Problem`, or :class:`Gone` when nobody waits for it any more."""
        self.worker.submit(job)
        answer = asyncio.wrap_future(job.future)
        left = asyncio.ensure_future(_client_leaves(request))
        try:
            await asyncio.wait((answer, left), timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if left.done():
                raise Gone
            raise Problem(
                503, f"there was no answer within {self.limits.seconds:g} seconds",
                "send fewer rows at a time, come again when less is going on, or serve with a longer --timeout",
                retry_seconds=self.worker.wait_seconds,
            )  # fmt: skip
        finally:
            answer.cancel()
            left.cancel()

    @contextlib.contextmanager
    def _room(self) -> Iterator[Callable[[int], None]]:
        """Memory for one body, counted with that of all others. What it yields raises :class:`Problem` when there is no more."""
        mine = 0

        def take(count: int) -> None:
            nonlocal mine
            if self._held_bytes + count > self.limits.held_bytes:
                raise Problem(
                    503, "too much is being sent at a time", "come again", retry_seconds=self.worker.wait_seconds
                )
            mine += count
            self._held_bytes += count

        try:
            yield take
        finally:
            self._held_bytes -= mine


def make_app(
    served: Served,
    limits: Limits,
    *,
    style: str,
    local_only: bool = True,
    token: str | None = None,
    on_defect: Callable[[Exception], None] = lambda error: None,
) -> tuple[FastAPI, Service]:
    """The application and the service in it; its worker must be closed. ``style`` is the house's style sheet; every request must
    bring the ``token``, where there is one.
    """
    service = Service(served, limits, style=style, asks_token=token is not None, on_defect=on_defect)
    app = FastAPI(
        title=f"pretune serve: {served.name}", version=__version__, description=served.standing,
        docs_url=None, redoc_url=None, redirect_slashes=False, telemetry=_SILENT,
    )  # fmt: skip
    app.add_middleware(Guard, local_only=local_only, token=token, on_defect=on_defect)
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(Gone, _answer_nobody)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_api_route("/", service.page, methods=["GET", "HEAD"], include_in_schema=False)
    record = served.task.record_schema()
    secured = {} if token is None else {"security": [{"token": []}]}
    app.add_api_route(
        "/health", service.health, methods=["GET"], summary="Is the service ready, and what does it serve?",
    )  # fmt: skip
    app.add_api_route("/samples", service.samples, methods=["GET"], include_in_schema=False)
    app.add_api_route(
        "/predict", service.predict, methods=["POST"], summary="Answers of one row or many",
        responses=responses_of(record, "rows", _STATUSES),
        openapi_extra={"requestBody": body_of(served.takes, limits.rows), "parameters": queries("id"), **secured},
    )  # fmt: skip
    app.add_api_route(
        "/explain", service.explain, methods=["POST"], summary="The answer of one row, and what it rests on",
        responses=responses_of(record, "explanation", (*_STATUSES, 501)),
        openapi_extra={"requestBody": one_row_body(served.takes), "parameters": queries("id", "label", "test"), **secured},
    )  # fmt: skip
    if served.stream is not None:
        app.add_api_route(
            "/stream", service.stream, methods=["POST"], summary="The answer of one row, as it is written",
            responses=stream_responses(record, (*_STATUSES, 501)),
            openapi_extra={"requestBody": one_row_body(served.takes), "parameters": queries("id"), **secured},
        )  # fmt: skip
    if token is not None:
        app.openapi = lambda: with_token(FastAPI.openapi(app))
    return app, service


async def _client_leaves(request: Request) -> None:
    """Ends when the connection does."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _answer_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error)


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)


async def _answer_http(request: Request, error: Exception) -> Response:
    """What the router refuses."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        problem = Problem(
            405, f"{request.method} does nothing here", f"this address takes {allowed or 'another method'}"
        )
        return JSONResponse(problem.to_dict(), status_code=405, headers=error.headers)
    found = "there is nothing at this address" if error.status_code == 404 else str(error.detail)
    fix = "GET / is the page, GET /health the state, POST /predict and POST /explain answer, GET /openapi.json says how"
    return problem_response(Problem(error.status_code, found, fix))


def _since(began: float) -> float:
    return round(1000 * (time.monotonic() - began), 2)
