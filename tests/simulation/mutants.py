"""Planted bugs: each must be found by the simulation, else the simulation is too weak.

A mutant changes one function of the database (its text, replaced and put back) or one of the engine, for one run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from jobsync.engine import deliver, hook_sender, passes, pull
from jobsync.engine.api_card import CardWriter
from jobsync.engine.api_links import Links
from jobsync.engine.store import Position
from jobsync.gohighlevel.outcomes import Outcome
from jobsync.log import get_log
from jobsync.servicetitan.keyset import read_changes
from jobsync.servicetitan.timestamps import format_ticks, parse_ticks

Plant = Callable[[Any, ExitStack], None]


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One planted bug. `forced`: fields of the profile that give it a chance; `often`: nearly every seed finds it."""

    name: str
    plant: Plant
    often: bool
    forced: dict[str, Any] = dataclasses.field(default_factory=dict)


def in_sql(function: str, *changes: tuple[str, str]) -> Plant:
    """Replaces text in a function of the database."""

    def plant(home: Any, stack: ExitStack) -> None:
        [row] = home.rows("select pg_get_functiondef(%s::regproc) as body", function)
        changed = row["body"]
        for old, new in changes:
            assert old in changed, f"{function} has changed: {old!r} is not in it any more"
            changed = changed.replace(old, new)
        home.run(changed)
        stack.callback(home.run, row["body"])

    return plant


def in_engine(target: Any, name: str, make: Callable[[Any], Any]) -> Plant:
    """Replaces a function of the engine by what `make` makes of it."""

    def plant(home: Any, stack: ExitStack) -> None:
        stack.enter_context(mock.patch.object(target, name, make(getattr(target, name))))

    return plant


def _cursor_first(store: Any) -> Any:
    async def store_after(engine: Any, tenant: str, stream: Any, page: Any, counts: Any, **more: Any) -> Any:
        position: Position | None = more.pop("position", None)
        revision = more.pop("revision", None)
        if position is not None:
            async with engine.database.transaction(tenant) as session:
                names = {"mode": position.mode, "token": position.token, "since": position.since}
                revision = await session.value(
                    "move_cursor",
                    {
                        "tenant": tenant,
                        "stream": stream.name,
                        "revision": revision,
                        "caught_up": position.caught_up,
                        **names,
                    },
                )
        await store(engine, tenant, stream, page, counts, **more)
        return revision

    return store_after


def _exclusive(_: Any) -> Any:
    def read_after(fetch: Any, *, since: str, **more: Any) -> Any:
        async def fetch_after(ask: Any) -> Any:
            if ask.modified_from is not None and ask.modified_before is None:
                ask = dataclasses.replace(ask, modified_from=format_ticks(parse_ticks(ask.modified_from) + 1))
            return await fetch(ask)

        return read_changes(fetch_after, since=since, **more)

    return read_after


def _nothing(_: Any) -> Any:
    async def do_nothing(*_: Any, **__: Any) -> None:
        return None

    return do_nothing


def _optimist(post: Any) -> Any:
    async def post_and_believe(*args: Any, **more: Any) -> Any:
        answer = await post(*args, **more)
        if answer.outcome is Outcome.AMBIGUOUS:
            return dataclasses.replace(answer, outcome=Outcome.ACCEPTED_WITHOUT_ID, error=None)
        return answer

    return post_and_believe


def _pessimist(post: Any) -> Any:
    async def post_and_give_up(*args: Any, **more: Any) -> Any:
        answer = await post(*args, **more)
        return dataclasses.replace(answer, outcome=Outcome.REJECTED) if answer.outcome is Outcome.UNSENT else answer

    return post_and_give_up


def _talkative(post: Any) -> Any:
    async def post_and_tell(session: Any, url: str, *args: Any, **more: Any) -> Any:
        answer = await post(session, url, *args, **more)
        get_log().warning("posted", host=url)
        return answer

    return post_and_tell


def _first_hook(read: Any) -> Any:
    seen: list[Any] = []

    async def read_first(engine: Any, tenant: str, destination: Any) -> Any:
        seen.append(await read(engine, tenant, destination))
        return seen[0]

    return read_first


def _impatient(_: Any) -> Any:
    async def once(work: Any, **_: Any) -> Any:
        try:
            return await work()
        except Exception:
            return {"delivered": 0, "failed": 0}

    return once


LEASE_OVER = "(o.lease_until is null or o.lease_until <= v_now)"
# With more crashes nothing is sent before all is calm; and only what a search does not show when the lease is over can be made twice.
BY_API = {
    "by_api": True,
    "two_tenants": False,
    "fault_grade": 2.0,
    "crash_rate": 0.004,
    "trouble_seconds": 900.0,
    "search_lag": 100.0,
}
LISTS = {"jobs": 12, "lists_only": True, "tied_jobs": 6, "page_sizes": (3, 2, 2), "sort_honoured": True}

