"""Faults on demand: which request goes wrong, how often, and how.

A fault is scoped by a path pattern (`jpm/export/jobs`, `crm/*`, `connect/token`), lets `skip` matching calls pass, then
strikes `count` times (None: until cleared). Only one fault strikes a call: the first that matches, oldest first.

Kinds
  instead of the answer: `status` (any code; `body`: json, html, empty or raw text; `retry_after`: seconds, date,
    garbage, absent or the header's text), `redirect` (`to`), `hang` (never answers), `reset` (connection reset,
    nothing sent)
  the answer's body: `body` (`how`: a name of corruptions.BODIES), `row` (`how`: a name of corruptions.ROWS, `row`:
    index), `plant` (`rows`: raw texts put into the page at index `row`), `duplicate_page` (the page before, again)
  the way it is sent: `truncate` (length declared, body cut at `share`), `short_length` (a Content-Length that is too
    small), `reset_midway` (cut at `share`, then a reset), `drip` (one byte every `pause` seconds), `endless` (never
    ends: blanks for ever), `gzip_bomb` (1 KB that unpacks to `megabytes`), `wrong_type` (JSON sent as text/html)
"""

from __future__ import annotations

import gzip
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from itertools import count
from typing import Any

from .corruptions import BODIES, ROWS
from .replies import HTML, Page, Reply, gateway_error, html_page, http_date, problem, too_many

INSTEAD = ("status", "redirect", "hang", "reset")
CONTENT = ("body", "row", "plant", "duplicate_page")
SENDING = ("truncate", "short_length", "reset_midway", "drip", "endless", "gzip_bomb", "wrong_type")
RETRY_AFTER_GARBAGE = "soon, please"


@dataclass(slots=True)
class Fault:
    """One fault; see the module docstring for its fields by kind. struck counts how often it has."""

    kind: str
    path: str = "*"
    method: str = "*"
    count: int | None = 1
    skip: int = 0
    query: str = ""
    """Only calls whose raw query contains this text."""
    status: int = 500
    body: str = ""
    retry_after: str = ""
    seconds: float = 1.0
    """The wait that a 429 tells, in title and header."""
    to: str = "https://login.example.com/"
    how: str = ""
    row: int = 0
    rows: list[str] = field(default_factory=list)
    share: float = 0.5
    pause: float = 0.05
    megabytes: int = 100
    id: int = 0
    struck: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for a kind or a `how` that does not exist."""
        if self.kind not in INSTEAD + CONTENT + SENDING:
            raise ValueError(f"no fault is called {self.kind}; there are {', '.join(INSTEAD + CONTENT + SENDING)}")
        known = {"body": BODIES, "row": ROWS}.get(self.kind)
        if known is not None and self.how not in known:
            raise ValueError(f"a {self.kind} fault takes how = one of {', '.join(known)}")


class FaultBox:
    """The faults that wait for their call."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []
        self._numbers = count(1)

    def add(self, fault: Fault) -> Fault:
        """Arms a fault and gives it an id."""
        fault.id = next(self._numbers)
        self.waiting.append(fault)
        return fault

    def plan(self, kind: str, path: str = "*", **more: Any) -> Fault:
        """Makes and arms a fault: `faults.plan("status", "jpm/export/jobs", status=503, body="html", count=2)`."""
        return self.add(Fault(kind, path, **more))

    def throttle(
        self, path: str = "*", *, seconds: float = 1.0, retry_after: str = "seconds", count: int | None = 1
    ) -> Fault:
        """429 with the wait in the title and Retry-After as `seconds`, `date`, `garbage`, `absent` or literal text."""
        return self.plan("status", path, status=429, seconds=seconds, retry_after=retry_after, count=count)

    def refuse(self, path: str, *, status: int = 403, count: int | None = None) -> Fault:
        """A feed (or list) that this account may not read: 403, or 404 where it does not exist."""
        return self.plan("status", path, status=status, count=count)

    def reject_token(self, path: str, *, status: int = 400, count: int | None = 1) -> Fault:
        """A continuation token that is no longer accepted: strikes only calls with `from=` that is no date."""
        return self.plan("status", path, status=status, query="from=A", count=count)

    def corrupt(self, path: str, how: str, *, row: int = 0, count: int | None = 1) -> Fault:
        """Spoils one row (a name of corruptions.ROWS) or the whole body (a name of corruptions.BODIES)."""
        return self.plan("row" if how in ROWS else "body", path, how=how, row=row, count=count)

    def plant(self, path: str, *rows: str, at: int = 0, count: int | None = 1) -> Fault:
        """Puts raw texts between the rows of a page."""
        return self.plan("plant", path, rows=list(rows), row=at, count=count)

    def take(self, method: str, path: str, query: str) -> Fault | None:
        """The fault that strikes this call, if one does. A skipped or spent one does not."""
        for fault in self.waiting:
            if not fnmatchcase(path, fault.path) or fault.method not in ("*", method) or fault.query not in query:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.struck += 1
            if fault.count is not None and fault.struck >= fault.count:
                self.waiting.remove(fault)
            return fault
        return None

    def clear(self, number: int | None = None) -> int:
        """Disarms one fault or all; answers how many."""
        gone = [fault for fault in self.waiting if number in (None, fault.id)]
        self.waiting = [fault for fault in self.waiting if fault not in gone]
        return len(gone)

    def as_list(self) -> list[dict[str, Any]]:
        """The armed faults."""
        return [asdict(fault) for fault in self.waiting]


