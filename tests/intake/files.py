"""Invented CSV files as Airtable exports them: as many rows as wanted, the same ones each time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

CUSTOMERS = (
    "ST ID",
    "Location ID",
    "First Name",
    "Last Name",
    "Email",
    "Phone",
    "Street",
    "City",
    "State",
    "Postal Code",
    "County",
)
JOBS = (
    "Job ID", "Job Number", "Customer ID", "Location ID", "Business Unit", "Job Type", "Status", "Summary", "Created", "Modified", "Completed",
    "Total", "Tags", "GHL Opportunity ID",
)  # fmt: skip
UNITS = ("Install", "Plumbing", "Pool Service", "Sales & Service")
FIRST = ("Ada", "Grace", "Alan", "Katherine", "Edsger", "Barbara", "Donald", "Frances")
LAST = ("Lovelace", "Hopper", "Turing", "Johnson", "Dijkstra", "Liskov", "Knuth", "Allen")


def customer(number: int, **changed: str) -> list[str]:
    """One row of the customers table; keyword arguments are its columns, with `_` for spaces."""
    row = {
        "ST ID": str(100_000 + number), "Location ID": str(200_000 + number), "First Name": FIRST[number % 8], "Last Name": LAST[number // 8 % 8],
        "Email": f"person{number}@example.com", "Phone": f"(602) 555-01{number % 100:02}", "Street": f"{number} Pool Lane", "City": "Phoenix",
        "State": "AZ", "Postal Code": f"{85_001 + number % 90:05}", "County": "Maricopa",
    }  # fmt: skip
    return _changed(row, changed)


def job(number: int, **changed: str) -> list[str]:
    """One row of the jobs table."""
    row = {
        "Job ID": str(700_000 + number), "Job Number": f"J-{number}", "Customer ID": str(100_000 + number % 1000), "Location ID": str(200_000 + number),
        "Business Unit": UNITS[number % 4], "Job Type": "Tune up", "Status": "Completed", "Summary": f"Pump {number} is loud, says \"the owner\"",
        "Created": f"{number % 12 + 1}/{number % 28 + 1}/202{number % 5} {number % 12 + 1}:05pm", "Modified": f"{number % 12 + 1}/{number % 28 + 1}/2025 9:30am",
        "Completed": "", "Total": f"${1000 + number % 900:,}.{number % 100:02}", "Tags": "VIP", "GHL Opportunity ID": "",
    }  # fmt: skip
    return _changed(row, changed)


def write_csv(
    path: Path, header: Iterable[str], rows: Iterable[list[str]], *, encoding: str = "utf-8-sig", delimiter: str = ","
) -> Path:
    """Writes a file; answers its path."""
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_customers(folder: Path, count: int, name: str = "customers.csv") -> Path:
    """A customers file of so many rows."""
    return write_csv(folder / name, CUSTOMERS, (customer(number) for number in range(count)))


def write_jobs(folder: Path, count: int, name: str = "jobs.csv", customers: int = 1000) -> Path:
    """A jobs file of so many rows, of the first so many customers."""
    return write_csv(
        folder / name, JOBS, (job(number, Customer_ID=str(100_000 + number % customers)) for number in range(count))
    )


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a file by column."""
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))


def _changed(row: dict[str, str], changed: dict[str, Any]) -> list[str]:
    changes = {name.replace("_", " "): value for name, value in changed.items()}
    assert changes.keys() <= row.keys(), changes.keys() - row.keys()
    return list({**row, **changes}.values())


def ids(rows: Iterable[dict[str, str]], column: str) -> Iterator[str]:
    """One column of read rows."""
    return (row[column] for row in rows)
