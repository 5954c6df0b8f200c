"""Forty damaged files: each is refused, or its rows are listed, with a code and what to do; nothing ends in a traceback."""

from __future__ import annotations

import gzip
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from jobsync.errors import InvalidInput
from jobsync.intake.examine import ask_about_dates, examine_file
from jobsync.intake.rows import References, RowReader, StagedRow
from jobsync.intake.tables import read_rows
from jobsync.intake.wishes import Wishes
from tests.intake.place import environment
from tests.upstreams import call_jobsync

HEAD = "ST ID,First Name,Phone,Postal Code\n"
JOB = "Job ID,Job Number,Customer ID,Business Unit,Created,Total\n"
GOOD = "101,Ada,602-555-0101,85001\n"


@dataclass
class Case:
    """A file, and what is said about it: a refusal of the whole (`refused`), or codes of rows (`rows`: row number -> codes)."""

    content: bytes
    refused: str | None = None
    rows: dict[int, set[str]] = field(default_factory=dict)
    entity: str = "customers"
    good: int | None = None
    name: str = "file.csv"


def table(text: str, encoding: str = "utf-8", **more: object) -> Case:
    return Case(text.encode(encoding), **more)  # type: ignore[arg-type]


def workbook() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    return file.getvalue()


CASES: dict[str, Case] = {
    "an empty file": Case(b"", refused="empty_file"),
    "blank lines only": Case(b"\n\n \r\n", refused="empty_file"),
    "a header alone": table(HEAD, refused="no_rows"),
    "a workbook": Case(workbook(), refused="not_csv"),
    "an old workbook": Case(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), refused="not_csv"),
    "a compressed file": Case(gzip.compress(HEAD.encode()), refused="not_csv"),
    "a PDF": Case(b"%PDF-1.7\n%\xe2\xe3", refused="not_csv"),
    "a web page": table("<!DOCTYPE html><html><body>Sign in</body></html>", refused="not_csv"),
    "JSON": table('{"records": []}', refused="not_csv"),
    "noise": Case(bytes(range(256)) * 40, refused="not_csv"),
    "one endless line": Case(b"ST ID,First Name\n" + b"x" * 2_000_000, refused="not_csv"),
    "a quote that never ends": table(HEAD + GOOD + '102,"Grace,1,2\n' + GOOD * 9000, refused="bad_quotes"),
    "rows in quotes": table('"ST ID,First Name"\n"101,Ada"\n', refused="quoted_rows"),
    "no column with ids": table("Customer Nr,First Name\n1,Ada\n", refused="missing_column"),
    "no header": table("101,Ada,602-555-0101,85001\n", refused="missing_column"),
    "a file of jobs": table(JOB + "1,J-1,101,Install,2026-01-31,5\n", refused="missing_column"),
    "two columns with ids": table("ST ID,Name,ST ID\n1,Ada,2\n", refused="duplicate_header"),
    "dates that could be either": table(JOB + "1,J,101,1314,3/4/2025,5\n", entity="jobs", refused="ambiguous_dates"),
    "dates that contradict": table(JOB + "1,J,101,1314,13/1/2025,5\n2,J,101,1314,1/13/2025,5\n", entity="jobs", refused="ambiguous_dates"),
    "a byte order mark": table("﻿" + HEAD + GOOD, good=1),
    "UTF-16 with its mark": table(HEAD + GOOD, "utf-16", good=1),
    "UTF-16 without": table(HEAD + GOOD, "utf-16-le", good=1),
    "UTF-16 from the other end": table(HEAD + GOOD, "utf-16-be", good=1),
    "Windows-1252": table(HEAD + "101,José – “Pepe”,,85001\n", "cp1252", good=1),
    "broken UTF-8": Case((HEAD + "101,Zoë,,1\n102,").encode() + b"Jos\xe9" + ",,2\n103,Noëlä,,3\n".encode(), rows={3: {"encoding"}}, good=2),
    "lost characters": table(HEAD + "101,Jos�,,1\n" + GOOD, rows={2: {"encoding"}}, good=1),
    "NUL characters": table(HEAD + "101,A\0da,,1\n" + GOOD, rows={2: {"encoding"}}, good=1),
    "semicolons": table((HEAD + GOOD).replace(",", ";"), good=1),
    "tabs": table((HEAD + GOOD).replace(",", "\t"), good=1),
    "sep= on top": table("sep=;\n" + (HEAD + GOOD).replace(",", ";"), good=1),
    "a title on top": table("Customers of 2026,,,\n,,,\n" + HEAD + GOOD, good=1),
    "old line ends": table((HEAD + GOOD).replace("\n", "\r"), good=1),
    "lines inside of quotes": table(HEAD + '101,"Ada\nof London",602-555-0101,85001\n', good=1),
    "rows too long and too short": table(HEAD + "101,Ada,1 Pool Lane, Phoenix,x,85001\n102,Gra\n" + GOOD, rows={2: {"ragged_row"}, 3: {"ragged_row"}}, good=1),
    "trailing separators": table(HEAD + "101,Ada,602-555-0101,85001,,,\n,,,,,\n", good=1),
    "ids that a spreadsheet cut": table(HEAD + "1.2E+07,Ada,,1\n1.2E7,Ada,,1\n" + GOOD, rows={2: {"excel_number"}, 3: {"excel_number"}}, good=1),
    "ids that a spreadsheet dressed": table(HEAD + '"12,345",Ada,,1\n12345.0,Bo,,1\n\'777,Cy,,1\n 8 8 8 ,Di,,1\n', good=4),
    "ids that are none": table(HEAD + "12.5,Ada,,1\n-4,Bo,,1\nrecA1,Cy,,1\n0,Di,,1\n,Ed,,1\n99999999999999999999,Fo,,1\n", rows={
        2: {"bad_id"}, 3: {"bad_id"}, 4: {"bad_id"}, 5: {"bad_id"}, 6: {"missing_id"}, 7: {"bad_id"}}, good=0),
    "phones that cannot be called": table(HEAD + "101,Ada,call me,1\n102,Bo,12,1\n", rows={2: {"bad_phone"}, 3: {"bad_phone"}}, good=2),
    "dates that do not exist": table(JOB + "1,J,101,1314,2/30/2025,5\n2,J,101,1314,45321,5\n3,J,101,1314,1/13/2025,5\n", entity="jobs", rows={
        2: {"bad_date"}, 3: {"bad_date"}}, good=1),
    "a unit that nobody has": table(JOB + "1,J,101,Nowhere,2025-01-31,5\n", entity="jobs", rows={2: {"unknown_unit"}}, good=0),
    "amounts that are none": table(JOB + "1,J,101,1314,2025-01-31,12 or 13\n2,J,101,1314,2025-01-31,\"$1,323.25\"\n", entity="jobs", rows={2: {"bad_number"}}, good=1),
    "several customers in one cell": table(JOB + "1,J,\"101, 102\",1314,2025-01-31,5\n", entity="jobs", rows={2: {"ambiguous_link"}}, good=0),
    "an hour that the clocks skipped": table(JOB + "1,J,101,1314,2025-03-09 02:30,5\n", entity="jobs", rows={2: {"dst_gap"}}, good=1),
    "emoji and lookups in the header": table("🆔 ST_ID,First name (from Customers),zip code\n101,Ada,01234\n", good=1),
}  # fmt: skip


