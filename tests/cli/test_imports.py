"""jobsync import on the command line: its words, its one object, its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.intake.files import CUSTOMERS, JOBS, customer, job, write_csv
from tests.intake.place import Place, open_place

pytestmark = pytest.mark.anyio
KEYS = {
    "import", "state", "applied", "balanced", "files", "shared", "errors_files", "verdict", "reconciliation_files", "duration_s",
}  # fmt: skip


def write_files(folder: Path) -> tuple[str, ...]:
    people = [*(customer(number) for number in range(6)), customer(1, Phone="12")]
    write_csv(folder / "c.csv", (*CUSTOMERS[:9], "Zip", "County", "Notes"), ([*row, "vip"] for row in people))
    rows = [job(1), job(2), job(3, Business_Unit="Instal"), job(14)]
    write_csv(folder / "j.csv", JOBS, ([*row[:2], "100001", *row[3:]] for row in rows))
    return ("import", "airtable", "--customers", "c.csv", "--jobs", "j.csv")


async def test_the_dry_run_is_a_table_with_what_to_watch_and_one_next_line(dsn: str, tmp_path: Path) -> None:
    place = Place(None, dsn, tmp_path)  # type: ignore[arg-type]
    ran = await place.jobsync(*write_files(tmp_path))
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].startswith("Dry run  c.csv 7 rows · j.csv 4 rows")
    assert lines[1].split() == ["new", "fill", "blanks", "same", "older", "merged", "dup", "error"]
    assert lines[2].split() == ["customers", "6", "0", "0", "0", "1", "0"]
    assert lines[3].split() == ["jobs", "3", "0", "0", "0", "0", "1"]
    assert '11 of 11 guide columns found · "Notes" kept as raw · "Zip" read as Postal Code' in ran.out
    assert "1 phone not valid" in ran.out
    assert "created dates read as M/D/YYYY (1 proof)" in ran.out
    assert "Nothing was written." in ran.out
    assert ran.out.count("Next: ") == 1
    assert "\x1b" not in ran.out + ran.err


async def test_with_json_there_is_one_object_and_nothing_else(dsn: str, tmp_path: Path) -> None:
    place = Place(None, dsn, tmp_path)  # type: ignore[arg-type]
    ran = await place.jobsync(*write_files(tmp_path), "--apply", "--json")
    assert (ran.code, ran.err) == (4, "")
    assert set(ran.json) == KEYS
    assert ran.json["files"]["jobs"]["new"] == 3
    assert ran.json["balanced"] is True
    listed = await place.jobsync("import", "list", "--json")
    assert listed.json["imports"][0]["id"] == ran.json["import"]
    settled = await place.jobsync("reconcile", "--import", ran.json["import"], "--json")
    assert (settled.code, settled.json["safe"]) == (4, False)
    undone = await place.jobsync("import", "undo", ran.json["import"])
    assert undone.code == 9, "nobody is here to confirm it"
    undone = await place.jobsync("import", "undo", ran.json["import"], "--yes", "--json")
    assert undone.json == {"import": ran.json["import"], "deleted": 9, "restored": 0, "kept": 0}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("airtable",), "No file was given."),
        (("airtable", "--customers", "nowhere.csv"), "does not exist"),
        (("airtable", "--customers", "c.csv", "--tz", "Mars/Base"), "no time zone"),
        (("airtable", "--customers", "c.csv", "--region", "Texas"), "no country"),
        (("airtable", "--customers", "c.csv", "--date-order", "ymd"), "no order of dates"),
        (("airtable", "--customers", "c.csv", "--prefer", "mine"), "cannot be preferred"),
        (("airtable", "--customers", "c.csv", "--map", "map.yaml"), "units must give an id"),
    ],
)
async def test_what_cannot_be_used_is_refused_in_one_sentence(
    dsn: str, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    write_files(tmp_path)
    (tmp_path / "map.yaml").write_text("units: {Install: none}\n")
    ran = await Place(None, dsn, tmp_path).jobsync("import", *words)  # type: ignore[arg-type]
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


async def test_replacing_what_servicetitan_says_needs_a_word_first(dsn: str, tmp_path: Path) -> None:
    pulled = (
        '[{"id": 100001, "name": "Grace Hopper", "address": {"city": "Tempe"}, "modifiedOn": "2026-01-01T00:00:00Z"}]'
    )
    async with open_place(dsn, tmp_path) as place:
        place.rows("select jobsync.store_page('default', 'customers', %s::jsonb)", pulled)
        words = (*write_files(tmp_path)[:4], "--prefer", "csv", "--apply")
        refused = await place.jobsync(*words)
        assert refused.code == 9
        assert "replaces what ServiceTitan says of 1 record" in refused.err
        assert place.value("select city from customers where st_customer_id = 100001") == "Tempe"
        assert (await place.jobsync(*words, "--yes")).code == 0
        assert place.value("select city from customers where st_customer_id = 100001") == "Phoenix"
