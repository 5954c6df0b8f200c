"""One call to GoHighLevel's API: token, pace, Version header, the answer's JSON or the error it stands for.

It never tries again by itself, save once after a 401 with a reloaded token (a 401 has written nothing): how often and
when is the engine's decision, because only it can look before it writes again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import msgspec

from jobsync.errors import (
    ConfigError,
    CredentialsRejected,
    InvalidInput,
    MalformedAnswer,
    RateLimited,
    UpstreamUnavailable,
)
from jobsync.gohighlevel.exchange import Broken, Reply, send
from jobsync.gohighlevel.pace import Pace, Unpaced
from jobsync.gohighlevel.rate_headers import read_rate_state
from jobsync.gohighlevel.refusals import Call, is_token_refusal, read_refusal, trace_of

API_URL = "https://services.leadconnectorhq.com"
VERSION = "2021-07-28"
"""Pinned: the paths, query names and custom field keys used here are those of this version (contract, section 1)."""

BODY_CAP = 8 * 1024 * 1024
# Where GoHighLevel limits without saying for how long, everybody pauses this long: its interval (contract, section 8).
_UNSAID_PAUSE = 10.0
_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

OnRequest = Callable[[str, int | None], None]
"""Told of each request: its kind (the method's name) and the status, None where no answer came."""


class TokenSource(Protocol):
    """Gives the bearer token. Called for every request, so that a rotated token is taken up at once."""

    async def __call__(self, rejected: str | None = None) -> str:
        """The token to use now. `rejected` is one that GoHighLevel just refused: read or refresh, do not repeat it.

        Answering the same value again means that there is no other; the request then fails. Errors pass through.
        """
        ...


class Caller:
    """The part of the client that all calls share. See GoHighLevelClient."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        location_id: str,
        token_source: TokenSource,
        api_url: str = API_URL,
        version: str = VERSION,
        pace: Pace | None = None,
        on_request: OnRequest | None = None,
        timeout_connect: float = 5.0,
        timeout_total: float = 30.0,
    ) -> None:
        if not _ID.fullmatch(location_id):
            raise ConfigError("GHL_LOCATION_ID is not the id of a location.", hint="Copy it from the sub-account.")
        self.location_id = location_id
        self._session = session
        self._token_source = token_source
        self._base = check_api_url(api_url)
        self._version = version
        self._pace: Pace = Unpaced() if pace is None else pace
        self._on_request = on_request
        self._timeouts = (timeout_connect, timeout_total)

    async def _call(
        self, call: Call, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: object = None
    ) -> dict[str, Any]:
        """The answer's JSON object. Raises as `read_refusal`; MalformedAnswer for a read that is no JSON object;
        UpstreamUnavailable with `ambiguous` for a write whose answer cannot be read."""
        url = f"{self._base}{path}" + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else msgspec.json.encode(body)
        token = await self._token()
        reply = await self._send(call, method, url, content, token)
        if is_token_refusal(reply):
            fresh = await self._token(rejected=token)
            if fresh != token:
                reply = await self._send(call, method, url, content, fresh)
        if reply.status == 429:
            self._pause(call, reply)
        if not 200 <= reply.status < 300:
            raise read_refusal(call, reply, {*(query or ()), *(body if isinstance(body, Mapping) else ())})
        found = _read_object(reply)
        if found is None:
            raise self._unreadable(call, reply)
        return found

    def _unreadable(self, call: Call, reply: Reply | None = None) -> MalformedAnswer | UpstreamUnavailable:
        """The error for a 2xx that does not hold what the contract promises: a write may have been done."""
        status = None if reply is None else reply.status
        trace = None if reply is None else trace_of(reply.body)
        if call.write:
            return UpstreamUnavailable(
                f"GoHighLevel was asked to {call.what}, and its answer does not say whether it did.",
                status=status,
                ambiguous=True,
                code="malformed_answer",
                trace_id=trace,
            )
        said = f"GoHighLevel's answer cannot be read (asked to {call.what})."
        return MalformedAnswer(said, status=status, trace_id=trace)

    async def _send(self, call: Call, method: str, url: str, content: bytes | None, token: str) -> Reply:
        headers = {
            "Authorization": f"Bearer {token}",
            "Version": self._version,
            "Accept": "application/json",
            "User-Agent": "jobsync",
        }
        if content is not None:
            headers["Content-Type"] = "application/json"
        await self._pace.take()
        came = await send(
            self._session,
            method,
            url,
            headers=headers,
            body=content,
            timeout_connect=self._timeouts[0],
            timeout_total=self._timeouts[1],
            body_cap=BODY_CAP,
        )
        if self._on_request is not None:
            self._on_request(call.kind, came.status if isinstance(came, Reply) else None)
        if isinstance(came, Broken):
            ambiguous = call.write and came.sent
            said = f"GoHighLevel could not be asked to {call.what} ({came.reason})"
            done = ", and may have done it all the same." if ambiguous else "."
            raise UpstreamUnavailable(said + done, ambiguous=ambiguous)
        self._pace.observe(read_rate_state(came.headers))
        return came

    def _pause(self, call: Call, reply: Reply) -> None:
        refusal = read_refusal(call, reply)
        said = refusal.retry_after if isinstance(refusal, RateLimited) else None
        self._pace.slow_down(_UNSAID_PAUSE if said is None else said)

    async def _token(self, rejected: str | None = None) -> str:
        token = await (self._token_source() if rejected is None else self._token_source(rejected))
        if not isinstance(token, str) or not _HEADER_SAFE.fullmatch(token):
            raise CredentialsRejected(
                "GoHighLevel's token is empty or holds characters that no token has.", hint="Check GHL_API_KEY."
            )
        return token


def check_api_url(text: str) -> str:
    """A base URL without a trailing slash. Raises ConfigError naming GHL_API_URL, never its value."""
    try:
        parts = urlsplit(text.strip())
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("GHL_API_URL is not an http or https address.")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigError("GHL_API_URL must be an address without user, password, query or fragment.")
    return text.strip().rstrip("/")


def path_id(value: str, what: str) -> str:
    """An id as it may stand in a path. Raises InvalidInput for what is no id, so that no path can be made of one."""
    if not _ID.fullmatch(value):
        raise InvalidInput(f"This is not the id of a {what} in GoHighLevel.")
    return quote(value, safe="")


def _read_object(reply: Reply) -> dict[str, Any] | None:
    if not reply.complete or reply.cut:
        return None
    try:
        found = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