def read(path: Path, entity: str) -> list[StagedRow]:
    reading = examine_file(path, entity, Wishes())
    refusal = ask_about_dates(reading)
    if refusal is not None:
        raise refusal
    units = References(units={"install": 54670601}, unit_names=("Install",), unit_ids=frozenset({1314, 54670601}))
    return list(
        RowReader(reading, units, zone=ZoneInfo("America/New_York"), region="US").read(read_rows(reading.table))
    )


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_file_is_told_by_code_and_suggestion(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = tmp_path / case.name
    path.write_bytes(case.content)
    if case.refused is not None:
        with pytest.raises(InvalidInput) as refusal:
            read(path, case.entity)
        assert refusal.value.code == case.refused
        assert refusal.value.hint
        return
    rows = read(path, case.entity)
    told = {row.number: {issue.code for issue in row.issues} for row in rows if row.issues}
    assert told == case.rows
    assert all(issue.message and issue.suggestion for row in rows for issue in row.issues)
    assert len([row for row in rows if not row.failed]) == case.good


def test_there_are_forty_of_them() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize(
    "name",
    ["an empty file", "a workbook", "dates that could be either", "no column with ids", "a quote that never ends"],
)
async def test_the_command_says_it_in_two_lines(name: str, dsn: str, tmp_path: Path) -> None:
    case = CASES[name]
    (tmp_path / "file.csv").write_bytes(case.content)
    ran = await call_jobsync(tmp_path, environment(dsn, tmp_path), "import", "airtable", f"--{case.entity}", "file.csv")
    assert ran.code == 2
    assert "Traceback" not in ran.err
    first, second = [line for line in ran.err.splitlines() if not line.startswith("reading")]
    assert first.startswith("jobsync: ")
    assert second.startswith("         ")


test_the_command_says_it_in_two_lines = pytest.mark.anyio(test_the_command_says_it_in_two_lines)
