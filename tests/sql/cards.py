"""A location as it was pulled, rules about it, and what happens around jobs: for stories about cards.

Ids are the names in small letters with dashes, so that a test reads what it expects.
"""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from tests.sql.story import DAY, INSTALL, SALES, Row, Story

STAGES = {
    "sales": ("New", "Sent", "Sold", "Working", "Done", "Lost"),
    "install": ("Approved", "Scheduled", "Completed"),
}


def pull(story: Story, stages: dict[str, tuple[str, ...]] | None = None, **renamed: str) -> Row:
    """What GoHighLevel shows: pipelines by id with stages by name; `renamed`: stage id (with _ for -) -> its new name."""
    shown = [
        {
            "id": pipeline,
            "name": f"{pipeline.capitalize()} pipeline",
            "stages": [
                {"id": f"{pipeline}-{name.lower()}", "name": renamed.get(f"{pipeline}_{name.lower()}", name)}
                for name in names
            ],
        }
        for pipeline, names in (STAGES if stages is None else stages).items()
    ]
    fields = [{"id": "f-visit", "name": "Visit", "key": "opportunity.visit", "model": "opportunity"}]
    return story.value(
        "select jobsync.store_pipelines(%s, %s, %s, 'a test')", story.tenant, Jsonb(shown), Jsonb(fields)
    )


def location(story: Story, *units: int, stage: str = "sales-new") -> Any:
    """An API destination that these units (default: Sales) go to, into this stage; the destination."""
    if not story.rows("select 1 from jobsync.pipelines"):
        pull(story)
    destination = story.hook(*(units or (SALES,)), kind="api")
    for unit in units or (SALES,):
        target(story, unit, stage)
    return destination


def target(story: Story, unit: int, stage: str | None, card: str | None = None) -> Row:
    """The route's stage, and whose card its jobs have."""
    pipeline = stage.split("-")[0] if stage else None
    return story.value(
        "select jobsync.set_route_target(%s, %s, %s, %s, %s, 'a test')", story.tenant, unit, pipeline, stage, card
    )


def rule(story: Story, name: str, event: str, stage: str | None = None, **more: Any) -> Row:
    """Saves one rule; `more` as save_rules takes it."""
    pipeline = stage.split("-")[0] if stage else None
    given = {"name": name, "event": event, "pipeline_id": pipeline, "stage_id": stage, **more}
    return story.value("select jobsync.save_rules(%s, %s, false, 'a test')", story.tenant, Jsonb([given]))


def card(story: Story, number: int) -> Row:
    """What the card of a job should be."""
    return story.row("select * from jobsync.plan_cards(%s, array[%s]::bigint[])", story.tenant, number)


def stage_of(story: Story, number: int) -> str | None:
    """The stage that a job's card should stand in."""
    return card(story, number)["stage_id"]


def visit(story: Story, number: int, of: int, **more: Any) -> Row:
    """An appointment of a job."""
    record = {
        "id": number,
        "jobId": of,
        "status": "Scheduled",
        "start": DAY,
        "end": DAY,
        "unused": False,
        "active": True,
    }
    return story.page({**record, "modifiedOn": DAY, **more}, stream="appointments")


def estimate(story: Story, number: int, of: int | None, status: str = "Open", amount: float = 900, **more: Any) -> Row:
    """An estimate of a job; a sold one has a soldOn."""
    record = {
        "id": number, "jobId": of, "status": {"value": 1, "name": status}, "subtotal": amount, "tax": 0, "active": True,
        "soldOn": DAY if status == "Sold" else None, "modifiedOn": DAY,
    }  # fmt: skip
    return story.page({**record, **more}, stream="estimates")


def invoice(story: Story, number: int, of: int, total: str = "120.50", **more: Any) -> Row:
    """An invoice of a job, not posted yet."""
    record = {
        "id": number,
        "job": {"id": of},
        "total": total,
        "balance": total,
        "syncStatus": "Pending",
        "active": True,
    }
    return story.page({**record, "modifiedOn": DAY, **more}, stream="invoices")


def install_after_sale(story: Story) -> None:
    """Sales and Install go to one location; an install goes on with the card of the job it was sold in."""
    location(story, SALES, INSTALL)
    target(story, INSTALL, "install-approved", "sales")
    story.live()
