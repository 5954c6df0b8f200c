"""What the views show: states and reasons, runs, lag, the tenant's line, and the guide's pending jobs."""

from __future__ import annotations

from tests.sql.story import INSTALL, POOL, SALES, Story, customer, job, location


def test_every_job_has_a_state_and_what_is_not_delivered_a_reason(story: Story) -> None:
    story.hook(SALES, POOL)
    story.live("2026-02-01T00:00:00Z")
    story.parents(*range(1, 7))
    old = "2025-01-05T10:00:00Z"
    story.page(
        job(1), job(2), job(3), job(4, businessUnitId=INSTALL), job(5, createdOn=old), job(6, businessUnitId=POOL)
    )
    story.claim()
    story.finish(only=[1, 6])
    story.finish("rejected", only=[2])
    story.finish("ambiguous", only=[3])
    story.owner("update jobs set ghl_verified_at = now() where st_job_id = 6")
    found = {row["st_job_id"]: row["state"] for row in story.rows("select st_job_id, state from jobsync.v_job_status")}
    assert found == {1: "accepted", 2: "failed", 3: "pending", 4: "blocked", 5: "skipped", 6: "verified"}
    reasons = {
        (row["reason"], row["business_unit_name"], row["jobs"], row["sample_st_job_id"])
        for row in story.rows("select * from jobsync.v_unsynced_reasons")
    }
    assert reasons == {
        ("rejected", "Sales & Service", 1, 2), ("retrying", "Sales & Service", 1, 3), ("unmapped", "Install", 1, 4), ("before_start", "Sales & Service", 1, 5),
    }  # fmt: skip


def test_the_pending_view_is_oldest_first_with_one_address_not_a_mixture(story: Story) -> None:
    story.route(SALES, "external")
    story.page(customer(601), customer(602), stream="customers")
    story.page(
        location(702, address={"street": None, "city": "Mesa", "state": "AZ", "zip": "85201"}), stream="locations"
    )
    story.page(job(2, createdOn="2026-03-02T10:00:00Z"), job(1, createdOn="2026-03-03T10:00:00Z"), job(3))
    rows = story.owner(
        "select st_job_id, first_name, street, city, postal_code, ghl_pipeline_name from jobs_pending_ghl_sync"
    )
    assert [row["st_job_id"] for row in rows] == [3, 2, 1]
    assert (rows[1]["street"], rows[1]["city"], rows[1]["postal_code"]) == (None, "Mesa", "85201")
    assert (rows[2]["street"], rows[2]["first_name"], rows[2]["ghl_pipeline_name"]) == (
        "1 Pool Lane",
        "Ada",
        "Sales & Service",
    )


def test_the_pending_view_shows_the_survivor_of_a_merge(story: Story) -> None:
    story.route(SALES, "external")
    story.page(customer(601, mergedToId=602), customer(602, name="Sue Survivor"), stream="customers")
    story.page(job(1))
    assert story.owner("select first_name, st_customer_id from jobs_pending_ghl_sync") == [
        {"first_name": "Sue", "st_customer_id": 601}
    ]


def test_the_pending_view_leaves_out_units_that_are_off_and_jobs_that_are_done(story: Story) -> None:
    story.route(SALES, "external")
    story.route(POOL, "external")
    story.page(job(1), job(2), job(3, businessUnitId=POOL))
    story.rows("select * from jobsync.mark_job('default', 1, 'synced', null, null)")
    story.route(POOL, sync_to_ghl=False)
    assert [row["st_job_id"] for row in story.owner("select st_job_id from jobs_pending_ghl_sync")] == [2]


def test_one_line_tells_how_the_tenant_stands(story: Story) -> None:
    story.hook(events="all")
    story.live()
    story.parents(1, 2, 3)
    story.page(job(1), job(2), job(3), job(4, total="x"))
    story.claim(limit=2)
    story.finish()
    line = story.row("select * from jobsync.v_tenant_status")
    assert (line["mode"], line["planned"], line["sends_this_hour"], line["sends_today"], line["sends_this_month"], line["quarantined"]) == (
        "live", 1, 2, 2, 2, 1,
    )  # fmt: skip


