"""What becomes of a job for each answer of GoHighLevel's API: the rows of "What happens on each answer", by their names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobsync.db.queries import get_query
from tests.engine.api_stage import (
    DAY_LEFT,
    Requests,
    card,
    cards,
    change_job,
    deliver,
    job_row,
    pass_time,
    route_jobs,
)  # fmt: skip
from tests.upstreams import Stage, open_stage

pytestmark = pytest.mark.anyio

CARD, CONTACT, SEARCH = r"^/opportunities/$", r"^/contacts/$", r"^/opportunities/search"


@dataclass(frozen=True)
class Told:
    """A fault at one call, how a job then stands (status, reason, the attempt's outcome and HTTP status), and how it ends."""

    kind: str
    path: str
    first: tuple[str, str | None, str, int | None]
    last: tuple[str, str | None]
    options: dict[str, Any] = field(default_factory=dict)
    times: int | None = 1


SYNCED = ("synced", None)
LATER = ("pending", "retrying", "ambiguous")
ANSWERS: dict[str, Told] = {
    "2xx not JSON at the card": Told("did_then_garbage", CARD, (*LATER, 200), SYNCED),
    "2xx HTML at the card": Told("did_then_html", CARD, (*LATER, 200), SYNCED),
    "2xx truncated at the card": Told("truncated", CARD, (*LATER, 201), SYNCED),
    "2xx not JSON at the contact": Told("did_then_garbage", CONTACT, (*LATER, 200), SYNCED),
    "3xx": Told("redirect", CARD, ("failed", "rejected", "rejected", None), ("failed", "rejected"), times=None),
    "400": Told("status", CARD, (*LATER, 400), ("failed", "rejected"), {"status": 400}, times=None),
    "422": Told("status", CARD, (*LATER, 422), ("failed", "rejected"), {"status": 422}, times=None),
    "400 that wrote": Told("did_then_status", CARD, (*LATER, 400), SYNCED, {"status": 400}),
    "422 that wrote": Told("did_then_status", CARD, (*LATER, 422), SYNCED, {"status": 422}),
    "422 that wrote a contact": Told("did_then_status", CONTACT, ("synced", None, "accepted", None), SYNCED, {"status": 422}),
    "401": Told(
        "unauthorized", CARD, ("pending", "destination_unauthorized", "unauthorized", 401), SYNCED, times=1
    ),
    "403": Told("forbidden", CARD, ("pending", "destination_unauthorized", "unauthorized", 403), SYNCED),
    "404 of a route": Told(
        "status", CARD, ("pending", "destination_gone", "gone", 404), SYNCED, {"status": 404, "message": "Cannot POST /opportunities/"}
    ),
    "408": Told("status", CARD, (*LATER, 408), SYNCED, {"status": 408}),
    "reset before it was done": Told("close", CARD, (*LATER, None), SYNCED),
    "reset after it was done": Told("did_then_close", CARD, (*LATER, None), SYNCED),
    "reset after the contact was made": Told("did_then_close", CONTACT, (*LATER, None), SYNCED),
    "413": Told("status", CARD, ("synced", None, "accepted", None), SYNCED, {"status": 413}),
    "413 again": Told("status", CARD, ("failed", "rejected", "rejected", 413), ("failed", "rejected"), {"status": 413}, times=None),
    "429": Told(
        "too_many", CARD, ("pending", "destination_rate_limited", "rate_limited", 429), SYNCED, {"retry_after": 60}
    ),
    "5xx": Told("status", CARD, (*LATER, 500), SYNCED, {"status": 500}),
    "5xx that wrote": Told("did_then_status", CARD, (*LATER, 500), SYNCED, {"status": 500}),
    "5xx of a search": Told("status", r"^/contacts/search", ("pending", "retrying", "unavailable", 502), SYNCED, {"status": 502}),
}  # fmt: skip


def attempt(stage: Stage, job: int) -> tuple[str, int | None]:
    """Outcome and status of the first attempt."""
    row = stage.rows("select outcome, status_code from jobsync.attempts where st_job_id = %s order by id limit 1", job)[
        0
    ]
    return row["outcome"], row["status_code"]


def only(stage: Stage, job: int) -> None:
    """Leaves one job in the outbox."""
    stage.run("delete from jobsync.outbox where st_job_id <> %s", job)


# So many answers in one world, each met by another job of another customer; a day lies between two of them.
TOGETHER = 6


@pytest.mark.parametrize("first", range(0, len(ANSWERS), TOGETHER))
async def test_each_answer_of_the_api_has_its_status_reason_and_attempt_and_makes_at_most_one_card(
    dsn: str, tmp_path: Path, first: int
) -> None:
    async with open_stage(dsn, tmp_path, jobs=60, connected=True) as stage:
        jobs = one_of_each_customer(stage, await route_jobs(stage))
        for name, job in zip(list(ANSWERS)[first : first + TOGETHER], jobs, strict=False):
            await meet(stage, job, name, ANSWERS[name])
            pass_time(stage, 24 * 3600)


def one_of_each_customer(stage: Stage, jobs: list[int]) -> list[int]:
    """One job of each customer; they all wait until they are let go."""
    stage.run("update jobsync.outbox set next_attempt_at = 'infinity'")
    found = stage.rows(
        "select min(st_job_id) as job from jobs where st_job_id = any (%s) group by st_customer_id", jobs
    )
    assert len(found) >= TOGETHER
    return sorted(each["job"] for each in found)


async def meet(stage: Stage, job: int, name: str, told: Told) -> None:
    """Sends one job, which meets this answer, and looks at what became of it at once and in the end."""
    stage.run("update jobsync.outbox set next_attempt_at = jobsync.now() where st_job_id = %s", job)
    contacts = stage.level.ledger.contacts_created
    # A 401 is tried once more with a token that was read anew: it takes two to be refused.
    times = 2 if name == "401" else told.times
    stage.level.faults.add(told.kind, path=told.path, method=None, times=times, **told.options)
    await deliver(stage)
    row = job_row(stage, job)
    assert (row["status"], row["reason"], *attempt(stage, job)) == told.first, name
    assert (row["error"] is None) is (told.first[0] == "synced"), name
    if told.first[2] == "unauthorized":
        assert stage.value("select paused_at is not null from jobsync.destinations"), name
    await deliver(stage, rounds=4)
    row = job_row(stage, job)
    assert (row["status"], row["reason"]) == told.last, name
    if told.last == SYNCED:
        assert row["opportunity"] == card(stage, job)["id"], name
        assert stage.value("select count(*) from jobsync.intents where st_job_id = %s", job) == 0, name
    else:
        assert job not in cards(stage), name
    assert stage.level.ledger.contacts_created - contacts <= 1, name
    stage.level.faults.clear()


async def test_a_search_that_lost_its_scope_parks_the_job_and_creates_nothing(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=10, connected=True) as stage:
        job = (await route_jobs(stage))[0]
        only(stage, job)
        stage.level.faults.add("did_then_close", path=CARD, times=1)
        await deliver(stage)
        stage.level.faults.add(
            "status", path=SEARCH, times=3, status=401, message="The token is not authorized for this scope."
        )
        pass_time(stage, 150)
        await deliver(stage)
        assert job_row(stage, job)["reason"] == "destination_unauthorized"
        assert len(cards(stage)[job]) == 1
        stage.level.faults.clear()
        await deliver(stage, rounds=3)
        assert job_row(stage, job)["opportunity"] == card(stage, job)["id"]


async def test_a_create_that_was_lost_is_looked_for_and_made_only_after_it_settled(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=10, connected=True) as stage:
        job = (await route_jobs(stage))[0]
        only(stage, job)
        stage.level.faults.add("close", path=CARD, times=1)
        await deliver(stage)
        pass_time(stage, 10)
        requests = Requests(stage)
        await deliver(stage)
        assert requests.by_route() == {"GET /opportunities/search": 1}
        assert (job_row(stage, job)["status"], job_row(stage, job)["reason"]) == ("pending", "settling")
        assert stage.value("select attempts from jobsync.outbox") == 1, "waiting burns no attempt"
        pass_time(stage, 100)
        await deliver(stage)
        assert cards(stage) == {}
        pass_time(stage, 60)
        await deliver(stage)
        assert len(cards(stage)[job]) == 1


async def test_a_card_that_was_deleted_is_not_made_again_until_a_person_asks(dsn: str, tmp_path: Path) -> None:
    from jobsync.engine.sending import replay_jobs

    async with open_stage(dsn, tmp_path, jobs=10, connected=True) as stage:
        job = (await route_jobs(stage))[0]
        only(stage, job)
        await deliver(stage)
        stage.level.act("delete_opportunity", opportunity=card(stage, job)["id"])
        change_job(stage, job, total=9)
        await deliver(stage, rounds=2)
        row = job_row(stage, job)
        assert (row["status"], row["reason"], row["opportunity"]) == ("skipped", "deleted_in_ghl", None)
        assert cards(stage) == {}
        assert stage.value("select count(*) from jobsync.audit where action = 'card_deleted_in_ghl'") == 1
        await replay_jobs(stage.engine, "default", [job], actor="test", force=True)
        await deliver(stage)
        assert job_row(stage, job)["opportunity"] == card(stage, job)["id"]


async def test_a_location_that_allows_one_card_a_contact_is_said_and_no_other_jobs_card_is_taken(
    dsn: str, tmp_path: Path
) -> None:
    async with open_stage(dsn, tmp_path, jobs=40, connected=True) as stage:
        jobs = await route_jobs(stage)
        stage.level.act("change_settings", allowDuplicateOpportunity=False)
        customers = stage.value(
            "select count(distinct jobsync.resolve_customer('default', st_customer_id)) from jobs where st_job_id = any (%s)",
            jobs,
        )
        await deliver(stage, rounds=2)
        assert len(cards(stage)) == customers < len(jobs)
        refused = stage.rows("select ghl_sync_error as text from jobs where ghl_sync_status = 'failed'")
        assert len(refused) == len(jobs) - customers
        assert all("one opportunity in the pipeline" in row["text"] for row in refused)


async def test_the_days_quota_gone_parks_until_it_is_full_again(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=10, connected=True) as stage:
        job = (await route_jobs(stage))[0]
        only(stage, job)
        stage.level.act("use_up_day")
        await deliver(stage)
        row = job_row(stage, job)
        assert (row["status"], row["reason"]) == ("pending", "destination_rate_limited")
        # Until the day ends; in its first hour, whose day counts being unconfirmed, for an hour.
        assert stage.value(
            f"select extract(epoch from next_attempt_at - now()) >= {DAY_LEFT} - 120 from jobsync.outbox"
        )
        assert stage.value("select attempts from jobsync.outbox") == 0


async def test_after_a_restore_nothing_is_created_that_a_search_may_not_show_yet(dsn: str, tmp_path: Path) -> None:
    """Found by the rehearsal: cards that were made seconds before a restore were made again after it."""
    async with open_stage(dsn, tmp_path, jobs=10, connected=True) as stage:
        job = (await route_jobs(stage))[0]
        only(stage, job)
        stage.run(get_query("disarm_restored"))
        stage.run("update jobsync.tenants set mode = 'live'")
        await deliver(stage)
        row = job_row(stage, job)
        assert (row["status"], row["reason"], cards(stage)) == ("pending", "settling", {})
        pass_time(stage, 150)
        await deliver(stage)
        assert (job_row(stage, job)["status"], len(cards(stage))) == ("synced", 1)
