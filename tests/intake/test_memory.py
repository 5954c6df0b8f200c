"""A file is read, staged and written with flat memory: what counts is the chunk, not the file."""

from __future__ import annotations

import asyncio
import re
import tracemalloc
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from jobsync.intake.examine import examine_file
from jobsync.intake.rows import References, RowReader, hash_row
from jobsync.intake.tables import read_rows
from jobsync.intake.wishes import Wishes
from tests.forked import start_forked
from tests.intake.files import CUSTOMERS, customer, write_csv
from tests.intake.place import environment

pytestmark = pytest.mark.anyio


def read_whole(path: Path) -> float:
    """Reads a file as staging does, keeping no row; the megabytes that were held at most."""
    tracemalloc.start()
    reading = examine_file(path, "customers", Wishes())
    reader = RowReader(reading, References(), zone=ZoneInfo("UTC"), region="US")
    count = sum(len(hash_row("customers", row)) // 32 for row in reader.read(read_rows(reading.table)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == reading.total
    return peak / 2**20


def test_ten_times_the_rows_take_no_more_memory(tmp_path: Path) -> None:
    rows = [customer(number) for number in range(1_000)]
    few = write_csv(tmp_path / "few.csv", CUSTOMERS, rows)
    many = write_csv(tmp_path / "many.csv", CUSTOMERS, (row for _ in range(10) for row in rows))
    read_whole(few)  # what is made once: tables of phone numbers, caches
    assert read_whole(many) < read_whole(few) + 6, "a chunk more, not the rows"


@pytest.mark.long
async def test_a_million_rows_stay_below_200_megabytes(dsn: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "million.csv", CUSTOMERS, (customer(number) for number in range(1_000_000)))
    words = ("import", "airtable", "--customers", "million.csv", "--apply")
    process = start_forked(tmp_path, environment(dsn, tmp_path), *words)
    peak = 0
    while process.is_alive():
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        peak = max(peak, int(found[1]) if found else 0)
        await asyncio.sleep(1)
    assert process.exitcode == 0, (tmp_path / "out").read_text()[-2000:]
    assert peak / 1024 < 200
