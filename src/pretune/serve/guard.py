"""What every request passes first and every answer carries: who may ask from where, safe headers, no traceback.

A web page that a person has open elsewhere can send requests to this machine. It is kept out twice: by the ``Host`` header,
which names the attacker's domain when a DNS answer was bent to this machine (DNS rebinding), and by ``Origin``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pretune.serve.problems import Problem, problem_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HEADERS", "Guard", "is_local", "problem_response"]

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer; the page has a content security policy of its own."""

_DISCARD_SECONDS = 2.0
_LOCAL_NAMES = ("localhost", "localhost.")


def is_local(host: str) -> bool:
    """Is it a name or address of this machine that no other can reach?"""
    try:
        return host.lower() in _LOCAL_NAMES or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware. ``local_only`` refuses requests that call this machine by a name other than its own, ``token`` those that
    do not bring it.
    """

    def __init__(
        self, app: ASGIApp, *, local_only: bool, token: str | None = None, on_defect: Callable[[Exception], None]
    ) -> None:
        self._app, self._local_only, self._on_defect = app, local_only, on_defect
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_safely(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message = {**message, "headers": _with_headers(message.get("headers", []))}
            await send(message)

        try:
            problem = self._refusal(scope)
            if problem is None:
                await self._app(scope, receive, send_safely)
                return
        except Exception as error:  # whatever nobody foresaw: told on the terminal, and to the client as a plain 500
            problem = problem_of(error)
            if has_begun or problem.status == 500:
                self._on_defect(error)
            if has_begun:
                raise
        await problem_response(problem)(scope, receive, send_safely)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._local_only and not is_local(_name_of(host)):
            return Problem(
                421,
                "this service answers only to localhost and 127.0.0.1",
                "open it by that address; to let other machines in, serve with --host ADDRESS",
            )
        origin = headers.get(b"origin")
        if origin is not None and scope["method"] not in ("GET", "HEAD") and _netloc(origin) != host.lower():
            return Problem(
                403, "the request comes from a page of another site", "send it from this page, or by a program"
            )
        if self._token is not None and not _brings(headers.get(b"authorization", ""), self._token):
            return Problem(
                401,
                "this service asks for a token",
                "send the header Authorization: Bearer TOKEN; a browser asks for a password, which is the token",
            )
        return None


def _brings(authorization: str, token: bytes) -> bool:
    """Does the header bring the token, as ``Bearer`` or as the name or password of ``Basic``? In the same time whatever it brings."""
    scheme, _, value = authorization.strip().partition(" ")
    given = [value.strip().encode("latin-1", "replace")]
    if scheme.lower() == "basic":
        try:
            name, _, password = base64.b64decode(given[0], validate=True).partition(b":")
            given = [name, password]
        except ValueError:
            given = [b""]
    wanted = hashlib.sha256(token).digest()
    same = [hmac.compare_digest(hashlib.sha256(one).digest(), wanted) for one in given]
    return any(same) and scheme.lower() in ("bearer", "basic")


def _name_of(host: str) -> str:
    """The name in a ``Host`` header, its port left out."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _with_headers(given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The answer's own headers, and those of :data:`HEADERS` that it has not."""
    own = {name.lower() for name, _ in given}
    extra = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    return [*given, *((name, value) for name, value in extra if name not in own)]


def problem_response(problem: Problem) -> Any:
    """The problem as a response."""
    from starlette.responses import JSONResponse

    response = JSONResponse(problem.to_dict(), status_code=problem.status, headers=problem.headers())
    for scheme in ("Bearer", "Basic") if problem.status == 401 else ():  # a line each: browsers read no list
        response.headers.append("WWW-Authenticate", f'{scheme} realm="pretune"')
    return _heard_while_sending(response) if problem.unread else response


def _heard_while_sending(response: Any) -> ASGIApp:
    """The response at once, and what still comes read and thrown away for a moment: a connection that is closed on a client that
    is sending takes the answer with it.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def begun(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        await response(scope, receive, begun)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return answer
