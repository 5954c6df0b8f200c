"""The surface called with what its own description allows and forbids: no server error, no answer it does not describe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import anyio
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from jobsync.db.pool import Database
from jobsync.engine.tokens import create_token
from jobsync.servicetitan.proxy import READABLE
from jobsync.web.rate import CallRate
from tests.upstreams import open_upstreams
from tests.web.conftest import ALL_SCOPES, Api, StartApi, a_customer, a_job, connected_to

pytestmark = pytest.mark.anyio


@pytest.fixture
async def admin(start_api: StartApi, database: Database) -> AsyncIterator[Api]:
    """Every scope, a worker that can be asked for a pass, and a ServiceTitan that can be read."""

    async def start_sync(tenant: str) -> UUID:
        async with database.transaction(tenant) as session:
            return await session.value(
                "open_pass", {"tenant": tenant, "streams": ["jobs"], "trigger": "api", "held": []}
            )

    made = await create_token(database, "default", "tests", ALL_SCOPES, actor="tests")
    async with open_upstreams(jobs=5) as (titan, _):
        yield await start_api(
            connected_to(titan), headers={"X-API-Key": made["token"]}, start_sync=start_sync, rate=CallRate(0)
        )


@pytest.mark.longest
@pytest.mark.timeout(900)
async def test_every_operation_holds_to_its_description(admin: Api) -> None:
    await hold_to_description(admin, cases_each=8, at_least=1000)


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_every_operation_holds_to_its_description_ten_thousand_times(admin: Api) -> None:
    await hold_to_description(admin, cases_each=90, at_least=10_000)


async def hold_to_description(admin: Api, *, cases_each: int, at_least: int) -> None:
    """Calls every operation so often, with valid and with invalid cases each."""
    await admin.post("/db/jobs/upsert", {"job": a_job(1), "customer": a_customer(1)})
    document = (await admin.get("/openapi.json")).body
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=admin.url)
    # NUL characters have a test of their own: no schema can forbid them in every text.
    schema.config.generation.update(allow_x00=False)
    # A generated text may also be too much for the 5 MB of a body.
    rejection = schema.config.checks.negative_data_rejection
    rejection.expected_statuses = [*rejection.expected_statuses, "413"]
    calls, faults = await anyio.to_thread.run_sync(call_all, schema, admin.headers, cases_each)
    assert not faults, "\n\n".join(faults)
    assert calls >= at_least
    assert (await admin.get("/health/ready")).status == 200


def call_all(schema: Any, headers: dict[str, str], cases_each: int) -> tuple[int, list[str]]:
    """Calls every operation with generated cases, valid and invalid; the number of calls, and what was wrong."""
    calls, faults = 0, []
    with requests.Session() as session:
        session.trust_env = False
        session.headers.update(headers)
        for found in schema.get_all_operations():
            operation = found.ok()
            for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
                try:
                    calls += call_one(operation, mode, session, cases_each)
                except Unsatisfiable:
                    continue  # nothing about this operation can be wrong
                except FailureGroup as group:
                    faults.append(f"{operation.label} {mode.value}: {group}")
    return calls, faults


def call_one(operation: Any, mode: GenerationMode, session: requests.Session, cases_each: int) -> int:
    """Calls one operation; the number of calls. Raises FailureGroup."""
    calls = 0
    # Which hosts a hook may have, and which names a rule may use, no schema can tell.
    excluded = [positive_data_acceptance] if "/business-units/" in operation.path or "/rules" in operation.path else []
    if operation.path == "/admin/backfill":
        excluded.append(positive_data_acceptance)  # one at a time, and of the past
    if operation.path in ("/admin/reconcile", "/admin/verify"):
        excluded.append(positive_data_acceptance)  # one at a time
    if operation.path == "/admin/rewind":
        excluded.append(positive_data_acceptance)  # only back, and only what was read
    if operation.path in READABLE:
        # Filters go through to ServiceTitan as they are: which of them it takes is its own affair.
        excluded += [positive_data_acceptance, negative_data_rejection]
    if operation.path == "/db/jobs/upsert":
        # The true limit of an id lies a little above the described one.
        excluded.append(negative_data_rejection)

    @settings(
        max_examples=cases_each,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        nonlocal calls
        calls += 1
        case.call_and_validate(session=session, headers=session.headers, timeout=20, excluded_checks=excluded)

    check()
    return calls
