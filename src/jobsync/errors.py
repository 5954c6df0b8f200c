"""The error tree: every error says, by its class alone, whether trying again can help.

    JobSyncError
    ├── TransientError            the same call may succeed later; the caller retries with backoff
    │   ├── UpstreamUnavailable   5xx, timeout, reset, DNS: ServiceTitan or GoHighLevel did not answer properly
    │   ├── MalformedAnswer       a 2xx whose body is not what the contract promises (never read as "0 records")
    │   ├── RateLimited           429; carries how long to wait; burns no attempt
    │   ├── DatabaseUnavailable   PostgreSQL cannot be reached or broke off
    │   └── LockHeld              another run does this work right now
    └── TerminalError             trying again unchanged cannot help; a person or a setting must change
        ├── ConfigError           a setting is missing or contradictory
        ├── CredentialsRejected   401 after one refresh
        ├── AccessDenied          403: a scope, app key or location is not granted
        ├── RequestRejected       400/409/422: the upstream refuses this request as it stands
        ├── RecordMissing         404/410: the upstream has no such record or route
        ├── RedirectRefused       3xx: never followed
        ├── DestinationRefused    a URL that JobSync must not call (private address, scheme, host)
        ├── InvalidInput          what a person or a caller handed in
        ├── CallRefused           a call of our own API that is not let in: no key, too large, too slow, not JSON
        ├── SchemaDrift           a page in which too many records do not fit: stop and say so
        ├── SendingRefused        disarmed, paused, capped or contested: nothing was sent
        ├── ConfirmationNeeded    a destructive or sending act without --yes
        └── CheckFailed           a check was asked for and did not hold

Each class carries the exit code of the command line (ux: exit codes) and the HTTP status that the API answers.
A message is one sentence for a person (what happened and why); `hint` says what to do next. Neither ever contains a
secret, a body, a header or a URL with its query.
"""

from __future__ import annotations


class JobSyncError(Exception):
    """Base of all errors that JobSync raises on purpose. `code` is stable and machine-readable."""

    exit_code = 1
    http_status = 500
    code = "error"

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        if code is not None:
            self.code = code


class TransientError(JobSyncError):
    """The same call may succeed later."""

    exit_code = 7
    http_status = 503
    code = "transient"


class UpstreamUnavailable(TransientError):
    """ServiceTitan or GoHighLevel did not answer properly: 5xx, timeout, reset, DNS.

    `ambiguous` is True when any byte of a write may have reached the upstream, so that it may have been done.
    """

    http_status = 502
    code = "upstream_unavailable"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        ambiguous: bool = False,
        hint: str | None = None,
        code: str | None = None,
        **details: object,
    ) -> None:
        super().__init__(message, hint=hint, code=code, **details)
        self.status = status
        self.ambiguous = ambiguous


class MalformedAnswer(TransientError):
    """A 2xx answer that is not what the contract promises: HTML, cut off, no `data`, too large."""

    http_status = 502
    code = "malformed_answer"


class RateLimited(TransientError):
    """429. `retry_after` is in seconds, None when the upstream did not say."""

    http_status = 429
    code = "rate_limited"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        hint: str | None = None,
        code: str | None = None,
        **details: object,
    ) -> None:
        super().__init__(message, hint=hint, code=code, **details)
        self.retry_after = retry_after


class DatabaseUnavailable(TransientError):
    """PostgreSQL cannot be reached, refuses the login, or broke off in the middle."""

    exit_code = 6
    code = "database_unavailable"


class LockHeld(TransientError):
    """Another run holds the lock for this work."""

    exit_code = 75
    http_status = 409
    code = "lock_held"


class TerminalError(JobSyncError):
    """Trying again unchanged cannot help."""

    exit_code = 1
    code = "terminal"


class ConfigError(TerminalError):
    """A setting is missing, malformed or contradicts another."""

    exit_code = 6
    code = "config"


class CredentialsRejected(TerminalError):
    """The upstream answered 401 again after one refresh."""

    exit_code = 6
    http_status = 502
    code = "credentials_rejected"


class AccessDenied(TerminalError):
    """The upstream answered 403: a scope, app key or location is not granted."""

    exit_code = 6
    http_status = 502
    code = "access_denied"


class RequestRejected(TerminalError):
    """The upstream answered 400, 409 or 422: this request is refused as it stands."""

    exit_code = 7
    http_status = 502
    code = "request_rejected"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        hint: str | None = None,
        code: str | None = None,
        **details: object,
    ) -> None:
        super().__init__(message, hint=hint, code=code, **details)
        self.status = status


class RecordMissing(TerminalError):
    """The upstream (or our own database) has no such record or route."""

    exit_code = 4
    http_status = 404
    code = "not_found"


class RedirectRefused(TerminalError):
    """The upstream answered 3xx. Redirects are never followed: they could carry a credential elsewhere."""

    exit_code = 7
    http_status = 502
    code = "redirect_refused"


class DestinationRefused(TerminalError):
    """A URL that JobSync must not call: not https, a private address, credentials inside, an odd port."""

    exit_code = 2
    http_status = 400
    code = "destination_refused"


class InvalidInput(TerminalError):
    """What a person or a caller handed in cannot be used; the message names the field."""

    exit_code = 2
    http_status = 400
    code = "invalid_input"


class CallRefused(TerminalError):
    """A call of our own API is not let in; `status` is the HTTP status that says why (401, 403, 408, 413, 415, ...)."""

    exit_code = 2
    code = "call_refused"

    def __init__(self, status: int, message: str, *, code: str, hint: str | None = None, **details: object) -> None:
        super().__init__(message, hint=hint, code=code, **details)
        self.http_status = status


class SchemaDrift(TerminalError):
    """Too many records of one page do not fit: the stream stops, its cursor stays."""

    exit_code = 7
    code = "schema_drift"


class SendingRefused(TerminalError):
    """Nothing was sent: the tenant is disarmed, paused or capped, or the route is contested."""

    exit_code = 5
    http_status = 409
    code = "sending_refused"


class ConfirmationNeeded(TerminalError):
    """A destructive or sending act was asked for without its confirmation."""

    exit_code = 9
    http_status = 409
    code = "confirmation_needed"


class CheckFailed(TerminalError):
    """A check was asked for and did not hold."""

    exit_code = 3
    http_status = 503
    code = "check_failed"
