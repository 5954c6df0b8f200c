"""The doctor's look at ServiceTitan and GoHighLevel: reach, login, each scope by a read, clock, quota. Nothing is written.

A scope that jobs need is a problem where it is missing, an optional one a warning. Answers are judged by the clients'
own classes, so that doctor and worker never disagree.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from jobsync.engine.connections import ServiceTitanCredentials, open_servicetitan, read_servicetitan_credentials
from jobsync.engine.context import Engine
from jobsync.engine.doctor_drift import compare_targets
from jobsync.engine.doctor_places import reach_host, tell_skew
from jobsync.engine.findings import Finding
from jobsync.engine.ghl_connection import GoHighLevelCredentials, open_gohighlevel, read_gohighlevel_credentials
from jobsync.engine.location_pace import KEPT_FOR_PEOPLE, LocationPace
from jobsync.engine.passes import OPTIONAL_STREAMS
from jobsync.engine.route import list_units
from jobsync.errors import AccessDenied, ConfigError, CredentialsRejected, JobSyncError, RecordMissing
from jobsync.gohighlevel.pace import Pace
from jobsync.gohighlevel.rate_headers import RateState
from jobsync.gohighlevel.records import Pipeline
from jobsync.servicetitan.client import api_urls
from jobsync.servicetitan.streams import STREAMS

ST, GHL = "servicetitan", "gohighlevel"
# The lists of contacts answer 400 without a date or owners (ServiceTitan contract, section 4).
CONTACTS, SINCE = ("customer_contacts", "location_contacts"), "2025-01-01T00:00:00Z"
SCOPES_OF_GHL = "Settings > Private Integrations > JobSync > edit scopes"


async def look_at_servicetitan(
    engine: Engine, tenant: str, *, given: ServiceTitanCredentials | None = None
) -> list[Finding]:
    """Credentials, reach of both hosts, login, every stream by one record, clock. `given`: these instead of the stored."""
    try:
        credentials = given or await read_servicetitan_credentials(engine, tenant)
    except ConfigError as error:
        return [Finding(ST, "credentials", "problem", error.message, None, error.hint)]
    if credentials is None:
        return [
            Finding(
                ST,
                "credentials",
                "warning",
                "not connected",
                "Nothing is pulled without them.",
                "set the four SERVICE_TITAN_ variables (see .env.example)",
            )
        ]
    findings = []
    auth_url, api_url = api_urls(credentials.environment, credentials.auth_url, credentials.api_url)
    for name, url, setting in (
        ("auth host", auth_url, "SERVICE_TITAN_AUTH_URL"),
        ("API host", api_url, "SERVICE_TITAN_API_URL"),
    ):
        parts = urlsplit(url)
        findings.append(
            await reach_host(
                ST, name, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), setting
            )
        )
    if any(finding.state == "problem" for finding in findings):
        return findings
    async with await open_servicetitan(engine, tenant, credentials=credentials) as client:
        for stream in STREAMS.values():
            needed = stream.name not in OPTIONAL_STREAMS
            try:
                page = await client.list_page(
                    stream, page_size=1, sort=None, modified_from=SINCE if stream.name in CONTACTS else None
                )
            except CredentialsRejected as error:
                other = "integration" if credentials.environment == "production" else "production"
                findings.append(
                    Finding(
                        ST,
                        "login",
                        "problem",
                        error.message,
                        f"Id or secret are wrong, or they belong to the {other} environment.",
                        "check SERVICE_TITAN_CLIENT_ID, _CLIENT_SECRET and SERVICE_TITAN_ENVIRONMENT",
                    )
                )
                return findings
            except (AccessDenied, RecordMissing) as error:
                findings.append(
                    Finding(
                        ST,
                        f"scope {stream.name}",
                        "problem" if needed else "warning",
                        f"may not read {stream.name.replace('_', ' ')}",
                        error.message,
                        "tick Read for it in the app on ServiceTitan's developer portal, then connect the app anew"
                        if needed
                        else "optional: tick Read for it in the app on ServiceTitan's developer portal",
                    )
                )
            except JobSyncError as error:
                findings.append(
                    Finding(
                        ST,
                        f"scope {stream.name}",
                        "problem" if needed else "warning",
                        error.message,
                        None,
                        error.hint or "try again in a minute",
                    )
                )
                if needed:
                    return findings
            else:
                findings.append(Finding(ST, f"scope {stream.name}", "ok", f"may read {stream.name.replace('_', ' ')}"))
                if stream.name == "jobs" and page.served_at is not None:
                    findings.append(tell_skew(ST, "clock", _age(page.served_at), "ServiceTitan"))
    return findings


async def look_at_gohighlevel(
    engine: Engine, tenant: str, *, given: GoHighLevelCredentials | None = None
) -> list[Finding]:
    """Login, location, and the scopes that the API destination needs, each by a read. `given`: as above."""
    try:
        credentials = given or await read_gohighlevel_credentials(engine, tenant)
    except ConfigError as error:
        return [Finding(GHL, "credentials", "problem", error.message, None, error.hint)]
    if credentials is None:
        return [Finding(GHL, "credentials", "ok", "no API token: jobs go by webhooks only")]
    parts = urlsplit(engine.settings.ghl_api_url)
    reach = await reach_host(
        GHL, "API host", parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), "GHL_API_URL"
    )
    if reach.state == "problem":
        return [reach]
    findings = [reach]
    pace = _Watched(LocationPace(engine.database, tenant, engine.settings.ghl_pace))
    async with open_gohighlevel(engine, tenant, credentials=credentials, pace=pace) as client:
        pipelines: list[Pipeline] = []

        async def read_pipelines() -> None:
            pipelines.extend(await client.list_pipelines())

        reads: tuple[tuple[str, Callable[[], Awaitable[Any]]], ...] = (
            ("locations.readonly", client.get_location),
            ("opportunities.readonly", read_pipelines),
            ("locations/customFields.readonly", client.list_custom_fields),
            ("contacts.readonly", lambda: client.find_contacts(email="nobody@example.com")),
        )
        for scope, read in reads:
            try:
                await read()
            except CredentialsRejected as error:
                return [
                    *findings,
                    Finding(
                        GHL,
                        "login",
                        "problem",
                        error.message,
                        "The token is wrong, revoked, or of another location.",
                        "make a new private integration token and set GHL_API_KEY",
                    ),
                ]
            except AccessDenied:
                findings.append(
                    Finding(
                        GHL,
                        f"scope {scope}",
                        "problem",
                        f"{scope} is missing",
                        "The token may not do what the API destination needs.",
                        SCOPES_OF_GHL,
                    )
                )
            except JobSyncError as error:
                findings.append(
                    Finding(
                        GHL, f"scope {scope}", "problem", error.message, None, error.hint or "try again in a minute"
                    )
                )
            else:
                findings.append(Finding(GHL, f"scope {scope}", "ok", f"{scope} works"))
                if scope.startswith("opportunities"):
                    findings += compare_targets(await list_units(engine, tenant), pipelines)
    findings += _tell_quota(pace.seen)
    return findings


class _Watched:
    """A pace that keeps what the last answer said of the quota."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.seen: RateState | None = None

    async def take(self) -> None:
        await self._pace.take()

    def observe(self, state: RateState) -> None:
        if state.daily_limit is not None:
            self.seen = state
        self._pace.observe(state)

    def slow_down(self, seconds: float) -> None:
        self._pace.slow_down(seconds)


def _tell_quota(seen: RateState | None) -> list[Finding]:
    if seen is None or seen.daily_remaining is None or not seen.daily_limit:
        return []
    what = f"{seen.daily_remaining:,} of {seen.daily_limit:,} requests are left today"
    if seen.daily_remaining > KEPT_FOR_PEOPLE * seen.daily_limit:
        return [Finding(GHL, "quota", "ok", what)]
    why = "Deliveries leave the last fifth of the day's quota to people and wait for the next day."
    return [
        Finding(GHL, "quota", "warning", what, why, "wait for midnight UTC; or ask who else uses this location's quota")
    ]


def _age(at: datetime) -> float:
    return (datetime.now(UTC) - at).total_seconds()  # real clock: this machine's is what is looked at
