"""The reconciliation of an import: are all rows of its files accounted for, and is everything here that was there?

Counts by unit and month, money, twenty random rows side by side, ids that ServiceTitan does not know, recent jobs that the file does
not have, and a verdict: safe to retire Airtable, or not yet, because ... Reads only; the report is kept with the import.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

from jobsync.db.pool import as_jsonb
from jobsync.engine.connections import open_servicetitan
from jobsync.engine.context import Engine
from jobsync.engine.pull import read_patiently
from jobsync.errors import JobSyncError
from jobsync.intake.airtable import OUTCOMES, count_outcomes, is_balanced, read_import
from jobsync.intake.passes import ENTITIES, is_connected
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.pages import RowReader
from jobsync.servicetitan.streams import STREAMS

SAMPLED = 20
RECENT_DAYS = 30
CHECKED = 2_000
LOOKED_UP = 50
SAFE = "safe to retire Airtable: yes"


async def make_reconciliation(
    engine: Engine, tenant: str, number: str, *, check: int = CHECKED, seed: int | None = None
) -> dict[str, Any]:
    """Makes the report of an import and keeps it with the import.

    `check`: how many ids at most are asked of ServiceTitan, 50 a request, where it is connected. `seed`: of the random
    rows. Raises RecordMissing for an unknown id. What ServiceTitan does not answer is said in the report.
    """
    found = await read_import(engine, tenant, number)
    number = found["id"]
    place = {"tenant": tenant, "import": number}
    report: dict[str, Any] = {
        "import": number,
        "state": found["state"],
        "applied_at": found["applied_at"],
        "prefer": found["prefer"],
        "time_zone": found["options"]["time_zone"],
    }
    files: dict[str, Any] = {}
    async with engine.database.transaction(tenant) as session:
        report["made_at"] = await session.value("read_now")
        open_errors = await session.value("count_open_errors", place)
        for file in found["files"]:
            entity = file["entity"]
            counts = count_outcomes(file)
            files[entity] = {
                "name": file["name"],
                "sha256": file["sha256"],
                "bytes": file["bytes"],
                "rows": file["total"],
                "outcomes": counts,
                "balanced": is_balanced(file),
                "open_errors": open_errors[entity]["errors"] - open_errors[entity]["settled"],
                "settled_errors": open_errors[entity]["settled"],
                **await session.value("compare_import", {**place, "entity": entity}),
            }
            files[entity]["sample"] = await session.value(
                "show_import_rows",
                {
                    **place,
                    "entity": entity,
                    "rows": _draw(file, seed, SAMPLED * 3),
                    "limit": SAMPLED if len(found["files"]) == 1 else SAMPLED // 2,
                },
            )
        report["recent_outside"] = await session.value("list_recent_outside", {**place, "days": RECENT_DAYS})
    report["files"] = files
    report["servicetitan"] = await _ask_servicetitan(engine, tenant, number, files, check)
    report["reasons"] = list_reasons(report)
    report["remarks"] = list_remarks(report)
    report["safe"] = not report["reasons"]
    report["verdict"] = (
        SAFE if report["safe"] else f"safe to retire Airtable: not yet, because {'; '.join(report['reasons'])}"
    )
    async with engine.database.transaction(tenant) as session:
        await session.run("save_import_report", {**place, "report": as_jsonb(report)})
    return report


async def read_reconciliation(engine: Engine, tenant: str, number: str) -> dict[str, Any] | None:
    """The report that was last made of an import, or None."""
    return (await read_import(engine, tenant, number))["report"]


def list_reasons(report: dict[str, Any]) -> list[str]:
    """Why Airtable must stay for now; none: it can go."""
    if report["state"] != "applied":
        return [f"the import is {report['state']}, not applied"]
    reasons = []
    for entity, file in report["files"].items():
        if not file["balanced"]:
            accounted = sum(file["outcomes"][name] for name in OUTCOMES)
            reasons.append(f"{file['name']} has {file['rows']:,} rows and {accounted:,} are accounted for")
        if not file["records"] and file["outcomes"]["error"] < file["rows"]:
            reasons.append(f"the rows of {file['name']} are not kept any more: import the file again")
        if file["open_errors"]:
            reasons.append(f"{_count(file['open_errors'], 'row')} of {file['name']} could not be imported")
        if file["missing"]:
            reasons.append(
                f"{_count(file['missing'], entity[:-1])} of {file['name']} {'is' if file['missing'] == 1 else 'are'} not in the database"
            )
        money = file.get("money")
        if money and money["differing_unconfirmed"]:
            reasons.append(
                f"the total of {_count(money['differing_unconfirmed'], 'job')} differs, and ServiceTitan has not confirmed ours"
            )
    for entity, asked in (report["servicetitan"].get("files") or {}).items():
        if asked["unknown"]:
            reasons.append(f"ServiceTitan does not know {_count(asked['unknown'], 'id')} of {entity} in the file")
    return reasons


def list_remarks(report: dict[str, Any]) -> list[str]:
    """What a reader should know besides, and what could not be told."""
    remarks = []
    titan = report["servicetitan"]
    if not titan["connected"]:
        remarks.append("not compared with ServiceTitan: it is not connected")
    elif titan.get("error"):
        remarks.append(f"ServiceTitan could not be asked: {titan['error']}")
    for entity, asked in (titan.get("files") or {}).items():
        if asked["not_checked"]:
            remarks.append(
                f"{asked['not_checked']:,} ids of {entity} were not asked of ServiceTitan (pull them first: jobsync pull)"
            )
    recent = report["recent_outside"]
    if recent and recent["count"]:
        remarks.append(
            f"{_count(recent['count'], 'job')} booked since {recent['since'][:10]} "
            f"{'is' if recent['count'] == 1 else 'are'} in ServiceTitan and not in the file"
        )
    for file in report["files"].values():
        money = file.get("money")
        if money and money["differing"] > money["differing_unconfirmed"]:
            remarks.append(
                f"ServiceTitan says another total for {_count(money['differing'] - money['differing_unconfirmed'], 'job')}: its word counts"
            )
    return remarks


async def _ask_servicetitan(
    engine: Engine, tenant: str, number: str, files: dict[str, Any], check: int
) -> dict[str, Any]:
    if not await is_connected(engine, tenant):
        return {"connected": False}
    answer: dict[str, Any] = {"connected": True, "files": {}}
    try:
        async with await open_servicetitan(engine, tenant, interactive=True) as client:
            for entity in ENTITIES:
                if entity in files:
                    answer["files"][entity] = await _ask_for_ids(
                        engine, client, tenant, number, entity, files[entity], check
                    )
    except JobSyncError as error:
        answer["error"] = error.message
    return answer


async def _ask_for_ids(
    engine: Engine, client: ServiceTitanClient, tenant: str, number: str, entity: str, file: dict[str, Any], check: int
) -> dict[str, Any]:
    """Ids that no pull has brought are looked up, as many as may be asked."""
    asked = {"tenant": tenant, "import": number, "entity": entity, "limit": check}
    async with engine.database.transaction(tenant) as session:
        ids: list[int] = await session.value("list_unconfirmed", asked)
    known: set[int] = set()
    stream, reader = STREAMS[entity], RowReader()
    for start in range(0, len(ids), LOOKED_UP):
        page = await read_patiently(partial(client.by_ids, stream, ids[start : start + LOOKED_UP]))
        known.update(int(str(key[0])) for key, _ in reader.read(page) if str(key[0]).isdigit())
    unknown = [one for one in ids if one not in known]
    return {
        "confirmed": file["confirmed"] + len(known),
        "unknown": len(unknown),
        "unknown_ids": unknown[:100],
        "not_checked": file["records"] - file["confirmed"] - len(ids),
    }


def _draw(file: dict[str, Any], seed: int | None, many: int) -> list[int]:
    first = file["reading"]["header_row"] + 1
    rows = range(first, max(file["staged_row"], first) + 1)
    return sorted(Random(seed).sample(rows, min(many, len(rows))))


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
