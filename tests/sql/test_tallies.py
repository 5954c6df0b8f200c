"""Counts that nobody counts: each statement writes the difference it made, and the sums are always the truth."""

from __future__ import annotations

import psycopg

from tests.sql.story import INSTALL, POOL, SALES, Row, Story, committed, job

TRUTH = """
select 'jobs' as topic, ghl_sync_status as class, coalesce(ghl_sync_reason, 'waiting') as reason, business_unit_id, null::uuid as destination_id,
       count(*)::bigint as rows, 0::bigint as timed, 0::bigint as milliseconds from public.jobs where ghl_sync_status <> 'synced' group by 2, 3, 4
union all select 'outbox', event, waiting_for, null, destination_id, count(*), 0, 0 from jobsync.outbox group by 2, 3, 5
union all select 'quarantine', stream, null, null, null, count(*), 0, 0 from jobsync.quarantine where resolved_at is null group by 2
union all select 'runs', sync_type, status, null, null, count(*), count(duration_ms), coalesce(sum(duration_ms), 0) from public.sync_logs group by 2, 3
"""
TOLD = "select topic, class, reason, business_unit_id, destination_id, rows, timed, milliseconds from jobsync.v_tallies"


def sorted_rows(rows: list[Row]) -> list[tuple[str, ...]]:
    return sorted(tuple(str(value) for value in row.values()) for row in rows)


def is_true(story: Story) -> bool:
    """Whether the sums are what counting gives."""
    return sorted_rows(story.rows(TOLD)) == sorted_rows(story.rows(TRUTH))


def lines(story: Story) -> int:
    return story.value("select count(*) from jobsync.tallies")


def live_through(story: Story) -> None:
    """Everything that moves a job, a delivery, a bad record or a run from one class to another."""
    destination = story.hook(SALES, POOL, events="all")
    story.live("2026-02-01T00:00:00Z")
    story.parents(1, 2, 3)
    old = "2025-01-05T10:00:00Z"
    story.page(*(job(n) for n in range(1, 5)), job(5, businessUnitId=INSTALL), job(6, createdOn=old), job(7, total="x"), job(8, businessUnitId=None))  # fmt: skip
    assert is_true(story)
    story.claim(destination)
    story.finish(only=[1])
    story.finish("rejected", only=[2])
    story.finish("ambiguous", only=[3])
    assert is_true(story)
    story.page(job(1, total=7, modifiedOn="2026-03-02T10:00:00Z"), job(4, businessUnitId=POOL, modifiedOn="2026-03-02T10:00:00Z"), job(7, modifiedOn="2026-03-02T10:00:00Z"))  # fmt: skip
    story.rows("select jobsync.replay_jobs('default', '{2}', false, 'a test')")
    story.rows("select * from jobsync.mark_job('default', 5, 'synced', null, null)")
    story.route(POOL, sync_to_ghl=False)
    story.value("select jobsync.resolve_wanted('default')")
    run = story.value("select jobsync.open_delivery_run('default')")
    story.value("select jobsync.report_delivery_run('default', %s, 1, 0, null, true)", run)
    story.value("select jobsync.open_pass('default', '{jobs}', 'test')")


def test_the_sums_are_the_truth_through_all_that_happens_to_a_job(story: Story) -> None:
    live_through(story)
    assert is_true(story)
    story.owner("update public.jobs set ghl_sync_status = 'failed', ghl_sync_reason = 'by psql' where st_job_id = 6")
    story.owner("delete from public.jobs where st_job_id = 8")
    story.owner("delete from jobsync.quarantine")
    story.owner("delete from public.sync_logs where sync_type = 'ghl_delivery'")
    assert is_true(story)


def test_what_changes_no_class_writes_no_line(story: Story) -> None:
    story.route(SALES, "external")
    story.page(job(1), job(2))
    before = lines(story)
    story.page(job(1), job(2, summary="Another", modifiedOn="2026-03-02T10:00:00Z"))
    story.owner("update public.jobs set ghl_sync_error = 'x'")
    assert lines(story) == before


def test_folding_keeps_the_sums_and_leaves_one_line_for_each_class(story: Story) -> None:
    live_through(story)
    before = sorted_rows(story.rows(TOLD))
    story.value("select jobsync.fold_tallies('default')")
    assert sorted_rows(story.rows(TOLD)) == before
    assert lines(story) == len(before)


def test_lines_do_not_pile_up_while_pages_come_in(story: Story) -> None:
    story.route(SALES, "external")
    for number in range(1, 30):
        story.page(job(number))
    assert lines(story) < 5


def test_the_schedule_folds_what_single_marks_left(story: Story) -> None:
    story.route(SALES, "external")
    story.page(*(job(number) for number in range(1, 30)))
    for number in range(1, 30):
        story.rows("select * from jobsync.mark_job('default', %s, 'synced', null, null)", number)
    assert lines(story) > 20
    story.owner("select jobsync.fold_tallies_beyond(10)")
    assert lines(story) == 0
    assert is_true(story)


def test_two_sessions_change_and_fold_at_once_without_waiting_and_without_losing_a_count(
    committed_story: Story, dsn: str
) -> None:
    story = committed_story
    story.route(SALES, "external")
    story.page(*(job(number) for number in range(1, 21)))
    with committed(dsn) as other:
        other.connection.execute("set lock_timeout = '2s'")
        with story.connection.transaction():
            story.connection.execute("update public.jobs set ghl_sync_status = 'failed' where st_job_id <= 5")
            story.connection.execute("select jobsync.fold_tallies('default')")
            # Neither a change nor a fold of the other waits for this open transaction.
            other.connection.execute("update public.jobs set ghl_sync_status = 'failed' where st_job_id > 15")
            assert other.value("select jobsync.fold_tallies('default')") == 0
        assert is_true(other)
        other.value("select jobsync.fold_tallies('default')")
        assert is_true(other)


def test_a_recount_puts_right_what_came_in_without_the_triggers(story: Story) -> None:
    live_through(story)
    story.owner("delete from jobsync.tallies where topic in ('jobs', 'runs')")
    assert not is_true(story)
    story.owner("select jobsync.recount_tallies('default')")
    assert is_true(story)


def test_a_role_sees_the_counts_of_its_own_tenant_only(story: Story) -> None:
    story.page(job(1))
    story.owner("select jobsync.add_tenant('other', null, 'a test')")
    other = Story(story.connection, "other")
    other.page(job(1), job(2))
    assert story.value("select sum(rows) from jobsync.v_tallies where topic = 'jobs'") == 1
    assert other.value("select sum(rows) from jobsync.v_tallies where topic = 'jobs'") == 2
    assert isinstance(
        story.refusal(
            "insert into jobsync.tallies (tenant_id, topic, class, rows) values ('other', 'jobs', 'pending', 9)"
        ),
        psycopg.errors.InsufficientPrivilege,
    )
