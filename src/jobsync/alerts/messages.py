"""Messages: alerts, recoveries and the daily digest in words. Pure: rows in, title and text out.

A message names what happened, why, and what to do; never a customer, an address or a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobsync.engine.verdict import tell_verdict

MOST_IN_ONE = 20


def tell_alerts(tenant_name: str, rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Title and text for alerts of one tenant that opened or went on; rows as `list_untold_alerts` answers them."""
    first = rows[0]
    title = f"JobSync ({tenant_name}): {first['title']}" + (f", and {len(rows) - 1} more" if len(rows) > 1 else "")
    parts = [
        f"{'!!' if row['severity'] == 'critical' else '!'} {row['title']}\n   Why  {row['why']}\n   Fix  {row['fix']}"
        for row in rows[:MOST_IN_ONE]
    ]
    if len(rows) > MOST_IN_ONE:
        parts.append(f"... and {len(rows) - MOST_IN_ONE} more: jobsync alerts list")
    return title, "\n\n".join(parts)


def tell_recoveries(tenant_name: str, rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Title and text for what is over."""
    title = f"JobSync ({tenant_name}): mended" + (f", {len(rows)} of them" if len(rows) > 1 else "")
    return title, "\n".join(
        f"✓ {row['title']}   (since {row['opened_at']:%Y-%m-%d %H:%MZ}, over {row['resolved_at']:%Y-%m-%d %H:%MZ})"
        for row in rows[:MOST_IN_ONE]
    )


def tell_digest(row: Mapping[str, Any]) -> tuple[str, str]:
    """Title and text of a daily digest; `row` as `claim_digests` answers it."""
    facts = row["facts"]
    status, reasons, open_alerts = facts["status"], facts["reasons"], facts["alerts"]
    runs = {run["sync_type"]: run for run in facts["runs"]}
    pulls, sends = runs.get("job_pull", {}), runs.get("ghl_delivery", {})
    cost = float(status["execution_price"] or 0) * int(status["sends_this_month"])
    lines = [
        tell_verdict({"tenant": status, "reasons": reasons, "units": []}),
        "",
        f"In 24 hours: {pulls.get('runs', 0)} pulls ({pulls.get('failed', 0)} failed), "
        f"{pulls.get('processed') or 0} jobs read, {sends.get('succeeded') or 0} delivered, "
        f"{sends.get('records_failed') or 0} failed.",
        f"Waiting: {status['planned']}. Sent this month: {status['sends_this_month']} (about {cost:.2f} in paid workflow triggers).",
    ]
    if (old := facts.get("old_flow")) is not None and not old["is_due"]:
        lines.append(
            f"The old workflow can be deleted on {old['delete_on'][:10]}, if nothing of it is seen until then."
        )
    if open_alerts:
        lines += ["", "Open:"] + [f"! {alert['title']}   Fix: {alert['fix']}" for alert in open_alerts[:MOST_IN_ONE]]
    if reasons:
        lines += ["", "Not in GoHighLevel:"] + [
            f"  {reason['jobs']:>6} {reason['reason']} ({reason['business_unit_name'] or 'unknown unit'})"
            for reason in reasons
        ]
    return f"JobSync ({row['tenant_name']}): {row['local_day']:%A %Y-%m-%d}", "\n".join(lines)