def reply_instead(fault: Fault, shape: str, unix_now: float) -> Reply:
    """What a `status` or `redirect` fault answers. shape: the switch `error_body`, where the fault names no body."""
    if fault.kind == "redirect":
        return Reply(302, b"", HTML, {"Location": fault.to})
    shape = fault.body or shape
    if fault.status == 429:
        reply = too_many(fault.seconds, shape if shape in ("json", "empty", "html") else "json", "seconds", unix_now)
        wait = reply.headers.pop("Retry-After")
        known = {"": wait, "seconds": wait, "date": http_date(unix_now + fault.seconds), "garbage": RETRY_AFTER_GARBAGE}
        if fault.retry_after != "absent":
            reply.headers["Retry-After"] = known.get(fault.retry_after, fault.retry_after)
        return reply
    if shape == "html":
        reply = html_page(fault.status, f"Error {fault.status}")
    elif fault.body not in ("", "json", "empty"):
        reply = Reply(fault.status, fault.body.encode())
    elif fault.status in (400, 404, 409):
        reply = problem(fault.status, errors={"From": ["The value is not valid."]} if fault.status == 400 else None)
    else:
        reply = gateway_error(fault.status, shape)
    if fault.retry_after not in ("", "absent"):
        reply.headers["Retry-After"] = fault.retry_after
    return reply


def spoil(fault: Fault, reply: Reply, before: bytes | None) -> Reply:
    """The reply with the content fault in it. before: the body of the last answer of the same path. Row faults leave a
    page without that row, and answers that are no page, as they are."""
    page = reply.page
    if fault.kind == "duplicate_page":
        return Reply(reply.status, before, reply.content_type) if before is not None else reply
    if fault.kind == "body":
        return Reply(reply.status, BODIES[fault.how](reply.encode()), reply.content_type)
    if page is None:
        return reply
    rows = list(page.rows)
    if fault.kind == "plant":
        rows[fault.row : fault.row] = [text.encode("utf-8", "surrogatepass") for text in fault.rows]
    elif -len(rows) <= fault.row < len(rows):
        rows[fault.row] = ROWS[fault.how](rows[fault.row])
    return Reply(reply.status, b"", reply.content_type, page=Page(page.head, rows))


def bomb(megabytes: int) -> bytes:
    """A JSON page of blanks, gzipped: about a thousandth of what it unpacks to."""
    return gzip.compress(b'{"hasMore":false,"continueFrom":"x","data":[' + b" " * (megabytes << 20) + b"]}", 1)
