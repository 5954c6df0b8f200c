"""What nobody should send: every answer is a 4xx with a sentence, never a 500, and the service goes on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from jobsync.web.calls import needs_of
from tests.web.conftest import Api, a_customer, a_job, list_routes
from tests.web.test_batches import LONG_NUMBER

pytestmark = pytest.mark.anyio

DEEP = b'{"value": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"
BODIES: list[bytes] = [
    b"", b" ", b"{", b"}", b"[", b"]", b"null", b"true", b"0", b'""', b"[]", b"{}", b"NaN", b"Infinity", b"-", b"\x00", b"\xff\xfe{}",
    b"\xef\xbb\xbf{}", b"{'value': 1}", b'{"value": NaN}', b'{"value": 1e999}', b'{"value": "\x00"}', b'{"value": "\\u0000"}',
    b'{"value": "\\ud800"}', b'{"value": "\\udc00\\ud800"}', b'{"value": "\xc3\x28"}', b'{"value": "x", "metadata": {"a\\u0000": 1}}',
    b'{"value": "x", "metadata": {"a": "\\ud83d"}}', b'{"value": 1, "value": 2}', b'{"value": "x"} trailing', b'{"value": "x",}',
    b'{"value": 18446744073709551616, "metadata": {"n": 123456789012345678901234567890}}', b'{"value": "x", "metadata": {"n": 1e400}}',
    b'{"value": ' + b"9" * 5_000 + b"}", b'{"value": "x", "metadata": []}', b'{"value": {"a": 1}}', b'{"value": [1]}', DEEP,
    b"[" * 100_000, b'{"job": 1, "customer": 2}', b'{"job": {"id": 0}, "customer": {"customerId": 0}}',
    b'{"job": {"id": -1}, "customer": {"customerId": 1}}', b'{"job": {"id": 9223372036854775808}, "customer": {"customerId": 1}}',
    b'{"job": {"id": 1.5}, "customer": {"customerId": 1}}', b'{"job": {"id": "1e3"}, "customer": {"customerId": 1}}',
    b'{"job": {"id": 1, "total": 1e100000}, "customer": {"customerId": 1}}', b'{"job": {"id": 1}, "customer": [1]}',
    b'{"job": {"id": 1, "jobNumber": "' + LONG_NUMBER.encode() + b'"}, "customer": {"customerId": 1}}',
    b'{"customer": {"customerId": 1, "email": "' + LONG_NUMBER.encode() + b'"}}',
    b'{"status": "synced", "opportunityId": "' + LONG_NUMBER.encode() + b'"}',
    b'{"job": {"id": 1, "x": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b'}, "customer": {"customerId": 1}}',
    b'{"jobs": 1}', b'{"jobs": {}}', b'{"jobs": null}', b'{"jobs": [1, null, "x", [], {}]}', b'{"jobs": [{"job": null, "customer": null}]}',
    b'{"customer": null}', b'{"customer": {"customerId": "abc"}}', b'{"customer": {"customerId": 1, "address": "one line"}}',
    b'{"customer": {"customerId": 1, "email": {"a": 1}, "phone": ["555-0100"]}}', b'{"status": "done"}', b'{"status": 5}', b'{"status": ""}',
    b'{"status": "synced", "opportunityId": 5}', b'{"error": {"a": 1}}', b'{"syncType": "x"}', b'{"syncType": "", "status": ""}',
    b'{"syncType": "x", "status": "y", "recordsProcessed": -1}', b'{"syncType": "x", "status": "y", "recordsProcessed": 1.5}',
    b'{"syncType": "x", "status": "y", "durationMs": 99999999999}', b'{"syncType": "x", "status": "y", "entityId": "9223372036854775808"}',
    b'{"syncType": "' + b"x" * 300 + b'", "status": "y"}', b'{"ghl_webhook_url": "not a url"}', b'{"ghl_webhook_url": "https://"}',
    b'{"ghl_webhook_url": 5}', b'{"ghl_events": "some"}', b'{"sync_enabled": "yes"}', b'{"unknown": 1}', b'{"jobs": []}',
    b'{"jobs": [0]}', b'{"jobs": ["x"]}', b'{"name": " ", "scopes": ["read"]}', b'{"name": "x", "scopes": ["root"]}',
    b'{"name": "x", "scopes": []}', b'{"name": "x", "scopes": ["read"], "expiresAt": "soon"}', b'{"confirm": "yes"}',
    b'{"confirm": true, "limit": 0}', b'{"confirm": true, "since": "2026-01-01"}', b'{"destination": "x"}', b'{"reason": "\\u0000"}',
]  # fmt: skip
IDS = ["abc", "undefined", "null", "NaN", "0", "-1", "1.5", "1e3", "9223372036854775808", "9" * 30, "١٢", "%00", "1%00", "%F0%9F%92%A9", "1;drop",
       "%27%20or%201=1", " ", "0x10", "1_000", "+1", "%2e%2e", "%ff"]  # fmt: skip
QUERIES = ["limit=abc", "limit=0", "limit=-1", "limit=501", "limit=1000000000", "limit=1e3", "limit=1.5", "limit=%00", "limit=", "offset=-1",
           "offset=99999999999999999999", "businessUnitId=abc", "businessUnitId=0", "businessUnitId=9223372036854775808", "lease=0",
           "lease=abc", "lease=999999", "format=xml", "syncEnabled=perhaps",
           "status=%00", "before=abc", "before=2026-01-01T00:00:00", "beforeId=%F0%28", "syncType=" + "x" * 300]  # fmt: skip


def writing_routes() -> list[tuple[str, str]]:
    """Every route that takes a body, from the router."""
    found = []
    for route in list_routes():
        if needs_of(route).body != "none":
            path = (
                route.path_format.replace("{key}", "someKey").replace("{stJobId}", "7").replace("{stCustomerId}", "8")
            )
            found.extend((method, path.replace("{stBusinessUnitId}", "1314")) for method in route.methods or ())
    return found


async def test_no_body_makes_a_server_error(admin: Api) -> None:
    await admin.post("/db/jobs/upsert", {"job": a_job(7), "customer": a_customer(8)})
    headers = {"Content-Type": "application/json"}
    for method, path in writing_routes():
        for body in BODIES:
            answer = await admin.call(method, path, data=body, headers=headers)
            assert answer.status < 500, (method, path, body[:200], answer.text)
            if answer.status >= 400:
                assert {"error", "code", "hint"} <= answer.body.keys()
                assert "Traceback" not in answer.text and "psycopg" not in answer.text
    assert (await admin.get("/health/ready")).status == 200
    # What was taken can also be shown.
    assert (await admin.get("/db/sync-state")).status == 200
    assert (await admin.get("/db/jobs/7")).status == 200


async def test_no_id_and_no_query_makes_a_server_error(admin: Api) -> None:
    for place in IDS:
        for path in (
            f"/db/jobs/{place}",
            f"/db/customers/{place}",
            f"/db/business-units/{place}",
            f"/admin/runs/{place}",
        ):
            answer = await raw_get(admin, path)
            assert 400 <= answer < 500, (path, answer)
    for query in QUERIES:
        name = query.split("=")[0]
        path = {
            "businessUnitId": "/db/jobs/pending-ghl-sync",
            "lease": "/db/jobs/pending-ghl-sync",
            "syncEnabled": "/db/business-units",
        }.get(name, "/db/sync-logs")
        status = await raw_get(admin, f"{path}?{query}")
        assert status == 400, (path, query, status)


async def raw_get(api: Api, path: str) -> int:
    """The status of a GET whose path goes out exactly as it is written."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        f"GET {path.replace(' ', '%20')} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {api.headers['X-API-Key']}\r\nConnection: close\r\n\r\n".encode()
    )
    head = await reader.readline()
    await reader.read()
    writer.close()
    return int(head.split()[1])


