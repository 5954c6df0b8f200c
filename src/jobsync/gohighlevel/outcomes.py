"""What came of one attempt at a hook: the words that the engine and the attempts table use."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """accepted: 2xx with an execution id; accepted_without_id: any other 2xx; test_only: taken as a mere sample.

    rejected: the body or the URL is refused (3xx, 400, 413, 422, the guard); unauthorized: 401, 403; gone: 404, 410;
    rate_limited: 429; ambiguous: it may have been done (5xx, 408, or broken off after it was sent); unsent: nothing
    left this machine (DNS, refused, TLS, no connection in time).
    """

    ACCEPTED = "accepted"
    ACCEPTED_WITHOUT_ID = "accepted_without_id"
    TEST_ONLY = "test_only"
    REJECTED = "rejected"
    UNAUTHORIZED = "unauthorized"
    GONE = "gone"
    RATE_LIMITED = "rate_limited"
    AMBIGUOUS = "ambiguous"
    UNSENT = "unsent"


@dataclass(frozen=True)
class Answer:
    """One attempt's answer.

    `status`: None when no answer came. `execution_id`: only when accepted. `retry_after`: seconds, only when
    rate-limited and known. `answer_text`: at most 2 KB, redacted. `error`: one sentence, None when accepted.
    """

    outcome: Outcome
    status: int | None
    execution_id: str | None
    retry_after: float | None
    answer_text: str
    duration_ms: float
    error: str | None


def classify_status(status: int) -> Outcome:
    """The outcome of an answer that is no 2xx (reliability, "What happens on each answer")."""
    if status in (401, 403):
        return Outcome.UNAUTHORIZED
    if status in (404, 410):
        return Outcome.GONE
    if status == 429:
        return Outcome.RATE_LIMITED
    if status == 408 or status >= 500:
        return Outcome.AMBIGUOUS
    return Outcome.REJECTED
