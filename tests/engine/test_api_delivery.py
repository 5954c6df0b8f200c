"""The API destination over real HTTP: one card a job, what it says, how many requests it takes, and what stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobsync.engine.plan import read_plan
from jobsync.engine.sending import pause_tenant, replay_jobs, resume_tenant
from tests.engine.api_stage import (
    Requests,
    card,
    cards,
    change_job,
    contact_of,
    deliver,
    job_row,
    pass_time,
    route_jobs,
)  # fmt: skip
from tests.upstreams import TENANT, open_stage

pytestmark = pytest.mark.anyio


def first_and_second(stage, jobs: list[int]) -> tuple[int, int]:
    """Two jobs of one customer."""
    (row,) = stage.rows(
        "select min(st_job_id) as first, max(st_job_id) as second from jobs where st_job_id = any (%s) "
        "group by st_customer_id having count(*) > 1 limit 1",
        jobs,
    )
    return row["first"], row["second"]


async def test_each_job_gets_one_card_that_says_what_servicetitan_says_and_both_ids_are_kept(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, connected=True) as stage:
        jobs = await route_jobs(stage, stage_name="Estimate Scheduled")
        report = await deliver(stage)
        assert (report["delivered"], report["failed"]) == (len(jobs), 0)
        location = stage.level.location
        assert sorted(cards(stage)) == jobs
        pipeline, place = stage.level.find_stage(location, "Sales Pipeline", "Estimate Scheduled")
        fields = {each["id"]: each["fieldKey"] for each in location.fields}
        for job in jobs:
            (row,) = stage.rows("select * from jobsync.projections where st_job_id = %s", job)
            made = card(stage, job)
            assert (made["pipelineId"], made["pipelineStageId"], made["status"]) == (
                pipeline["id"],
                place["id"],
                "open",
            )
            assert made["name"].startswith(f"ST #{row['st_job_number']}{' ' if row['summary'] else ''}")
            assert made["monetaryValue"] == float(row["total"] or 0)
            told = {fields[each["id"]]: each["fieldValue"] for each in made["customFields"]}
            assert told["opportunity.st_job_id"] == str(job)
            assert told["opportunity.st_customer_id"] == str(row["st_customer_id"])
            assert row["ghl_opportunity_id"] == made["id"] and row["ghl_contact_id"] == made["contactId"]
            contact = contact_of(stage, job)
            assert (contact["phone"], contact["source"]) == (row["phone"], "ServiceTitan")
            survivor = stage.value("select jobsync.resolve_customer('default', %s)", row["st_customer_id"])
            assert [each["value"] for each in contact["customFields"]] == [str(survivor)]
            notes = [
                note["body"] for note in location.notes[contact["id"]] if note["body"].startswith(f"[st-job:{job}]")
            ]
            assert len(notes) == (1 if row["summary"] else 0)
        assert stage.value("select count(*) from jobsync.intents") == 0
        assert stage.value("select count(*) from jobsync.outbox") == 0


async def test_requests_of_a_new_contact_a_known_one_a_change_and_no_change(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40, connected=True) as stage:
        jobs = await route_jobs(stage)
        first, second = first_and_second(stage, jobs)
        stage.run("update jobsync.outbox set next_attempt_at = next_attempt_at + interval '1 day'")
        counts = {}
        for name, job in (("new contact", first), ("known contact", second)):
            stage.run("update jobsync.outbox set next_attempt_at = jobsync.now() where st_job_id = %s", job)
            requests = Requests(stage)
            assert (await deliver(stage))["delivered"] == 1
            counts[name] = requests.count()
            pass_time(stage, 60)
        requests = Requests(stage)
        change_job(stage, first, total=777.25, summary="Another pump")
        assert (await deliver(stage))["delivered"] == 1
        counts["change"] = requests.count()
        assert requests.by_route() == {"PUT /opportunities/*": 1}
        assert card(stage, first)["monetaryValue"] == 777.25
        requests = Requests(stage)
        change_job(stage, first)
        await deliver(stage)
        counts["no change"] = requests.count()
        print(f"GoHighLevel requests without tags, notes and read-back: {counts}")
        assert counts["new contact"] <= 4
        assert counts == {"new contact": 3, "known contact": 2, "change": 1, "no change": 0}


async def test_the_plan_says_how_many_requests_its_jobs_will_take(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40, connected=True) as stage:
        jobs = await route_jobs(stage)

        async def planned() -> int:
            return (await read_plan(stage.engine, TENANT))["requests"]

        # Customers that were merged are one.
        customers = stage.value(
            "select count(distinct jobsync.resolve_customer('default', st_customer_id)) from jobsync.outbox"
        )
        told = await planned()
        assert told == 2 * len(jobs) + customers
        requests = Requests(stage)
        assert (await deliver(stage))["delivered"] == len(jobs)
        assert requests.count() == told
        change_job(stage, jobs[0], total=777.25)
        assert await planned() == 1
        await deliver(stage)
        assert await planned() == 0


async def test_a_changed_phone_is_told_to_the_contact_once_and_to_no_card(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40, connected=True) as stage:
        jobs = await route_jobs(stage)
        first, second = first_and_second(stage, jobs)
        await deliver(stage)
        requests = Requests(stage)
        stage.run(
            "update customers set phone = '+15205550199' where st_customer_id = (select st_customer_id from jobs where st_job_id = %s)",
            first,
        )
        assert (await deliver(stage))["delivered"] == 1
        assert requests.by_route() == {"PUT /contacts/*": 1}
        assert contact_of(stage, second)["phone"] == "+15205550199"
        assert job_row(stage, first)["status"] == job_row(stage, second)["status"] == "synced"
        await deliver(stage, rounds=2)
        assert requests.count() == 1


async def test_a_replay_tells_everything_again_and_makes_nothing_new(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, connected=True) as stage:
        jobs = await route_jobs(stage)
        await deliver(stage)
        made = {job: card(stage, job)["id"] for job in jobs}
        stage.level.act("move_opportunity", opportunity=made[jobs[0]], name="Renamed by hand")
        await replay_jobs(stage.engine, "default", jobs, actor="test", force=True)
        assert (await deliver(stage))["delivered"] == len(jobs)
        assert {job: card(stage, job)["id"] for job in jobs} == made
        assert card(stage, jobs[0])["name"] != "Renamed by hand"
        assert len(stage.level.location.contacts.records) == stage.value(
            "select count(distinct jobsync.resolve_customer(tenant_id, st_customer_id)) from jobs where st_job_id = any (%s)",
            jobs,
        )


async def test_a_card_that_a_person_moved_stays_and_is_told_the_rest(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, connected=True) as stage:
        job = (await route_jobs(stage))[0]
        await deliver(stage)
        moved = stage.level.act("move_opportunity", opportunity=card(stage, job)["id"], stage="Lost", status="lost")
        requests = Requests(stage)
        change_job(stage, job, total=4321.5)
        await deliver(stage)
        assert requests.by_route() == {"PUT /opportunities/*": 1}
        now = card(stage, job)
        assert (now["pipelineStageId"], now["status"], now["monetaryValue"]) == (
            moved["pipelineStageId"],
            "lost",
            4321.5,
        )


async def test_a_card_goes_on_to_the_stage_that_the_rules_want_after_one_look_where_it_stands(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, connected=True) as stage:
        job, other = (await route_jobs(stage))[:2]
        await deliver(stage)
        _, place = stage.level.find_stage(stage.level.location, "Sales Pipeline", "Estimate Sent")
        stage.level.act("move_opportunity", opportunity=card(stage, other)["id"], stage="Lost")
        stage.run(
            "insert into jobsync.rules (tenant_id, name, position, event, pipeline_id, stage_id) select 'default', 'done', 900, 'completed', "
            "pipeline_id, stage_id from jobsync.pipeline_stages where stage_id = %s",
            place["id"],
        )
        requests = Requests(stage)
        for each in (job, other):
            change_job(stage, each, jobStatus="Completed", total=55)
        await deliver(stage)
        assert card(stage, job)["pipelineStageId"] == place["id"]
        assert requests.by_route() == {"GET /opportunities/*": 2, "PUT /opportunities/*": 2}
        stays = card(stage, other)
        assert stays["monetaryValue"] == 55
        assert (
            stage.level.find_stage(stage.level.location, "Sales Pipeline", "Lost")[1]["id"] == stays["pipelineStageId"]
        )


async def test_tags_stand_before_the_card_does_and_the_contacts_own_stay(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, connected=True) as stage:
        jobs = await route_jobs(stage)
        stage.run(
            "insert into jobsync.rules (tenant_id, name, position, event, tags) values ('default', 'tagged', 1, 'created', '{st-job}')"
        )
        await deliver(stage)
        contact = contact_of(stage, jobs[0])
        assert contact["tags"] == ["st-job"]
        paths = [each.path for each in stage.level.ledger.requests if each.method == "POST"]
        cards_made = [index for index, path in enumerate(paths) if path == "/opportunities/"]
        # Customers are served side by side: each card is compared with the tags of its own contact.
        owners = [card["contactId"] for card in stage.level.location.opportunities.records.values()]
        assert len(cards_made) == len(owners) > 0
        assert all(f"/contacts/{owner}/tags" in paths[:at] for at, owner in zip(cards_made, owners, strict=True))
        contact["tags"].append("vip")
        requests = len(stage.level.ledger.requests)
        change_job(stage, jobs[0], total=5)
        await deliver(stage)
        assert set(contact_of(stage, jobs[0])["tags"]) == {"st-job", "vip"}
        assert [each.method for each in list(stage.level.ledger.requests)[requests:]] == ["PUT"]


async def test_a_job_without_phone_and_email_is_skipped_and_sent_when_one_arrives(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=20, connected=True) as stage:
        job = (await route_jobs(stage))[0]
        customer = stage.value("select st_customer_id from jobs where st_job_id = %s", job)
        stage.run("update customers set phone = 'ask the neighbour' where st_customer_id = %s", customer)
        requests = Requests(stage)
        report = await deliver(stage)
        assert (job_row(stage, job)["status"], job_row(stage, job)["reason"]) == ("skipped", "no_contact")
        assert report["failed"] == 0 and report["skipped"] >= 1
        assert job not in cards(stage)
        before = requests.count()
        stage.run("update customers set email = 'ada@example.com' where st_customer_id = %s", customer)
        await deliver(stage)
        assert job_row(stage, job)["status"] == "synced"
        assert contact_of(stage, job)["email"] == "ada@example.com"
        assert requests.count() > before


async def test_a_pause_stops_a_group_that_is_under_way(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=16, connected=True, more={"JOBSYNC_GHL_PACE": "8"}) as stage:
        jobs = await route_jobs(stage)
        stage.level.faults.add("slow", path="/contacts/", method="POST", times=1, seconds=0.5)
        import asyncio

        sending = asyncio.ensure_future(deliver(stage))
        while not stage.level.ledger.contacts_created:
            await asyncio.sleep(0)
        await pause_tenant(stage.engine, "default", actor="test")
        at_pause = stage.level.ledger.request_count
        await sending
        assert stage.level.ledger.request_count - at_pause <= 2
        assert len(cards(stage)) < len(jobs)
        assert stage.value("select count(*) from jobs where ghl_sync_status = 'failed'") == 0
        await resume_tenant(stage.engine, "default", actor="test")
        stage.run("delete from jobsync.budgets")
        while len(cards(stage)) < len(jobs):
            await deliver(stage)
        assert sorted(cards(stage)) == jobs
        assert max(map(len, cards(stage).values())) == 1
