"""Batches: one result or error for each item, whatever the others hold; the same batch again changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from jobsync.errors import CallRefused
from jobsync.web import batches, bodies
from tests.upstreams import start_jobsync
from tests.web.conftest import Api, a_customer, a_job

pytestmark = pytest.mark.anyio

# Longer than any index entry may be, and not to be compressed.
LONG_NUMBER = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(200))
JSON = {"Content-Type": "application/json"}
BAD = [
    b'{"customer": {"customerId": 1}}',
    b'{"job": {"id": "x"}, "customer": {"customerId": 1}}',
    b"17",
    b'{"job": {"id": 9002, "x": ' + b"[" * 50 + b"]" * 50 + b'}, "customer": {"customerId": 1}}',
    b'{"job": {"id": 9002, "total": 1e9999}, "customer": {"customerId": 1}}',
    b'{"job": {"id": 9002, "note": "\xff"}, "customer": {"customerId": 1}}',
    b"null",
]


async def send(api: Api, items: list[bytes]) -> Any:
    answer = await api.call(
        "POST", "/db/jobs/upsert-batch", data=io.BytesIO(b'{"jobs": [' + b", ".join(items) + b"]}"), headers=JSON
    )
    assert answer.status == 200, answer.text
    return answer.body


async def test_two_thousand_items_half_of_them_bad_answer_one_by_one_and_change_nothing_the_second_time(
    api: Api, dsn: str
) -> None:
    good = [
        json.dumps({"job": a_job(number), "customer": a_customer(number % 100 + 1)}).encode()
        for number in range(1, 1001)
    ]
    items = [item for number in range(1000) for item in (good[number], BAD[number % len(BAD)])]
    report = await send(api, items)
    assert (report["total"], report["succeeded"], report["failed"]) == (2000, 1000, 1000)
    assert [result["stJobId"] for result in report["results"]] == list(range(1, 1001))
    assert [error["index"] for error in report["errors"]] == list(range(1, 2000, 2))
    assert all(error["error"] for error in report["errors"])

    def versions() -> list[tuple[Any, ...]]:
        with psycopg.connect(dsn) as connection:
            jobs = connection.execute("select st_job_id, xmin::text from jobs order by 1").fetchall()
            return jobs + connection.execute("select st_customer_id, xmin::text from customers order by 1").fetchall()

    before = versions()
    assert len(before) == 1100
    again = await send(api, items)
    assert (again["succeeded"], again["failed"]) == (1000, 1000)
    assert versions() == before


async def test_an_item_with_a_mended_text_says_so_and_the_others_do_not(api: Api) -> None:
    items = [
        json.dumps({"job": a_job(1, summary="fine \U0001f4a7"), "customer": a_customer()}).encode(),
        json.dumps({"job": a_job(2, summary="half \ud83d"), "customer": a_customer()}).encode(),
        json.dumps({"job": a_job(3, summary="a written \\ud83d is text"), "customer": a_customer()}).encode(),
    ]
    report = await send(api, items)
    assert ["warnings" in result for result in report["results"]] == [False, True, False]
    assert (await api.get("/db/jobs/2")).body["summary"] == "half \ufffd"
    assert (await api.get("/db/jobs/3")).body["summary"] == "a written \\ud83d is text"


async def test_a_text_too_long_for_an_index_is_cut_and_never_fails_its_neighbours(api: Api) -> None:
    customer = a_customer(email=LONG_NUMBER, phone=LONG_NUMBER)
    items = [
        json.dumps({"job": a_job(number, jobNumber=LONG_NUMBER), "customer": customer}).encode() for number in (1, 2)
    ]
    assert (await send(api, items))["succeeded"] == 2
    assert (await api.get("/db/jobs/1")).body["st_job_number"] == LONG_NUMBER[:500]


async def test_what_only_postgresql_refuses_fails_alone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    # The look before is switched off, so that PostgreSQL itself has to refuse.
    monkeypatch.setattr(batches, "_fault", lambda _: None)
    items = [json.dumps({"job": a_job(number), "customer": a_customer()}).encode() for number in range(1, 31)]
    items[7] = b'{"job": {"id": 8, "total": 1e999999}, "customer": {"customerId": 1}}'
    report = await send(api, items)
    assert (report["succeeded"], [error["index"] for error in report["errors"]]) == (29, [7])


async def test_an_empty_batch_is_a_batch(api: Api) -> None:
    assert await send(api, []) == {"total": 0, "succeeded": 0, "failed": 0, "results": [], "errors": []}


async def test_only_the_batch_takes_large_bodies(api: Api) -> None:
    filler = "x" * (bodies.SMALL + 10)
    item = json.dumps({"job": a_job(1, note=filler), "customer": a_customer()}).encode()
    small = await api.call("POST", "/db/jobs/upsert", data=io.BytesIO(item), headers=JSON)
    assert (small.status, small.body["code"], small.body["limit_bytes"]) == (413, "too_large", bodies.SMALL)
    report = await send(api, [item])
    assert report["succeeded"] == 1


async def test_a_body_announced_too_large_is_refused_before_it_is_sent(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    head = f"POST /db/jobs/upsert-batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {bodies.LARGE + 1}\r\n\r\n"
    writer.write(head.encode())
    assert b" 413 " in await reader.readline()
    rest = await reader.read()
    assert b"connection: close" in rest.lower()
    writer.close()


def test_more_than_a_hundred_thousand_items_are_refused_as_a_whole() -> None:
    body = b'{"jobs": [' + b",".join([b"{}"] * (batches.MOST_ITEMS + 1)) + b"]}"
    with pytest.raises(CallRefused) as refused:
        batches.split_batch(body)
    assert (refused.value.http_status, refused.value.details["limit_items"]) == (413, batches.MOST_ITEMS)


async def test_chunked_bodies_are_read_to_their_end(api: Api) -> None:
    async def pieces() -> Any:
        text = json.dumps({"jobs": [{"job": a_job(1), "customer": a_customer()}]}).encode()
        for start in range(0, len(text), 100):
            yield text[start : start + 100]

    answer = await api.call("POST", "/db/jobs/upsert-batch", data=pieces(), headers=JSON)
    assert answer.body["succeeded"] == 1


@pytest.mark.long
async def test_a_hundred_thousand_items_half_of_them_bad_twice_by_a_service_that_stays_small(
    dsn: str, tmp_path: Path
) -> None:
    good = (
        json.dumps({"job": a_job(number), "customer": a_customer(number % 5000 + 1)}).encode()
        for number in range(1, 50_001)
    )
    items = [item for number, piece in enumerate(good) for item in (piece, BAD[number % len(BAD)])]

    def versions() -> Any:
        with psycopg.connect(dsn) as connection:
            return connection.execute(
                "select count(*), md5(string_agg(xmin::text, ',' order by st_job_id)) from jobs"
            ).fetchone()

    environment = {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": tmp_path, "PORT": "0", "LOG_LEVEL": "ERROR"}
    service = await start_jobsync(tmp_path, environment, "up", "--only", "web")
    try:
        assert service.stderr is not None
        address = (await asyncio.wait_for(service.stderr.readuntil(b"API under"), 60)).split()[-3].decode()
        seen: list[Any] = []
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1200)) as http:
            for _ in range(2):
                began = time.perf_counter()
                body = io.BytesIO(b'{"jobs": [' + b", ".join(items) + b"]}")
                async with http.post(f"{address}/db/jobs/upsert-batch", data=body, headers=JSON) as answer:
                    assert answer.status == 200
                    report = await answer.json()
                took = time.perf_counter() - began
                assert (report["total"], report["succeeded"], report["failed"]) == (100_000, 50_000, 50_000)
                assert [error["index"] for error in report["errors"]] == list(range(1, 100_000, 2))
                assert all(error["error"] for error in report["errors"])
                seen.append(versions())
                peak = int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{service.pid}/status").read_text())[0]) / 1024
                size = sum(len(item) for item in items) / 2**20
                sys.stdout.write(
                    f"100,000 items, {size:.0f} MB: {took:.1f} s, the service held at most {peak:.0f} MB\n"
                )
                assert peak < 100 + 10 * size, "a few times the body, whatever came before"
        assert seen[0] == seen[1] and seen[0][0] == 50_000
    finally:
        service.terminate()
        await service.communicate()
    assert service.returncode == 0
