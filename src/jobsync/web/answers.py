"""Answers: rows as PostgreSQL wrote them, everything else encoded once; errors in one shape.

A row travels as the JSON text that SQL made of it, so that 64-bit ids and decimals keep all their digits and nothing is
decoded on the way. Errors are `{"error", "code", "hint", ...}`; never a stack, never a body that was sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from fastapi import Response

from jobsync.errors import ConfigError, DatabaseUnavailable, JobSyncError

_ENCODER = msgspec.json.Encoder(decimal_format="number")
RETRY_AFTER_SECONDS = 5
# A connection whose body was not read to the end must not be used again.
_CLOSING = {408, 413, 431}


class JsonAnswer(Response):
    """A JSON answer; `content` may hold `raw(...)` pieces, datetimes (UTC), UUIDs and decimals."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of the body."""
        try:
            return _ENCODER.encode(content)
        except OverflowError:  # a whole number beyond 64 bits, in somebody's metadata
            return json.dumps(content, default=_show, separators=(",", ":")).encode()


def raw(text: str) -> msgspec.Raw:
    """A JSON text to put into an answer as it stands."""
    return msgspec.Raw(text.encode())


def raws(rows: Iterable[Mapping[str, Any]]) -> list[msgspec.Raw]:
    """The `row` column of each row, to put into an answer as a list."""
    return [raw(row["row"]) for row in rows]


def answer_error(error: JobSyncError, request_id: str | None = None) -> JsonAnswer:
    """The answer that stands for an error of ours, with its HTTP status."""
    # A database that is not set up is nothing that the caller can mend.
    status = 503 if isinstance(error, ConfigError | DatabaseUnavailable) else error.http_status
    body: dict[str, Any] = {"error": error.message, "code": error.code, "hint": error.hint, **error.details}
    headers = {}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    elif status == 429 and isinstance(body.get("retry_after"), int | float):
        headers["Retry-After"] = str(max(1, round(body["retry_after"])))
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in _CLOSING:
        headers["Connection"] = "close"
    if status >= 500 and request_id is not None:
        body["request_id"] = request_id
    return JsonAnswer(body, status_code=status, headers=headers)


def answer_failure(request_id: str) -> JsonAnswer:
    """The answer to an error that nobody expected: an id to find it by in the log, nothing else."""
    body = {
        "error": "Something went wrong inside JobSync.",
        "code": "internal",
        "hint": "The log has a line with this request_id.",
        "request_id": request_id,
    }
    return JsonAnswer(body, status_code=500)


def _show(value: object) -> Any:
    if isinstance(value, msgspec.Raw):
        return json.loads(bytes(value))
    return json.loads(_ENCODER.encode(value))