MUTANTS = (
    Mutant("the cursor moves before its page is stored", in_engine(pull, "store", _cursor_first), False, {"crash_rate": 0.02, "database_loss": 0.015, "feed_rows": 2, "lists_only": False}),
    Mutant("> instead of >= at the watermark", in_engine(pull, "read_changes", _exclusive), False, LISTS),
    Mutant("the look-up of parents is dropped", in_engine(passes, "look_up_parents", _nothing), True, {"lists_only": True}),
    Mutant("the fence is dropped", in_sql("jobsync.finish_deliveries", ("(o.fence = r.fence or", "(true or")), False, {"stall_rate": 0.01}),
    Mutant("a row that does not fit is swallowed", in_sql("jobsync.quarantine_records", ("select p_tenant, p_stream, f.record_id", "select p_tenant, p_stream, null")), False, {"poison": True, "people_acts": 12}),
    Mutant("a change of route sends again", in_sql("jobsync.plan_unit", ("  if v_jobs is null then", "  update jobs set delivered_hash = null, ghl_sync_status = 'pending' where tenant_id = p_tenant and business_unit_id = p_unit;\n  v_jobs := array(select st_job_id from jobs where tenant_id = p_tenant and business_unit_id = p_unit);\n  if v_jobs is null then")), True, {"operator_acts": 3}),
    Mutant("the lease is dropped", in_sql("jobsync.claim_deliveries", (LEASE_OVER, "true"), ("f.lease_until > v_now", "false")), True),
    Mutant("a dead worker's row is never taken over", in_sql("jobsync.claim_deliveries", (LEASE_OVER, "(o.lease_until is null)")), False, {"crash_rate": 0.02, "jobs": 12, "group": 64}),
    Mutant("jobs of one customer go out side by side", in_sql("jobsync.claim_deliveries", ("and f.lease_until > v_now", "and false"), ("distinct on (coalesce(d.st_customer_id, -d.st_job_id))", "distinct on (d.st_job_id)"), ("order by coalesce(d.st_customer_id, -d.st_job_id), ", "order by d.st_job_id, ")), True),
    Mutant("a second poller may move the cursor back", in_sql("jobsync.move_cursor", (" and c.revision = p_revision", "")), False, {"stall_rate": 0.01, "workers": 3}),
    Mutant("an unknown outcome counts as accepted", in_engine(hook_sender, "post_webhook", _optimist), False, {"fault_grade": 2.0}),
    Mutant("what was never sent is given up", in_engine(hook_sender, "post_webhook", _pessimist), False, {"fault_grade": 2.0}),
    Mutant("the hash is taken when the answer is booked", in_sql("jobsync.finish_deliveries", ("then g.sent_hash", "then j.job_hash")), False, {"events": "all", "people_acts": 30, "fault_grade": 2.0, "operator_acts": 0, "trouble_seconds": 900.0, "lists_only": False}),
    Mutant("a change while the send was under way is forgotten", in_sql("jobsync.finish_deliveries", ("o.version <> a.version as newer", "false as newer")), False, {"events": "all", "people_acts": 30, "fault_grade": 2.0, "operator_acts": 0, "trouble_seconds": 900.0, "lists_only": False}),
    Mutant("the short way of booking looks at no version", in_sql("jobsync.book_usual", (" and o.version = c.version", "")), False, {"events": "all", "people_acts": 30, "fault_grade": 2.0, "operator_acts": 0, "trouble_seconds": 900.0, "lists_only": False}),
    Mutant("the pull leaves what a backfill had brought as it is", in_sql("jobsync.release_pulled", ("j.ghl_sync_reason = 'backfilled'", "false")), False, {"care": True}),
    Mutant("an outage while booking is not waited out", in_engine(deliver, "repeat_until_stored", _impatient), False, {"database_loss": 0.015}),
    Mutant("runs of dead processes stay open", in_sql("jobsync.abandon_runs", ("l.status = 'running'", "false")), False, {"crash_rate": 0.02}),
    Mutant("a hook's address is logged", in_engine(hook_sender, "post_webhook", _talkative), True),
    Mutant("a card is made without a look for the one of an earlier try", in_engine(CardWriter, "_look", _nothing), False, BY_API),
    Mutant("a card is made before anybody could know that it is being made", in_engine(Links, "open_intent", _nothing), False, BY_API),
    Mutant("one tenant's jobs go to another's hook", in_engine(deliver, "_destination", _first_hook), True, {"two_tenants": True}),
)  # fmt: skip


@contextmanager
def planted(mutant: Mutant, home: Any) -> Iterator[None]:
    """The bug is there inside the block, and gone afterwards."""
    with ExitStack() as stack:
        mutant.plant(home, stack)
        home.forget_plans()
        try:
            yield
        finally:
            stack.close()
            home.forget_plans()
