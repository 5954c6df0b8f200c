"""What came of one API send, in the words of `jobsync.finish_deliveries`: each answer is judged here and nowhere else.

accepted      the card stands in GoHighLevel, its id is known
skipped       nothing is to be sent, with a reason: no_contact, shared_contact, no_pipeline, deleted_in_ghl,
              card_unknown
ambiguous     a create that may have been done: it is looked for before anything is created again
settling      such a create, and the search may still be behind: looked for again later, burns no attempt
unavailable   a call that changed nothing failed (5xx, an unreadable answer): tried again by the schedule
rejected      GoHighLevel refuses this job as it stands
unauthorized  the token or its rights: the destination is paused
gone          a route of the API that does not exist
rate_limited  429, or the location's budget is blocked: burns no attempt
unsent        nothing left this machine: burns no attempt
stopped       paused, disarmed, or the claim ran out while it was under way: goes back as it was
"""

from __future__ import annotations

from typing import Any

from jobsync.engine.location_pace import BUDGET_BLOCKED, seconds_to_quota
from jobsync.errors import (
    AccessDenied,
    ConfigError,
    CredentialsRejected,
    DatabaseUnavailable,
    JobSyncError,
    MalformedAnswer,
    RateLimited,
    RecordMissing,
    RequestRejected,
    SendingRefused,
    UpstreamUnavailable,
)
from jobsync.gohighlevel.refusals import DAILY_QUOTA, ROUTE_MISSING, SCOPE_MISSING, VERSION_REFUSED

Result = dict[str, Any]
BACK_AFTER = 5.0


class SendEnded(Exception):
    """Ends a send early with its result. Not a failure of the program: `result` says what came of it."""

    def __init__(self, result: Result) -> None:
        super().__init__(result["outcome"])
        self.result = result


def skip(reason: str, sentence: str) -> SendEnded:
    """Nothing is to be sent for this job; `reason` is what stands in ghl_sync_reason."""
    return SendEnded({"outcome": "skipped", "reason": reason, "error": sentence})


def settle(seconds: float) -> SendEnded:
    """A create may have been done and may not show yet: looked for again in `seconds`."""
    said = "An earlier try may have been done; GoHighLevel is asked again before anything is created."
    return SendEnded({"outcome": "settling", "error": said, "retry_after": max(seconds, 1.0)})


def stop(sentence: str) -> SendEnded:
    """Goes back as it was."""
    return SendEnded({"outcome": "stopped", "error": sentence, "retry_after": 0.0})


def classify(error: JobSyncError) -> Result:
    """The result that an error of the client or the database stands for (reliability, "What happens on each answer")."""
    result: Result = {"outcome": _outcome(error), "error": error.message, "status": _status(error)}
    if isinstance(error, RateLimited):
        wait = error.retry_after
        result["retry_after"] = max(wait or 0.0, seconds_to_quota()) if error.code == DAILY_QUOTA else wait
    elif isinstance(error, DatabaseUnavailable):
        result["retry_after"] = BACK_AFTER
    return result


def _outcome(error: JobSyncError) -> str:
    if isinstance(error, RateLimited):
        return "rate_limited"
    if isinstance(error, CredentialsRejected | AccessDenied) or error.code == VERSION_REFUSED:
        return "unauthorized"
    if isinstance(error, UpstreamUnavailable):
        return "ambiguous" if error.ambiguous else "unsent" if error.status is None else "unavailable"
    if isinstance(error, MalformedAnswer):
        return "unavailable"
    if isinstance(error, RecordMissing) and error.code == ROUTE_MISSING:
        return "gone"
    if isinstance(error, ConfigError):
        return "unsent"
    if isinstance(error, SendingRefused | DatabaseUnavailable):
        return "stopped"
    return "rejected"


def _status(error: JobSyncError) -> int | None:
    if isinstance(error, UpstreamUnavailable | RequestRejected):
        return error.status
    if isinstance(error, RateLimited):
        # The pace's own refusal is no answer.
        return None if error.code == BUDGET_BLOCKED else 429
    if isinstance(error, CredentialsRejected) or error.code == SCOPE_MISSING:
        return 401
    if isinstance(error, AccessDenied):
        return 403
    found = error.details.get("status")
    return found if isinstance(found, int) else None
