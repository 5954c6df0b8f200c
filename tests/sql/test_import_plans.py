"""How an import reads its staged rows: each chunk its own, also before the table was ever analysed."""

from __future__ import annotations

from tests.sql.import_statements import LOAD
from tests.sql.story import Story

ROWS = 20_000
CHUNK = 100
READ = (
    "select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint as rows from pg_stat_xact_user_tables"
    " where relname = 'import_rows'"
)


def test_a_chunk_of_a_file_that_was_staged_a_moment_ago_reads_no_more_than_itself(story: Story) -> None:
    """Found by a million rows: for each thousand of them the whole file was read, and hashed, to note what was found."""
    for statement in LOAD.split(";"):
        if statement.strip():
            story.owner(statement)
    for apply in (False, True):
        before = story.owner(READ)[0]["rows"]
        for _ in range(3):
            done = story.value(
                "select jobsync.pass_import_rows('default', '000001', 'customers', %s, %s, false)", CHUNK, apply
            )
            assert done["rows"] == CHUNK
        assert story.owner(READ)[0]["rows"] - before <= 3 * CHUNK * 5
