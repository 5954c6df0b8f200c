"""Storing one page: rows, quarantine, outbox and cursor in one transaction, and what a pull counts of it.

In: a page of one stream as it came, and where it leaves the cursor. Out: the cursor's new revision. They move together
or not at all (reliability P1). The same page twice writes nothing the second time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from jobsync.db.again import repeat_until_stored
from jobsync.db.pool import Session, as_jsonb, as_jsonb_text
from jobsync.engine.context import Engine
from jobsync.servicetitan.pages import Page, join_records, split_refused
from jobsync.servicetitan.phones import normalise_phone
from jobsync.servicetitan.refusals import find_id
from jobsync.servicetitan.streams import Stream

Origin = Literal["pull", "backfill", "retry"]
Then = Callable[[Session, dict[str, Any]], Awaitable[None]]
CONTACT_STREAMS = {"customer_contacts", "location_contacts"}
# No delivery waits for any other stream: the end of one of these is when something may have become due.
AWAITED_STREAMS = {"jobs", "customers", "locations", *CONTACT_STREAMS}


@dataclass
class Counts:
    """What a pull did so far; added up page by page."""

    pulled: int = 0
    stored: int = 0
    unchanged: int = 0
    quarantined: int = 0
    planned: int = 0
    pages: int = 0
    requests: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)

    def add(self, report: dict[str, Any]) -> None:
        """Adds the answer of `store_page`."""
        self.pulled += report["pulled"]
        self.stored += report["stored"]
        self.unchanged += report["unchanged"]
        self.quarantined += report["quarantined"]
        self.planned += report.get("planned", 0)
        self.pages += 1

    def count_request(self, kind: str, status: int | None) -> None:
        """Counts a request that the client made; tokens are counted apart."""
        self.by_kind[kind] = self.by_kind.get(kind, 0) + 1
        if kind != "token":
            self.requests += 1

    def report(self) -> dict[str, Any]:
        """The counts as they are written into the run."""
        return {
            "pulled": self.pulled,
            "stored": self.stored,
            "unchanged": self.unchanged,
            "quarantined": self.quarantined,
            "planned": self.planned,
            "pages": self.pages,
            "requests": self.requests,
        }


@dataclass(frozen=True)
class Position:
    """Where a page leaves the cursor. `began`: with this page a stream without a place begins to be read by list."""

    mode: str
    token: str | None
    since: str | None
    caught_up: bool
    began: str | None = None


class _Contact(msgspec.Struct):
    type: Any = None
    value: Any = None


_CONTACTS = msgspec.json.Decoder(_Contact)


async def store(
    engine: Engine,
    tenant: str,
    stream: Stream,
    page: Page,
    counts: Counts,
    *,
    revision: int | None = None,
    position: Position | None = None,
    owners: list[int] | None = None,
    resolve: bool = False,
    origin: Origin = "pull",
    then: Then | None = None,
) -> int | None:
    """Stores one page, and moves the cursor to `position` if one is given. Answers the cursor's new revision.

    One transaction. `owners`: the page is the whole contact list of these. `resolve`: parents may have arrived with it.
    `origin`: jobs that a backfill brings first are held. `then`: what else belongs into the transaction; it is given
    the answer of `store_page`, and runs again where the transaction is repeated.
    """
    good, refused = split_refused(page)
    array = page.array() if not refused else join_records(good)
    parameters = {
        "tenant": tenant,
        "stream": stream.name,
        "page": as_jsonb_text(array),
        "refused": as_jsonb([{"id": find_id(bytes(record)), "reason": reason} for record, reason in refused]),
        "refused_raw": [bytes(record) for record, _ in refused],
        "extra": as_jsonb(_phones(good) if stream.name in CONTACT_STREAMS else []),
        "owners": owners,
        "origin": origin,
    }

    async def keep() -> tuple[dict[str, Any], int | None]:
        moved = revision
        async with engine.database.transaction(tenant) as session:
            report = await session.value("store_page", parameters)
            if position is not None:
                if position.began is not None:
                    begin = {"tenant": tenant, "stream": stream.name, "revision": revision, "since": position.began}
                    await session.run("begin_by_list", begin)
                moved = await session.value(
                    "move_cursor",
                    {
                        "tenant": tenant,
                        "stream": stream.name,
                        "revision": revision,
                        "mode": position.mode,
                        "token": position.token,
                        "since": position.since,
                        "caught_up": position.caught_up,
                    },
                )
            if then is not None:
                await then(session, report)
            if resolve or (position is not None and position.caught_up and stream.name in AWAITED_STREAMS):
                await session.value("resolve_wanted", {"tenant": tenant})
                if stream.name == "jobs":
                    await session.value("publish_watermark", {"tenant": tenant})
        return report, moved

    report, revision = await repeat_until_stored(keep)
    counts.add(report)
    return revision


def _phones(records: Any) -> list[str | None]:
    found: list[str | None] = []
    for record in records:
        try:
            contact = _CONTACTS.decode(record)
        except msgspec.DecodeError:
            found.append(None)
            continue
        is_phone = contact.type in ("Phone", "MobilePhone") and isinstance(contact.value, str)
        found.append(normalise_phone(contact.value) if is_phone else None)
    return found
