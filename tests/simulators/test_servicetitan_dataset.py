"""The dataset: the same for the same seed, and full of what real tenants are full of."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter

import pytest

from jobsync.simulators.servicetitan import Dataset, SimClock, Switches, read_instant, write_instant

UNITS = {1314: "Sales & Service", 54670601: "Install", 4622: "Pool Service", 26143: "Plumbing"}


def fingerprint(data: Dataset) -> str:
    digest = hashlib.sha256()
    for name, table in sorted(data.tables.items()):
        for key in list(table.keys()):
            digest.update(f"{name}{key}".encode() + table.get(key).body)  # type: ignore[union-attr]
    return digest.hexdigest()


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset.generate(seed=11, jobs=1000)


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others() -> None:
    first, again, other = (Dataset.generate(seed=seed, jobs=60) for seed in (3, 3, 4))
    assert fingerprint(first) == fingerprint(again) != fingerprint(other)


def test_the_numbers_of_rows_follow_the_jobs(data: Dataset) -> None:
    sizes = {name: len(table) for name, table in data.tables.items()}
    assert (sizes["jobs"], sizes["customers"], sizes["locations"]) == (1000, 600, 700)
    assert min(sizes[name] for name in ("appointments", "estimates", "invoices", "customers/contacts")) > 300


def test_the_four_units_of_the_guide_come_first_and_two_are_mapped_by_nobody(data: Dataset) -> None:
    units = {record.id: record.fields()["name"] for record in data.tables["business-units"]}
    assert UNITS.items() <= units.items() and {1308, 4623} <= units.keys()
    used = Counter(record.fields()["businessUnitId"] for record in data.tables["jobs"])
    assert set(used) == {*UNITS, 1308, 4623} and used[1314] == max(used.values())


def test_instants_have_no_to_seven_fractional_digits_and_end_in_z(data: Dataset) -> None:
    digits = Counter()
    for name in ("jobs", "appointments", "customers", "locations"):
        for record in data.tables[name]:
            fraction = re.fullmatch(r"[\dT:-]+(?:\.(\d+))?Z", record.fields()["modifiedOn"])
            assert fraction, record.body
            digits[len(fraction[1] or "")] += 1
    assert set(digits) == set(range(8)) and digits[7] > sum(digits.values()) * 0.8


def test_several_jobs_share_one_modified_on(data: Dataset) -> None:
    ties = Counter(record.modified for record in data.tables["jobs"])
    assert max(ties.values()) >= 10 and sum(many > 1 for many in ties.values()) > 5


def test_jobs_have_html_summaries_null_totals_and_odd_statuses(data: Dataset) -> None:
    rows = [record.fields() for record in data.tables["jobs"]]
    summaries = {row["summary"] for row in rows}
    assert any("&amp;" in (text or "") for text in summaries) and any("<b>" in (text or "") for text in summaries)
    assert {None, ""} <= summaries
    assert any(row["total"] is None for row in rows) and any(row["total"] == 0 for row in rows)
    assert {"Parts Ordered", "In Progress"} <= {row["jobStatus"] for row in rows}
    assert any(row["customFields"] is None for row in rows) and any(row["customFields"] == [] for row in rows)
    assert any(b'"total":' in record.body and b"00000000," in record.body for record in data.tables["jobs"])


def test_merges_name_their_survivor_and_form_chains(data: Dataset) -> None:
    rows = {record.id: record.fields() for record in data.tables["customers"]}
    merged = {key: row["mergedToId"] for key, row in rows.items() if row["mergedToId"]}
    assert merged and all(not rows[key]["active"] for key in merged)
    assert any(target in merged for target in merged.values())
    for key in merged:
        seen = []
        while key in merged:
            assert key not in seen
            seen.append(key)
            key = merged[key]
        assert rows[key]["active"]
    places = [record.fields() for record in data.tables["locations"]]
    assert any(row["mergedToId"] and not row["active"] for row in places)
    used = {record.fields()["customerId"] for record in data.tables["jobs"]}
    assert used & merged.keys(), "jobs still point at merged customers"


def test_every_customer_has_a_location_and_every_job_its_parents(data: Dataset) -> None:
    owners = {record.id: record.fields()["customerId"] for record in data.tables["locations"]}
    assert set(owners.values()) == set(data.tables["customers"].keys())
    for record in data.tables["jobs"]:
        row = record.fields()
        assert owners[row["locationId"]] == row["customerId"]


def test_some_appointments_are_deleted_and_first_and_last_point_at_live_ones(data: Dataset) -> None:
    visits = {record.id: record for record in data.tables["appointments"]}
    assert any(not record.active for record in visits.values())
    for record in data.tables["jobs"]:
        row = record.fields()
        assert visits[row["firstAppointmentId"]].active and visits[row["lastAppointmentId"]].active
        assert row["appointmentCount"] == sum(
            visit.active for visit in data.tables["appointments"].holding("jobId", row["id"])
        )


def test_nothing_is_younger_than_the_present(data: Dataset) -> None:
    now = SimClock().now()
    assert all(record.modified < now for table in data.tables.values() for record in table)


@pytest.mark.parametrize(("choice", "expected"), [("zero", 0), ("null", None), ("missing", "")])
def test_absent_required_ids_are_a_switch(choice: str, expected: object) -> None:
    switches = Switches()
    switches.turn(absent_ids=choice)
    data = Dataset.generate(seed=1, jobs=30, activity=False, switches=switches)
    assert {record.fields().get("invoiceId", "") for record in data.tables["jobs"]} == {expected}


def test_instants_survive_the_round_trip_to_the_tick() -> None:
    for text in (
        "2025-03-01T09:30:00Z",
        "2025-03-01T09:30:00.1Z",
        "0001-01-01T00:00:00Z",
        "2019-11-14T10:24:07.4726935Z",
    ):
        assert write_instant(read_instant(text)) == text
    assert read_instant("2025-03-01T01:30:00-08:00") == read_instant("2025-03-01T09:30:00Z")
    assert read_instant("2025-03-01") == read_instant("2025-03-01T00:00:00")
    for text in ("yesterday", "2025-02-30", "2025-03-01T25:00:00Z", "2024-01-01T00:00:00 00:00"):
        with pytest.raises(ValueError):
            read_instant(text)


def test_a_frozen_clock_never_stamps_one_instant_twice() -> None:
    clock = SimClock()
    assert len({clock.stamp() for _ in range(100)}) == 100
    before = clock.now()
    assert clock.advance(1.5) == before + 15_000_000


def test_ten_thousand_jobs_are_made_in_a_moment() -> None:
    began = time.process_time()
    Dataset.generate(seed=1, jobs=10_000, activity=False)
    assert time.process_time() - began < 5


def test_a_switch_is_refused_by_name_and_choice() -> None:
    switches = Switches()
    with pytest.raises(ValueError, match="no switch is called nope"):
        switches.turn(nope=1)
    with pytest.raises(ValueError, match="over_ids takes one of"):
        switches.turn(ids_limit=10, over_ids="maybe")
    with pytest.raises(ValueError, match="rate_limit takes a int"):
        switches.turn(rate_limit="60")
    assert switches == Switches()
