"""Doing a transaction again when PostgreSQL broke off or two transactions got in each other's way (reliability P15).

Only for work that is harmless when repeated: the whole unit runs again, never a part of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from jobsync.errors import DatabaseUnavailable

T = TypeVar("T")
FIRST_WAIT = 0.05
LONGEST_WAIT = 2.0


async def repeat_until_stored(work: Callable[[], Awaitable[T]], *, patience: float = 45.0) -> T:
    """Awaits `work()`, again and again while the database is away or busy, for at most `patience` seconds.

    Raises the last DatabaseUnavailable; everything else at once.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + patience
    wait = FIRST_WAIT
    while True:
        try:
            return await work()
        except DatabaseUnavailable:
            if loop.time() + wait > ends:
                raise
        await asyncio.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT)
