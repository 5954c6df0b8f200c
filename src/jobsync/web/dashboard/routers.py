"""The pages put together, in the order in which their addresses are tried."""

from __future__ import annotations

from fastapi import APIRouter

from jobsync.web.dashboard import (
    assets,
    clients,
    contacts,
    health,
    imports,
    jobs,
    live,
    lost,
    needs_you,
    overview,
    people,
    reference,
    routing,
    rules,
    runs,
    sending,
    settings,
    sign_in,
    story,
)

DASHBOARD: tuple[APIRouter, ...] = (
    assets.router,
    sign_in.router,
    sending.router,
    live.router,
    overview.router,
    needs_you.router,
    jobs.router,
    story.router,
    runs.router,
    routing.router,
    rules.router,
    contacts.router,
    health.router,
    imports.router,
    settings.router,
    people.router,
    reference.router,
    clients.router,
    # The last one: it answers every address that is left.
    lost.router,
)
