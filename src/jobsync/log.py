"""Logs: an event word and allow-listed fields; on a terminal for people, else one JSON object a line, always on stderr.

Only the fields of `ALLOWED` pass; anything else is dropped and counted, so that no secret, body, header, URL, name,
phone or address can reach a log by accident (security bar X10).
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

ALLOWED = frozenset(
    """event level timestamp tenant stream run task task_id destination unit job attempt status outcome code error_type count
    pulled stored unchanged quarantined planned delivered failed verified skipped requests duration_ms wait_seconds mode reason version page pages
    host port pid signal logger method route request_id address size trigger tries next_in_s state""".split()
)


def _keep_allowed(_: Any, __: str, entry: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in entry.items() if name in ALLOWED}
    dropped = len(entry) - len(kept)
    if dropped:
        kept["dropped_fields"] = dropped
    return kept


# What a library's warning means to whoever runs JobSync, by its logger.
MEANINGS = {"psycopg.pool": "a connection to PostgreSQL was lost or could not be opened; it is tried again"}


class _NamesOnly(logging.Handler):
    """What libraries say on their own, such as psycopg and its pool: who warned and of which error, and nothing of the
    message, which may hold a host, a user, a statement or a body."""

    def emit(self, record: logging.LogRecord) -> None:
        """Passes the record on as an event of ours."""
        given = record.args if isinstance(record.args, tuple) else ()
        errors = [record.exc_info[1] if record.exc_info else None, *given]
        kind = next((type(error).__name__ for error in errors if isinstance(error, BaseException)), None)
        known = {"error_type": kind, "reason": MEANINGS.get(record.name)}
        told = get_log(logger=record.name, **{name: value for name, value in known.items() if value})
        (told.error if record.levelno >= logging.ERROR else told.warning)("library_warned")


def set_up_logs(level: str = "INFO", *, for_people: bool | None = None) -> None:
    """Configures logging of this process. `for_people`: readable lines; None decides by whether stderr is a terminal."""
    people = sys.stderr.isatty() if for_people is None else for_people
    renderer: Any = structlog.dev.ConsoleRenderer(colors=people) if people else structlog.processors.JSONRenderer()
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _keep_allowed,
        renderer,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        # Looked up at each line: who puts another stderr in place (a test, a supervisor) gets the lines from then on.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.CRITICAL, handlers=[_NamesOnly()], force=True)


def get_log(**fields: Any) -> Any:
    """A logger with fields bound; call `.info("event_word", count=3)`."""
    return structlog.get_logger().bind(**fields)
