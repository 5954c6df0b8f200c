"""POST /db/jobs/upsert-batch beside one `select upsert_job_from_st` and one commit per item.

The batch goes over HTTP to the product's own service (500 items a call); the reference calls the guide's function on the same
PostgreSQL, one statement and one commit per item, without any HTTP: what the old service did inside its batch. Both store
new items of the same shape.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from psycopg.types.json import Jsonb

from bench.records import make_customer, make_job
from jobsync.config import read_settings
from jobsync.engine.opening import open_engine
from jobsync.web.app import create_app
from jobsync.web.binding import open_socket
from jobsync.web.server import serve

BATCH = 500
ONE = "select public.upsert_job_from_st(%s, %s)"


def items(first: int, count: int) -> list[dict[str, Any]]:
    """Items as n8n sends them."""
    return [
        {"job": make_job(number, 0), "customer": make_customer(number * 6 // 10)}
        for number in range(first, first + count)
    ]


def one_by_one(dsn: str, given: list[dict[str, Any]]) -> float:
    """Items a second, one statement and one commit each."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        started = time.perf_counter()
        for item in given:
            connection.execute(ONE, (Jsonb(item["job"]), Jsonb(item["customer"])))
        return len(given) / (time.perf_counter() - started)


async def by_batch(dsn: str, folder: Path, given: list[dict[str, Any]]) -> float:
    """Items a second through the service."""
    settings = read_settings(
        environ={"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": str(folder), "LOG_LEVEL": "ERROR"}, directory=folder
    )
    async with open_engine(settings) as engine:
        sock = open_socket("127.0.0.1", 0)
        stop = asyncio.Event()
        serving = asyncio.ensure_future(serve(create_app(settings, engine.database), sock, stop))
        try:
            async with aiohttp.ClientSession() as http:
                url = f"http://127.0.0.1:{sock.getsockname()[1]}/db/jobs/upsert-batch"
                started = time.perf_counter()
                for start in range(0, len(given), BATCH):
                    async with http.post(url, json={"jobs": given[start : start + BATCH]}) as answer:
                        answer.raise_for_status()
                        report = await answer.json()
                        if report["failed"]:
                            raise RuntimeError(f"{report['failed']} items failed")
                return len(given) / (time.perf_counter() - started)
        finally:
            stop.set()
            await serving


def measure(dsn: str, folder: Path, count: int) -> tuple[float, float]:
    """Items a second: (by batch through the API, one by one)."""
    slow = one_by_one(dsn, items(0, max(count // 5, BATCH)))
    fast = asyncio.run(by_batch(dsn, folder, items(1_000_000, count)))
    return fast, slow
