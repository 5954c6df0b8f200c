"""Answers that are booked at the very moment at which somebody else claims the row or changes the job: two real sessions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.sql.story import Story, committed, job


def wait_until_blocked(watcher: Story, pid: int) -> None:
    """Returns when this session waits for another one."""
    for _ in range(2000):
        if watcher.value("select cardinality(pg_blocking_pids(%s)) > 0", pid):
            return
        watcher.owner("select pg_sleep(0.005)")
    raise AssertionError("it never waited")


def test_a_row_that_is_claimed_while_a_late_answer_waits_for_it_stays_with_its_new_worker(dsn: str) -> None:
    """Found by world 980: the answer was judged by what stood before, and took the row from who had just claimed it."""
    with committed(dsn) as late, committed(dsn) as quick, committed(dsn) as watcher, ThreadPoolExecutor(1) as thread:
        late.hook()
        late.live()
        late.parents(1)
        late.page(job(1))
        assert late.claim(lease=1) == [1]
        late.owner("update jobsync.outbox set lease_until = jobsync.now() - interval '1 second' returning 1")
        pid = late.value("select pg_backend_pid()")
        # One transaction until the commit below; what the story does inside are savepoints.
        quick.connection.autocommit = False
        quick.connection.execute("select")
        assert quick.claim() == [1]
        booked: Any = thread.submit(late.finish)
        wait_until_blocked(watcher, pid)
        quick.connection.commit()
        assert booked.result(30) == {"delivered": 0, "failed": 0, "stale": 1}
        row = watcher.outbox(1)
        assert row is not None and row["fence"] == quick.claimed[0]["fence"] and row["lease_until"] is not None
        assert quick.finish()["delivered"] == 1
        quick.connection.commit()
        assert (watcher.status(1), "ambiguous" in watcher.job(1)["ghl_sync_flags"]) == (("synced", None), True)


def test_a_job_that_changes_while_its_group_waits_to_be_booked_still_has_its_change_to_tell(dsn: str) -> None:
    """A group that was accepted whole is booked by the short way, which finds at its end that one job has changed."""
    with committed(dsn) as slow, committed(dsn) as quick, committed(dsn) as watcher, ThreadPoolExecutor(1) as thread:
        slow.hook(events="all")
        slow.live()
        slow.parents(1, 2)
        slow.page(job(1), job(2))
        assert slow.claim() == [1, 2]
        pid = slow.value("select pg_backend_pid()")
        quick.connection.autocommit = False
        quick.connection.execute("select")
        quick.page(job(2, jobStatus="Completed", modifiedOn="2026-03-02T10:00:00Z"))
        booked: Any = thread.submit(slow.finish)
        wait_until_blocked(watcher, pid)
        quick.connection.commit()
        assert booked.result(30) == {"delivered": 2, "failed": 0, "stale": 0}
        row = watcher.outbox(2)
        assert row is not None and (row["event"], row["lease_until"], row["version"]) == ("updated", None, 2)
        assert watcher.outbox(1) is None
        assert (watcher.status(1)[0], watcher.status(2)[0]) == ("synced", "pending")
        assert slow.send() == [2]
        assert watcher.rows("select count(*) as sends from jobsync.attempts where outcome = 'accepted'") == [
            {"sends": 3}
        ]
