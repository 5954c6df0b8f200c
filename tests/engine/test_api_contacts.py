"""Whose contact is it: shared ones wait for a person, split ones are told apart, gone ones are found or made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobsync.engine.customers import decide_contact_review, list_contact_reviews
from jobsync.errors import InvalidInput, RecordMissing
from tests.engine.api_stage import card, cards, change_job, contact_of, deliver, job_row, pass_time, route_jobs
from tests.upstreams import Stage, open_stage

pytestmark = pytest.mark.anyio


def customer_of(stage: Stage, job: int) -> int:
    return stage.value("select jobsync.resolve_customer('default', st_customer_id) from jobs where st_job_id = %s", job)


def two_customers(stage: Stage, jobs: list[int]) -> tuple[int, int]:
    """Jobs of two different customers, who have no other jobs here."""
    rows = stage.rows(
        "select min(st_job_id) as job from jobs where st_job_id = any (%s) "
        "group by jobsync.resolve_customer('default', st_customer_id) having count(*) = 1 order by 1 limit 2",
        jobs,
    )
    first, second = (row["job"] for row in rows)
    stage.run("delete from jobsync.outbox where st_job_id not in (%s, %s)", first, second)
    return first, second


def tell(stage: Stage, customer: int, **facts: Any) -> None:
    sets = ", ".join(f"{name} = %s" for name in facts)
    stage.run(f"update customers set {sets} where st_customer_id = %s", *facts.values(), customer)


async def test_two_customers_who_share_a_phone_are_not_merged_and_a_person_decides(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, connected=True) as stage:
        first, second = two_customers(stage, await route_jobs(stage))
        for job in (first, second):
            tell(stage, customer_of(stage, job), phone="+15205550111")
        stage.run(
            "update jobsync.outbox set next_attempt_at = jobsync.now() - interval '1 minute' where st_job_id = %s",
            first,
        )
        await deliver(stage, rounds=2)
        (waiting,) = [job for job in (first, second) if job_row(stage, job)["status"] == "skipped"]
        (sent,) = {first, second} - {waiting}
        assert job_row(stage, waiting)["reason"] == "shared_contact"
        assert str(customer_of(stage, sent)) in job_row(stage, waiting)["error"]
        assert list(cards(stage)) == [sent]
        assert stage.level.ledger.contacts_created == 1
        (review,) = await list_contact_reviews(stage.engine, "default")
        assert (review["st_customer_id"], review["reason"]) == (customer_of(stage, waiting), "shared")
        assert review["other_customer_id"] == customer_of(stage, sent)
        with pytest.raises(InvalidInput):
            await decide_contact_review(stage.engine, "default", review["st_customer_id"], "merge", actor="test")
        with pytest.raises(RecordMissing):
            await decide_contact_review(stage.engine, "default", 1, "share", actor="test")
        assert (
            await decide_contact_review(stage.engine, "default", review["st_customer_id"], "share", actor="test") == 1
        )
        await deliver(stage, rounds=2)
        assert card(stage, waiting)["contactId"] == card(stage, sent)["contactId"]
        named = stage.value("select first_name from customers where st_customer_id = %s", customer_of(stage, sent))
        assert contact_of(stage, sent).get("firstName") == named, "the contact keeps saying what its own customer says"
        assert await list_contact_reviews(stage.engine, "default") == []


async def test_a_contact_that_carries_another_customers_id_is_not_taken(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, connected=True) as stage:
        job, _ = two_customers(stage, await route_jobs(stage))
        await deliver(stage)
        # The database forgets; GoHighLevel still says whose the contact is.
        stage.run("delete from jobsync.contact_links")
        stage.run("delete from jobsync.opportunity_links")
        stage.run("update customers set ghl_contact_id = null")
        stage.run("update jobs set ghl_opportunity_id = null")
        contact = contact_of(stage, job)
        contact["customFields"][0]["value"] = "4711"
        stage.level.location.contacts.save(contact)
        change_job(stage, job, total=3)
        await deliver(stage)
        assert job_row(stage, job)["reason"] == "shared_contact"
        assert len(cards(stage)[job]) == 1


async def test_a_contact_that_was_there_is_taken_over_and_do_not_disturb_is_never_lifted(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, connected=True) as stage:
        job, other = two_customers(stage, await route_jobs(stage))
        phone = stage.value("select phone from customers where st_customer_id = %s", customer_of(stage, job))
        async with open_client(stage) as client:
            body = {
                "locationId": client.location_id,
                "firstName": "By hand",
                "phone": phone,
                "dnd": True,
                "tags": ["vip"],
            }
            made = await client.create_contact(body)
        tell(stage, customer_of(stage, other), do_not_text=True)
        stage.run("update jobsync.locations set do_not_text = true")
        await deliver(stage)
        contact = contact_of(stage, job)
        assert (contact["id"], contact["dnd"], contact["tags"]) == (made.id, True, ["vip"])
        assert contact["customFields"][0]["value"] == str(customer_of(stage, job))
        assert contact_of(stage, other)["dndSettings"] == {"SMS": {"status": "active"}}
        assert contact_of(stage, other)["dnd"] is False
        tell(stage, customer_of(stage, other), do_not_text=False)
        await deliver(stage)
        assert contact_of(stage, other)["dndSettings"] == {"SMS": {"status": "active"}}


async def test_a_phone_and_an_email_of_two_contacts_are_not_mixed_and_the_dropped_field_is_noticed(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, connected=True) as stage:
        job, _ = two_customers(stage, await route_jobs(stage))
        customer = customer_of(stage, job)
        phone = stage.value("select phone from customers where st_customer_id = %s", customer)
        tell(stage, customer, email="ada@example.com")
        async with open_client(stage) as client:
            by_email = await client.create_contact({"locationId": client.location_id, "email": "ada@example.com"})
            by_phone = await client.create_contact({"locationId": client.location_id, "phone": phone})
        await deliver(stage)
        assert job_row(stage, job)["flags"] == ["field_dropped"]
        assert contact_of(stage, job)["id"] in (by_email.id, by_phone.id)
        link = stage.rows("select contact_id, dropped from jobsync.contact_links where st_customer_id = %s", customer)[
            0
        ]
        assert link["contact_id"] == by_email.id and link["dropped"] == ["phone"]
        assert stage.level.location.contacts.records[by_phone.id].get("phone") == phone
        (review,) = await list_contact_reviews(stage.engine, "default")
        assert (review["reason"], review["other_contact_id"]) == ("split", by_phone.id)


async def test_a_contact_that_was_merged_away_by_hand_is_found_again(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, connected=True) as stage:
        job, other = two_customers(stage, await route_jobs(stage))
        await deliver(stage)
        gone, keep = contact_of(stage, job)["id"], contact_of(stage, other)["id"]
        stage.level.act("merge_contacts", keep=keep, gone=gone)
        tell(stage, customer_of(stage, job), street="2 Pool Lane")
        stage.run("update jobsync.locations set street = '2 Pool Lane'")
        pass_time(stage, 60)
        await deliver(stage)
        assert stage.value("select count(*) from jobsync.audit where action = 'contact_gone'") == 1
        # The one that is left is the other customer's, so a person decides.
        assert job_row(stage, job)["reason"] == "shared_contact"
        assert len(cards(stage)[job]) == 1


async def test_a_deleted_contact_is_made_anew_for_the_next_job(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=40, connected=True) as stage:
        jobs = await route_jobs(stage)
        row = stage.rows(
            "select min(st_job_id) as first, max(st_job_id) as second from jobs where st_job_id = any (%s) "
            "group by st_customer_id having count(*) = 2 limit 1",
            jobs,
        )[0]
        stage.run("delete from jobsync.outbox where st_job_id not in (%s, %s)", row["first"], row["second"])
        stage.run(
            "update jobsync.outbox set next_attempt_at = next_attempt_at + interval '1 hour' where st_job_id = %s",
            row["second"],
        )
        await deliver(stage)
        gone = contact_of(stage, row["first"])["id"]
        stage.level.act("delete_contact", contact=gone)
        pass_time(stage, 7200)
        await deliver(stage)
        assert job_row(stage, row["second"])["status"] == "synced"
        assert contact_of(stage, row["second"])["id"] != gone
        assert stage.value("select count(*) from jobsync.intents") == 0


def open_client(stage: Stage) -> Any:
    """A client of the stage's location, for what people do by hand there."""
    from jobsync.engine.ghl_connection import open_gohighlevel

    return open_gohighlevel(stage.engine, "default")
