"""What each answer of ServiceTitan means: status and body in, one error of the tree out.

The table "What happens on each answer" of reliability.md as code. Messages are written here and hold nothing that was
sent or received but status, names of rejected fields, the OAuth error word and ServiceTitan's trace id, each only
where it looks like one: bodies, headers and URLs can carry secrets and people's data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from jobsync.errors import (
    AccessDenied,
    CredentialsRejected,
    JobSyncError,
    MalformedAnswer,
    RateLimited,
    RecordMissing,
    RedirectRefused,
    RequestRejected,
    UpstreamUnavailable,
)

PAGE_TIMEOUT = "page_timeout"
"""Code of an UpstreamUnavailable that a smaller page may avoid: the caller halves pageSize."""
PAGE_TOO_LARGE = "page_too_large"
"""Code where the request or the answer was too large: the caller halves the page or the window."""
FEED_REFUSED = "feed_refused"
"""Code of an AccessDenied or RecordMissing for an export feed: the caller reads the list instead."""
CURSOR_REJECTED = "cursor_rejected"
"""Code of a RequestRejected for the token of an export feed: the caller goes on by date, with overlap."""

_SECONDS = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*", re.ASCII)
_SECONDS_IN_TITLE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s+seconds?\b", re.ASCII | re.IGNORECASE)
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_.\[\]]{0,59}", re.ASCII)
_WORD = re.compile(r"[a-z][a-z_]{0,39}", re.ASCII)
_TRACE_ID = re.compile(r"[A-Za-z0-9|:.\-]{1,80}", re.ASCII)


class _Problem(msgspec.Struct):
    """The body of ServiceTitan's own refusals (ServiceTitan contract, section 2.4); any member may be anything."""

    title: object = None
    traceId: object = None
    errors: object = None
    error: object = None


_PROBLEM = msgspec.json.Decoder(_Problem)


def parse_date(header: str | None) -> datetime | None:
    """Return an HTTP date as an aware UTC datetime, None where there is none or it cannot be read."""
    if not header:
        return None
    try:
        moment = parsedate_to_datetime(header)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read_retry_after(headers: Mapping[str, str], body: bytes, now: datetime) -> float | None:
    """Return how many seconds ServiceTitan asks to wait, None where it does not say.

    `Retry-After` counts, in seconds (also with a fraction) or as a date, measured against the answer's own Date; else
    the seconds that the body's `title` names (ServiceTitan contract, section 3).
    """
    header = headers.get("Retry-After")
    if header is not None:
        if found := _SECONDS.fullmatch(header):
            return float(found[1])
        if moment := parse_date(header):
            return max(0.0, (moment - (parse_date(headers.get("Date")) or now)).total_seconds())
    title = _read_problem(body).title
    if isinstance(title, str) and (found := _SECONDS_IN_TITLE.search(title)):
        return float(found[1])
    return None


