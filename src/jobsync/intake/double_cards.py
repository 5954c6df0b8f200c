"""Double cards: opportunities that the old flow made more than once, found in GoHighLevel and listed for a person.

In: all cards of the location. Out: those that stand there more than once, with the one to keep. Reads only; nothing is ever
changed or deleted in GoHighLevel. Two cards are the same when both carry one `st_job_id`, or when they are of one contact under
one name and were made within a day: a customer who really books twice a day under one name shows up here, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from jobsync.gohighlevel.records import Opportunity

TOGETHER = timedelta(days=1)
JOB_FIELD = "st_job_id"


class Seen(NamedTuple):
    """What is kept of a card while all are read; `at` is when it was made."""

    id: str
    contact: str | None
    name: str
    job: str | None
    at: datetime
    created: str | None
    pipeline: str | None
    stage: str | None
    status: str | None
    moved: bool


async def find_double_cards(pages: AsyncIterator[list[Opportunity]], job_field: str | None) -> list[dict[str, Any]]:
    """The doubled cards as `keep_double_cards` takes them. `job_field`: id of the custom field; None: there is none."""
    by_job: dict[str, list[Seen]] = defaultdict(list)
    by_name: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    async for page in pages:
        for card in page:
            seen = _see(card, job_field)
            if seen.job:
                by_job[seen.job].append(seen)
            elif seen.contact and seen.name:
                by_name[seen.contact, seen.name].append(seen)
    found = [row for cards in by_job.values() for row in _tell(cards, "same job")]
    for cards in by_name.values():
        for group in _within_a_day(cards):
            found += _tell(group, "same customer and name")
    return found


def _see(card: Opportunity, job_field: str | None) -> Seen:
    value = card.custom_fields.get(job_field or "")
    job = str(value).strip() if value not in (None, "") else None
    moved = card.last_stage_change_at is not None and card.last_stage_change_at != card.created_at
    name = " ".join((card.name or "").casefold().split())
    return Seen(
        card.id, card.contact_id, name, job, _moment(card.created_at), card.created_at, card.pipeline_id,
        card.stage_id, card.status, moved or card.status not in (None, "open"),
    )  # fmt: skip


def _within_a_day(cards: Iterable[Seen]) -> list[list[Seen]]:
    groups: list[list[Seen]] = []
    for card in sorted(cards, key=lambda card: (card.at, card.id)):
        if groups and card.at - groups[-1][-1].at <= TOGETHER:
            groups[-1].append(card)
        else:
            groups.append([card])
    return groups


def _tell(cards: list[Seen], why: str) -> list[dict[str, Any]]:
    if len(cards) < 2:
        return []
    ordered = sorted(cards, key=lambda card: (card.at, card.id))
    kept = next((card for card in ordered if card.moved), ordered[0])
    return [
        {
            "opportunity_id": card.id,
            "together": ordered[0].id,
            "why": why,
            "keep": card is kept,
            "st_job_id": _read_number(card.job),
            "contact_id": card.contact,
            "pipeline_id": card.pipeline,
            "stage_id": card.stage,
            "status": card.status,
            "created_at": card.created,
            "minutes_after_first": round((card.at - ordered[0].at).total_seconds() / 60, 1),
        }
        for card in ordered
    ]


def _read_number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _moment(text: str | None) -> datetime:
    try:
        found = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
