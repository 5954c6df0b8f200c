"""Doctor: every check that tells why JobSync would not work, each with its cause and its fix.

In: settings and a tenant. Out: findings by group (machine, secrets, database, servicetitan, gohighlevel, routing, worker,
alerts). Looks only: `mend` (doctor_places) is what --fix does. A group that cannot be looked at is a finding, not an error.
"""

from __future__ import annotations

from collections.abc import Collection

from jobsync.config import Settings
from jobsync.db.sealing import load_keyring
from jobsync.engine.connections import find_breaker, read_servicetitan_credentials
from jobsync.engine.context import Engine
from jobsync.engine.doctor_places import look_at_database, look_at_machine, open_as_it_is
from jobsync.engine.doctor_upstreams import look_at_gohighlevel, look_at_servicetitan
from jobsync.engine.findings import Finding, State
from jobsync.errors import ConfigError, JobSyncError

GROUPS = ("machine", "secrets", "database", "servicetitan", "gohighlevel", "routing", "worker", "alerts")


async def examine(settings: Settings, tenant: str, *, only: Collection[str] = GROUPS) -> list[Finding]:
    """All findings of the given groups, in their order."""
    findings = [finding for finding in look_at_machine(settings) if finding.group in only]
    if not set(only) & set(GROUPS[2:]):
        return findings
    of_database, usable = await look_at_database(settings)
    findings += [finding for finding in of_database if "database" in only or finding.state == "problem"]
    if not usable:
        return findings
    async with open_as_it_is(settings) as database:
        try:
            secret = settings.secret_key.get_secret_value() if settings.secret_key else None
            engine = Engine(settings, database, load_keyring(secret, settings.data_dir))
        except JobSyncError as error:
            return [*findings, Finding("secrets", "key", "problem", error.message, None, error.hint)]
        if "servicetitan" in only:
            findings += await look_at_servicetitan(engine, tenant)
        if "gohighlevel" in only:
            findings += await look_at_gohighlevel(engine, tenant)
        if set(only) & {"servicetitan", "routing", "worker", "alerts"}:
            findings += [f for f in await look_at_state(engine, tenant) if f.group in only]
    return findings


async def look_at_state(engine: Engine, tenant: str) -> list[Finding]:
    """What PostgreSQL says of routes, workers and open alerts, one row a finding (`jobsync.list_findings`), and whether
    requests are held back. Asks nobody outside."""
    async with engine.database.transaction(None) as session:
        rows = await session.rows("list_findings", {"tenant": tenant})
    findings = [Finding(r["group_name"], r["name"], _state(r["state"]), r["what"], r["why"], r["fix"]) for r in rows]
    return [*await _look_at_breaker(engine, tenant), *findings]


async def _look_at_breaker(engine: Engine, tenant: str) -> list[Finding]:
    try:
        credentials = await read_servicetitan_credentials(engine, tenant)
    except ConfigError:
        # The look at ServiceTitan itself says that they cannot be read.
        return []
    if credentials is None:
        return []
    async with engine.database.transaction(tenant) as session:
        row = await session.row("read_breaker", {"breaker": find_breaker(engine, credentials)})
    if row is None:
        return []
    coming = f"in {row['next_seconds']:.0f} s" if row["next_seconds"] >= 1 else "with the next pull"
    return [
        Finding(
            "servicetitan",
            "breaker",
            "problem",
            f"requests to ServiceTitan are held back for {_tell_span(row['held_seconds'])} now; the next trial is {coming}",
            "Half of the last requests failed: ServiceTitan answers with errors, or not at all. Nothing is lost, jobs are read later.",
            "wait while ServiceTitan mends it, it opens again by itself; if it works for others: jobsync doctor --only servicetitan",
        )
    ]


def _tell_span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _state(word: str) -> State:
    return "problem" if word == "problem" else "warning" if word == "warning" else "ok"
