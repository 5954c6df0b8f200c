"""One HTTP exchange with GoHighLevel: deadlines, size cap, no redirects, and whether anything may have left.

What an exchange must be able to say after a failure is: can the request have arrived? The mark is set just before the
first byte is handed to the socket (the HTTP library's `on_request_headers_sent` comes before its write), so an unset
mark proves that nothing was sent; a set one means "maybe". A session without `trace_sends` is judged by the kind of
error alone: only a connection that never stood counts as unsent. No text of the HTTP library gets out: it holds URLs.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
from yarl import URL

from jobsync.errors import DestinationRefused

_CHUNK = 16 * 1024


@dataclass(slots=True)
class _SendMark:
    """Set by the session's trace while a request is under way."""

    watched: bool = False
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `complete` is False where the body broke off, `cut` True where it was longer than the cap."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool
    cut: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """No answer. `sent`: the request may have arrived. `reason`: half a sentence that holds nothing secret."""

    sent: bool
    reason: str


def trace_sends() -> aiohttp.TraceConfig:
    """The trace that a session needs for exchanges that can tell whether anything was sent."""
    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(_mark_watched)
    trace.on_request_headers_sent.append(_mark_sent)
    return trace


async def send(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout_connect: float,
    timeout_total: float,
    body_cap: int,
) -> Reply | Broken:
    """Sends one request and reads at most `body_cap` bytes of the answer. `url` is percent-encoded already.

    Never raises for what happens on the wire. Raises DestinationRefused from a guarded session, having sent nothing.
    """
    mark = _SendMark()
    try:
        response = await session.request(
            method,
            URL(url, encoded=True),
            data=body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout_total, sock_connect=timeout_connect),
            allow_redirects=False,
            trace_request_ctx=mark,
        )
    except DestinationRefused:
        raise
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return Broken(mark.sent if mark.watched else not _never_connected(error), _reason_of(error))
    try:
        return await _read(response, body_cap)
    finally:
        # Closes the connection unless the body was read to its end; nothing waits for the rest of it.
        response.release() if response.content.at_eof() else response.close()


async def _read(response: aiohttp.ClientResponse, body_cap: int) -> Reply:
    chunks: list[bytes] = []
    size = 0
    complete = True
    try:
        while size <= body_cap and (chunk := await response.content.read(_CHUNK)):
            chunks.append(chunk)
            size += len(chunk)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        complete = False
    return Reply(response.status, response.headers, b"".join(chunks)[:body_cap], complete, size > body_cap)


async def _mark_watched(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    mark: Any = context.trace_request_ctx
    if isinstance(mark, _SendMark):
        mark.watched = True


async def _mark_sent(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    mark: Any = context.trace_request_ctx
    if isinstance(mark, _SendMark):
        mark.sent = True


def _never_connected(error: BaseException) -> bool:
    return isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL)


def _reason_of(error: BaseException) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return "its certificate or TLS handshake was not accepted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "the connection was refused"
    if isinstance(error, aiohttp.InvalidURL):
        return "its address cannot be used"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the answer is not proper HTTP"
    return "the connection broke off"
