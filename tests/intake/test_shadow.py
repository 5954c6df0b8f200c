"""JobSync beside the old flow, each with its own database: what the comparison finds, and what arming then sends."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import psycopg
import pytest

from jobsync.tasks.app import build_app
from jobsync.tasks.work import Duties, compare_old_flow
from tests.clock import move_clock
from tests.intake.old_flow import add_old_job, make_old_database
from tests.upstreams import Stage, open_stage

pytestmark = pytest.mark.anyio
SHADOW = {"JOBSYNC_MODE": "shadow", "JOBSYNC_DELIVER_FROM": None}
DAYS = ("--days", "90")


def content(dsn: str) -> list[tuple]:
    with psycopg.connect(dsn) as connection:
        return connection.execute("select * from jobs order by st_job_id").fetchall()


def findings(stage: Stage) -> dict[int, str]:
    return {
        row["st_job_id"]: row["finding"] for row in stage.rows("select st_job_id, finding from jobsync.shadow_jobs")
    }


async def push(hook: str, *bodies: dict[str, str]) -> None:
    """What the old flow does: it posts, and forgets the job's id on the way."""
    async with aiohttp.ClientSession() as http:
        for body in bodies:
            async with http.post(hook, json=body) as answer:
                assert answer.status == 200


async def test_the_week_beside_the_old_flow_and_the_switch(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    more = {**SHADOW, "JOBSYNC_OLD_DATABASE_URL": empty_dsn}
    async with open_stage(dsn, tmp_path, jobs=60, connected=True, more=more) as stage:
        await stage.route_all()
        await stage.sync()
        move_clock(dsn, "1 hour")
        stage.run(
            "update jobs set created_on = jobsync.now() - interval '1 day' - st_job_id % 50 * interval '1 minute'"
        )
        people = stage.rows(
            "select p.st_job_id, p.phone, p.email, p.first_name, p.last_name, p.business_unit_id from jobsync.projections p "
            "where p.phone is not null order by 1"
        )
        pushed, unpushed = (row["st_job_id"] for row in people[:2])
        first, second = [job for job in stage.job_ids() if job not in (pushed, unpushed)][:2]
        make_old_database(empty_dsn, stage, unmarked=(pushed, unpushed), left_out=(first, second))
        lost_unit = next(unit for unit in (1314, 4622) if unit != people[0]["business_unit_id"])
        add_old_job(empty_dsn, 999_999_999, lost_unit)
        # One job was pushed three times in a quarter of an hour, and never marked.
        old_hook, person = stage.add_hook(), people[0]
        body = {
            "phone": person["phone"],
            "email": person["email"] or "",
            "first_name": "Ada",
            "opportunity_name": "Job Type: Unknown",
        }
        await push(old_hook, body, body, body)
        stage.level.clock.advance(120)  # what was made is found a little later
        before, sent = content(empty_dsn), dict(stage.posts())

        compared = await stage.jobsync("plan", "--shadow", *DAYS, "--json")
        assert compared.code == 0, compared.err
        found = findings(stage)
        assert found[pushed] == "pushed_unmarked"
        assert found[unpushed] == "unmarked"
        assert {found[first], found[second]} == {"missed_by_old"}
        assert found[999_999_999] == "missing_here"
        assert compared.json["findings"]["agreed"] == 56
        assert compared.json["doubles"] == 2
        assert content(empty_dsn) == before, "the old database is only read"
        assert stage.posts() == sent, "nothing was sent"
        # What the old flow delivered counts as delivered: only the others still wait.
        assert {row["st_job_id"] for row in stage.rows("select st_job_id from jobsync.outbox")} == {
            first,
            second,
            unpushed,
        }
        doubles = stage.rows("select * from jobsync.v_double_cards")
        assert [(row["keep"], row["why"]) for row in doubles] == [
            (True, "same customer and name"),
            (False, "same customer and name"),
            (False, "same customer and name"),
        ]

        told = await stage.jobsync("plan", "--shadow", *DAYS)
        assert f"({lost_unit})   safe to switch: not yet: 1 jobs that the old flow has are not here" in told.out
        assert "it was compared cleanly for less than two days" in told.out
        assert f"job {first} (unit" in told.out and "only JobSync has" in told.out
        assert (await stage.jobsync("plan", "--shadow", *DAYS, "--exit-code")).code == 3
        status = (await stage.jobsync("status", "--json")).json
        assert status["tenant"]["mode"] == "shadow"

        # The old flow was at work a minute ago: nobody may switch yet.
        refused = await stage.jobsync("arm", "--yes", "--json")
        assert refused.code == 4
        assert {unit["st_business_unit_id"] for unit in refused.json["refused"]} >= {1314, 4622}
        await stage.sync(pull=False)
        assert stage.posts() == sent
        assert (await stage.jobsync("disarm")).code == 0

        # Three quiet days, and what was missing has come.
        with psycopg.connect(empty_dsn) as old:
            old.execute("delete from jobs where st_job_id = 999999999")
        move_clock(dsn, "3 days")
        assert await compare_old_flow(Duties(stage.engine, build_app(dsn)))
        verdicts = (await stage.jobsync("plan", "--shadow", *DAYS, "--exit-code", "--json")).json["units"]
        assert {
            unit["because"] for unit in verdicts if unit["st_business_unit_id"] != lost_unit and unit["counts"]
        } == {None}
        armed = await stage.jobsync("arm", "--since", "2000-01-01", "--yes", "--json")
        assert (armed.code, armed.json["refused"]) == (0, [])
        await stage.sync(pull=False)
        after = stage.posts()
        assert {job for job in after if job not in sent or after[job] != sent[job]} == {first, second, unpushed}, (
            "0 double sends"
        )


async def test_what_can_go_wrong_with_the_old_database_is_one_sentence(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=5, more=SHADOW) as stage:
        unset = await stage.jobsync("plan", "--shadow")
        assert unset.code == 6 and "JOBSYNC_OLD_DATABASE_URL is not set" in unset.err
        ours = await stage.jobsync("plan", "--shadow", JOBSYNC_OLD_DATABASE_URL=dsn)
        assert ours.code == 6 and "points at a database of JobSync" in ours.err
        empty = await stage.jobsync("plan", "--shadow", JOBSYNC_OLD_DATABASE_URL=empty_dsn)
        assert empty.code == 6 and "without a table jobs" in empty.err
        gone = "postgresql://someone:s3cret-canary@127.0.0.1:1/none"
        away = await stage.jobsync("arm", "--yes", JOBSYNC_OLD_DATABASE_URL=gone)
        assert away.code == 6 and "The old flow's database: PostgreSQL cannot be reached" in away.err
        assert "s3cret-canary" not in away.err + away.out
        assert stage.value("select mode from jobsync.tenants") == "shadow", "not armed blindly"
        runs = stage.rows("select status, error_message from sync_logs where sync_type = 'shadow'")
        assert {row["status"] for row in runs} == {"failed"}


async def test_a_week_after_the_switch_people_are_told_to_delete_the_old_workflow(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=5, more=SHADOW) as stage:
        await stage.route_all()
        stage.run("insert into jobsync.outside_marks select 'default', 1314, jobsync.now() - interval '2 days'")
        assert (await stage.jobsync("arm", "--yes")).code == 0
        assert stage.rows("select code from jobsync.v_alert_conditions where code = 'old_flow_can_go'") == []
        day = stage.value("select to_char(delete_on, 'YYYY-MM-DD') from jobsync.v_old_flow")
        facts = stage.value("select jobsync.digest_facts('default')")
        assert facts["old_flow"]["delete_on"].startswith(day) and not facts["old_flow"]["is_due"]
        move_clock(dsn, "7 days 1 hour")
        (alert,) = stage.rows("select * from jobsync.v_alert_conditions where code = 'old_flow_can_go'")
        assert alert["title"] == "The old workflow can be deleted: JobSync has delivered alone for a week"
        # The old flow wakes up: the week begins anew. And nobody is reminded for ever.
        stage.run("update jobsync.outside_marks set last_marked_at = jobsync.now()")
        assert stage.rows("select 1 as n from jobsync.v_alert_conditions where code = 'old_flow_can_go'") == []
        move_clock(dsn, "15 days")
        assert stage.rows("select 1 as n from jobsync.v_alert_conditions where code = 'old_flow_can_go'") == []
