"""Sends a claimed row to a webhook destination: one POST, its answer read as GoHighLevel's two kinds of 200 demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from jobsync.db.pool import Row
from jobsync.engine.context import Engine
from jobsync.gohighlevel.destination_guard import Guard, make_session
from jobsync.gohighlevel.payloads import webhook_body
from jobsync.gohighlevel.redaction import secrets_of_url
from jobsync.gohighlevel.webhook import post_webhook


class HookSender:
    """Implements `engine.deliver.Sender` for one hook. Its URL is a secret: it stays in here."""

    overlaps = True

    def __init__(self, url: str, guard: Guard) -> None:
        self._url = url
        self._guard = guard
        self._session = make_session(guard)
        self._secrets = secrets_of_url(url)

    async def prepare(self, rows: Sequence[Row]) -> None:
        """Nothing to prepare: a post needs nothing but its row."""

    async def send(self, row: Row) -> dict[str, Any]:
        """Posts the job; the result as `jobsync.finish_deliveries` takes it. Never raises for an answer."""
        body = webhook_body(
            row,
            delivery_id=str(row["delivery_id"]),
            event=row["event"],
            version=row["version"],
            occurred_at=row["planned_at"],
        )
        answer = await post_webhook(
            self._session, self._url, msgspec.json.encode(body), guard=self._guard, secrets=self._secrets
        )
        flags = [] if row["phone"] or row["email"] else ["no_contact"]
        if row["waited_for"] == "parents":
            flags.append("incomplete")
        return {
            "outcome": str(answer.outcome),
            "status": answer.status,
            "execution_id": answer.execution_id,
            "duration_ms": int(answer.duration_ms),
            "answer": answer.answer_text,
            "error": answer.error,
            "retry_after": answer.retry_after,
            "flags": flags,
        }

    async def close(self) -> None:
        """Closes the session."""
        await self._session.close()


async def open_sender(engine: Engine, destination: Row) -> HookSender:
    """The sender for a webhook destination. Raises ConfigError when its URL cannot be opened."""
    return HookSender(
        engine.keyring.open(destination["sealed"], destination["key_id"]), Guard(engine.settings.allow_hosts)
    )
