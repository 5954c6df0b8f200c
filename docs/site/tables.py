"""The page about every table, view and function, made from the database's own comments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

INTRO = """# Every table and view
Made from the database's own comments (`comment on`), which psql shows as well: `\\\\d+ jobsync.v_job_status`.

Schema `public` is the old guide's surface and keeps its names. The views `jobsync.v_*` are stable: build reports on them,
with a login that may only read (see [security](security.md#a-login-that-may-only-read)). The other tables of schema
`jobsync` are the program's own and may change.
"""
STABLE = ("v_job_status", "v_funnel", "v_sync_lag", "v_unsynced_reasons", "v_unit_daily")
PARTS = (
    ("The guide's tables", "public", "table"),
    ("The guide's views", "public", "view"),
    ("The guide's functions", "public", "function"),
    ("Stable views", "jobsync", "view"),
    ("The program's own tables", "jobsync", "table"),
)


async def describe_schema(dsn: str) -> str:
    """The page, as Markdown, from a migrated database."""
    query = Path(__file__).with_name("tables.sql").read_text("utf-8")
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:
        rows = await (await connection.execute(query.encode())).fetchall()
    lines = [INTRO]
    for heading, schema, kind in PARTS:
        found = [row for row in rows if (row["schema"], row["kind"]) == (schema, kind)]
        found.sort(key=lambda row: (STABLE.index(row["name"]) if row["name"] in STABLE else len(STABLE), row["name"]))
        lines += ["", f"## {heading}"]
        for row in found:
            lines += ["", *_describe(row)]
    return "\n".join(lines) + "\n"


def _describe(row: dict[str, Any]) -> list[str]:
    name = row["name"] if row["schema"] == "public" else f"jobsync.{row['name']}"
    lines = [f"### {name}", "", _plain(row["said"] or "")]
    if row["columns"]:
        lines += ["", "| column | type | |", "|---|---|---|"]
        lines += [f"| `{one['name']}` | {one['type']} | {_plain(one['said'] or '')} |" for one in row["columns"]]
    return lines


def _plain(text: str) -> str:
    return text.replace("|", "&#124;").replace("<", "&lt;").replace("*", "&#42;").replace("_", "&#95;")
