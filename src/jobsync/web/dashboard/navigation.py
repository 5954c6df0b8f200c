"""The navigation: every page there is to be, in reading order. One that this build does not serve is not linked."""

from __future__ import annotations

from dataclasses import dataclass

from jobsync.web.dashboard.visits import Visit


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the navigation. `key`: pressed after `g`; `several`: only where there are several tenants to see."""

    path: str
    name: str
    key: str
    role: str = "viewer"
    several: bool = False


ENTRIES = (
    Entry("/ui/", "Overview", "o"),
    Entry("/ui/needs-you", "Needs you", "n"),
    Entry("/ui/jobs", "Jobs", "j"),
    Entry("/ui/runs", "Runs", "r"),
    Entry("/ui/routing", "Routing & rules", "u"),
    Entry("/ui/contacts", "Contacts", "c"),
    Entry("/ui/import", "Import", "i"),
    Entry("/ui/health", "Health", "h"),
    Entry("/ui/settings", "Settings", "s"),
    Entry("/ui/api", "API & SQL", "a"),
    Entry("/ui/clients", "Clients", "l", role="admin", several=True),
)


def list_entries(visit: Visit) -> list[Entry]:
    """The entries that this build serves and this visit may open."""
    if not visit.user:
        return []
    served = {getattr(route, "path", None) for route in visit.request.app.routes}
    return [
        entry
        for entry in ENTRIES
        if entry.path in served and visit.may(entry.role) and (visit.several or not entry.several)
    ]
