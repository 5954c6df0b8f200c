"""One HTTP exchange with GoHighLevel: deadlines, size cap, no redirects, and whether anything may have left.

What an exchange must be able to say after a failure is: can the request have arrived? The mark is set when the
connection stands, just before the first byte is handed to its socket, so an unset mark proves that nothing was sent; a
set one means "maybe". A session whose requests are no `MarkedRequest` is judged by the kind of error alone: only a
connection that never stood counts as unsent. No text of the HTTP library gets out: it holds URLs.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from jobsync.errors import DestinationRefused

_CHUNK = 16 * 1024


@dataclass(slots=True)
class SendMark:
    """Set by the session's request while it is under way."""

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


# The mark of the exchange that this task makes: by context and not by the library's traces: these cost a fifth of a whole post.
MARK: ContextVar[SendMark | None] = ContextVar("jobsync_send_mark", default=None)


class MarkedRequest(aiohttp.ClientRequest):
    """The `request_class` that a session needs for exchanges that can tell whether anything was sent."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._mark = MARK.get()
        if self._mark is not None:
            self._mark.watched = True

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Sends the request over a connection that stands."""
        if self._mark is not None:
            self._mark.sent = True
        return await super().send(conn)


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
    mark = SendMark()
    under_mark = MARK.set(mark)
    try:
        response = await session.request(
            method,
            URL(url, encoded=True),
            data=body,
            headers=headers,
            timeout=_timeout(timeout_total, timeout_connect),
            allow_redirects=False,
        )
    except DestinationRefused:
        raise
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return Broken(mark.sent if mark.watched else not _never_connected(error), _reason_of(error))
    finally:
        MARK.reset(under_mark)
    try:
        return await _read(response, body_cap)
    finally:
        # Closes the connection unless the body was read to its end; nothing waits for the rest of it.
        response.release() if response.content.at_eof() else response.close()


@functools.cache
def _timeout(total: float, connect: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total, sock_connect=connect)


async def _read(response: aiohttp.ClientResponse, body_cap: int) -> Reply:
    chunks: list[bytes] = []
    size = 0
    complete = True
    try:
        while size <= body_cap and not response.content.at_eof():
            chunk = await response.content.read(_CHUNK)
            chunks.append(chunk)
            size += len(chunk)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        complete = False
    return Reply(response.status, response.headers, b"".join(chunks)[:body_cap], complete, size > body_cap)


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
