"""Health: the doctor as a page, budgets of requests, the database, alerts, their channels and the digest."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Form, Query, Response

from jobsync.alerts import settings as alert_settings
from jobsync.alerts.watch import send_test
from jobsync.engine.doctor import GROUPS, examine, look_at_state
from jobsync.engine.findings import Finding
from jobsync.engine.health_facts import read_health_facts
from jobsync.errors import InvalidInput
from jobsync.web.dashboard.rendering import confirm, page
from jobsync.web.dashboard.visits import PageRoute, ThisVisit, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HERE = "/ui/health"
NAMES = {
    "machine": "This machine",
    "secrets": "Secrets",
    "database": "Database",
    "servicetitan": "ServiceTitan",
    "gohighlevel": "GoHighLevel",
    "routing": "Routing",
    "worker": "Worker",
    "alerts": "Alerts",
}
Word = Annotated[str, Form(max_length=200)]
Hours = Annotated[str, Form(max_length=4, pattern=r"^[0-9]*$")]


@router.get(HERE)
@seen_by("viewer")
async def show_health(
    visit: ThisVisit, checks: Annotated[str, Query(pattern="^(state|all)$")] = "state", past: bool = False
) -> Response:
    """What PostgreSQL knows at once; `checks=all` asks the machine and both upstreams, too."""
    if checks == "all":
        findings = await examine(visit.engine.settings, visit.tenant, only=GROUPS)
    else:
        findings = await look_at_state(visit.engine, visit.tenant)
    # Open alerts have a list of their own below.
    findings = [one for one in findings if one.group != "alerts" or one.state == "ok"]
    count = {state: sum(one.state == state for one in findings) for state in ("ok", "warning", "problem")}
    return page(
        visit,
        "health.html",
        title="Health",
        here=HERE,
        groups=_group(findings),
        count=count,
        asked=checks == "all",
        facts=await read_health_facts(visit.engine, visit.tenant),
        alerts=await alert_settings.list_alerts(visit.engine, visit.tenant, everything=past),
        past=past,
        channels=await alert_settings.list_channels(visit.engine, visit.tenant),
        settings=await alert_settings.read_settings(visit.engine, visit.tenant),
        digest=await alert_settings.preview_digest(visit.engine, visit.tenant),
        names=NAMES,
    )


@router.post("/ui/health/channels/test")
@seen_by("operator")
async def test_channels(visit: ThisVisit) -> Response:
    """Sends a test message to every channel and says which took it."""
    sent = await send_test(visit.engine, visit.tenant)
    if not sent:
        raise InvalidInput("There is no channel to test.", hint="Add one on this page, or set JOBSYNC_ALERT_URLS.")
    refused = [one.channel for one in sent if not one.ok]
    took = ", ".join(one.channel for one in sent if one.ok)
    if refused:
        return await visit.go(
            HERE, f"Refused by {', '.join(refused)}.{f' Taken by {took}.' if took else ''}", kind="fail"
        )
    return await visit.go(HERE, f"Taken by {took}.")


@router.post("/ui/health/channels/add")
@seen_by("admin")
async def add_channel(visit: ThisVisit, url: Annotated[str, Form(max_length=2000)]) -> Response:
    """Adds a channel; its URL is sealed and never shown again."""
    added = await alert_settings.add_channel(visit.engine, visit.tenant, url.strip())
    return await visit.go(HERE, f"Added {added.name}. Send a test to it.")


@router.get("/ui/health/channels/remove")
@seen_by("admin")
async def ask_to_remove(visit: ThisVisit, channel: Annotated[str, Query(max_length=100)]) -> Response:
    """Nobody is told through it any more."""
    return confirm(
        visit,
        title=f"Remove {channel}?",
        sentence="Alerts and the digest are no longer sent there. Its URL is forgotten.",
        action="/ui/health/channels/remove",
        button="Remove the channel",
        facts=[],
        fields=[("channel", channel)],
        back=HERE,
        danger=True,
        here=HERE,
    )


@router.post("/ui/health/channels/remove")
@seen_by("admin")
async def remove_channel(visit: ThisVisit, channel: Annotated[str, Form(max_length=100)]) -> Response:
    """Removes it."""
    left = await alert_settings.remove_channel(visit.engine, visit.tenant, channel)
    return await visit.go(HERE, f"Removed; {len(left)} left.")


@router.post("/ui/health/alerts/mute")
@seen_by("operator")
async def mute(visit: ThisVisit, code: Word, subject: Word = "") -> Response:
    """Keeps an alert quiet for a day; it stays in the list."""
    await alert_settings.mute_alert(visit.engine, visit.tenant, code, subject=subject, hours=24, actor=visit.actor)
    return await visit.go(HERE, "Quiet for 24 hours; it stays in this list.")


@router.post("/ui/health/alerts/settings")
@seen_by("admin")
async def change_settings(
    visit: ThisVisit,
    time_zone: Word,
    quiet: Word = "",
    digest: Word = "",
    silence_hours: Hours = "",
    repeat_hours: Hours = "",
) -> Response:
    """When people are told."""
    await alert_settings.change_settings(
        visit.engine,
        visit.tenant,
        actor=visit.actor,
        time_zone=time_zone.strip() or None,
        quiet=quiet.strip() or "none",
        digest=digest.strip() or "none",
        silence_hours=int(silence_hours) if silence_hours else None,
        repeat_hours=int(repeat_hours) if repeat_hours else None,
    )
    return await visit.go(HERE, "Saved.")


def _group(findings: list[Finding]) -> list[tuple[str, list[Finding]]]:
    order = {name: place for place, name in enumerate(GROUPS)}
    ordered = sorted(findings, key=lambda one: order.get(one.group, len(order)))
    return [(name, list(found)) for name, found in groupby(ordered, key=lambda one: one.group)]
