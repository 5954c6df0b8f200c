"""What an answer is before it is put on the wire, and the shapes that ServiceTitan's errors have."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import msgspec

from .instants import SECOND

JSON = "application/json; charset=utf-8"
HTML = "text/html"
TITLES = {
    400: "One or more validation errors occurred.",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    500: "An error occurred while processing your request.",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass(slots=True)
class Page:
    """A page of rows, still in pieces so that a fault can change one of them. head: the envelope without `data`."""

    head: dict[str, Any]
    rows: list[bytes]

    def encode(self) -> bytes:
        """The body: the envelope's members, then `data`."""
        return msgspec.json.encode(self.head)[:-1] + b',"data":[' + b",".join(self.rows) + b"]}"


@dataclass(slots=True)
class Reply:
    """An answer: status, body and headers beyond Content-Type, Content-Length and Date. `page` is set where rows are
    answered."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    page: Page | None = None

    def encode(self) -> bytes:
        """The body's bytes; a page that was encoded once (into `body`) is not encoded again."""
        return self.body or (self.page.encode() if self.page is not None else b"")


class Refusal(Exception):
    """Raised anywhere while a request is read: carries the answer that it ends in."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def json_reply(value: Any, status: int = 200) -> Reply:
    """A plain JSON answer."""
    return Reply(status, msgspec.json.encode(value))


def problem(status: int, title: str | None = None, errors: dict[str, list[str]] | None = None) -> Reply:
    """The six-member error body (ServiceTitan contract, section 2.4)."""
    title = title or TITLES.get(status, "Error")
    trace = hashlib.sha256(f"{status}{title}{errors}".encode()).hexdigest()
    return json_reply(
        {
            "type": f"https://tools.ietf.org/html/rfc7231#section-6.{status // 100 + 1}",
            "title": title,
            "status": status,
            "traceId": f"00-{trace[:32]}-{trace[32:48]}-00",
            "errors": errors or {},
            "data": {},
        },
        status,
    )


def gateway_error(status: int, shape: str, title: str | None = None) -> Reply:
    """A 401, 403, 429 or 5xx in the shape of the switch `error_body`: json, empty or html."""
    if shape == "empty":
        return Reply(status, b"", "text/plain")
    if shape == "html":
        return html_page(status, title or TITLES.get(status, "Error"))
    return problem(status, title)


def html_page(status: int, title: str) -> Reply:
    """What a gateway in front of the service says; a 503 really can be HTML (contract, section 2.4)."""
    text = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Reply(status, text.encode(), HTML)


def too_many(seconds: float, shape: str, retry_after: str, now: float) -> Reply:
    """A 429: the wait in the title and, as the switch `retry_after` says, in a header. now: Unix time of the answer."""
    whole = max(1, math.ceil(seconds))
    reply = gateway_error(429, shape, f"Rate limit is exceeded. Try again in {whole} seconds.")
    if retry_after == "seconds":
        reply.headers["Retry-After"] = str(whole)
    elif retry_after == "date":
        reply.headers["Retry-After"] = http_date(now + whole)
    return reply


def http_date(unix: float) -> str:
    """Unix time as an HTTP date."""
    return formatdate(unix, usegmt=True)


def unix_from_ticks(ticks: int) -> float:
    """Ticks to seconds since 1970."""
    return ticks / SECOND - 62_135_596_800
