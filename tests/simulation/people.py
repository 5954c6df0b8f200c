"""What people do while everything goes wrong: work in ServiceTitan, change routes in JobSync, deploy, look after what is stored."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from jobsync.engine.backfill import open_backfill
from jobsync.engine.context import Engine
from jobsync.engine.quarantine import retry_quarantined
from jobsync.engine.reconcile import reconcile
from jobsync.engine.route import route_unit
from jobsync.engine.sending import pause_tenant, resume_tenant
from jobsync.errors import JobSyncError
from jobsync.simulators.gohighlevel.furnish import PIPELINES

UNITS = ((1314, "Sales & Service", 0.5), (4622, "Pool Service", 0.3), (26143, "Plumbing", 0.2))
SPOILED = ("jpm/export/jobs", "crm/export/customers", "crm/export/locations", "jpm/jobs")
HOWS = (
    "escaped_nul",
    "bad_utf8",
    "modified_text",
    "bare_word",
    "row_twice",
    "html",
    "data_null",
    "rows_only",
    "no_data",
    "invalid_json",
    "empty",
    "json_null",
    "no_has_more",
)
WORDS = ("Pump is loud", "Filter clogged", "Heater off", "", "<b>Gate</b> locked")


async def route_units(world: Any, engine: Engine, tenant: str) -> None:
    """Each unit gets a hook of its tenant's own location, or a pipeline there."""
    for place, (unit, _, _) in enumerate(UNITS):
        if world.profile.by_api:
            await route_unit(engine, tenant, unit, actor="operator", pipeline=list(PIPELINES)[place])
            continue
        await route_unit(
            engine,
            tenant,
            unit,
            actor="operator",
            webhook_url=world.hooks[tenant][place % 2],
            events=world.profile.events,
        )


async def live_as_people(world: Any) -> None:
    """Books, changes, cancels, edits in bulk and adds contacts, at seeded moments of the time of trouble."""
    rng = world.rng
    for _ in range(world.profile.people_acts):
        await asyncio.sleep(rng.random() * world.profile.trouble_seconds / world.profile.people_acts)
        tenant = rng.choice(world.tenants)
        act = world.titan.actions(world.account(tenant).tenant)
        data = world.dataset(tenant)
        jobs = data.tables["jobs"].keys()
        late = rng.choice((0.0, 0.0, 0.0, 200.0))
        # A job that is changed again before its late version shows would have two newest versions.
        choice = rng.randrange(8)
        world.note("people", choice, tenant)
        if choice <= 1:
            act.book_job(unit=rng.choice(UNITS)[0], new_customer=rng.random() < 0.4, visible_after=late)
        elif choice == 2:
            act.bulk_edit(jobs=[jobs[rng.randrange(len(jobs))] for _ in range(4)], summary=rng.choice(WORDS))
        elif choice == 3:
            act.cancel_job(job=rng.choice(jobs))
        elif choice == 4:
            owner, _ = rng.choice(data.homes)
            act.add_contact(
                owner="customers", parent=owner, kind="MobilePhone", value=f"602555{rng.randrange(100, 200):04d}"
            )
        elif choice == 5:
            act.change_location(location=rng.choice(data.homes)[1], name=f"Home {rng.randrange(100)}")
        elif choice == 6 and world.profile.poison:
            world.titan.faults.corrupt(rng.choice(SPOILED), rng.choice(HOWS), row=0)
        else:
            act.change_job(job=rng.choice(jobs), summary=f"{rng.choice(WORDS)} {rng.randrange(50)}")


async def operate(world: Any) -> None:
    """Deploys with another mapping, pauses and resumes, routes a unit to another hook, or pipeline, of the same tenant."""
    rng = world.rng
    engine = world.engine()
    for _ in range(world.profile.operator_acts):
        await asyncio.sleep(rng.random() * world.profile.trouble_seconds / world.profile.operator_acts)
        tenant = rng.choice(world.tenants)
        unit = rng.choice(UNITS)[0]
        choice = rng.randrange(5)
        world.note("operator", choice, tenant, unit)
        if world.profile.by_api and choice <= 1:
            try:
                await route_unit(engine, tenant, unit, actor="operator", pipeline=rng.choice(list(PIPELINES)))
            except JobSyncError as error:
                world.note("operator", type(error).__name__)
        elif choice == 0:
            await route_unit(engine, tenant, unit, actor="operator", pipeline=f"Pipeline {rng.randrange(9)}")
        elif choice == 1:
            await route_unit(engine, tenant, unit, actor="operator", webhook_url=rng.choice(world.hooks[tenant]))
        elif choice == 2:
            await route_unit(engine, tenant, unit, actor="operator", sync_enabled=False)
            await asyncio.sleep(rng.random() * 60)
            await route_unit(engine, tenant, unit, actor="operator", sync_enabled=True)
        elif choice == 3:
            await pause_tenant(engine, tenant, actor="operator")
            await asyncio.sleep(rng.random() * 120)
            await resume_tenant(engine, tenant, actor="operator")
        else:
            # A deploy: each process is asked to stop, and comes back with the same database.
            for process in list(world.processes):
                process.stopping = True
    for tenant in world.tenants:
        await resume_tenant(engine, tenant, actor="operator")


async def look_after(world: Any) -> None:
    """Backfills the whole history, compares, tries again what is quarantined: each a command of its own, which may be
    killed. Only in worlds that are asked for with care; drawn apart, so that the others stay what they were."""
    if not world.profile.care:
        return
    rng = Random(f"care {world.seed}")
    for number in range(rng.choice((2, 4, 6))):
        await asyncio.sleep(rng.random() * world.profile.trouble_seconds / 5)
        tenant, choice = rng.choice(world.tenants), rng.randrange(4)
        world.note("care", choice, tenant)
        if choice <= 1:
            since = world.now() - timedelta(days=400)
            act = partial(
                open_backfill, since=since, page_size=rng.choice((1, 3, 50)), deliver=choice == 1, actor="operator"
            )
        elif choice == 2:
            act = partial(reconcile, fix_missing=True, trigger="operator")
        else:
            act = retry_quarantined
        await world.run_command(f"c{number}", partial(act, tenant=tenant))
