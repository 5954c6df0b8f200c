"""Wording: what to do, said to somebody who has buttons. The command line says the same with its commands."""

from __future__ import annotations

import re
from typing import Any

FIXES = {
    "unmapped": "choose where this unit's jobs go, or say that they go nowhere",
    "unit_off": "switch the unit on under Routing",
    "before_start": "go live with older jobs, too (jobsync arm --since DATE), or force-send this one",
    "backfilled": "force-send it here, or deliver the whole backfill from the command line",
    "imported": "force-send it here",
    "by_hand": "force-send it here",
    "deleted_in_ghl": "force-send it: a new card is made",
    "no_contact": "add a phone or e-mail in ServiceTitan; it goes out by itself",
    "shared_contact": "decide whether both customers use the contact",
    "no_pipeline": "choose a pipeline for the unit",
    "test_only": "publish the workflow in GoHighLevel, then replay",
    "rejected": "read the answer in one of the jobs, mend what it names, then replay",
    "attempts_used_up": "mend the hook in GoHighLevel, then replay",
    "worker_died": "replay",
    "destination_gone": "paste the new address of the hook under Routing, then resume",
    "destination_unauthorized": "paste the new address of the hook under Routing, then resume",
    "destination_paused": "mend it, then resume",
    "not_armed": "switch the old flow off, then go live",
    "cap_hour": "look at what is planned; when it is right, go live again",
    "cap_day": "look at what is planned; when it is right, go live again",
    "failed_syncs": "look at the failed runs; what is due is tried again by itself",
    "lag": "see Health: is a worker running, does ServiceTitan answer",
    "auth_failing": "see Health: the connection to ServiceTitan",
    "stream_failing": "see Health: the connection to ServiceTitan",
    "schema_drift": "ServiceTitan's records changed their form: an update of JobSync is needed",
    "upstream_refused": "see Health: a credential or a permission is missing",
    "quota": "wait for midnight UTC; find out what else uses this location's API",
    "clock_skew": "set the clock of PostgreSQL's machine by NTP",
    "silence": "look into ServiceTitan: is it a quiet day",
    "reconcile_missing": "compare again and store what is missing (jobsync reconcile --fix-missing)",
    "quarantine": "see why they do not fit; after an update of JobSync they are tried again by themselves",
    "channel_down": "send a test under Health",
    "unverified": "look into the workflow in GoHighLevel (is it published?), then replay",
}
_PHRASES = (
    (r"jobsync arm( --yes)?$", "go live (on the Overview)"),
    (r"jobsync resume$", "resume (above)"),
    (r"jobsync verify$", "wait for the next look; it comes by itself"),
    (r"jobsync doctor$", "see Health"),
    (r"jobsync replay \d+ --force --yes", "force-send it again"),
    (r"jobsync replay \d+", "replay"),
    (r"jobsync status$", "see the Overview"),
    (r"jobsync import list$", "see the list under Import"),
    (r"[Ss]ee `jobsync tenants list`\.?", "See Clients."),
    (r"jobsync rules list\b.*", "see Routing & rules"),
)


def word_groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups, each with `do`: what to do, in words for the page."""
    return [{**group, "do": FIXES.get(group["cause"]) or _reword(group["fix"])} for group in groups]


def word_fix(job: dict[str, Any], fix: str | None) -> str | None:
    """What to do about one job, in words for its page; None: nothing."""
    if fix is None:
        return None
    if job["ghl_sync_status"] in ("failed", "skipped"):
        return FIXES.get(job["ghl_sync_reason"] or "") or _reword(fix)
    return _reword(fix)


def word_cause(code: str, fix: str) -> str:
    """What to do about a cause that an alert names, in words for the page."""
    return FIXES.get(code) or _reword(fix)


def word_hint(hint: str | None) -> str | None:
    """The hint of an error, in words for the page."""
    return None if hint is None else _reword(hint)


def _reword(fix: str) -> str:
    for pattern, words in _PHRASES:
        fix = re.sub(pattern, words, fix)
    return fix