async def test_errors_name_the_field_and_not_what_was_sent(api: Api) -> None:
    cases: list[tuple[str, str, Any, str]] = [
        ("PUT", "/db/sync-state/x", {"metadata": {}}, "value"),
        ("PUT", "/db/sync-state/x", {"value": "1", "metadata": {"a": {"b": "secret\x00"}}}, "metadata.a.b"),
        ("POST", "/db/sync-logs", {"syncType": "x"}, "status"),
        ("POST", "/db/sync-logs", {"syncType": "x", "status": "y", "recordsFailed": "secret"}, "recordsFailed"),
        ("PATCH", "/db/jobs/1/ghl-sync", {"status": "secret"}, "status"),
        ("POST", "/db/jobs/upsert-batch", {}, "jobs"),
        ("POST", "/db/customers/upsert", {"customer": "secret"}, "customer"),
        ("PUT", "/db/business-units/1314", {"sync_enabled": "secret"}, "sync_enabled"),
        ("PUT", "/db/business-units/1314", {"ghl_webhook": "secret"}, "ghl_webhook"),
        ("PATCH", "/db/jobs/ghl-sync", {"jobs": [{"stJobId": "secret"}]}, "jobs.0.stJobId"),
    ]
    for method, path, body, field in cases:
        answer = await api.call(method, path, json=body)
        assert (answer.status, answer.body["field"]) == (400, field), (path, answer.text)
        assert "secret" not in answer.text
        assert field.split(".")[0] in answer.body["error"]
    for query, field in (("limit=abc", "limit"), ("limit=0", "limit"), ("offset=x", "offset")):
        answer = await api.get(f"/db/sync-logs?{query}")
        assert (answer.status, answer.body["field"]) == (400, field)


