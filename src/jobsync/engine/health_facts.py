"""What can be said about budgets, the database and its views without asking anybody outside. Reads only."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from jobsync.engine.context import Engine

LARGEST_TABLES = 8


async def read_health_facts(engine: Engine, tenant: str) -> dict[str, Any]:
    """`database` (version, bytes, connections, migrations), its largest `tables`, and the request `budgets`."""
    async with engine.database.transaction(tenant) as session:
        return {
            "database": await session.row("read_database_facts"),
            "tables": await session.rows("list_largest_tables", {"limit": LARGEST_TABLES}),
            "budgets": await session.rows("list_budgets", {"tenant": tenant}),
        }


async def list_views(engine: Engine, tenant: str) -> list[dict[str, Any]]:
    """The tables and views that people may ask, each {schema, name, is_table, comment, columns: [{name, type, comment}]};
    the comments are those of the schema itself."""
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("list_view_columns")
    return [
        {
            "schema": schema,
            "name": name,
            "is_table": is_table,
            "comment": comment,
            "columns": [{"name": row["column"], "type": row["type"], "comment": row["comment"]} for row in columns],
        }
        for (schema, name, is_table, comment), columns in groupby(
            rows, key=lambda row: (row["schema"], row["view"], row["is_table"], row["view_comment"])
        )
    ]
