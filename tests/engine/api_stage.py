"""What stories about the API destination share: a routed unit, its cards, what was asked, and time that goes by."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any

from jobsync.engine.route import route_unit
from jobsync.simulators.gohighlevel.ledger import live_by_job
from jobsync.tasks.work import Duties
from jobsync.tasks.worker import report_sends, run_in_foreground, send_due
from tests.clock import move_clock
from tests.upstreams import TENANT, Stage

UNIT = 1314
# Seconds that a day's quota which is gone is waited for, in SQL: until the day ends; in its first hour for an hour, because the
# quota's day may begin at another time than ours.
_OF_DAY = "extract(epoch from now())::numeric % 86400"
DAY_LEFT = f"(case when {_OF_DAY} < 3600 then 3600 else 86400 - {_OF_DAY} end)"
NOT_COUNTED = ("/tags", "/notes", "/customFields", "/locations/")


async def route_jobs(stage: Stage, *, stage_name: str | None = None, units: tuple[int, ...] = (UNIT,)) -> list[int]:
    """Pulls, gives every customer a phone of his own, and routes units into the sales pipeline; their jobs."""
    await stage.sync(deliver=False)
    give_phones(stage)
    for unit in units:
        await route_unit(
            stage.engine, TENANT, unit, actor="test", pipeline="Sales Pipeline", stage=stage_name or "New Lead"
        )
    return sorted(stage.jobs_of(*units))


def give_phones(stage: Stage) -> None:
    """Every customer has one phone and no e-mail, at all his locations; nothing is queued by that."""
    stage.run("update customers set phone = '+1512' || lpad((st_customer_id % 10000000)::text, 7, '0'), email = null")
    stage.run("update jobsync.locations set phone = null, email = null")
    stage.run("delete from jobsync.contact_changes")


def cards(stage: Stage) -> dict[int, list[dict[str, Any]]]:
    """The live cards in GoHighLevel by job."""
    return {int(job): held for job, held in live_by_job([stage.level.location]).items()}


def card(stage: Stage, job: int) -> dict[str, Any]:
    """The one card of a job."""
    (found,) = cards(stage)[job]
    return found


def contact_of(stage: Stage, job: int) -> dict[str, Any]:
    """The contact that a job's card belongs to."""
    return stage.level.location.contacts.records[card(stage, job)["contactId"]]


def job_row(stage: Stage, job: int) -> dict[str, Any]:
    """How a job stands."""
    (row,) = stage.rows(
        "select ghl_sync_status as status, ghl_sync_reason as reason, ghl_sync_error as error, ghl_sync_flags as flags, "
        "ghl_opportunity_id as opportunity from jobs where st_job_id = %s",
        job,
    )
    return row


def pass_time(stage: Stage, seconds: float) -> None:
    """Moves the database's clock and GoHighLevel's."""
    move_clock(stage.dsn, f"{seconds} seconds")
    stage.level.clock.advance(seconds)


async def deliver(stage: Stage, *, rounds: int = 1, seconds: float = 150) -> dict[str, Any]:
    """Sends what is due, several times with time going by; the last report."""
    report: dict[str, Any] = {}
    for number in range(rounds):
        if number:
            pass_time(stage, seconds)
        report = await run_in_foreground(stage.engine, partial(_send, stage))
    return report


async def _send(stage: Stage, duties: Duties) -> dict[str, Any]:
    # Without the read-back that a whole pass ends with: it has stories of its own.
    started = stage.value("select jobsync.now()")
    await send_due(stage.engine, duties, TENANT)
    return await report_sends(stage.engine, TENANT, started)


def change_job(stage: Stage, job: int, **facts: Any) -> None:
    """The job comes again, changed, as a page would bring it."""
    stage.value(
        "select jobsync.store_page('default', 'jobs', (select jsonb_build_array(st_raw_data || %s::jsonb || "
        "jsonb_build_object('modifiedOn', to_jsonb(modified_on + interval '1 minute'))) from jobs where st_job_id = %s), '[]', '{}', '[]', null)",
        _json(facts),
        job,
    )


def _json(facts: dict[str, Any]) -> str:
    return json.dumps(facts)


class Requests:
    """Counts what the API was asked since it was made: without tags, notes and the location's facts."""

    def __init__(self, stage: Stage) -> None:
        self._ledger = stage.level.ledger
        self._before = Counter(self._ledger.requests_by_route)

    def by_route(self) -> dict[str, int]:
        """Requests by route."""
        now = Counter(self._ledger.requests_by_route)
        now.subtract(self._before)
        return {route: count for route, count in now.items() if count and not any(x in route for x in NOT_COUNTED)}

    def count(self) -> int:
        """All of them."""
        return sum(self.by_route().values())
