"""The socket and the loop: listens, says when it is ready, and on SIGTERM, SIGHUP or Ctrl-C finishes what is in flight."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import math
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pretune.engine.interrupt import StopRequest
from pretune.errors import UsageError
from pretune.serve.guard import problem_response
from pretune.serve.limits import Limits
from pretune.serve.problems import Problem

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["address_of", "listen", "run_server"]

_HEADERS_SECONDS = 10.0
_KEEP_ALIVE_SECONDS = 5
_GRACE_SECONDS = 5.0


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address, before anything is loaded. Raises :class:`UsageError` with what to do instead."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        bound = socket.socket(family, kind)
    except (OSError, UnicodeError):
        raise UsageError(
            f"--host {host} is no address of this machine",
            "--host 127.0.0.1 is reached from this machine only, --host 0.0.0.0 from all that can reach it",
        ) from None
    try:
        # Windows lets a second program take a port that is in use, where SO_REUSEADDR is set.
        bound.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR), 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _unbound(host, port, error) from None
    return bound


def _unbound(host: str, port: int, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"port {port} is taken by another program",
            f"take another: --port {port + 1 if port < 65535 else 8000}, or --port 0 for any that is free",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return UsageError(f"port {port} needs the rights of an administrator", "take one over 1023: --port 8000")
    return UsageError(f"--host {host} is no address of this machine", "leave it out to listen at 127.0.0.1")


def address_of(bound: socket.socket) -> str:
    """Where a browser of this machine finds the service."""
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def run_server(
    app: FastAPI,
    bound: socket.socket,
    limits: Limits,
    *,
    on_ready: Callable[[], None],
    on_trouble: Callable[[str], None],
) -> int:
    """Serve until SIGTERM, SIGHUP, Ctrl-C or a second Ctrl-C; the number of requests answered.

    ``on_trouble`` is told of what the server itself complains of.
    """
    config = uvicorn.Config(
        app, http=_Protocol, ws="none", loop="asyncio", lifespan="off", log_config=None, access_log=False,
        log_level="error", server_header=False, proxy_headers=False, limit_concurrency=limits.connections,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=math.ceil(limits.seconds + _GRACE_SECONDS),
    )  # fmt: skip
    server = _Server(config, on_ready)
    with _complaints(on_trouble):
        server.run(sockets=[bound])
    return server.server_state.total_requests


class _Server(uvicorn.Server):
    """Stops by :class:`StopRequest`, as every verb does; uvicorn's own way raises the signal anew when it is done."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready, self._stop = on_ready, StopRequest()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with self._stop:
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or bool(self._stop.signal_number)


class _Protocol(H11Protocol):
    """Closes a connection whose request line and headers do not come in time (uvicorn waits for ever), and refuses in JSON."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        most, self.limit_concurrency = self.limit_concurrency, None
        if most is not None and len(self.connections) > most:
            full = Problem(503, f"more than {most} connections are open", "come again", retry_seconds=5)
            self.app = problem_response(full)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """The clock runs while headers are awaited; what arrives piece by piece does not set it back."""
        is_waiting = self.cycle is None or self.cycle.response_complete
        if not is_waiting:
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(_HEADERS_SECONDS, self.timeout_keep_alive_handler)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def send_400_response(self, msg: str) -> None:
        problem = Problem(
            400, "this is not a request of HTTP/1.1, or its headers are too long", "send plain HTTP, not https"
        )
        body = json.dumps(problem.to_dict()).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"), h11.Data(data=body), h11.EndOfMessage(),
        ):  # fmt: skip
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


@contextlib.contextmanager
def _complaints(on_trouble: Callable[[str], None]) -> Iterator[None]:
    """What uvicorn logs as an error, in a line each and without what a request held."""

    class _Tell(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[0] if record.exc_info else None
            if error is not asyncio.CancelledError:  # who stops the loop knows that its tasks stop
                on_trouble(f"{record.getMessage().strip()}{f' ({error.__name__})' if error else ''}")

    logger, handler = logging.getLogger("uvicorn.error"), _Tell()
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
