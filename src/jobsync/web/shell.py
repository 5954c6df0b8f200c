"""The outermost layer: what holds for every answer, errors included.

Security headers on all of them (security bar X17); a request id; limits on headers and on requests in flight; HEAD as
GET without its body and a trailing slash ignored, as the old service did; an unexpected error becomes 500 with the id, and
one line of the log that names its class only.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from jobsync.errors import CallRefused, JobSyncError
from jobsync.log import get_log
from jobsync.web.answers import answer_error, answer_failure

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_HEADER_BYTES = 16 * 1024
MOST_HEADERS = 100
MOST_IN_FLIGHT = 256
_KEPT_BY_BROWSERS = "/ui/assets/"
_ALWAYS_ANSWERED = "/health/live"
SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
)
_TRANSPORT_SECURITY = (b"strict-transport-security", b"max-age=31536000")


class Shell:
    """Wraps the app. `most_in_flight`: requests at once; more are asked to come back."""

    def __init__(self, app: App, *, most_in_flight: int = MOST_IN_FLIGHT) -> None:
        self._app = app
        self._most = most_in_flight
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex[:16]
        head_only = scope["method"] == "HEAD"
        inner = {**scope, "path": _without_slash(scope["path"]), "method": "GET" if head_only else scope["method"]}
        inner["state"] = {**scope.get("state", {}), "request_id": request_id}
        started = False

        async def send_wrapped(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                kept = _is_kept(scope, message)
                message = {
                    **message,
                    "headers": [
                        *_unset(message.get("headers", []), kept),
                        *(header for header in _headers_for(scope) if not (kept and header[0] == b"cache-control")),
                        (b"x-request-id", request_id.encode()),
                    ],
                }
            elif head_only and message["type"] == "http.response.body":
                message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
            await send(message)

        self._in_flight += 1
        try:
            refusal = self._refuse(scope)
            if refusal is not None:
                await answer_error(refusal, request_id)(inner, receive, send_wrapped)
                return
            await self._app(inner, receive, send_wrapped)
        except JobSyncError as error:
            if not started:
                await answer_error(error, request_id)(inner, receive, send_wrapped)
        except Exception as error:
            if started and isinstance(error.__cause__, JobSyncError):
                # Told by whoever streamed; the connection breaks off, so that nobody takes a part for the whole.
                return
            # The message of an unknown error may hold anything; its class does not. A started answer just breaks off.
            get_log().error(
                "unexpected_error",
                request_id=request_id,
                route=inner.get("jobsync.route"),
                method=scope["method"],
                error_type=type(error).__name__,
            )
            if not started:
                await answer_failure(request_id)(inner, receive, send_wrapped)
        finally:
            self._in_flight -= 1

    def _refuse(self, scope: Scope) -> CallRefused | None:
        headers = scope["headers"]
        if len(headers) > MOST_HEADERS or sum(len(name) + len(value) for name, value in headers) > MOST_HEADER_BYTES:
            return CallRefused(
                431, "The headers are too large.", code="headers_too_large", hint="16 KB and 100 headers at most."
            )
        if self._in_flight > self._most and scope["path"] != _ALWAYS_ANSWERED:
            return CallRefused(503, "Too many requests at once.", code="busy", hint="Come back in a few seconds.")
        return None


def _without_slash(path: str) -> str:
    return path.rstrip("/") if path.endswith("/") and len(path) > 1 and not path.startswith("/ui") else path


def _headers_for(scope: Scope) -> tuple[tuple[bytes, bytes], ...]:
    return (*SECURITY_HEADERS, _TRANSPORT_SECURITY) if scope.get("scheme") == "https" else SECURITY_HEADERS


def _is_kept(scope: Scope, message: Message) -> bool:
    """True for a style sheet or script, whose address changes with its content."""
    return scope["path"].startswith(_KEPT_BY_BROWSERS) and message["status"] in (200, 304)


def _unset(headers: list[tuple[bytes, bytes]], kept: bool) -> list[tuple[bytes, bytes]]:
    ours = {name for name, _ in SECURITY_HEADERS if not (kept and name == b"cache-control")}
    return [(name, value) for name, value in headers if name.lower() not in ours]
