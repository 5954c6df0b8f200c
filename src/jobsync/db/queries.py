"""SQL by name: `sql/queries/*.sql` holds `-- name: word` blocks; this reads them once and hands them out by name.

In: nothing. Out: the text of one statement with psycopg's named placeholders (`%(tenant)s`). A name that does not exist
or stands twice is a programming error and fails at once. Called by `db.pool`; nobody else sees SQL text.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString, cast

_HEAD = re.compile(r"^-- name: ([a-z_0-9]+)$", re.MULTILINE)


def split_queries(text: str) -> dict[str, str]:
    """The statements of one file by name. Raises ValueError when a name stands twice."""
    parts = _HEAD.split(text)
    found: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in found:
            raise ValueError(f"query {name} stands twice")
        found[name] = body.strip().rstrip(";")
    return found


@cache
def load_queries() -> dict[str, str]:
    """All statements of `sql/queries` by name. Raises ValueError when two files use one name."""
    found: dict[str, str] = {}
    for entry in sorted(files("jobsync.sql").joinpath("queries").iterdir(), key=lambda e: e.name):
        if not entry.name.endswith(".sql"):
            continue
        for name, text in split_queries(entry.read_text("utf-8")).items():
            if name in found:
                raise ValueError(f"query {name} stands in two files")
            found[name] = text
    return found


def get_query(name: str) -> LiteralString:
    """The statement called `name`. Raises KeyError when there is none.

    The one place that says so to the driver's types: what comes out of our own files was written by hand, as a literal
    is; nothing that a caller handed in ever becomes part of it.
    """
    return cast(LiteralString, load_queries()[name])


@cache
def get_transaction(begin: str, name: str) -> LiteralString:
    """A whole transaction as one message: the statement `begin`, the one called `name`, and its commit."""
    return cast(LiteralString, ";\n".join((get_query(begin), get_query(name), get_query("end_transaction"))))
