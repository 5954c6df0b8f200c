"""`job-sync-schema.sql` at the root of the checkout: the whole schema as one file for `psql -f`.

Made from the same files as a migration, by `python -m jobsync.db.schema_file`; a test holds both equal. One transaction:
it applies to an empty database or not at all, and `jobsync db migrate` then finds nothing to do.
"""

from __future__ import annotations

from pathlib import Path

from jobsync.db.migrate import BASELINE, read_migrations, read_schema

PATH = Path(__file__).resolve().parents[3] / "job-sync-schema.sql"


def render() -> str:
    """The text of the file."""
    ledger = [(BASELINE, "baseline"), *((migration.version, migration.checksum) for migration in read_migrations())]
    rows = ",\n  ".join(f"('{version}', '{checksum}')" for version, checksum in ledger)
    head, insert = (_PARTS.joinpath(name).read_text("utf-8").rstrip() for name in ("head.txt", "ledger.txt"))
    return f"{head}\n\n{read_schema().rstrip()}\n\n{insert}\n  {rows};\ncommit;\n"


_PARTS = Path(__file__).resolve().parents[1] / "sql" / "queue"

if __name__ == "__main__":
    PATH.write_text(render(), "utf-8")
