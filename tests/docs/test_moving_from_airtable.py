"""docs/moving-from-airtable.md: the journey, command by command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.walk import Reader, walk_page
from tests.intake.files import CUSTOMERS, JOBS, customer, job, read_csv, write_csv
from tests.intake.place import environment
from tests.upstreams import call_jobsync

pytestmark = pytest.mark.anyio


async def test_the_journey_from_airtable_does_what_the_page_says(dsn: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "customers.csv", CUSTOMERS, (customer(number) for number in range(12)))
    rows = [*(job(number) for number in range(20)), job(30, Business_Unit="Instal")]
    write_csv(
        tmp_path / "jobs.csv", JOBS, [[*row[:2], str(100_000 + at % 12), *row[3:]] for at, row in enumerate(rows)]
    )
    settings = environment(dsn, tmp_path)
    names: dict[str, str] = {}

    async def jobsync(*words: str, **changes: str):
        return await call_jobsync(tmp_path, {**settings, **changes}, *words)

    async def learn() -> None:
        """The reader copies the import's id from what was printed."""
        ran = await jobsync("import", "list", "--json")
        names["IMPORT"] = ran.json["imports"][0]["id"]

    async def mend() -> None:
        path = tmp_path / f"import-{names['IMPORT']}.jobs.errors.csv"
        told = read_csv(path)
        assert [row["_code"] for row in told] == ["unknown_unit"]
        write_csv(path, told[0], [[*{**row, "Business Unit": "Install"}.values()] for row in told])

    reader = Reader(jobsync, dsn, {name: str(value) for name, value in settings.items()}, tmp_path, names)
    done = await walk_page(
        "docs/moving-from-airtable.md",
        reader,
        before={"Broken off": learn, "Mend what had errors": mend},
    )
    said = {one.command: one.ran.out for one in done}
    assert "Nothing was written." in said["jobsync import airtable --customers customers.csv --jobs jobs.csv"]
    verdict = said[f"jobsync reconcile --import {names['IMPORT']}"]
    assert "safe to retire Airtable: yes" in verdict
    assert (tmp_path / f"import-{names['IMPORT']}.reconciliation.html").exists()
    # What the errors file brought in is an import of its own, and stays; so does its customer.
    assert "31 deleted, 0 restored, 1 kept" in said[f"jobsync import undo {names['IMPORT']} --yes"]
