"""What the statements of an import are asked with, on an import of 20,000 customers and jobs; and those that are not asked."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

LOAD = """
insert into jobsync.imports (tenant_id, id, state, actor, options) values ('default', '000001', 'applying', 'x', '{"time_zone": "UTC"}');
insert into jobsync.import_files (tenant_id, import_id, entity, name, path, sha256, bytes, reading, total)
  select 'default', '000001', e, 'x', 'x', 'x', 1, '{}', 20000 from unnest(array['customers', 'jobs']) e;
insert into jobsync.import_rows (tenant_id, import_id, entity, row_no, record_id, st_customer_id, row_hash, given, failed, fields, cells)
  select 'default', '000001', e, n, n, n, n::text::bytea, 1, false, jsonb_build_object('st_customer_id', n), '[]'
    from unnest(array['customers', 'jobs']) e, generate_series(1, 20000) n;
"""
BIG = ("import_rows", "import_ledger")
ALL: dict[str, Any] = {"import": "000001"}
VALUES: dict[str, dict[str, Any]] = {
    "open_import": {"prefer": "csv", "options": Jsonb({}), "files": Jsonb([])},
    "note_staged": {"entity": "jobs", "row": 5, "rows": 1},
    "open_import_pass": {"apply": True},
    "ask_import": {"act": "write"},
    "close_asked_import": {"act": "write"},
    "list_import_orphans": {"row": 1},
    "pass_import_rows": {"entity": "jobs", "limit": 1000, "apply": True, "connected": False},
    "undo_import_rows": {"entity": "jobs"},
    "stream_import_issues": {"entity": "jobs"},
    "show_import_rows": {"entity": "jobs", "rows": [2, 3]},
}
NOT_ASKED = {
    # COPY, and the temporary table that it fills; the names of all customers, once for an import whose jobs name people.
    "make_import_page", "copy_import_page", "take_import_page", "close_staging",
    # The reconciliation of an import looks at each of its rows.
    "compare_import", "list_shared_ways", "list_unconfirmed", "list_recent_outside", "close_undo",
}  # fmt: skip
