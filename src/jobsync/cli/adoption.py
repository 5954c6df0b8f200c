"""The report of an adoption in words."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any

WIDTH = 118
NAMES = {
    "jobs": "jobs",
    "customers": "customers",
    "business_units": "business units",
    "sync_logs": "runs in sync_logs",
    "sync_state": "keys in sync_state",
}
KEPT_ONE_BY_ONE = 12
WAY_BACK = (
    "The old flow goes on as before: same tables, columns, functions and views, and its units are external.",
    "The way back: stop JobSync, then restore the backup that was taken before into an empty database "
    "(gunzip -c before-jobsync.sql.gz | psql URL) and point the old flow at it. What came in since is in this one only.",
)


def tell_adoption(report: dict[str, Any], *, rehearsed: bool = False) -> list[str]:
    """The report as `intake.adopt` answers it, ending in the way back and one Next line."""
    rows = ", ".join(f"{report['rows'][name]:,} {word}" for name, word in NAMES.items() if name in report["rows"])
    took = f" in {report['seconds']} s" if "seconds" in report else ""
    if rehearsed:
        first = f"Rehearsed{took} and taken back: {rows}. Nothing was changed."
    else:
        when = "" if "seconds" in report else f" on {report['adopted_at'][:10]}"
        first = f"Adopted{when}{took}: {rows}. Every row is there, with its id."
    lines = textwrap.wrap(first, WIDTH)
    lines += _section("Repaired", report["repaired"])
    lines += _section("What cannot be known", report["unknown"])
    lines += _kept(report["kept"])
    if rehearsed:
        return [*lines, "Next: jobsync db backup before-jobsync.sql.gz   then: jobsync db migrate"]
    for sentence in WAY_BACK:
        lines += textwrap.wrap(sentence, WIDTH, break_on_hyphens=False)
    return [*lines, "Next: jobsync units list   (the old flow delivers them all until you give one a route)"]


def _section(title: str, notes: list[dict[str, Any]]) -> list[str]:
    lines = [title] if notes else []
    for note in notes:
        number = f"{note['items']:,}" if "items" in note else "-"
        lines += textwrap.wrap(
            note["note"], WIDTH, initial_indent=f"{number:>10}  ", subsequent_indent=" " * 12, break_long_words=False
        )
    return lines


def _kept(notes: list[dict[str, Any]]) -> list[str]:
    """What its owner had added and has still: by name while it is little, else counted by kind."""
    if not notes:
        return []
    texts = [note["note"] for note in notes]
    if len(texts) > KEPT_ONE_BY_ONE:
        kinds = Counter(text.split(" ")[0] for text in texts)
        texts = [_count(kind, count) for kind, count in kinds.items()]
        texts[-1] += " (each by name: --json)"
    return textwrap.wrap("Kept: " + ", ".join(texts), WIDTH, subsequent_indent="      ")


def _count(kind: str, count: int) -> str:
    words = {
        "index": ("index", "indexes"),
        "foreign": ("foreign key", "foreign keys"),
        "access": ("role's rights", "roles' rights"),
    }
    one, many = words.get(kind, (kind, f"{kind}s"))
    return f"{count} {one if count == 1 else many}"