def read_refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    what: str,
    now: datetime,
    feed: bool = False,
    token_sent: bool = False,
) -> JobSyncError:
    """Return the error that a data answer other than 200 stands for.

    `what` names what was asked for ("the list of jobs"); `feed` is True for an export feed, `token_sent` if it was
    asked to go on from a token; `now` measures a Retry-After date if the answer has no Date.
    """
    problem = _read_problem(body)
    trace = problem.traceId if isinstance(problem.traceId, str) and _TRACE_ID.fullmatch(problem.traceId) else None
    if 200 <= status < 300:
        return MalformedAnswer(f"ServiceTitan answered {status} without a page of records for {what}.", trace_id=trace)
    if 300 <= status < 400:
        return RedirectRefused(
            f"ServiceTitan answered {what} with a redirect ({status}), which is not followed.",
            hint="Check SERVICE_TITAN_API_URL.",
        )
    if status == 401:
        return CredentialsRejected(
            f"ServiceTitan refused a fresh access token for {what} (401).",
            hint="Check the client id, client secret and app key, and that they belong to SERVICE_TITAN_ENVIRONMENT.",
            trace_id=trace,
        )
    if status == 403:
        return AccessDenied(
            f"ServiceTitan denies access to {what} (403).",
            hint="Grant the scope to the app, and have the tenant's admin accept the app's newest version.",
            code=FEED_REFUSED if feed else None,
            trace_id=trace,
        )
    if token_sent and status in (400, 410, 422) and _may_mean_token(problem):
        return RequestRejected(
            f"ServiceTitan does not take the token from which {what} should go on ({status}).",
            status=status,
            code=CURSOR_REJECTED,
            trace_id=trace,
        )
    if status in (404, 410):
        return RecordMissing(
            f"ServiceTitan does not know {what} ({status}).",
            hint="Check SERVICE_TITAN_TENANT_ID and SERVICE_TITAN_API_URL.",
            code=FEED_REFUSED if feed else None,
            trace_id=trace,
        )
    if status == 429:
        return RateLimited(
            "ServiceTitan asks for fewer requests (429).",
            retry_after=read_retry_after(headers, body, now),
            trace_id=trace,
        )
    if status in (408, 504, 524):
        return UpstreamUnavailable(
            f"ServiceTitan took too long over {what} ({status}).", status=status, code=PAGE_TIMEOUT, trace_id=trace
        )
    if status >= 500:
        return UpstreamUnavailable(f"ServiceTitan could not answer {what} ({status}).", status=status, trace_id=trace)
    if status in (413, 414):
        return RequestRejected(
            f"ServiceTitan finds the request for {what} too large ({status}).",
            status=status,
            code=PAGE_TOO_LARGE,
            trace_id=trace,
        )
    fields = _named_fields(problem)
    named = f": {', '.join(fields)}" if fields else ""
    return RequestRejected(
        f"ServiceTitan rejects the request for {what} ({status}){named}.", status=status, fields=fields, trace_id=trace
    )


def read_token_refusal(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime) -> JobSyncError:
    """Return the error that an answer other than 200 from the token endpoint stands for."""
    word = _read_problem(body).error
    said = f", {word}" if isinstance(word, str) and _WORD.fullmatch(word) else ""
    if 200 <= status < 300:
        return MalformedAnswer(f"ServiceTitan's sign-in answered {status} without a token.")
    if 300 <= status < 400:
        return RedirectRefused(
            f"ServiceTitan's sign-in answered with a redirect ({status}), which is not followed.",
            hint="Check SERVICE_TITAN_AUTH_URL.",
        )
    if status == 429:
        return RateLimited(
            "ServiceTitan's sign-in asks for fewer requests (429).", retry_after=read_retry_after(headers, body, now)
        )
    if status == 408 or status >= 500:
        return UpstreamUnavailable(f"ServiceTitan's sign-in could not answer ({status}).", status=status)
    if status in (400, 401, 403):
        return CredentialsRejected(
            f"ServiceTitan refused to sign in ({status}{said}).",
            hint="Check SERVICE_TITAN_CLIENT_ID and SERVICE_TITAN_CLIENT_SECRET, and that they belong to "
            "SERVICE_TITAN_ENVIRONMENT.",
        )
    return RequestRejected(
        f"ServiceTitan's sign-in does not take the request ({status}{said}).",
        status=status,
        hint="Check SERVICE_TITAN_AUTH_URL.",
    )


def _read_problem(body: bytes) -> _Problem:
    try:
        return _PROBLEM.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Problem()


def _named_fields(problem: _Problem) -> list[str]:
    if not isinstance(problem.errors, dict):
        return []
    return [name for name in problem.errors if isinstance(name, str) and _FIELD.fullmatch(name)][:10]


def _may_mean_token(problem: _Problem) -> bool:
    # The error of a bad token is not documented (ServiceTitan contract, section 10): unless other fields are named,
    # it is the token, the only thing in the request that is not always the same.
    fields = _named_fields(problem)
    return not fields or any(name.lower() in ("from", "continuefrom") for name in fields)
