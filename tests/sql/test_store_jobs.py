"""Storing jobs: what is kept, what wins, what is written, what is refused, and all or nothing."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.sql.story import DAY, SALES, Story, job


def test_the_same_page_again_writes_nothing(story: Story) -> None:
    page = [job(number) for number in range(1, 30)]
    assert story.page(*page)["stored"] == 29
    before = story.traces()
    report = story.page(*page)
    assert (report["stored"], report["unchanged"], report["planned"]) == (0, 29, 0)
    assert story.traces() == before


def test_keys_in_another_order_are_no_change(story: Story) -> None:
    story.page(job(1))
    before = story.traces("public.jobs")
    assert story.page(dict(reversed(job(1).items())))["unchanged"] == 1
    assert story.traces("public.jobs") == before


def test_a_missing_key_keeps_the_old_value_and_an_explicit_null_is_null(story: Story) -> None:
    story.page(job(1, summary="Old", priority="High", total=10, invoiceId=5, noCharge=True, estimateIds=[1, 2]))
    story.page(
        {"id": 1, "modifiedOn": "2026-03-02T10:00:00Z", "priority": None, "appointmentCount": None, "estimateIds": None}
    )
    found = story.job(1)
    assert (found["summary"], found["total"], found["invoice_id"], found["no_charge"]) == ("Old", 10, 5, True)
    assert (found["priority"], found["appointment_count"], found["estimate_ids"]) == (None, None, None)
    assert found["tag_type_ids"] == [11, 12]
    assert found["business_unit_id"] == SALES
    assert found["st_raw_data"]["summary"] == "Old"


def test_an_older_version_never_wins_and_an_equal_time_with_other_content_does(story: Story) -> None:
    story.page(job(1, summary="B", modifiedOn="2026-03-05T10:00:00Z"))
    assert story.page(job(1, summary="A", modifiedOn="2026-03-04T10:00:00Z"))["unchanged"] == 1
    assert story.job(1)["summary"] == "B"
    assert story.page(job(1, summary="C", modifiedOn="2026-03-05T10:00:00Z"))["stored"] == 1
    assert story.job(1)["summary"] == "C"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_a_job_that_stands_twice_in_a_page_the_newest_is_stored(story: Story, order: tuple[int, ...]) -> None:
    versions = [job(1, summary=f"v{n}", modifiedOn=f"2026-03-0{n + 1}T10:00:00Z") for n in range(3)]
    report = story.page(*(versions[n] for n in order))
    assert (report["pulled"], report["stored"], report["unchanged"]) == (3, 1, 2)
    assert story.job(1)["summary"] == "v2"


def test_the_last_of_two_records_with_the_same_time_is_stored(story: Story) -> None:
    story.page(job(1, summary="first"), job(1, summary="second"))
    assert story.job(1)["summary"] == "second"


def test_values_of_another_kind_that_mean_the_same_are_taken_and_stay_unchanged(story: Story) -> None:
    odd = job(
        1,
        customerId="601",
        total="99.90",
        completedOn="0001-01-01T00:00:00",
        createdOn="2026-03-01T10:00:00",
        noCharge="true",
        appointmentCount=2.0,
    )
    story.page(odd)
    found = story.job(1)
    assert (found["st_customer_id"], float(found["total"]), found["completed_on"], found["no_charge"]) == (
        601,
        99.9,
        None,
        True,
    )
    assert found["created_on"].isoformat() == "2026-03-01T10:00:00+00:00"
    assert found["appointment_count"] == 2
    assert found["st_raw_data"]["total"] == "99.90"
    before = story.traces("public.jobs")
    assert story.page(odd)["unchanged"] == 1
    assert story.traces("public.jobs") == before


@pytest.mark.parametrize("count", [10**17, -(10**17), -5, "7", None])
def test_an_absurd_appointment_count_does_not_fail_the_page(story: Story, count: Any) -> None:
    assert story.page(job(1, appointmentCount=count), job(2))["stored"] == 2
    assert story.job(1)["appointment_count"] in (2147483647, 0, 7, None)


def test_what_does_not_fit_goes_to_the_quarantine_and_the_rest_is_stored(story: Story) -> None:
    bad: list[Any] = [
        job(2, customerId="none"), job(3, modifiedOn="soon"), job(4, total={"x": 1}), job(5, tagTypeIds="11"), {"jobNumber": "1"}, job(0), "text", None,
        [1], job(2**63), job(6, businessUnitId=1.5),
    ]  # fmt: skip
    good = [job(number) for number in range(100, 145)]
    report = story.page(*good, *bad)
    assert (report["pulled"], report["stored"], report["quarantined"]) == (56, 45, 11)
    kept = story.rows(
        "select record_id, reason, convert_from(raw, 'UTF8') as raw from jobsync.quarantine where resolved_at is null order by id"
    )
    assert [row["record_id"] for row in kept] == ["2", "3", "4", "5", None, "0", None, None, None, str(2**63), "6"]
    assert kept[0]["reason"] == "these fields do not fit: customerId"
    assert kept[6]["reason"] == "the record is not an object"
    assert json.loads(kept[3]["raw"])["tagTypeIds"] == "11"


def test_the_same_bad_record_again_only_counts_up_and_a_later_good_version_closes_it(story: Story) -> None:
    bad = job(1, total="free", modifiedOn="2026-03-02T10:00:00Z")
    story.page(bad)
    story.page(bad)
    story.page(job(1))
    assert story.row("select times_seen, resolved_at is not null as resolved from jobsync.quarantine") == {
        "times_seen": 2,
        "resolved": True,
    }


def test_an_old_version_read_again_does_not_close_the_quarantine_of_a_newer_one(story: Story) -> None:
    story.page(job(1))
    story.page(job(1, total="free", modifiedOn="2026-03-02T10:00:00Z"))
    story.page(job(1))
    assert story.value("select count(*) from jobsync.quarantine where resolved_at is null") == 1


def test_raw_bytes_that_json_itself_refuses_are_kept_byte_for_byte(story: Story) -> None:
    raw = b'{"id": 7, "summary": "\\u0000"}'
    report = story.page(job(1), refused=(["holds a NUL character"], [raw]))
    assert (report["pulled"], report["stored"], report["quarantined"]) == (2, 1, 1)
    assert story.row("select reason, raw from jobsync.quarantine") == {"reason": "holds a NUL character", "raw": raw}


@pytest.mark.parametrize(
    ("good", "bad", "drift"), [(39, 9, False), (40, 10, False), (39, 10, True), (0, 9, False), (0, 10, True)]
)
def test_more_than_a_fifth_and_at_least_ten_bad_records_are_schema_drift(
    story: Story, good: int, bad: int, drift: bool
) -> None:
    records = [job(number) for number in range(1, good + 1)] + [job(1000 + number, total="x") for number in range(bad)]
    text = json.dumps(records)
    if not drift:
        assert story.page(text=text)["quarantined"] == bad
        return
    error = story.refusal("select jobsync.store_page('default', 'jobs', %s::jsonb)", text)
    assert error.sqlstate == "JS003"
    assert story.value("select count(*) from public.jobs") == 0
    assert story.value("select count(*) from jobsync.quarantine") == 0


def test_refused_bytes_count_towards_schema_drift(story: Story) -> None:
    with pytest.raises(psycopg.Error) as caught:
        story.page(job(1), refused=(["broken"] * 10, [b"%d" % n for n in range(10)]))
    assert caught.value.sqlstate == "JS003"


def test_an_unknown_stream_is_refused(story: Story) -> None:
    assert story.refusal("select jobsync.store_page('default', 'payrolls', '[]')").sqlstate == "JS004"


def test_page_cursor_and_outbox_are_stored_together_or_not_at_all(committed_story: Story) -> None:
    story = committed_story
    story.hook()
    story.value("select (jobsync.read_cursor('default', 'jobs', 'list', %s)).revision", DAY)
    move = "select jobsync.move_cursor('default', 'jobs', %s, 'list', null, %s, true)"
    with pytest.raises(psycopg.Error) as caught, story.connection.transaction():
        story.page(job(1), job(2, total="x"))
        story.value(move, 5, DAY)
    assert caught.value.sqlstate == "JS002"
    counts = "select (select count(*) from public.jobs) + (select count(*) from jobsync.quarantine) + (select count(*) from jobsync.outbox) as n"
    assert story.value(counts) == 0
    with story.connection.transaction():
        story.page(job(1), job(2, total="x"))
        assert story.value(move, 0, "2026-03-01T10:00:00.1234567Z") == 1
    assert story.value(counts) == 3
    assert story.row("select since, revision, caught_up_at is not null as up from jobsync.cursors") == {
        "since": "2026-03-01T10:00:00.1234567Z", "revision": 1, "up": True,
    }  # fmt: skip


def test_a_body_without_modified_on_applies_only_to_a_row_that_came_the_same_way(story: Story) -> None:
    story.upsert((job(1, modifiedOn=..., summary="A"), {"customerId": 601}))
    story.upsert((job(1, modifiedOn=..., summary="B"), {"customerId": 601}))
    assert story.job(1)["summary"] == "B"
    story.page(job(1, summary="C"))
    story.upsert((job(1, modifiedOn=..., summary="D"), {"customerId": 601}))
    assert (story.job(1)["summary"], story.job(1)["source"]) == ("C", "servicetitan")
    story.upsert((job(1, modifiedOn="2026-03-09T10:00:00Z", summary="E"), {"customerId": 601}))
    assert (story.job(1)["summary"], story.job(1)["source"]) == ("E", "servicetitan")


def test_a_job_that_moves_to_another_customer_location_and_unit_is_followed(story: Story) -> None:
    hook = story.hook(4622)
    story.page(job(1, businessUnitId=SALES))
    assert story.status(1) == ("skipped", "unmapped")
    story.page(job(1, customerId=999, locationId=998, businessUnitId=4622, modifiedOn="2026-03-02T10:00:00Z"))
    found = story.job(1)
    assert (found["st_customer_id"], found["st_location_id"], found["business_unit_id"]) == (999, 998, 4622)
    row = story.outbox(1)
    assert row is not None
    assert (row["destination_id"], row["st_customer_id"]) == (hook, 999)


def test_a_change_of_what_the_hash_covers_re_sends_nothing(story: Story) -> None:
    """New software that hashes other facts recomputes the old hash first: only a real change is a change."""
    story.hook(events="all")
    story.live()
    story.parents(1, 2)
    story.page(job(1), job(2))
    assert story.send() == [1, 2]
    story.owner(
        "create or replace function jobsync.hash_version() returns smallint language sql immutable as 'select 2::smallint'"
    )
    story.owner(
        "create or replace function jobsync.job_hash(p_number text, p_customer bigint, p_location bigint, p_unit bigint, p_type bigint, p_status text, "
        "p_priority text, p_summary text, p_completed_on timestamptz, p_total numeric, p_campaign bigint, p_tags bigint[], p_active boolean) "
        "returns bytea language sql stable as $$ select sha256(convert_to(concat_ws('|', 'two', p_number, p_status, p_summary), 'UTF8')) $$"
    )
    report = story.page(
        job(1, soldById=5, modifiedOn="2026-03-02T10:00:00Z"), job(2, soldById=5, modifiedOn="2026-03-02T10:00:00Z")
    )
    assert (report["stored"], report["planned"]) == (2, 0)
    assert story.waiting() == []
    found = story.job(1)
    assert found["delivered_hash"] == found["job_hash"]
    assert story.page(job(1, summary="Changed", modifiedOn="2026-03-03T10:00:00Z"))["planned"] == 1


def test_pulled_jobs_take_over_rows_that_came_through_db(story: Story) -> None:
    story.upsert((job(1), {"customerId": 601}))
    assert story.job(1)["source"] == "api"
    assert story.page(job(1))["stored"] == 1
    assert story.job(1)["source"] == "servicetitan"


def test_units_are_looked_up_by_key_however_many_the_account_has(story: Story) -> None:
    """It read all units of the tenant for each new job."""
    story.owner(
        "insert into business_units (tenant_id, st_business_unit_id, name) select %s, 900000 + n, 'Unit' from generate_series(1, 300) n",
        story.tenant,
    )
    reads = "select seq_tup_read + coalesce(idx_tup_fetch, 0) as rows from pg_stat_xact_user_tables where relname = 'business_units'"
    before = story.owner(reads)[0]["rows"]
    assert (
        story.page(*(job(number, businessUnitId=900_001 + number % 300) for number in range(1, 201)))["stored"] == 200
    )
    assert story.owner(reads)[0]["rows"] - before <= 3 * 200
