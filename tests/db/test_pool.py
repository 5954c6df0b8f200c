"""The pool's connections: what they let others wait for."""

from __future__ import annotations

import pytest

from jobsync.config import Settings
from jobsync.db.pool import Database

pytestmark = pytest.mark.anyio


async def test_what_a_process_that_stands_still_holds_is_given_up_within_a_lease(database: Database) -> None:
    """Found by a worker that was stopped while it claimed: nobody else could send for five minutes."""
    async with database.transaction(None) as session:
        shown = await session._connection.execute(
            "select extract(epoch from current_setting('idle_in_transaction_session_timeout')::interval)::int as seconds"
        )
        row = await shown.fetchone()
    assert row is not None
    assert 0 < row["seconds"] < Settings.model_fields["lease_seconds"].default
