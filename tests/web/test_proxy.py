"""ServiceTitan read through JobSync: its envelope, its filters, our credentials, and nothing outside the table."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from jobsync.db.pool import Database
from jobsync.engine.pacing import SharedPace
from jobsync.servicetitan.proxy import READABLE
from jobsync.simulators import servicetitan
from tests.upstreams import open_upstreams
from tests.web.conftest import Api, StartApi, connected_to

pytestmark = pytest.mark.anyio


@pytest.fixture
async def titan() -> AsyncIterator[servicetitan.Served]:
    """ServiceTitan with 60 jobs."""
    async with open_upstreams(jobs=60) as (served, _):
        yield served


@pytest.fixture
async def api(start_api: StartApi, titan: servicetitan.Served) -> Api:
    """A service that is connected to it."""
    return await start_api(connected_to(titan))


def asked(titan: servicetitan.Served) -> list[str]:
    """The paths that ServiceTitan was asked for, tokens left out."""
    return [
        path for (_, path, _), n in titan.simulator.ledger.counts.items() for _ in range(n) if path != "connect/token"
    ]


async def test_every_path_of_the_old_service_answers_with_servicetitans_envelope(
    api: Api, titan: servicetitan.Served
) -> None:
    tables = titan.simulator.dataset().tables
    for name in READABLE:
        kind = name.split("/")[1]
        path = name.replace("{id}", str(next(iter(tables[kind].keys()), 0)) if kind in tables else "1")
        query = {"modifiedOnOrAfter": "2000-01-01T00:00:00Z"} if name.endswith("s/contacts") else {}
        answer = await api.get(path, params=query)
        assert answer.status == 200, (path, answer.text)
        if "{id}" in name and not name.endswith("contacts"):
            assert answer.body["id"] == int(path.rsplit("/", 1)[1])
        else:
            assert isinstance(answer.body["data"], list) and "hasMore" in answer.body


async def test_filters_go_through_as_they_are(api: Api, titan: servicetitan.Served) -> None:
    whole = (await api.get("/jobs", params={"pageSize": 5000, "sort": "+ModifiedOn", "includeTotal": "true"})).body
    assert (whole["pageSize"], whole["totalCount"], len(whole["data"])) == (5000, 60, 60)
    middle = sorted(job["createdOn"] for job in whole["data"])[30]
    later = (await api.get("/jobs", params={"createdOnOrAfter": middle, "pageSize": 5000})).body["data"]
    assert {job["id"] for job in later} == {job["id"] for job in whole["data"] if job["createdOn"] >= middle}
    ids = [str(job["id"]) for job in whole["data"][:2]]
    assert len((await api.get("/jobs", params={"ids": ",".join(ids)})).body["data"]) == 2
    refused = await api.get("/jobs", params={"createdOnOrAfter": "yesterday"})
    assert (refused.status, refused.body["code"]) == (400, "servicetitan_refused")
    missing = await api.get("/jobs/999999999")
    assert (missing.status, missing.body["code"]) == (404, "not_found")


async def test_all_pages_come_as_one_stream(api: Api, titan: servicetitan.Served) -> None:
    answer = await api.get("/jobs", params={"all": "true", "pageSize": 7, "includeTotal": "true"})
    assert len({job["id"] for job in answer.body["data"]}) == len(answer.body["data"]) == 60
    assert (answer.body["hasMore"], answer.body["totalCount"]) == (False, 60)
    assert len(asked(titan)) == 9
    empty = await api.get("/jobs", params={"all": "true", "createdOnOrAfter": "2999-01-01T00:00:00Z"})
    assert (empty.status, empty.body["data"]) == (200, [])


async def test_a_stream_that_fails_on_its_way_breaks_off_and_is_no_whole_answer(
    api: Api, titan: servicetitan.Served
) -> None:
    titan.simulator.faults.plan("status", "jpm/jobs", status=500, skip=3)
    with pytest.raises(aiohttp.ClientPayloadError):
        await api.get("/jobs", params={"all": "true", "pageSize": 7})
    titan.simulator.faults.plan("status", "jpm/jobs", status=500)
    first = await api.get("/jobs", params={"all": "true", "pageSize": 7})
    assert (first.status, first.body["code"]) == (502, "upstream_unavailable")


ESCAPES = (
    "/customers/..%2fjobs",
    "/customers/%2e%2e/jobs",
    "/customers/1%2f..%2f..%2fjobs",
    "/customers/1%2fcontacts",
    "/customers/1/../../settings/v2/tenant/1/employees",
    "/locations/..%252fjobs",
    "/locations/1;x=/contacts",
    "/jobs/1%00",
    "/jobs/-1",
    "/jobs/1.5",
    "/jobs/１２",
    "/jobs/9999999999999999999999",
    "/jobs/http:%2f%2f127.0.0.1",
    "/jobs//contacts",
    "/estimates/1",
    "/employees",
    "/export/jobs",
    "/jobs/{tenant}",
)


async def test_nothing_outside_the_table_can_be_asked_for(api: Api, titan: servicetitan.Served) -> None:
    for path in ESCAPES:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\nConnection: close\r\n\r\n".encode())
        status = int((await reader.readline()).split()[1])
        writer.close()
        assert status in (400, 404), (path, status)
    for query in ("?servicetitanapplicationkey=x", "?ST-App-Key=x", "?Authorization=x", "?x=" + "y" * 9000, "?a=%00"):
        assert (await api.get("/jobs" + query)).status == 400, query
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await api.call(method, "/jobs", json={})).status == 405
    assert asked(titan) == []


async def test_no_credential_ever_comes_back(api: Api, titan: servicetitan.Served) -> None:
    account = titan.simulator.account()
    answers = [await api.get("/jobs"), await api.get("/jobs", params={"createdOnOrAfter": "x"})]
    titan.simulator.faults.plan("status", "jpm/jobs", status=500)
    answers.append(await api.get("/jobs"))
    assert [answer.status for answer in answers] == [200, 400, 502]
    tokens = list(titan.simulator.tokens._grants)
    assert tokens
    for answer in answers:
        told = answer.text + json.dumps(dict(answer.headers))
        for secret in (account.client_secret, account.app_key, account.client_id, *tokens):
            assert str(secret) not in told


async def test_without_credentials_it_says_what_to_set(start_api: StartApi) -> None:
    answer = await (await start_api()).get("/jobs")
    assert (answer.status, answer.body["error"]) == (503, "ServiceTitan is not connected.")
    assert "SERVICE_TITAN_TENANT_ID" in answer.body["hint"]


async def test_a_fifth_of_the_budget_is_left_to_those_who_wait(database: Database) -> None:
    pull = SharedPace(database, "default", rate=0.001, burst=10.0)
    asks = SharedPace(database, "default", rate=0.001, burst=10.0, reserve=0.0)
    for _ in range(8):
        await pull.take()
    with pytest.raises(Exception, match="long pause"):
        await pull.take()
    await asks.take()
    await asks.take()
    with pytest.raises(Exception, match="long pause"):
        await asks.take()
