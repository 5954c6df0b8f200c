"""The three locks by which many JobSync processes share one embedded PostgreSQL.

All are `flock` locks on empty files in the server's home. The kernel drops a lock when the last process that holds it
ends, however it ends, so there are no stale ones, no process ids to compare and nothing to clean up after `kill -9`.

    start.lock    exclusive, for the seconds in which one process starts, joins or leaves the server
    in-use.lock   shared, held by each process that uses the server: the last holder to leave stops it
    server.lock   exclusive, inherited by the PostgreSQL processes themselves: held while any of them lives
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from jobsync.db.embedded_home import as_config_error
from jobsync.errors import LockHeld

POLL_SECONDS = 0.02


class FileLock:
    """One open lock file. Opening creates the file; nothing is locked until `take` or `share` answers True."""

    def __init__(self, path: Path, *, owner: tuple[int, int] | None = None) -> None:
        """`owner` is (uid, gid) to give a file that root creates in somebody else's folder. Raises OSError."""
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if owner is not None:
            os.fchown(self.fd, *owner)

    def take(self) -> bool:
        """Lock exclusively without waiting. False when another holder is there; a shared lock of ours is then lost."""
        return self._try(fcntl.LOCK_EX)

    def share(self) -> bool:
        """Lock shared without waiting. False when an exclusive holder is there."""
        return self._try(fcntl.LOCK_SH)

    def release(self) -> None:
        """Unlock (for every process that inherited this open file) and close. Harmless when done twice."""
        if self.fd >= 0:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            self.close()

    def close(self) -> None:
        """Close our end only: a process that inherited the open file keeps the lock. Harmless when done twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@asynccontextmanager
async def holding(path: Path, *, owner: tuple[int, int] | None, timeout: float) -> AsyncIterator[None]:
    """Hold the lock file `path` exclusively; wait up to `timeout` seconds for it. Raises LockHeld after that.

    Raises ConfigError when the file cannot be made.
    """
    with as_config_error(path):
        lock = FileLock(path, owner=owner)
    try:
        try:
            with anyio.fail_after(timeout):
                while not lock.take():
                    await anyio.sleep(POLL_SECONDS)
        except TimeoutError:
            message = f"Another JobSync process has been starting or stopping PostgreSQL for {timeout:.0f} s."
            raise LockHeld(message, hint="Wait for it to finish, or end it, then try again.") from None
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """True while any process holds `path` exclusively. A missing file is not held. Changes nothing."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        return not lock.share()  # shared, so that two who look at the same moment do not see each other
    finally:
        lock.close()
