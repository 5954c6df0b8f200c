"""What an answer of the API that is no success means, as an error of the tree (reliability, GHL column of the table).

The sentence names the call and the status, and of GoHighLevel's text only names of fields: its messages quote e-mails
and names. `code` and `details` carry what the engine acts on: the ids of a duplicate, whether the write may have been
done all the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from jobsync.errors import (
    AccessDenied,
    CredentialsRejected,
    JobSyncError,
    RateLimited,
    RecordMissing,
    RedirectRefused,
    RequestRejected,
    UpstreamUnavailable,
)
from jobsync.gohighlevel.exchange import Reply
from jobsync.gohighlevel.rate_headers import read_rate_state, read_retry_after

DUPLICATE_CONTACT = "duplicate_contact"
DUPLICATE_OPPORTUNITY = "duplicate_opportunity"
SCOPE_MISSING = "scope_missing"
VERSION_REFUSED = "version_refused"
ROUTE_MISSING = "route_missing"
DAILY_QUOTA = "daily_quota"
TOO_LARGE = "too_large"

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_FIELD = re.compile(
    r"(?:property )?([A-Za-z][A-Za-z0-9_]{0,60}(?:\.(?:[0-9]{1,4}|id|key|field_value))*) (?:should|must)\b", re.ASCII
)
_VERSION = re.compile(r"version header|api version", re.IGNORECASE)
_SCOPE = re.compile(r"authorized for this scope|authclass type|user type mismatch|supported by the iam", re.IGNORECASE)
_ROUTE = re.compile(r"cannot (?:get|post|put|patch|delete) /", re.IGNORECASE)
_ABSENT = re.compile(r"not found|does(?: not|n't) exist|no longer exists", re.IGNORECASE)
_DUPLICATE_CONTACT = re.compile(r"duplicated? contact", re.IGNORECASE)
_DUPLICATE_OPPORTUNITY = re.compile(r"duplicated? opportunit", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Call:
    """What a call is: `what` finishes "GoHighLevel refused to ..."; `write` True if it changes something there;
    `by_id` True if its path names a record, so that a 400 may mean "no such record"."""

    kind: str
    what: str
    write: bool = False
    by_id: bool = False


class _Problem(msgspec.Struct):
    message: object = None
    code: object = None
    error: object = None
    meta: object = None
    traceId: object = None


_DECODER = msgspec.json.Decoder(_Problem)


def is_token_refusal(reply: Reply) -> bool:
    """True for a 401 that a fresh token may cure: not the one about the Version header (contract, section 1)."""
    return reply.status == 401 and not _VERSION.search(_message_of(_read_problem(reply.body)))


def read_refusal(call: Call, reply: Reply, sent_names: Collection[str] = ()) -> JobSyncError:
    """The error that an answer other than 2xx stands for. For a 401: after the one reload of the token.

    `sent_names`: names of the fields that were sent; of those, the refused ones are named.
    """
    problem = _read_problem(reply.body)
    message = _message_of(problem)
    status = reply.status
    trace = {"trace_id": _word(problem.traceId)} if _word(problem.traceId) else {}
    if 300 <= status < 400:
        return RedirectRefused(
            f"GoHighLevel answered with a redirect ({status}) when asked to {call.what}; it is not followed.",
            hint="Check GHL_API_URL.",
            **trace,
        )
    if status in (400, 401) and _VERSION.search(message):
        return RequestRejected(
            f"GoHighLevel does not take this API version ({status}); the token is not the cause.",
            status=status,
            code=VERSION_REFUSED,
            **trace,
        )
    if status == 401 and _SCOPE.search(message):
        return AccessDenied(
            f"GoHighLevel's token may not {call.what} (401): a scope is missing, or it is of another account.",
            hint="Use a private integration token of this sub-account, with the contacts and opportunities scopes.",
            code=SCOPE_MISSING,
            **trace,
        )
    if status == 401:
        return CredentialsRejected(
            f"GoHighLevel refused the token when asked to {call.what} (401).",
            hint="Make a new private integration token in the sub-account and set GHL_API_KEY.",
            **trace,
        )
    if status == 403:
        return AccessDenied(
            f"GoHighLevel's token has no access to {call.what} (403): wrong location, or a scope is missing.",
            hint="Check GHL_LOCATION_ID and the token's scopes.",
            **trace,
        )
    if status == 429:
        daily = read_rate_state(reply.headers).daily_remaining == 0
        return RateLimited(
            "GoHighLevel asks for fewer requests (429)" + (": the day's quota is used up." if daily else "."),
            retry_after=read_retry_after(reply.headers),
            **({"code": DAILY_QUOTA} if daily else {}),
            **trace,
        )
    if status == 408 or status >= 500:
        return UpstreamUnavailable(
            f"GoHighLevel could not {call.what} ({status})" + (", or did and failed after it." if call.write else "."),
            status=status,
            ambiguous=call.write,
            **trace,
        )
    if status in (404, 410) or (status == 400 and call.by_id and _ABSENT.search(message)):
        route = bool(_ROUTE.search(message))
        return RecordMissing(
            f"GoHighLevel does not know what is needed to {call.what} ({status}).",
            hint="Check GHL_API_URL." if route else None,
            code=ROUTE_MISSING if route else None,
            status=status,
            **trace,
        )
    return _read_rejection(call, status, problem, _named_fields(problem, sent_names), trace)


def _read_rejection(
    call: Call, status: int, problem: _Problem, fields: list[str], trace: dict[str, Any]
) -> JobSyncError:
    message = _message_of(problem)
    meta: Mapping[str, Any] = problem.meta if isinstance(problem.meta, dict) else {}
    if status in (400, 409, 422):
        if (contact := _word(meta.get("contactId"))) or _DUPLICATE_CONTACT.search(message):
            matched = meta.get("matchingField")
            return RequestRejected(
                f"GoHighLevel has another contact with this phone or e-mail ({status}).",
                status=status,
                code=DUPLICATE_CONTACT,
                contact_id=contact,
                matching_field=matched if matched in ("email", "phone") else None,
                **trace,
            )
        existing = _word(meta.get("existingId"))
        if existing or problem.code == "OPPORTUNITY_NO_DUPLICATE" or _DUPLICATE_OPPORTUNITY.search(message):
            return RequestRejected(
                f"GoHighLevel allows this contact one opportunity in the pipeline, and there is one ({status}).",
                status=status,
                hint="Switch on 'Allow Multiple Opportunities per Contact' in the location's settings.",
                code=DUPLICATE_OPPORTUNITY,
                existing_id=existing,
                **trace,
            )
    if status in (413, 414):
        said = f"GoHighLevel finds the request to {call.what} too large ({status})."
        return RequestRejected(said, status=status, code=TOO_LARGE, **trace)
    named = f": {', '.join(fields)}" if fields else ""
    # A create that was answered 422 had been done (contract, section 3), so the caller looks before it creates again.
    return RequestRejected(
        f"GoHighLevel refused to {call.what} ({status}){named}.",
        status=status,
        fields=fields,
        may_have_written=call.write and status in (400, 422),
        **trace,
    )


def trace_of(body: bytes) -> str | None:
    """The `traceId` of an answer, if it is one."""
    return _word(_read_problem(body).traceId)


def _read_problem(body: bytes) -> _Problem:
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Problem()


def _messages(problem: _Problem) -> list[str]:
    found = problem.message if isinstance(problem.message, list) else [problem.message]
    return [text for text in found if isinstance(text, str)]


def _message_of(problem: _Problem) -> str:
    texts = _messages(problem) or ([problem.error] if isinstance(problem.error, str) else [])
    return " ".join(texts)[:2000]


def _named_fields(problem: _Problem, sent_names: Collection[str]) -> list[str]:
    # Only names that were sent as names: the word in front of "must be" may as well be a customer's.
    named = (_FIELD.match(text[:200]) for text in _messages(problem))
    return list(dict.fromkeys(found[1] for found in named if found and found[1].split(".")[0] in sent_names))[:10]


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None
