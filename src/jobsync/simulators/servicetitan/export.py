"""The export feeds: a keyset cursor on (modifiedOn, id) behind an opaque token (ServiceTitan contract, section 2.2).

A row modified again moves to the tail and comes again; only its newest version is delivered. Without
`includeRecentChanges=true` the feed ends `export_lag_seconds` before the present. With it, everything is delivered, and
the last page's token points back to where the lag begins, so young rows come again (that is what saves a client from
rows committed late with an earlier modifiedOn).
"""

from __future__ import annotations

import base64
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from .contacts import with_parent_and_active
from .dataset import Dataset
from .instants import SECOND, read_instant
from .lists import ACTIVE_WORDS
from .query import Query, one_of, text, truth
from .replies import Page, Refusal, Reply, problem
from .tables import Record, Table, encode_row

LAST = 2**63 - 1
TOKEN = struct.Struct("<BQQI")


def as_stored(_: Table, record: Record) -> bytes:
    """The row as lists show it."""
    return record.body


def with_active(_: Table, record: Record) -> bytes:
    """The list row and `active`, which job rows have only here."""
    return record.body[:-1] + (b',"active":true}' if record.active else b',"active":false}')


def as_history(_: Table, record: Record) -> bytes:
    """One row per job with its nested history and no modifiedOn."""
    fields = record.fields()
    events = [(1, "Job Booked", fields["createdOn"]), (2, "Job Modified", fields["modifiedOn"])]
    history = [
        {
            "id": record.id * 10 + turn,
            "employeeId": None,
            "eventType": event,
            "date": date,
            "usedSchedulingTool": "Manual",
        }
        for turn, event, date in events
    ]
    return encode_row({"jobId": record.id, "history": history})


@dataclass(frozen=True, slots=True)
class Feed:
    """One export feed: its table, how a row is written, and whether it takes `active`."""

    table: str
    write: Callable[[Table, Record], bytes] = as_stored
    active: bool = False


FEEDS: dict[str, Feed] = {
    "jpm/export/jobs": Feed("jobs", with_active),
    "jpm/export/appointments": Feed("appointments", active=True),
    "jpm/export/projects": Feed("projects"),
    "jpm/export/job-history": Feed("jobs", as_history),
    "jpm/export/job-canceled-logs": Feed("job-canceled-logs"),
    "jpm/export/job-notes": Feed("job-notes"),
    "jpm/export/project-notes": Feed("project-notes"),
    "crm/export/customers": Feed("customers"),
    "crm/export/customers/contacts": Feed("customers/contacts", with_parent_and_active),
    "crm/export/locations": Feed("locations"),
    "crm/export/locations/contacts": Feed("locations/contacts", with_parent_and_active),
    "crm/export/leads": Feed("leads"),
    "crm/export/bookings": Feed("bookings"),
    "settings/export/business-units": Feed("business-units"),
    "settings/export/technicians": Feed("technicians"),
    "settings/export/employees": Feed("employees"),
    "settings/export/tag-types": Feed("tag-types"),
    "accounting/export/invoices": Feed("invoices"),
    "accounting/export/invoice-items": Feed("invoice-items"),
    "accounting/export/payments": Feed("payments"),
    "accounting/export/inventory-bills": Feed("inventory-bills"),
    "sales/export/estimates": Feed("estimates"),
    "sales/estimates/export": Feed("estimates"),
    "sales/export/opportunities": Feed("opportunities"),
    "dispatch/export/appointment-assignments": Feed("appointment-assignments", active=True),
}
"""By path without version and tenant."""


def answer_export(feed: Feed, query: Query, data: Dataset, now: int) -> Reply:
    """The next rows of a feed. now: the clock in ticks. Raises Refusal for a `from` that is neither token nor date."""
    switches, table = data.switches, data.tables[feed.table]
    recent = query.read("includeRecentChanges", truth, False)
    active = query.read("active", one_of(*ACTIVE_WORDS), "Any") if feed.active else "Any"
    start = query.read("from", text)
    query.check(switches.unknown_query)
    position = _position(start, feed, data, now)

    order = table.by_modified()
    horizon = now - int(switches.export_lag_seconds * SECOND)
    begin = _after(order, position)
    end = len(order) if recent else max(begin, bisect_left(order, (horizon,)))
    stop = min(begin + max(1, switches.export_rows_per_call), end)
    while begin < stop < end and _place(order[stop]) == _place(order[stop - 1]):
        stop += 1  # the token knows ids only: rows of one id and instant (contacts) are never torn apart
    if stop > begin:
        position = _place(order[stop - 1])
    more = stop < end
    if recent and not more and switches.export_repeats_recent:
        position = min(position, (horizon, 0))
    records = [table.get(key) for _, key in order[begin:stop]]
    rows = [
        feed.write(table, record)
        for record in records
        if record is not None and (active == "Any" or record.active is (active == "True"))
    ]
    return Reply(page=Page({"hasMore": more, "continueFrom": write_token(position, feed, data, now)}, rows))


def write_token(position: tuple[int, int], feed: Feed, data: Dataset, now: int) -> str:
    """The opaque `continueFrom`: 28 characters, bound to feed and dataset. With `cursor_life_seconds` it also carries
    when it was written."""
    moment, key = max(0, position[0]), max(0, position[1])
    raw = TOKEN.pack(1, moment | 1 << 62, key, _seal(feed, data, moment, key))
    if data.switches.cursor_life_seconds:
        raw += struct.pack("<Q", now)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_token(token: str, feed: Feed, data: Dataset, now: int) -> tuple[int, int]:
    """The position behind a token. Raises ValueError for one that this feed never gave out, or that has expired."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        _, moment, key, seal = TOKEN.unpack(raw[: TOKEN.size])
    except (ValueError, struct.error):
        raise ValueError("not a token") from None
    moment &= ~(1 << 62)
    if seal != _seal(feed, data, moment, key):
        raise ValueError("not a token of this feed")
    life = data.switches.cursor_life_seconds
    if life and (len(raw) < TOKEN.size + 8 or now - struct.unpack("<Q", raw[-8:])[0] > life * SECOND):
        raise ValueError("an expired token")
    return moment, key


def _position(start: str | None, feed: Feed, data: Dataset, now: int) -> tuple[int, int]:
    """Where reading goes on: strictly after (ticks, id). A date is inclusive, so it stands before every id of its
    instant."""
    if start is None:
        return (0, 0)
    try:
        return (read_instant(start), 0)
    except ValueError:
        pass
    try:
        return read_token(start, feed, data, now)
    except ValueError:
        if data.switches.bad_cursor == "restart":
            return (0, 0)
        status = 404 if data.switches.bad_cursor == "not_found" else 400
        message = "The continuation token is not valid."
        raise Refusal(problem(status, errors={"From": [message]})) from None


def _place(entry: tuple[int, object]) -> tuple[int, int]:
    moment, key = entry
    return (moment, key[0] if isinstance(key, tuple) else key)  # type: ignore[return-value]


def _after(order: list[tuple[int, object]], position: tuple[int, int]) -> int:
    """Index of the first row strictly after (ticks, id), whatever its parent."""
    moment, key = position
    compound = bool(order) and isinstance(order[0][1], tuple)
    return bisect_right(order, (moment, (key, LAST)) if compound else (moment, key))


def _seal(feed: Feed, data: Dataset, moment: int, key: int) -> int:
    return crc32(f"{feed.table}:{data.seed}:{moment}:{key}".encode())
