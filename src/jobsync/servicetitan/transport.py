"""One HTTP exchange with ServiceTitan: deadlines, size cap, no redirects, and every failure as an error of the tree.

Nothing of an exception of the HTTP library gets out, not even as a cause: its texts hold URLs. Nothing is tried again
here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from jobsync.errors import ConfigError, JobSyncError, MalformedAnswer, UpstreamUnavailable
from jobsync.servicetitan.answers import PAGE_TIMEOUT, PAGE_TOO_LARGE

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds to connect, seconds for the whole exchange (ServiceTitan gives up after 100 itself: contract, section 1),
    and bytes of an answer's body once decompressed."""

    connect_seconds: float = 5.0
    total_seconds: float = 100.0
    body_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. `body` is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def open_session() -> aiohttp.ClientSession:
    """Return a session fit for ServiceTitan: no cookies, no proxy from the environment, few connections."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, connector=aiohttp.TCPConnector(limit=16)
    )


def check_base_url(text: str, name: str) -> str:
    """Return a base URL without a trailing slash; a bare host becomes https. Raises ConfigError naming the setting
    `name`."""
    candidate = text.strip() if "://" in text else f"https://{text.strip()}"
    try:
        parts = urlsplit(candidate)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{name} is not an http or https address.")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigError(f"{name} must be an address without user, password, query or fragment.")
    return candidate.rstrip("/")


@asynccontextmanager
async def open_exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    form: Mapping[str, str] | None = None,
    limits: Limits,
    what: str,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Send one request and give the answer with its body unread; the body is read inside the block by `read_chunks`.

    Raises UpstreamUnavailable (code `page_timeout` where a smaller page might have been answered) and MalformedAnswer.
    """
    failure: JobSyncError | None = None
    timeout = aiohttp.ClientTimeout(total=limits.total_seconds, sock_connect=limits.connect_seconds)
    try:
        response = await session.request(
            method,
            URL(url, encoded=True),
            headers=dict(headers),
            data=None if form is None else dict(form),
            timeout=timeout,
            allow_redirects=False,
        )
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        failure = _failure_of(error, what, limits)
    if failure is not None:
        raise failure
    try:
        yield response
    finally:
        # Closes the connection unless the body was read to its end; nothing waits for what is left of it.
        response.release() if response.content.at_eof() else response.close()


async def read_chunks(response: aiohttp.ClientResponse, limits: Limits, what: str) -> AsyncIterator[bytes]:
    """Yield the body in pieces, decompressed. Raises MalformedAnswer where it is cut off or over the cap."""
    failure: JobSyncError | None = None
    size = 0
    try:
        async for chunk in response.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > limits.body_bytes:
                break
            yield chunk
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        failure = _failure_of(error, what, limits)
    if failure is not None:
        raise failure
    if size > limits.body_bytes:
        raise MalformedAnswer(
            f"ServiceTitan's answer for {what} is larger than {limits.body_bytes // 1_048_576} MB.", code=PAGE_TOO_LARGE
        )


async def read_answer(response: aiohttp.ClientResponse, limits: Limits, what: str) -> Answer:
    """Read the whole body, up to the cap. Raises as read_chunks."""
    chunks = [chunk async for chunk in read_chunks(response, limits, what)]
    return Answer(response.status, response.headers, b"".join(chunks))


def _failure_of(error: BaseException, what: str, limits: Limits) -> JobSyncError:
    """Return our error for one of the HTTP library's, without a word of it."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamUnavailable(f"ServiceTitan could not be reached within {limits.connect_seconds:g} s.")
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return UpstreamUnavailable(
            f"ServiceTitan did not finish answering {what} within {limits.total_seconds:g} s.", code=PAGE_TIMEOUT
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UpstreamUnavailable("ServiceTitan's host name could not be resolved.")
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError)):
        return UpstreamUnavailable("ServiceTitan's TLS certificate or handshake was not accepted.")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamUnavailable("ServiceTitan could not be connected to.")
    if isinstance(error, aiohttp.ClientPayloadError) and not isinstance(error.__cause__, ConnectionResetError):
        return MalformedAnswer(f"ServiceTitan's answer for {what} is cut off or wrongly encoded.", code="truncated")
    if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, OSError)):
        return UpstreamUnavailable(f"ServiceTitan broke off the connection over {what}.", code=PAGE_TIMEOUT)
    if isinstance(error, aiohttp.InvalidURL):
        return ConfigError("ServiceTitan's address cannot be used.", hint="Check SERVICE_TITAN_API_URL.")
    if isinstance(error, aiohttp.ClientResponseError):
        return MalformedAnswer(f"ServiceTitan's answer for {what} is not proper HTTP.")
    return UpstreamUnavailable(f"ServiceTitan could not be asked for {what}.")
