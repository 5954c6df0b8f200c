"""A million jobs with their customers, adopted: how long it takes, and that every row is there."""

from __future__ import annotations

import time

import psycopg
import pytest

from jobsync.intake.adopt import estimate_seconds, migrate_or_adopt
from tests.intake.guide_database import make_guide_database

pytestmark = [pytest.mark.anyio, pytest.mark.long]


async def test_a_million_jobs_are_adopted_in_one_transaction(
    empty_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_guide_database(empty_dsn, jobs=1_000_000, words=20)
    told: list[tuple[int, int]] = []
    started = time.monotonic()
    done = await migrate_or_adopt(empty_dsn, tell=lambda rows, seconds: told.append((rows, seconds)))
    took = time.monotonic() - started
    assert done.adoption is not None and done.adoption["rows"]["jobs"] == 1_000_000
    (said,) = told
    assert 1_900_000 < said[0] < 2_100_000 and said[1] == estimate_seconds(said[0])
    with psycopg.connect(empty_dsn) as connection:
        counts = connection.execute("select count(*), count(delivered_hash), count(*) filter (where '' in (summary, st_job_number)) from jobs").fetchone()  # fmt: skip
        assert counts == (1_000_000, 200_000, 0)
        size = connection.execute("select pg_size_pretty(pg_total_relation_size('jobs'))").fetchone()
        assert size is not None
    with capsys.disabled():
        print(
            f"\n1,000,000 jobs and 1,000,000 customers adopted in {took:.0f} s (said: {said[1]} s); jobs are {size[0]}"
        )
