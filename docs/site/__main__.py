"""Builds the documentation: python -m docs.site [FOLDER]   (make docs; default folder: build/site)

Pages of docs/*.md are taken as they are; commands, settings, tables and the changelog are made from what they describe.
A warning (a link that leads nowhere, a page that nobody reaches) fails the build. DATABASE_URL may name a migrated
database to describe; without it the bundled PostgreSQL describes itself.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from docs.site.pages import CHECKOUT, build, gather
from docs.site.tables import describe_schema

from jobsync.db.embedded import start_embedded
from jobsync.db.migrate import migrate
from jobsync.errors import JobSyncError


async def read_tables() -> str:
    """The page about tables and views, from a migrated database."""
    given = os.environ.get("DATABASE_URL")
    if given:
        return await describe_schema(given)
    with tempfile.TemporaryDirectory(prefix="jobsync-docs-") as folder:
        Path(folder).chmod(0o755)
        async with await start_embedded(Path(folder) / "data", database="jobsync_docs") as server:
            await migrate(server.dsn("jobsync_docs"))
            return await describe_schema(server.dsn("jobsync_docs"))


def main() -> int:
    """Builds; the exit code."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKOUT / "build" / "site"
    try:
        tables = asyncio.run(read_tables())
    except JobSyncError as error:
        sys.stderr.write(f"docs: {error.message}\n")
        return 1
    source = folder.parent / "docs"
    gather(source, tables=tables)
    return build(source, folder)


if __name__ == "__main__":
    sys.exit(main())
