"""Set-up: what `jobsync init` finds out before it saves anything, what it guesses, and what it writes.

Everything is found by reads, with credentials that are only tried; `connect_*` then seals them. A guess never routes by
itself: a person, or --yes, takes it. Run twice it finds the same and replaces what stood there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import yaml

from jobsync.config import Settings
from jobsync.engine.connections import (
    ServiceTitanCredentials,
    open_servicetitan,
    store_servicetitan_credentials,
)
from jobsync.engine.context import Engine
from jobsync.engine.doctor_upstreams import look_at_gohighlevel, look_at_servicetitan
from jobsync.engine.findings import Finding
from jobsync.engine.ghl_connection import (
    GoHighLevelCredentials,
    open_gohighlevel,
    store_gohighlevel_credentials,
)
from jobsync.errors import ConfirmationNeeded, JobSyncError
from jobsync.gohighlevel.records import Pipeline
from jobsync.servicetitan.streams import STREAMS

DAYS = 90
SAMPLE = 1000
CONFIG_FILE = "jobsync.yaml"
SCOPE = "scope "
# What says nothing about which pipeline a unit belongs to.
_COMMON_WORDS = frozenset(
    {"pipeline", "unit", "business", "department", "dept", "division", "the", "and", "of", "jobs"}
)
# Settings that hold no secret and are worth keeping where they differ from their default.
_KEPT = ("data_dir", "host", "port", "poll_seconds", "ghl_api_url", "allow_hosts", "allowed_hosts", "trusted_networks")


class _JobOfUnit(msgspec.Struct):
    businessUnitId: int | None = None


@dataclass(frozen=True)
class ServiceTitanFound:
    """What was found with credentials: every finding, units, jobs changed in the last 90 days, those by unit.

    `by_unit` counts a sample of at most 1,000 jobs; it is whole where `jobs` is no more than that.
    """

    findings: list[Finding]
    units: int = 0
    jobs: int = 0
    by_unit: Mapping[int, int] | None = None


@dataclass(frozen=True)
class GoHighLevelFound:
    """What was found with credentials: every finding, the location's name, its pipelines."""

    findings: list[Finding]
    location: str | None = None
    pipelines: Sequence[Pipeline] = ()


@dataclass(frozen=True)
class Guess:
    """A unit and the pipeline and stage whose names fit it; None: none does."""

    unit: int
    name: str
    pipeline: str | None
    stage: str | None


async def try_servicetitan(engine: Engine, tenant: str, credentials: ServiceTitanCredentials) -> ServiceTitanFound:
    """Looks with these credentials; nothing is stored. Raises only what the database raises."""
    findings = await look_at_servicetitan(engine, tenant, given=credentials)
    if stops(findings):
        return ServiceTitanFound(findings)
    since = (datetime.now(UTC) - timedelta(days=DAYS)).strftime("%Y-%m-%dT00:00:00Z")  # real clock: a rough span
    try:
        async with await open_servicetitan(engine, tenant, credentials=credentials, interactive=True) as client:
            units = await client.list_page(STREAMS["business_units"], page_size=1, sort=None, include_total=True)
            jobs = await client.list_page(
                STREAMS["jobs"], modified_from=since, page_size=SAMPLE, sort=None, include_total=True
            )
    except JobSyncError as error:
        return ServiceTitanFound(
            [*findings, Finding("servicetitan", "counts", "warning", error.message, None, error.hint)]
        )
    counted = Counter(_unit_of(bytes(record)) for record in jobs.records)
    by_unit = {unit: count for unit, count in counted.items() if unit is not None}
    return ServiceTitanFound(findings, units.total or len(units.records), jobs.total or len(jobs.records), by_unit)


async def connect_servicetitan(engine: Engine, tenant: str, credentials: ServiceTitanCredentials) -> None:
    """Seals the credentials. Those of the environment keep winning for tenant default."""
    await store_servicetitan_credentials(engine, tenant, credentials)


async def try_gohighlevel(engine: Engine, tenant: str, credentials: GoHighLevelCredentials) -> GoHighLevelFound:
    """Looks with these credentials; nothing is stored. Raises only what the database raises."""
    findings = await look_at_gohighlevel(engine, tenant, given=credentials)
    if stops(findings):
        return GoHighLevelFound(findings)
    try:
        async with open_gohighlevel(engine, tenant, credentials=credentials) as client:
            location = await client.get_location()
            pipelines = await client.list_pipelines()
    except JobSyncError:
        # A missing scope: the findings name it already.
        return GoHighLevelFound(findings)
    return GoHighLevelFound(findings, location.name, pipelines)


