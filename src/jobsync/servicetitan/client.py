"""The ServiceTitan client: one request in, one page out.

It signs in (auth.py), keeps the pace (pace.py), sends one GET, and gives the page as the bytes that came (pages.py) or
raises an error whose class says whether trying again can help (answers.py). It never tries again itself, save once
after a 401 with a fresh token: how often and when is the engine's decision (retry.py). It only reads.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from jobsync.errors import (
    ConfigError,
    InvalidInput,
    JobSyncError,
    MalformedAnswer,
    RateLimited,
    UpstreamUnavailable,
)
from jobsync.servicetitan.answers import parse_date, read_refusal, read_retry_after, read_token_refusal
from jobsync.servicetitan.auth import Token, TokenStore
from jobsync.servicetitan.pace import BREAKER_OPEN, Pace
from jobsync.servicetitan.pages import Page, RowReader, parse_page
from jobsync.servicetitan.streams import Order, Stream
from jobsync.servicetitan.transport import (
    Answer,
    Limits,
    check_base_url,
    open_exchange,
    open_session,
    read_answer,
    read_chunks,
)
from jobsync.servicetitan.windows import Ask, Fetch

Environment = Literal["production", "integration"]
RequestKind = Literal["token", "export", "list", "ids", "proxy"]
OnRequest = Callable[[RequestKind, int | None], None]

MAX_PAGE_SIZE = 5_000
"""The largest pageSize that ServiceTitan allows (ServiceTitan contract, section 2.1)."""

# Where ServiceTitan limits without saying for how long, everybody pauses this long; the error says None all the same.
_UNSAID_PAUSE = 1.0

_HOSTS: Mapping[str, tuple[str, str]] = {
    "production": ("https://api.servicetitan.io", "https://auth.servicetitan.io"),
    "integration": ("https://api-integration.servicetitan.io", "https://auth-integration.servicetitan.io"),
}
_TENANT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)
_READ_PATH = re.compile(r"/[a-z]+/v2/tenant/\{tenant\}(?:/[A-Za-z0-9-]+)+", re.ASCII)
# ServiceTitan also takes the app key from the query (contract, section 1), where it would land in logs.
_KEY_IN_QUERY = "servicetitanapplicationkey"
_PASSED_HEADERS = ("Content-Type", "Date", "Retry-After")


class _TokenAnswer(msgspec.Struct):
    access_token: str
    expires_in: float | None = None


_TOKEN_ANSWER = msgspec.json.Decoder(_TokenAnswer, strict=False)
_TOKEN_LIFE = 900.0


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """An answer passed on: its status, the headers that may be passed on, and its body in pieces, to be read once."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]


def token_url(environment: str, auth_url: str | None) -> str:
    """Return the token endpoint. `auth_url` may be its host, to which `/connect/token` is added, or all of its URL."""
    if not auth_url:
        return f"{_hosts(environment)[1]}/connect/token"
    base = check_base_url(auth_url, "SERVICE_TITAN_AUTH_URL")
    return base if "/" in base.split("://", 1)[1] else f"{base}/connect/token"


def api_urls(environment: str, auth_url: str | None, api_url: str | None) -> tuple[str, str]:
    """Return the token endpoint and the root of the API. Raises ConfigError for an unknown environment or a bad URL."""
    root = check_base_url(api_url, "SERVICE_TITAN_API_URL") if api_url else _hosts(environment)[0]
    return token_url(environment, auth_url), root


