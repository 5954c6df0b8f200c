"""Assets: the style sheet, the scripts and the icon, each under an address that names its content, kept by browsers for
a year. All of them stand in this package; nothing comes from elsewhere.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from jobsync.errors import CallRefused
from jobsync.web.dashboard.visits import PageRoute, seen_by

router = APIRouter(route_class=PageRoute, include_in_schema=False)

PATH = "/ui/assets/"
FOREVER = "public, max-age=31536000, immutable"
_FILES = {
    "app.css": ("static", "text/css; charset=utf-8"),
    "app.js": ("static", "text/javascript; charset=utf-8"),
    "icon.svg": ("static", "image/svg+xml"),
    "htmx.min.js": ("vendor/htmx", "text/javascript; charset=utf-8"),
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes as they are and compressed."""

    name: str
    kind: str
    digest: str
    content: bytes
    packed: bytes


@cache
def read_asset(name: str) -> Asset:
    """The file of that name. Raises KeyError where there is none."""
    folder, kind = _FILES[name]
    content = files("jobsync.web.dashboard").joinpath(folder, name).read_bytes()
    return Asset(name, kind, hashlib.sha256(content).hexdigest()[:16], content, gzip.compress(content, 9))


def asset_url(name: str) -> str:
    """The address of an asset; another content has another one."""
    return f"{PATH}{read_asset(name).digest}/{name}"


@router.get(PATH + "{digest}/{name}")
@seen_by("anybody")
async def show_asset(request: Request, digest: str, name: str) -> Response:
    """One asset. An address of an earlier build is not found, so that no page runs with a script of another."""
    if name not in _FILES or read_asset(name).digest != digest:
        raise CallRefused(404, "There is nothing at this address.", code="not_found", hint="Reload the page.")
    asset = read_asset(name)
    headers = {"Cache-Control": FOREVER, "ETag": f'"{asset.digest}"', "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, media_type=asset.kind, headers={**headers, "Content-Encoding": "gzip"})
    return Response(asset.content, media_type=asset.kind, headers=headers)
