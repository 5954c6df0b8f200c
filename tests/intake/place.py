"""A place to import into: an engine on a fresh database, and what the database says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from jobsync.config import Settings
from jobsync.engine.context import Engine
from jobsync.engine.opening import open_engine
from jobsync.intake.airtable import apply_import, count_outcomes, run_dry
from jobsync.intake.wishes import Wishes
from tests.upstreams import TENANT, Ran, call_jobsync

# What a customer or job is, without the instants of its storing and the number of its import.
CUSTOMERS = """select st_customer_id, st_location_id, first_name, last_name, company_name, email, phone, street, city, state, postal_code, country, county,
  ghl_contact_id, source, active, st_raw_data #- '{airtable,import}' as raw from customers order by 1"""
JOBS = """select st_job_id, st_job_number, st_customer_id, st_location_id, business_unit_id, job_type_name, job_status, priority, summary, created_on, completed_on,
  modified_on, total, tag_type_ids, ghl_opportunity_id, ghl_sync_status, ghl_sync_reason, source, active, job_hash, delivered_hash,
  st_raw_data #- '{airtable,import}' as raw from jobs order by 1"""


@dataclass
class Place:
    """An engine and its database."""

    engine: Engine
    dsn: str
    folder: Path

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """What the database says, as its owner."""
        with psycopg.Connection[dict[str, Any]].connect(self.dsn, autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *parameters: Any) -> Any:
        """The first column of the first row."""
        return next(iter(self.rows(statement, *parameters)[0].values()))

    def state(self) -> dict[str, list[dict[str, Any]]]:
        """Customers and jobs as they are."""
        return {"customers": self.rows(CUSTOMERS), "jobs": self.rows(JOBS)}

    async def dry(self, wishes: Wishes | None = None, **files: Path) -> dict[str, Any]:
        """A dry run."""
        return await run_dry(self.engine, TENANT, files, wishes or Wishes(date_order="mdy"))

    async def apply(self, wishes: Wishes | None = None, **files: Path) -> dict[str, Any]:
        """An import that is written."""
        found = await self.dry(wishes, **files)
        return await apply_import(self.engine, TENANT, found["id"])

    async def jobsync(self, *words: str, **changes: Any) -> Ran:
        """A command on this database."""
        return await call_jobsync(self.folder, {**environment(self.dsn, self.folder), **changes}, *words)


def environment(dsn: str, folder: Path) -> dict[str, Any]:
    """The variables of a JobSync that is connected to nothing but its database."""
    return {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": folder, "LOG_LEVEL": "ERROR"}


def outcomes(found: dict[str, Any], entity: str) -> dict[str, int]:
    """Rows of one file by outcome, without those that none has."""
    (file,) = [file for file in found["files"] if file["entity"] == entity]
    return {name: count for name, count in count_outcomes(file).items() if count}


@asynccontextmanager
async def open_place(dsn: str, folder: Path) -> AsyncIterator[Place]:
    """The place, on a migrated database."""
    settings = Settings.model_validate({name: str(value) for name, value in environment(dsn, folder).items()})
    async with open_engine(settings) as engine:
        yield Place(engine, dsn, folder)
