"""One POST to an inbound hook, and what its answer means.

GoHighLevel's hook has two kinds of 200: one with an execution id (queued), one without that says `test request
received` (the trigger is unknown or unsaved: nothing will run). An answer that did not come although the request may
have left is ambiguous: the workflow may have run (GoHighLevel contract, section 9; reliability, answers table). Nothing
raises for an answer: the outcome says it all. Called twice, it posts twice: hooks know no repeats.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import aiohttp
import msgspec

from jobsync.errors import DestinationRefused
from jobsync.gohighlevel.destination_guard import Guard
from jobsync.gohighlevel.exchange import Broken, Reply, send
from jobsync.gohighlevel.outcomes import Answer, Outcome, classify_status
from jobsync.gohighlevel.rate_headers import read_retry_after
from jobsync.gohighlevel.redaction import redact, secrets_of_url

TEST_ONLY = "GoHighLevel took the job for a test sample: the workflow's trigger is not saved or not published."
_READ_BYTES = 16 * 1024
_LONGEST_ID = 100
# Uncompressed on purpose: the answer is a line, and a packed one could unfold to any size.
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "jobsync",
}
_SENTENCES = {
    Outcome.REJECTED: "The hook refused the body",
    Outcome.UNAUTHORIZED: "The hook refused access",
    Outcome.GONE: "The hook does not exist any more",
    Outcome.RATE_LIMITED: "The hook asks to slow down",
    Outcome.AMBIGUOUS: "The hook failed, and may have run all the same",
}


class _HookAnswer(msgspec.Struct):
    id: object = None
    status: object = None


_DECODER = msgspec.json.Decoder(_HookAnswer)


async def post_webhook(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    *,
    guard: Guard,
    secrets: Sequence[str] | None = None,
    timeout_connect: float = 5.0,
    timeout_total: float = 30.0,
) -> Answer:
    """Posts the JSON `body` once and reads the answer. `session` from `make_session`. See `Outcome` for the words.

    `secrets`: the `secrets_of_url`, by whoever posts to it many times.
    """
    started = time.monotonic()
    try:
        guard.check_url(url)
        came = await send(
            session,
            "POST",
            url,
            headers=_HEADERS,
            body=body,
            timeout_connect=timeout_connect,
            timeout_total=timeout_total,
            body_cap=_READ_BYTES,
        )
    except DestinationRefused as error:
        return _without_answer(Outcome.REJECTED, error.message, started)
    if isinstance(came, Reply):
        return _judge(came, secrets_of_url(url) if secrets is None else secrets, body, started)
    return _judge_silence(came, started)


def _judge_silence(broken: Broken, started: float) -> Answer:
    if broken.sent:
        return _without_answer(Outcome.AMBIGUOUS, f"{_SENTENCES[Outcome.AMBIGUOUS]} ({broken.reason}).", started)
    return _without_answer(Outcome.UNSENT, f"The hook was not reached ({broken.reason}); nothing was sent.", started)


def _judge(reply: Reply, secrets: Sequence[str], body: bytes, started: float) -> Answer:
    # A body that breaks off behind its status line changes nothing: the hook has answered (answers table, truncated).
    raw = reply.body.decode("utf-8", "replace")
    outcome, execution_id = _read_success(reply.body, raw) if 200 <= reply.status < 300 else (None, None)
    if outcome is None:
        outcome = classify_status(reply.status)
        error: str | None = f"{_SENTENCES[outcome]} (HTTP {reply.status})."
    else:
        error = TEST_ONLY if outcome is Outcome.TEST_ONLY else None
    return Answer(
        outcome=outcome,
        status=reply.status,
        execution_id=execution_id,
        retry_after=read_retry_after(reply.headers) if outcome is Outcome.RATE_LIMITED else None,
        answer_text=redact(raw, secrets=secrets, sent=body),
        duration_ms=_since(started),
        error=error,
    )


def _read_success(raw: bytes, text: str) -> tuple[Outcome, str | None]:
    try:
        found = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = _HookAnswer()
    if isinstance(found.id, str) and found.id.strip():
        # A stand-in for GoHighLevel may hand out any id; in the database it must be one printable word.
        word = found.id.strip()
        return Outcome.ACCEPTED, (word if word.isprintable() else "".join(filter(str.isprintable, word)))[:_LONGEST_ID]
    if "test request received" in (found.status if isinstance(found.status, str) else text).lower():
        return Outcome.TEST_ONLY, None
    return Outcome.ACCEPTED_WITHOUT_ID, None


def _without_answer(outcome: Outcome, error: str, started: float) -> Answer:
    return Answer(outcome, None, None, None, "", _since(started), error)


def _since(started: float) -> float:
    return (time.monotonic() - started) * 1000
