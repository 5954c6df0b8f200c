"""Ids as GoHighLevel makes them, drawn from a seed so that a run can be repeated."""

from __future__ import annotations

import random
import string
import uuid

_LETTERS = string.ascii_letters + string.digits


class IdMaker:
    """Makes ids; the same seed makes the same row of ids (GoHighLevel contract, section 11)."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def record(self) -> str:
        """20 alphanumerics, case-sensitive: contacts, opportunities, pipelines, fields, executions."""
        return "".join(self._random.choices(_LETTERS, k=20))

    def uuid(self) -> str:
        """A UUID: stages, hooks, traces."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def token(self, prefix: str) -> str:
        """A bearer token with its prefix, such as `pit-`."""
        return prefix + self.uuid()
