"""status --watch shows what changed, waits an outage out, and ends with 0 at Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.e2e.fault_proxy import FaultProxy, Toxic
from tests.terminal import open_terminal
from tests.upstreams import open_stage

pytestmark = pytest.mark.anyio


async def test_each_line_is_one_object_and_an_outage_is_said_and_waited_out(dsn: str, tmp_path: Path) -> None:
    server = conninfo_to_dict(dsn)
    async with (
        open_stage(dsn, tmp_path, jobs=2) as stage,
        FaultProxy(f"http://{server['host']}:{server['port']}") as proxy,
    ):
        through = make_conninfo(dsn, host="127.0.0.1", port=proxy.url.rsplit(":", 1)[1])
        process = await stage.start("status", "--watch", "--json", "--every", "0.2", DATABASE_URL=through)
        out = process.stdout
        assert out is not None

        async def until(holds: Callable[[dict[str, Any]], bool]) -> None:
            async with asyncio.timeout(60):
                while not holds(json.loads(await out.readline())):
                    pass

        await until(lambda seen: seen["tenant"]["planned"] == 0)
        proxy.toxics.append(Toxic("refuse"))
        proxy.cut()
        await until(lambda seen: "PostgreSQL" in seen.get("error", ""))
        await stage.route_all()
        await stage.sync(deliver=False)
        proxy.toxics.clear()
        await until(lambda seen: seen.get("tenant", {}).get("planned") == 2)
        process.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(process.communicate(), 60)
        assert (process.returncode, b"Traceback" in said) == (0, False)


async def test_on_a_terminal_it_is_shown_in_place(dsn: str, tmp_path: Path) -> None:
    async with (
        open_stage(dsn, tmp_path, jobs=1, engine=False) as stage,
        open_terminal(tmp_path, stage.environment(), "status", "--watch", "--every", "0.2") as terminal,
    ):
        await terminal.expect("nothing sent: mode is observe")
        await terminal.expect("Ctrl-C ends")
        terminal.interrupt()
        assert await terminal.end() == 0
        assert "Traceback" not in terminal.said
