"""Rendering: templates to pages, with what every page needs: the navigation, form tokens, times, numbers, states.

Everything that is put into a template is escaped; nothing here makes markup out of data (a house rule looks for it).
"""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from jobsync import __version__
from jobsync.errors import ConfigError, DatabaseUnavailable, JobSyncError
from jobsync.web.dashboard.assets import asset_url
from jobsync.web.dashboard.navigation import list_entries
from jobsync.web.dashboard.visits import TOKEN_FIELD, Visit
from jobsync.web.dashboard.wording import word_hint

LOOK_COOKIE = "jobsync_look"
SHORTEST_COMPRESSED = 1000
LOOKS = ("system", "light", "dark")
# word, shape: state is never told by colour alone.
STATES = {
    "verified": "●",
    "accepted": "◐",
    "pending": "○",
    "failed": "▲",
    "blocked": "■",
    "skipped": "–",
    "running": "◐",
    "completed": "●",
    "ok": "●",
    "warning": "▲",
    "problem": "■",
}


def page(
    visit: Visit, template: str, *, title: str, here: str | None = None, status: int = 200, **values: Any
) -> Response:
    """A page. `template`: a file of `templates`; `here`: the path of the navigation's entry that is shown as current."""
    look, keys = read_look(visit.request)
    shared = {
        "visit": visit,
        "title": title,
        "here": here,
        "entries": list_entries(visit),
        "look": look,
        "keys": keys,
        "now": visit.now,
        "path": visit.request.url.path,
        "version": __version__,
        "token_field": TOKEN_FIELD,
    }
    return HTMLResponse(_environment().get_template(template).render({**shared, **values}), status_code=status)


def confirm(
    visit: Visit,
    *,
    title: str,
    sentence: str,
    action: str,
    button: str,
    facts: list[tuple[str, str]],
    back: str,
    fields: list[tuple[str, str]] | None = None,
    inputs: list[dict[str, Any]] | None = None,
    danger: bool = False,
    allowed: bool = True,
    here: str | None = None,
) -> Response:
    """What stands between a button and a sending or destructive act: a page, or the dialog that the script makes of it.

    `sentence`: what will happen; `facts`: (name, value) pairs, the count first, then routes, requests, paid triggers;
    `button` names the act ("Send 12 jobs"); `fields`: hidden (name, value) pairs that are sent with the form to `action`;
    `inputs`: fields to fill in, as macro `field` takes them; `back`: where "Cancel" leads; `allowed` False: nothing to do.
    """
    return page(
        visit,
        "confirm.html",
        title=title,
        here=here,
        sentence=sentence,
        action=action,
        button=button,
        facts=facts,
        back=back,
        fields=fields or [],
        inputs=inputs or [],
        danger=danger,
        allowed=allowed,
    )


def show_error(visit: Visit, error: JobSyncError) -> Response:
    """The page that stands for an error: what happened, and what to do."""
    status = 503 if isinstance(error, ConfigError | DatabaseUnavailable) else error.http_status
    if "hx-request" in visit.request.headers:
        # The script shows it where the reader is; the page stays.
        return HTMLResponse(error.message, status_code=status, headers={"HX-Reswap": "none"})
    request_id = visit.request.scope.get("state", {}).get("request_id")
    return page(
        visit,
        "error.html",
        title="Not done",
        status=status,
        error=error,
        hint=word_hint(error.hint),
        request_id=request_id,
    )


def bounce(path: str) -> Response:
    """A page that asks for `path` once more, from here."""
    return HTMLResponse(_environment().get_template("bounce.html").render(path=path))


def finish(request: Request, response: Response) -> Response:
    """Compresses a finished page where the browser takes it."""
    body = getattr(response, "body", None)
    if (
        isinstance(body, bytes)
        and len(body) >= SHORTEST_COMPRESSED
        and "content-encoding" not in response.headers
        and "gzip" in request.headers.get("accept-encoding", "")
        and response.headers.get("content-type", "").startswith("text/")
    ):
        response.body = gzip.compress(body, 6)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Content-Length"] = str(len(response.body))
    response.headers["Vary"] = "Accept-Encoding, Cookie, HX-Request"
    return response


def read_look(request: Request) -> tuple[str, bool]:
    """(theme, single keys on) as the person chose them in this browser."""
    look, _, keys = request.cookies.get(LOOK_COOKIE, "").partition("-")
    return look if look in LOOKS else "system", keys != "nokeys"


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("jobsync.web.dashboard", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals.update(asset=asset_url, states=STATES, query=make_query)
    found.filters.update(
        count=show_count,
        ago=show_ago,
        moment=show_moment,
        iso=show_iso,
        span=show_span,
        money=show_money,
        path=quote_path,
    )
    return found


def make_query(path: str, values: dict[str, Any], **changes: Any) -> str:
    """`path` with a query of the values that are set; `changes` win, and None takes a name away."""
    pairs = {name: value for name, value in {**values, **changes}.items() if value not in (None, "", False)}
    return f"{path}?{urlencode(pairs, doseq=True)}" if pairs else path


def quote_path(value: object) -> str:
    """A value as one part of a path."""
    return quote(str(value), safe="")


def show_count(value: int | None) -> str:
    """A whole number with its thousands apart; nothing for None."""
    return "" if value is None else f"{int(value):,}"


def show_money(value: Decimal | float | None) -> str:
    """An amount with two digits, thousands apart."""
    return "" if value is None else f"{value:,.2f}"


def show_span(seconds: float | Decimal | None) -> str:
    """How long, in at most two units: 40 s, 2 min, 3 h 5 min, 4 d."""
    if seconds is None:
        return ""
    whole = max(0, round(float(seconds)))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        hours, minutes = whole // 3600, whole % 3600 // 60
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"
    return f"{whole // 86_400} d"


def show_ago(value: datetime | None, now: datetime | None) -> str:
    """How long before `now`: "2 min ago", "in 5 min", "just now"."""
    if value is None or now is None:
        return "never"
    seconds = (now - value).total_seconds()
    if abs(seconds) < 5:
        return "just now"
    return f"{show_span(seconds)} ago" if seconds > 0 else f"in {show_span(-seconds)}"


def show_moment(value: datetime | None, time_zone: str = "UTC") -> str:
    """Date and time in the tenant's time zone, which is named."""
    if value is None:
        return ""
    try:
        zone: Any = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = UTC
    local = value.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname() or 'UTC'}"


def show_iso(value: datetime | None) -> str:
    """For machines."""
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