def test_the_sums_of_yesterday_are_not_todays(story: Story) -> None:
    story.hook()
    story.live()
    story.parents(1)
    story.page(job(1))
    story.send()
    story.pass_time("25 hours")
    line = story.row("select sends_this_hour, sends_today from jobsync.v_tenant_status")
    assert line == {"sends_this_hour": 0, "sends_today": 0}


def test_the_lag_of_a_stream_counts_from_when_it_was_read_to_its_end(story: Story) -> None:
    story.value("select (jobsync.read_cursor('default', 'jobs', 'export', null)).revision")
    assert story.row("select lag_seconds, failures from jobsync.v_sync_lag") == {"lag_seconds": None, "failures": 0}
    story.value("select jobsync.move_cursor('default', 'jobs', 0, 'export', 't', null, true)")
    story.pass_time("90 seconds")
    assert story.value("select jobsync.fail_cursor('default', 'jobs', 'down')") == 1
    found = story.row("select lag_seconds::int, failures, last_error from jobsync.v_sync_lag")
    assert found == {"lag_seconds": 90, "failures": 1, "last_error": "down"}


def test_statistics_are_counted_by_type_and_status(story: Story) -> None:
    story.owner(
        "insert into sync_logs (sync_type, status, duration_ms) values ('job_pull', 'completed', 10), ('job_pull', 'completed', 30), ('job_pull', 'failed', 5)"
    )
    found = story.owner("select sync_type, status, count, avg_duration_ms::int as average from sync_statistics")
    assert found == [
        {"sync_type": "job_pull", "status": "completed", "count": 2, "average": 20}, {"sync_type": "job_pull", "status": "failed", "count": 1, "average": 5},
    ]  # fmt: skip


def test_the_funnel_and_the_days_count_the_same_jobs_by_unit(story: Story) -> None:
    story.hook(SALES)
    story.live("2026-02-01T00:00:00Z")
    story.parents(1, 2, 3)
    story.page(job(1), job(2), job(3), job(4, businessUnitId=INSTALL))
    story.claim()
    story.finish(only=[1, 2])
    story.finish("rejected", only=[3])
    story.owner("update jobs set ghl_verified_at = ghl_accepted_at where st_job_id = 1")
    rows = {row["business_unit_name"]: row for row in story.rows("select * from jobsync.v_funnel")}
    sales, install = rows["Sales & Service"], rows["Install"]
    steps = ("jobs", "decided", "meant_for_ghl", "accepted", "verified")
    assert [sales[step] for step in steps] == [3, 3, 3, 2, 1] and (sales["failed"], sales["verified_percent"]) == (
        1,
        50,
    )
    assert [install[step] for step in steps] == [1, 0, 0, 0, 0] and install["blocked"] == 1
    story.owner("update jobsync.tenants set time_zone = 'Pacific/Auckland'")
    days = story.rows("select day::text, business_unit_name, created from jobsync.v_unit_daily where created > 0")
    assert {(row["day"], row["business_unit_name"], row["created"]) for row in days} == {
        ("2026-03-01", "Sales & Service", 3), ("2026-03-01", "Install", 1),
    }  # fmt: skip
    assert story.value("select sum(accepted) from jobsync.v_unit_daily") == 2


def test_statistics_have_windows_and_percentiles(story: Story) -> None:
    for minutes, milliseconds in ((5, 100), (10, 200), (20, 300), (600, 5000), (3 * 1440, 9000), (9 * 1440, 1)):
        story.rows(
            "insert into sync_logs (sync_type, status, started_at, completed_at, duration_ms, records_processed) "
            "values ('own', 'completed', now() - %s * interval '1 minute', now(), %s, 1) returning 1", minutes, milliseconds,
        )  # fmt: skip
    rows = {
        row["time_window"]: row for row in story.rows("select * from jobsync.v_run_statistics where sync_type = 'own'")
    }
    assert {name: row["count"] for name, row in rows.items()} == {"1 hour": 3, "24 hours": 4, "7 days": 5}
    assert (rows["1 hour"]["p50_duration_ms"], rows["1 hour"]["p95_duration_ms"]) == (200, 290)
    story.hook(SALES)
    story.live("2026-02-01T00:00:00Z")
    story.parents(1)
    story.page(job(1))
    story.claim()
    story.finish()
    (seen,) = story.rows("select * from jobsync.v_attempt_statistics where time_window = '1 hour'")
    assert (seen["outcome"], seen["count"]) == ("accepted", 1)