async def connect_gohighlevel(engine: Engine, tenant: str, credentials: GoHighLevelCredentials) -> None:
    """Seals the credentials. Those of the environment keep winning for tenant default."""
    await store_gohighlevel_credentials(engine, tenant, credentials)


def stops(findings: Sequence[Finding]) -> Finding | None:
    """The finding with which nothing works at all (no reach, no login); a missing scope is not one."""
    return next((one for one in findings if one.state == "problem" and not one.name.startswith(SCOPE)), None)


def split_scopes(findings: Sequence[Finding]) -> tuple[list[str], list[Finding]]:
    """Names of what may be read, and the findings of what may not."""
    scopes = [one for one in findings if one.name.startswith(SCOPE)]
    return [one.name.removeprefix(SCOPE) for one in scopes if one.state == "ok"], [
        one for one in scopes if one.state != "ok"
    ]


def guess_routes(units: Sequence[Mapping[str, Any]], pipelines: Sequence[Pipeline]) -> list[Guess]:
    """For each unit that nobody decided yet the pipeline whose name shares most words with it, and its first stage.

    Two pipelines that fit equally well are no guess.
    """
    return [
        _guess(unit["st_business_unit_id"], unit["name"], pipelines)
        for unit in units
        if unit["deliverer"] == "none" and unit["sync_to_ghl"]
    ]


def write_config(settings: Settings, directory: Path, *, database_url: str | None, force: bool) -> Path | None:
    """Writes jobsync.yaml with what is no secret; None where a file with other content stands there and `force` is False.

    `database_url`: to be written too; it must hold no password. Raises ConfirmationNeeded where it does.
    """
    if database_url is not None and holds_password(database_url):
        raise ConfirmationNeeded(
            "The database's address holds a password, which does not belong in jobsync.yaml.", hint="Keep it in .env."
        )
    values: dict[str, Any] = {} if database_url is None else {"DATABASE_URL": database_url}
    for name in _KEPT:
        field, value = Settings.model_fields[name], getattr(settings, name)
        if value != field.default or name == "data_dir":
            values[str(field.alias)] = ",".join(value) if isinstance(value, tuple) else _plain(value)
    text = (
        "# JobSync: written by `jobsync init`. Names as in .env.example; the environment and .env win over this file.\n"
        "# No secrets here: credentials are sealed in the database, their key is in the data folder.\n"
        + yaml.safe_dump(values, sort_keys=True)
    )
    path = directory / CONFIG_FILE
    if path.exists() and path.read_text("utf-8") != text and not force:
        return None
    path.write_text(text, "utf-8")
    return path


def write_env(directory: Path, name: str, value: str) -> Path:
    """Adds `NAME=value` to .env and makes the file private (0600); a line that is there is replaced."""
    path = directory / ".env"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if not re.match(rf"\s*{name}\s*=", line)]
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text("\n".join([*kept, f"{name}={value}"]) + "\n", "utf-8")
    return path


def holds_password(dsn: str) -> bool:
    """True where a connection string holds a password."""
    from psycopg.conninfo import conninfo_to_dict

    return bool(conninfo_to_dict(dsn).get("password"))


def _plain(value: object) -> object:
    return value if isinstance(value, int) else str(value)


def _unit_of(record: bytes) -> int | None:
    try:
        return msgspec.json.decode(record, type=_JobOfUnit, strict=False).businessUnitId
    except msgspec.DecodeError:
        return None


def _words(name: str) -> set[str]:
    found = {word.rstrip("s") for word in re.findall(r"[a-z0-9]+", name.casefold())}
    return found - _COMMON_WORDS


def _guess(unit: int, name: str, pipelines: Sequence[Pipeline]) -> Guess:
    wanted = _words(name or "")
    scored: list[tuple[float, Pipeline]] = []
    for pipeline in pipelines:
        offered = _words(pipeline.name)
        shared = wanted & offered
        if shared:
            scored.append((len(shared) / len(wanted | offered), pipeline))
    scored.sort(key=lambda one: one[0], reverse=True)
    if not scored or len(scored) > 1 and scored[0][0] == scored[1][0]:
        return Guess(unit, name, None, None)
    best = scored[0][1]
    return Guess(unit, name, best.name, best.stages[0].name if best.stages else None)