async def test_bodies_are_at_most_32_levels_deep(api: Api) -> None:
    def nest(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = {"a": value}
        return value

    for levels, status in ((31, 200), (32, 400), (900, 400)):
        # The body itself is the first level.
        answer = await api.put("/db/sync-state/deep", {"value": "x", "metadata": nest(levels)})
        assert answer.status == status, (levels, answer.text)
        job = {"job": a_job(1, note=nest(levels - 1)), "customer": a_customer()}
        assert (await api.post("/db/jobs/upsert", job)).status == status, levels


async def test_a_body_that_is_not_json_by_content_type_is_415(api: Api) -> None:
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonp",
        "",
    ):
        answer = await api.call("PUT", "/db/sync-state/x", data=b'{"value": "1"}', headers={"Content-Type": kind})
        assert (answer.status, answer.body["code"]) == (415, "not_json"), kind
    assert (await api.get("/db/sync-state/x")).status == 404


async def test_unstorable_characters_in_a_job_are_replaced_with_a_warning(api: Api) -> None:
    body = json.dumps(
        {"job": a_job(5, summary="pump\x00motor \ud83d and \U0001f4a7"), "customer": a_customer()}
    ).encode()
    answer = await api.call("POST", "/db/jobs/upsert", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 200
    assert answer.body["warnings"]
    job = (await api.get("/db/jobs/5")).body
    assert job["summary"] == "pump\ufffdmotor \ufffd and \U0001f4a7"


async def test_a_field_that_does_not_fit_is_left_out_with_a_warning(api: Api) -> None:
    wish = {"job": a_job(6, total="lots", createdOn="yesterday"), "customer": a_customer(address="one line")}
    answer = await api.post("/db/jobs/upsert", wish)
    assert answer.status == 200
    assert set(answer.body["warnings"]) == {"job.total", "job.createdOn", "customer.address"}
    customer = await api.post(
        "/db/customers/upsert", {"customer": {"customerId": 9, "locationId": "x", "firstName": "Bo"}}
    )
    assert (customer.status, customer.body["warnings"], customer.body["first_name"]) == (
        200,
        ["customer.locationId"],
        "Bo",
    )


async def test_numbers_beyond_64_bits_in_metadata_come_back_as_they_went(api: Api) -> None:
    raw = b'{"value": "x", "metadata": {"n": 123456789012345678901234567890, "f": 0.1}}'
    await api.call("PUT", "/db/sync-state/big", data=raw, headers={"Content-Type": "application/json"})
    assert (await api.get("/db/sync-state/big")).body["metadata"] == {"n": 123456789012345678901234567890, "f": 0.1}


async def test_dotnets_last_instant_is_a_time_that_can_be_read(api: Api) -> None:
    await api.post(
        "/db/jobs/upsert", {"job": a_job(8, completedOn="9999-12-31T23:59:59.9999999Z"), "customer": a_customer()}
    )
    assert (await api.get("/db/jobs/8")).body["completed_on"].startswith("9999-12-31T23:59:59")


async def test_addresses_and_methods_that_do_not_exist_are_told_plainly(api: Api) -> None:
    missing = await api.get("/db/nothing")
    assert (missing.status, missing.body["code"]) == (404, "not_found")
    wrong = await api.call("DELETE", "/db/sync-state")
    assert (wrong.status, wrong.body["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["Allow"]
