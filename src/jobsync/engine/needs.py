"""Needs: what waits for a person, grouped by cause, with the reason in words and what to do.

Made of what `read_status` and `list_alerts` answer, so that the command line, the page and an alert never disagree. Each
group is one thing to do; what mends itself is no group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from jobsync.engine.verdict import NEEDS_A_PERSON
from jobsync.engine.why import CAUSES

# What GoHighLevel refused: once it is mended, sending again is what helps.
REPLAYED = ("test_only", "rejected", "attempts_used_up", "worker_died")
# Alerts that say what a group of jobs says already, or that the verdict says.
_TOLD_BY_GROUPS = {"dead_letters", "unmapped_unit", "unverified", "destination_paused", "cap_reached"}
TITLES = {
    "unmapped": "Business units without a route",
    "test_only": "GoHighLevel took jobs for test samples",
    "rejected": "GoHighLevel refused jobs",
    "attempts_used_up": "Every try to send failed",
    "worker_died": "The worker died while sending",
    "deleted_in_ghl": "Cards were deleted in GoHighLevel",
    "no_contact": "Customers without phone and e-mail",
    "shared_contact": "Contacts that two customers share",
    "no_pipeline": "Routes without a pipeline",
}


def group_needs(status: dict[str, Any], alerts: Iterable[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Groups, the worst first: {key, kind, cause, title, count, first, last, sample, units, why, fix, alert, muted_until}.

    `kind`: jobs (cause is a reason), unverified, stopped (nothing is sent to somebody), alert. `sample`: ST id of one of
    the jobs. `alert`: the codes and subjects under which people are told, for muting.
    """
    open_alerts = [row for row in alerts if row.get("resolved_at") is None]
    groups = [*_stopped(status), *_jobs(status), *_unverified(status), *_alerts(open_alerts)]
    muted = {(row["code"], row["subject"]): row["muted_until"] for row in open_alerts if row["muted_until"]}
    for group in groups:
        parts = [group["cause"], *(group["alert"][0] if group["kind"] not in ("jobs",) and group["alert"] else ())]
        group["key"] = re.sub(r"[^A-Za-z0-9_]+", "-", "-".join(dict.fromkeys(parts)))
        ends = [muted[key] for key in group["alert"] if key in muted]
        group["muted_until"] = min(ends) if ends and len(ends) == len(group["alert"]) else None
    return groups


def count_needs(groups: Iterable[dict[str, Any]]) -> int:
    """How many jobs or things wait for a person."""
    return sum(group["count"] for group in groups)


def _jobs(status: dict[str, Any]) -> list[dict[str, Any]]:
    by_cause: dict[str, list[dict[str, Any]]] = {}
    for row in status["reasons"]:
        if row["reason"] in NEEDS_A_PERSON:
            by_cause.setdefault(row["reason"], []).append(row)
    groups = []
    for cause, rows in by_cause.items():
        why, fix = CAUSES[cause]
        code = "unmapped_unit" if cause == "unmapped" else "dead_letters"
        groups.append(
            {
                "kind": "jobs",
                "cause": cause,
                "title": TITLES.get(cause, cause),
                "count": sum(row["jobs"] for row in rows),
                "first": min((row["oldest"] for row in rows if row["oldest"]), default=None),
                "last": max((row["newest"] for row in rows if row["newest"]), default=None),
                "sample": rows[0]["sample_st_job_id"],
                "status": rows[0]["ghl_sync_status"],
                "units": [(row["business_unit_id"], row["business_unit_name"], row["jobs"]) for row in rows],
                "why": why,
                "fix": fix.format(unit=rows[0]["business_unit_id"], job=rows[0]["sample_st_job_id"], customer="ID"),
                "alert": [
                    (code, f"{'' if cause == 'unmapped' else cause + ':'}{row['business_unit_id'] or ''}")
                    for row in rows
                ],
            }
        )
    return sorted(groups, key=lambda group: -group["count"])


def _unverified(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "kind": "unverified",
            "cause": "unverified",
            "title": "Accepted by GoHighLevel and not found there",
            "count": row["jobs"],
            "first": row["first_accepted_at"],
            "last": row["last_accepted_at"],
            "sample": row["sample_st_job_id"],
            "status": "unverified",
            "units": [(row["business_unit_id"], row["business_unit_name"], row["jobs"])],
            "why": row["why"],
            "fix": "look into the workflow in GoHighLevel, then replay with force",
            "alert": [("unverified", f"{row['business_unit_id'] or ''}:{row['result']}")],
        }
        for row in status["unverified"]
    ]


def _stopped(status: dict[str, Any]) -> list[dict[str, Any]]:
    titles = {
        "destination_paused": "A destination is paused",
        "not_armed": "A route is not armed",
        "cap_hour": "JobSync disarmed itself",
        "cap_day": "JobSync disarmed itself",
    }
    return [
        {
            "kind": "stopped",
            "cause": row["cause"],
            "title": titles.get(row["cause"], row["cause"]),
            "count": 1,
            "first": row["since"],
            "last": row["since"],
            "sample": None,
            "status": None,
            "units": [],
            "why": row["why"] or "",
            "fix": row["fix"],
            "alert": [("destination_paused", row["subject"].partition(":")[2])]
            if row["cause"] == "destination_paused"
            else [],
        }
        for row in status["stopped"]
        if row["cause"] != "paused"
    ]


def _alerts(alerts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "kind": "alert",
            "cause": row["code"],
            "title": row["title"],
            "count": 1,
            "first": row["opened_at"],
            "last": row["opened_at"],
            "sample": None,
            "status": None,
            "units": [],
            "why": row["why"],
            "fix": row["fix"],
            "alert": [(row["code"], row["subject"])],
        }
        for row in alerts
        if row["code"] not in _TOLD_BY_GROUPS
    ]
