"""What every engine verb is given: settings, database, keys. Made once at the edge, passed on, never global."""

from __future__ import annotations

from dataclasses import dataclass

from jobsync.config import Settings
from jobsync.db.pool import Database
from jobsync.db.sealing import Keyring

DEFAULT_TENANT = "default"


@dataclass(frozen=True)
class Engine:
    """The three things that verbs need. `database` is open; its owner closes it."""

    settings: Settings
    database: Database
    keyring: Keyring
