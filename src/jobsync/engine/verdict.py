"""The verdict: the state of a tenant in one sentence, the same on the command line and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NEEDS_A_PERSON = frozenset(
    {
        "unmapped",
        "test_only",
        "rejected",
        "attempts_used_up",
        "worker_died",
        "deleted_in_ghl",
        "card_unknown",
        "no_contact",
        "shared_contact",
        "no_pipeline",
    }
)


def tell_verdict(status: dict[str, Any]) -> str:
    """The state in one sentence with what to do next. `status`: as `engine.sending.read_status` answers it."""
    return tell_counts(
        status["tenant"],
        needs_you=sum(row["jobs"] for row in status["reasons"] if row["reason"] in NEEDS_A_PERSON),
        retrying=sum(row["jobs"] for row in status["reasons"] if row["reason"] == "retrying"),
        paused_hooks=sum(1 for unit in status["units"] if unit["destination_paused_at"] is not None),
    )


def tell_counts(tenant: Mapping[str, Any], *, needs_you: int, retrying: int, paused_hooks: int) -> str:
    """The same of counts. `tenant`: the tenant's line, as jobsync.v_tenant_status has it."""
    trouble = ", ".join(
        text
        for number, text in (
            (needs_you, f"{needs_you} jobs need you" if needs_you != 1 else "1 job needs you"),
            (retrying, f"{retrying} are tried again by themselves" if retrying != 1 else "1 is tried again by itself"),
            (paused_hooks, f"{paused_hooks} hooks are paused" if paused_hooks != 1 else "1 hook is paused"),
        )
        if number
    )
    if tenant["paused_at"] is not None:
        return f"Paused: nothing is sent{'; ' + trouble if trouble else ''}. Next: jobsync resume"
    if tenant["mode"] != "live" and tenant["mode_reason"] in ("cap_hour", "cap_day"):
        cap = (
            f"{tenant['cap_hour']} sends in an hour"
            if tenant["mode_reason"] == "cap_hour"
            else f"{tenant['cap_day']} sends in a day"
        )
        return f"Disarmed itself: the cap of {cap} was reached, {tenant['planned']} planned. Next: jobsync plan, then jobsync arm"
    if tenant["mode"] != "live":
        return f"{tenant['planned']} planned, nothing sent: mode is {tenant['mode']}. Next: jobsync arm"
    if tenant["arm_remaining"] is not None:
        return f"Live, limited: {tenant['arm_remaining']} sends left{'; ' + trouble if trouble else ''}. Next: jobsync arm --yes"
    return f"Live; {trouble}. Next: jobsync why JOB" if trouble else "Live: every job is where it belongs."
