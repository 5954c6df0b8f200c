"""Answers and the shapes of GoHighLevel's errors (GoHighLevel contract, section 7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

ERROR_NAMES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    410: "Gone",
    413: "Payload Too Large",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_ENCODER = msgspec.json.Encoder()


@dataclass(slots=True)
class Answer:
    """What goes back: a status, a JSON value (or bytes with their content type) and extra headers."""

    status: int
    body: Any = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    content_type: str = "application/json; charset=utf-8"

    def encoded(self) -> bytes:
        """The body as bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else _ENCODER.encode(self.body)


class Refusal(Exception):
    """An answer that ends a request early; carries the answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.status))
        self.answer = answer


def error(status: int, message: str | list[str], **more: Any) -> Answer:
    """`{statusCode, message, error}`; more: further keys such as code and meta, placed before `error`."""
    body = {"statusCode": status, "message": message, **more}
    if status not in (429,):
        body["error"] = ERROR_NAMES.get(status, "Error")
    return Answer(status, body)


def refuse(status: int, message: str | list[str], **more: Any) -> Refusal:
    """The same as an exception to raise."""
    return Refusal(error(status, message, **more))


def missing(status: str, what: str, identifier: str) -> Refusal:
    """A record that is not there; the status is a switch (contract, section 7)."""
    return refuse(int(status), f"{what} with id {identifier} not found")
