"""The comparison with the old flow in words."""

from __future__ import annotations

from typing import Any

WORDS = (
    ("agreed", "both send"),
    ("sent_here", "sent by JobSync"),
    ("missed_by_old", "only JobSync has"),
    ("pushed_unmarked", "pushed by the old flow and not marked"),
    ("unmarked", "not marked by the old flow"),
    ("missing_here", "only the old flow has"),
    ("skipped_here", "JobSync would skip"),
    ("sent_by_both", "sent by both"),
    ("left_alone", "sent by neither"),
    ("too_new", "too new to judge"),
)


def tell_comparison(found: dict[str, Any]) -> list[str]:
    """The findings, the first jobs to look at, a verdict per unit, and one Next line."""
    counts = found["findings"]
    told = ", ".join(f"{counts[name]} {word}" for name, word in WORDS if name in counts) or "nothing was booked"
    lines = [f"Compared  {found['jobs']} jobs booked in the last {found['days']} days: {told}"]
    lines += [
        f"  job {job['st_job_id']} (unit {job['business_unit_id']})  {_word(job['finding'])}"
        + (f": {job['reason']}" if job["reason"] and job["finding"] == "skipped_here" else "")
        for job in found["samples"]
    ]
    lines.append(_tell_gohighlevel(found))
    for unit in found["units"]:
        answer = "yes" if unit["is_safe"] else f"not yet: {unit['because']}"
        lines.append(f"  {unit['name']} ({unit['st_business_unit_id']})   safe to switch: {answer}")
    if found["units"] and all(unit["is_safe"] for unit in found["units"]):
        lines.append("Next: switch the old workflow off, note the time, and a day later: jobsync arm --since THAT_TIME")
    else:
        lines.append("Next: mend what is named, and compare again tomorrow (jobsync up does so by itself)")
    return lines


def _tell_gohighlevel(found: dict[str, Any]) -> str:
    if not found["connected"]:
        return "GoHighLevel is not connected (GHL_API_KEY, GHL_LOCATION_ID): what the old flow did not mark is not looked for."
    if found["error"]:
        return f"GoHighLevel could not be asked: {found['error']}"
    if found["doubles"]:
        return f"{found['doubles']} cards stand in GoHighLevel twice: jobsync export --view v_double_cards --csv > doubles.csv"
    return "No card stands in GoHighLevel twice."


def _word(finding: str) -> str:
    return dict(WORDS).get(finding, finding)