class ServiceTitanClient:
    """Reads one ServiceTitan tenant. Use it as `async with`; it closes the session only if it opened it.

    `session` None: one is opened on entering. `api_url` and `auth_url` override the hosts of `environment`.
    `on_request` is told of each request as (kind, status), status None where no answer came. Raises ConfigError for
    settings that no request could be made with; its message names the setting, never its value.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession | None = None,
        *,
        tenant_id: str,
        client_id: str,
        client_secret: str,
        app_key: str,
        environment: Environment = "production",
        api_url: str | None = None,
        auth_url: str | None = None,
        pace: Pace,
        tokens: TokenStore,
        on_request: OnRequest | None = None,
        limits: Limits | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tenant_id = _check(_TENANT_ID, str(tenant_id), "SERVICE_TITAN_TENANT_ID")
        self._client_id = client_id
        self._client_secret = client_secret
        self._app_key = _check(_HEADER_SAFE, app_key, "SERVICE_TITAN_APP_KEY")
        self._token_url, self._api_url = api_urls(environment, auth_url, api_url)
        self._pace = pace
        self._tokens = tokens
        self._on_request = on_request
        self._limits = limits or Limits()
        self._now = now
        self._session = session
        self._owns_session = session is None
        self._served_at: datetime | None = None
        self._served_tick = 0.0

    @property
    def served_at(self) -> datetime | None:
        """ServiceTitan's clock at its newest answer, in UTC; None before the first, and where answers carry no Date."""
        return self._served_at

    @property
    def clock(self) -> datetime | None:
        """What ServiceTitan's clock shows now, by its newest answer and the time since; None where it is not known."""
        if self._served_at is None:
            return None
        return self._served_at + timedelta(seconds=time.monotonic() - self._served_tick)

    async def __aenter__(self) -> Self:
        if self._session is None:
            self._session = open_session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the session if this client opened it. May be called twice."""
        if self._owns_session and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def export_page(self, stream: Stream, token: str | None, since: datetime | None = None) -> Page:
        """Return the next page of an export feed: from `token`, else from the date `since`, else from the first record.

        Asks for recent changes too, so that rows may come again on the next call. `page.continue_from` is to be
        stored with the rows; None there means: keep the token you have. A naive `since` is read as UTC. Raises
        RequestRejected with code `cursor_rejected` for a token that is not taken, AccessDenied or RecordMissing with
        code `feed_refused` where there is no such feed for this app, MalformedAnswer with code `cursor_loop`, and all
        that the class of the answer stands for.
        """
        if stream.export_path is None:
            raise InvalidInput(f"The stream {stream.name} has no export feed.")
        params = [*stream.export_params.items(), ("includeRecentChanges", "true")]
        if token is not None:
            params.append(("from", token))
        elif since is not None:
            aware = since.replace(tzinfo=UTC) if since.tzinfo is None else since.astimezone(UTC)
            params.append(("from", aware.isoformat().replace("+00:00", "Z")))
        answer = await self._get(
            "export", stream.export_path, params, f"the feed of {stream.name}", token_sent=token is not None
        )
        return parse_page(answer.body, "export", sent_token=token, served_at=parse_date(answer.headers.get("Date")))

    async def list_page(
        self,
        stream: Stream,
        *,
        modified_from: str | None = None,
        modified_before: str | None = None,
        page: int = 1,
        page_size: int = MAX_PAGE_SIZE,
        include_total: bool = False,
        sort: Order | None = "modifiedOn",
    ) -> Page:
        """Return one page of a list, inactive and merged records included.

        `modified_from` (inclusive) and `modified_before` (exclusive) are timestamps as texts, sent as they are.
        `sort` is ascending; it is left out where the list has none. The records are not checked against the bounds
        here: keyset.py and windows.py do. Raises MalformedAnswer with code `page_ignored` where another page was
        answered.
        """
        params = [*stream.list_params.items(), ("page", str(page)), ("pageSize", str(page_size))]
        if modified_from is not None:
            params.append(("modifiedOnOrAfter", modified_from))
        if modified_before is not None:
            params.append(("modifiedBefore", modified_before))
        if include_total:
            params.append(("includeTotal", "true"))
        if sort is not None:
            params += stream.sorts.get(sort, {}).items()
        answer = await self._get("list", stream.list_path, params, f"the list of {stream.name}")
        return parse_page(answer.body, "list", sent_page=page, served_at=parse_date(answer.headers.get("Date")))

    async def by_ids(
        self, stream: Stream, ids: Iterable[int | str], *, page: int = 1, page_size: int = MAX_PAGE_SIZE
    ) -> Page:
        """Return the records of up to 50 ids (for contacts: the contacts of up to 50 owners), inactive ones included.

        Repeated ids count once; no ids, no request. Ids that do not exist are simply absent. `page.has_more` can only
        be True where there are more than `page_size` contacts: ask for the next page then. Raises InvalidInput for
        more than 50 ids or a stream that takes none, MalformedAnswer with code `filter_ignored` where records came
        that were not asked for.
        """
        if stream.ids_parameter is None:
            raise InvalidInput(f"The stream {stream.name} cannot be asked for by ids.")
        wanted = list(dict.fromkeys(str(one) for one in ids))
        if len(wanted) > stream.ids_max:
            raise InvalidInput(f"At most {stream.ids_max} ids of {stream.name} can be asked for at once.")
        if not all(one.isascii() and one.isdigit() for one in wanted):
            raise InvalidInput(f"An id of {stream.name} is not a number.")
        if not wanted:
            return Page([], False)
        params = [
            *stream.list_params.items(),
            (stream.ids_parameter, ",".join(wanted)),
            ("page", str(page)),
            ("pageSize", str(page_size)),
        ]
        answer = await self._get("ids", stream.list_path, params, f"{stream.name} by ids")
        found = parse_page(answer.body, "list", sent_page=page, served_at=parse_date(answer.headers.get("Date")))
        _check_ids(found, stream.ids_field, wanted)
        return found

    def fetcher(self, stream: Stream) -> Fetch:
        """Return the `fetch` that keyset.py and windows.py read this stream's list with."""

        async def fetch(ask: Ask) -> Page:
            return await self.list_page(
                stream,
                modified_from=ask.modified_from,
                modified_before=ask.modified_before,
                page=ask.page,
                page_size=ask.page_size,
                include_total=ask.include_total,
                sort=ask.order,
            )

        return fetch

    @asynccontextmanager
    async def read(
        self, path: str, params: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    ) -> AsyncIterator[ReadAnswer]:
        """Send one GET and give whatever is answered, refusals too: for a proxy that passes answers on.

        `path` is a v2 path with the literal `{tenant}`, made of plain segments only, so that it cannot lead to another
        tenant or out of the API. Raises InvalidInput for any other path, RedirectRefused for a redirect,
        CredentialsRejected for a second 401, and what transport.py raises; the size cap raises while the body is
        read.
        """
        if not _READ_PATH.fullmatch(path):
            raise InvalidInput("This is not a path of ServiceTitan's API.")
        pairs = list(params.items()) if isinstance(params, Mapping) else list(params)
        pairs = [(name, value) for name, value in pairs if name.lower() != _KEY_IN_QUERY]
        async with self._exchange("proxy", path, pairs, "a record") as response:
            if 300 <= response.status < 400 or response.status == 401:
                raise self._refusal(Answer(response.status, response.headers, b""), "a record")
            if response.status == 429:
                pause = read_retry_after(response.headers, b"", self._now())
                self._pace.slow_down(_UNSAID_PAUSE if pause is None else pause)
            await self._pace.note(response.status < 500)
            headers = {name: response.headers[name] for name in _PASSED_HEADERS if name in response.headers}
            yield ReadAnswer(response.status, headers, read_chunks(response, self._limits, "a record"))

    async def _get(
        self,
        kind: RequestKind,
        path: str,
        params: Sequence[tuple[str, str]],
        what: str,
        *,
        token_sent: bool = False,
    ) -> Answer:
        try:
            async with self._exchange(kind, path, params, what) as response:
                if (served := parse_date(response.headers.get("Date"))) is not None:
                    self._served_at, self._served_tick = served, time.monotonic()
                answer = await read_answer(response, self._limits, what)
            if answer.status != 200:
                raise self._refusal(answer, what, feed=kind == "export", token_sent=token_sent)
        except JobSyncError as error:
            if error.code != BREAKER_OPEN:
                await self._pace.note(not isinstance(error, UpstreamUnavailable))
            raise
        await self._pace.note(True)
        return answer

    def _refusal(self, answer: Answer, what: str, *, feed: bool = False, token_sent: bool = False) -> JobSyncError:
        error = read_refusal(
            answer.status, answer.headers, answer.body, what=what, now=self._now(), feed=feed, token_sent=token_sent
        )
        if isinstance(error, RateLimited):
            self._pace.slow_down(_UNSAID_PAUSE if error.retry_after is None else error.retry_after)
        return error

    @asynccontextmanager
    async def _exchange(
        self, kind: RequestKind, path: str, params: Sequence[tuple[str, str]], what: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one GET and give the answer unread; after a 401 once more, with a fresh token."""
        url = self._api_url + path.replace("{tenant}", self._tenant_id)
        if params:
            # `+` must travel as %2B (ServiceTitan contract, section 2.1) and tokens hold `=` and `/`: nothing is left
            # safe.
            url += "?" + urlencode(params, quote_via=quote, safe="")
        token = await self._tokens.get(self._fetch_token)
        async with self._send(kind, url, token, what) as response:
            if response.status != 401:
                yield response
                return
        token = await self._tokens.get(self._fetch_token, rejected=token)
        async with self._send(kind, url, token, what) as response:
            yield response

    @asynccontextmanager
    async def _send(self, kind: RequestKind, url: str, token: str, what: str) -> AsyncIterator[aiohttp.ClientResponse]:
        await self._pace.take()
        headers = {
            "Authorization": f"Bearer {token}",
            "ST-App-Key": self._app_key,
            "Accept": "application/json",
            "User-Agent": "jobsync",
        }
        status: int | None = None
        try:
            async with open_exchange(
                self._open_session(), "GET", url, headers=headers, limits=self._limits, what=what
            ) as response:
                status = response.status
                yield response
        finally:
            self._count(kind, status)

    async def _fetch_token(self) -> Token:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._client_secret,
        }
        status: int | None = None
        try:
            async with open_exchange(
                self._open_session(),
                "POST",
                self._token_url,
                headers={"Accept": "application/json", "User-Agent": "jobsync"},
                form=form,
                limits=self._limits,
                what="the sign-in",
            ) as response:
                status = response.status
                answer = await read_answer(response, self._limits, "the sign-in")
        finally:
            self._count("token", status)
        if answer.status != 200:
            raise read_token_refusal(answer.status, answer.headers, answer.body, now=self._now())
        return _parse_token(answer.body)

    def _count(self, kind: RequestKind, status: int | None) -> None:
        if self._on_request is not None:
            self._on_request(kind, status)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is used outside its `async with`")
        return self._session


def _parse_token(body: bytes) -> Token:
    failure = MalformedAnswer("ServiceTitan's sign-in answered 200 without a token.")
    try:
        answer = _TOKEN_ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    if answer is None or not _HEADER_SAFE.fullmatch(answer.access_token):
        raise failure
    life = answer.expires_in if answer.expires_in is not None else _TOKEN_LIFE
    return Token(answer.access_token, min(max(life, 0.0), 86_400.0))


def _check_ids(page: Page, name: str, wanted: Sequence[str]) -> None:
    # A query name that ServiceTitan does not know is silently ignored (contract, section 2.1): then anything may come.
    allowed = set(wanted)
    for key, _ in RowReader((name,)).read(page):
        if len(key) == 1 and str(key[0]) not in allowed:
            raise MalformedAnswer("ServiceTitan answered records that were not asked for.", code="filter_ignored")


def _hosts(environment: str) -> tuple[str, str]:
    if environment not in _HOSTS:
        raise ConfigError("SERVICE_TITAN_ENVIRONMENT must be production or integration.")
    return _HOSTS[environment]


def _check(shape: re.Pattern[str], value: str, name: str) -> str:
    if not shape.fullmatch(value):
        raise ConfigError(f"{name} is missing or holds characters that it cannot have.")
    return value
