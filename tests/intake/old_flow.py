"""The old flow's own database beside JobSync's: what its service stored and marked of ServiceTitan's jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg

from tests.intake.guide_database import BEHAVIOUR, TABLES
from tests.upstreams import Stage

COPIED = "st_job_id, st_job_number, st_customer_id, st_location_id, business_unit_id, job_status, summary, created_on, modified_on"


def make_old_database(dsn: str, stage: Stage, *, unmarked: Iterable[int] = (), left_out: Iterable[int] = ()) -> None:
    """The old database, holding JobSync's jobs as synced, but for `unmarked` (pending) and `left_out` (not there)."""
    rows = stage.rows(f"select {COPIED} from jobs where st_job_id <> all (%s)", list(left_out))
    pending = set(unmarked)
    with psycopg.connect(dsn) as connection:
        connection.execute(TABLES.encode())
        connection.execute(BEHAVIOUR.encode())
        with connection.cursor() as cursor:
            names = [str(name) for name in COPIED.split(", ")]
            marks = ", ".join(["%s"] * (len(names) + 3))
            cursor.executemany(
                f"insert into jobs ({COPIED}, ghl_sync_status, ghl_opportunity_id, ghl_synced_at) values ({marks})".encode(),
                [_values(row, names, row["st_job_id"] in pending) for row in rows],
            )


def fill_guide_database(dsn: str, stage: Stage, *, synced: Iterable[int], pending: Iterable[int]) -> None:
    """The old database before JobSync: some of ServiceTitan's jobs, as the old flow stores them (its id for a number)."""
    table = stage.titan.dataset().tables["jobs"]
    marks = {**dict.fromkeys(synced, ("synced", "created")), **dict.fromkeys(pending, ("pending", None))}
    rows = []
    for number, (status, opportunity) in marks.items():
        record = table.get(number)
        assert record is not None
        known = record.fields()
        rows.append((number, str(number), known["customerId"], known["locationId"], known["businessUnitId"], known["createdOn"], status, opportunity))  # fmt: skip
    with psycopg.connect(dsn) as connection:
        connection.execute(TABLES.encode())
        connection.execute(BEHAVIOUR.encode())
        connection.execute(
            "insert into business_units (st_business_unit_id, name) values (1314, 'Sales & Service'), (54670601, 'Install'), (4622, 'Pool Service'), (26143, 'Plumbing')"
        )
        connection.execute("insert into sync_state (key, value) values ('lastJobPull', '2025-01-01T00:00:00Z')")
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into jobs (st_job_id, st_job_number, st_customer_id, st_location_id, business_unit_id, job_type_name, created_on, ghl_sync_status, ghl_opportunity_id) "
                "values (%s, %s, %s, %s, %s, 'Unknown', %s, %s, %s)",
                rows,
            )


def add_old_job(dsn: str, job: int, unit: int) -> None:
    """A job that only the old flow has."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into jobs (st_job_id, st_job_number, st_customer_id, business_unit_id, created_on, ghl_sync_status) "
            "values (%s, '1', 1, %s, now() - interval '1 day', 'synced')",
            (job, unit),
        )


def _values(row: dict[str, Any], names: list[str], is_pending: bool) -> list[Any]:
    marks = ["pending", None, None] if is_pending else ["synced", "created", row["created_on"]]
    return [
        row[name] if row[name] is not None else ("0" if name == "st_job_number" else None) for name in names
    ] + marks
