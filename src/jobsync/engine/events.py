"""Events: what happened since a place in the stream, in an order that never changes.

A place is the text `tx-id` of the last event that was seen. Asking again from the same place gives the same events, and
those that were committed since; none is ever left out (sql/schema/86_events.sql says why).
"""

from __future__ import annotations

import re

from jobsync.db.pool import Database, Row
from jobsync.errors import InvalidInput

MOST = 200
# A place as a pattern. Without leading zeros: PostgreSQL reads a transaction's number that begins with one as octal.
PLACE = r"(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,17})"


async def find_place(database: Database, tenant: str) -> str:
    """The place where events start that are not committed yet."""
    async with database.transaction(tenant) as session:
        return await session.value("settled_tx") + "-0"


async def read_events(database: Database, tenant: str, after: str, *, limit: int = MOST) -> list[Row]:
    """Events after a place, oldest first: {id, kind, at, subject, content}. Raises InvalidInput for what is no place."""
    found = re.fullmatch(PLACE, after)
    if found is None:
        raise InvalidInput("This is not the id of an event.", hint="Leave it out to begin with now.", field="after")
    async with database.transaction(tenant) as session:
        # A statement of its own: the one that reads has to begin after it.
        below = await session.value("settled_tx")
        parameters = {"tenant": tenant, "tx": found[1], "id": int(found[2]), "below": below, "limit": limit}
        return await session.rows("read_events", parameters)
