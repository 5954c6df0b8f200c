"""The web app: the routers put together behind the gate and the shell. It opens and starts nothing by itself."""

from __future__ import annotations

from typing import Any

from anyio import CapacityLimiter
from fastapi import APIRouter, FastAPI

from jobsync.config import Settings
from jobsync.db.pool import Database
from jobsync.db.sealing import Keyring, load_keyring
from jobsync.web import pages
from jobsync.web.api import (
    admin,
    business_units,
    checks,
    customers,
    events,
    health,
    history,
    jobs,
    metrics,
    plans,
    rules,
    sync_logs,
    sync_state,
    tenants,
    titan,
)
from jobsync.web.auth import Gate
from jobsync.web.calls import GuardedRoute, StartSync, Web, needs_of
from jobsync.web.dashboard.routers import DASHBOARD
from jobsync.web.dashboard.visits import PageRoute, rule_of
from jobsync.web.faults import add_fault_handlers
from jobsync.web.openapi import describe
from jobsync.web.rate import CallRate
from jobsync.web.shell import MOST_IN_FLIGHT, Shell

ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    metrics.router,
    sync_state.router,
    jobs.router,
    customers.router,
    sync_logs.router,
    business_units.router,
    titan.router,
    admin.router,
    plans.router,
    history.router,
    checks.router,
    rules.router,
    events.router,
    tenants.router,
    pages.router,
)


def create_app(
    settings: Settings,
    database: Database | None,
    *,
    keyring: Keyring | None = None,
    start_sync: StartSync | None = None,
    most_in_flight: int = MOST_IN_FLIGHT,
    rate: CallRate | None = None,
    demo: bool = False,
) -> FastAPI:
    """The app on an open database (None: only to be described).

    `keyring`: default, the one of the settings; `start_sync(tenant)`: begins a pass and answers its run's id, None where
    no worker can be asked; `most_in_flight`: requests at once, beyond which callers are sent away;
    `rate`: how fast one token may call; `demo`: the pages say that the data is invented.
    """
    if keyring is None and database is not None:
        keyring = load_keyring(
            settings.secret_key.get_secret_value() if settings.secret_key else None, settings.data_dir
        )
    app = FastAPI(title="JobSync", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.web = Web(settings, database, keyring, start_sync, Gate(settings, database, rate=rate), demo)
    app.state.watchers = set()
    # Passwords are hashed beside the loop, two at a time: signing in does not starve the pages.
    app.state.password_limiter = CapacityLimiter(2)
    for router in (*ROUTERS, *DASHBOARD):
        for route in router.routes:
            # Every route says what it needs, or the service does not start.
            assert isinstance(route, GuardedRoute | PageRoute)
            needs_of(route) if isinstance(route, GuardedRoute) else rule_of(route)
        app.router.routes.extend(router.routes)
    add_fault_handlers(app)
    app.add_middleware(Shell, most_in_flight=most_in_flight)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def describe_api(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document, without a database."""
    return describe(create_app(settings, None))
