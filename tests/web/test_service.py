"""The service as a program: health, headers, limits, slow callers, a database that goes away, a busy port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
import structlog

from jobsync.db.pool import Database
from jobsync.errors import ConfigError, DatabaseUnavailable
from jobsync.web import bodies, readiness
from jobsync.web import server as web_server
from jobsync.web.binding import open_socket
from jobsync.web.shell import SECURITY_HEADERS
from tests.web.conftest import Api, StartApi, a_customer, a_job

pytestmark = pytest.mark.anyio

FOUR = {
    "SERVICE_TITAN_TENANT_ID": "1",
    "SERVICE_TITAN_CLIENT_ID": "2",
    "SERVICE_TITAN_CLIENT_SECRET": "3",
    "SERVICE_TITAN_APP_KEY": "4",
}


async def test_live_says_nothing_but_ok(api: Api) -> None:
    answer = await api.get("/health/live", headers={"Host": "anything.example.net", "X-Forwarded-For": "203.0.113.1"})
    assert (answer.status, answer.body) == (200, {"status": "ok"})


async def test_ready_says_what_is_off(api: Api, start_api: StartApi) -> None:
    answer = await api.get("/health/ready")
    assert (answer.status, answer.body["status"], answer.body["pull"], answer.body["mode"]) == (
        200,
        "ready",
        "off",
        "observe",
    )
    assert "pull off: no ServiceTitan credentials." in answer.body["reasons"]
    assert any("mode is observe" in reason for reason in answer.body["reasons"])
    connected = (await (await start_api(FOUR)).get("/health/ready")).body
    assert connected["pull"] == "on"
    assert not any("pull off" in reason for reason in connected["reasons"])
    assert connected["lag_seconds"] is None


async def test_without_its_database_it_says_so_and_recovers(
    start_api: StartApi, server: Any, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.5)
    async with Database(dsn, max_connections=2) as database:
        api = await start_api(database=database)
        name = dsn.split("dbname=")[1].split()[0]
        with psycopg.connect(server.dsn, autocommit=True) as owner:
            owner.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
            owner.execute(f'alter database "{name}" rename to "{name}_away"'.encode())
            ready = await api.get("/health/ready")
            assert (ready.status, ready.body["status"], ready.body["database"]) == (503, "unavailable", "away")
            assert ready.body["reasons"]
            assert (await api.get("/health/live")).status == 200
            page = await api.get("/ui/", headers={"Cookie": f"jobsync_{api.port}=x"})
            assert (page.status, "PostgreSQL" in page.text) == (503, True), page.text
            owner.execute(f'alter database "{name}_away" rename to "{name}"'.encode())
        # The pool looks for the database again by itself, a little later each time.
        with anyio.fail_after(20):
            while (await api.get("/health/ready")).status != 200:
                pass


async def test_a_database_without_its_schema_is_503_and_not_a_server_error(start_api: StartApi, empty_dsn: str) -> None:
    async with Database(empty_dsn, max_connections=2) as database:
        api = await start_api(database=database)
        ready = await api.get("/health/ready")
        assert (ready.status, ready.body["schema"]) == (503, "missing")
        assert "jobsync db migrate" in ready.body["reasons"][0]
        state = await api.get("/db/sync-state")
        assert (state.status, state.body["code"]) == (503, "config")
        assert state.headers["Retry-After"]


async def test_every_answer_carries_the_security_headers(api: Api) -> None:
    for method, path, status in (
        ("GET", "/db/sync-state", 200), ("GET", "/db/nothing", 404), ("DELETE", "/db/sync-state", 405), ("PUT", "/db/sync-state/x", 400),
        ("GET", "/ui/", 303), ("GET", "/ui/login", 200), ("GET", "/ui/assets/x/app.css", 404), ("GET", "/docs", 200), ("GET", "/", 307), ("GET", "/ui", 307), ("GET", "/admin/status", 403), ("HEAD", "/docs", 200),
        ("GET", "/openapi.json", 200), ("GET", "/db/jobs/pending-ghl-sync?format=csv", 200), ("GET", "/ui/plain.css", 200),
        ("TRACE", "/db/sync-state", 405),
    ):  # fmt: skip
        answer = await api.call(method, path)
        assert answer.status == status, (method, path)
        for name, value in SECURITY_HEADERS:
            assert answer.headers.getall(name.decode()) == [value.decode()]
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Server" not in answer.headers
        assert len(answer.headers["X-Request-Id"]) == 16


async def test_an_unexpected_error_shows_an_id_and_logs_a_line_without_content(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def explode(*_: object) -> None:
        raise RuntimeError("canary ana@example.com")

    monkeypatch.setattr("jobsync.db.pool.Session.rows", explode)
    with structlog.testing.capture_logs() as lines:
        answer = await api.get("/db/sync-state?canary=1")
    assert (answer.status, answer.body["code"], set(answer.body)) == (
        500,
        "internal",
        {"error", "code", "hint", "request_id"},
    )
    assert answer.headers["X-Request-Id"] == answer.body["request_id"]
    line = next(line for line in lines if line["event"] == "unexpected_error")
    assert (line["request_id"], line["error_type"], line["route"]) == (
        answer.body["request_id"],
        "RuntimeError",
        "/db/sync-state",
    )
    assert "canary" not in answer.text + str(lines)


async def exchange(port: int, sent: bytes) -> bytes:
    """Everything that comes back for these bytes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        with anyio.fail_after(10):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_headers_without_end_are_cut_off(api: Api) -> None:
    many = b"".join(b"X-%d: 1\r\n" % n for n in range(150))
    start = b"GET /db/sync-state HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    assert b" 431 " in await exchange(api.port, start + many + b"\r\n")
    assert b" 431 " in await exchange(api.port, start + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n")
    assert b" 200 " not in await exchange(api.port, start + b"X-Endless: " + b"a" * 200_000 + b"\r\n\r\n")
    assert b" 200 " not in await exchange(api.port, b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n")
    assert (await api.get("/health/live")).status == 200


async def test_what_is_not_http_is_answered_400(api: Api) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELLO\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET \xff HTTP/1.1\r\n\r\n",
    ):
        assert b" 400 " in (await exchange(api.port, nonsense)).split(b"\r\n", 1)[0]
    # Two bodies in one: a length and chunks.
    smuggled = b"POST /db/sync-logs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert b" 200 " not in (await exchange(api.port, smuggled)).split(b"\r\n", 1)[0]
    upgrade = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    assert b" 200 " in (await exchange(api.port, upgrade)).split(b"\r\n", 1)[0]
    assert (await api.get("/health/live")).status == 200


async def test_a_slow_body_ends_with_408(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PATIENCE_SECONDS", 0.05)
    head = b"POST /db/sync-logs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    answer = await exchange(api.port, head)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"too_slow" in answer


async def test_a_slow_head_ends_the_connection(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "HEADERS_SECONDS", 0.05)
    assert await exchange(api.port, b"GET /health/live HTTP/1.1\r\nHost: ") == b""
    # A second request on a kept connection has the same deadline.
    kept = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(kept)
    await reader.readuntil(b'{"status":"ok"}')
    writer.write(b"GET /health")
    with contextlib.suppress(ConnectionResetError), anyio.fail_after(10):
        assert await reader.read() == b""
    writer.close()


async def test_more_requests_than_fit_are_asked_to_come_back(start_api: StartApi) -> None:
    api = await start_api(most_in_flight=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        b"PUT /db/sync-state/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 14\r\nExpect: 100-continue\r\n\r\n"
    )
    # The go-ahead for the body says that the first request is inside.
    assert b"100" in await reader.readline()
    busy = await api.get("/db/sync-state")
    assert (busy.status, busy.body["code"]) == (503, "busy")
    assert busy.headers["Retry-After"]
    assert (await api.get("/health/live")).status == 200
    writer.write(b'{"value": "1"}')
    await reader.readuntil(b"200")
    writer.close()


async def test_a_strangers_body_is_never_read(start_api: StartApi) -> None:
    api = await start_api({"API_KEY": "invented-key"})
    head = b"POST /db/jobs/upsert-batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: 200000000\r\nExpect: 100-continue\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(head)
    assert b" 401 " in await reader.readline()
    writer.close()


async def test_a_busy_port_is_one_sentence_and_exit_6() -> None:
    with contextlib.closing(open_socket("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as refused:
            open_socket("127.0.0.1", port)
    assert (refused.value.exit_code, refused.value.code) == (6, "port_busy")
    assert str(port) in refused.value.message
    for host in ("no-such-host.invalid", "203.0.113.77"):
        with pytest.raises(ConfigError):
            open_socket(host, 0)


async def test_small_answers_leave_at_once() -> None:
    # asyncio sets TCP_NODELAY only on sockets that name their protocol; without it every answer waits 40 ms.
    with contextlib.closing(open_socket("127.0.0.1", 0)) as listening:
        assert listening.proto == socket.IPPROTO_TCP


async def test_many_at_once_are_all_answered(api: Api) -> None:
    bodies_ = [{"job": a_job(number), "customer": a_customer(number)} for number in range(1, 61)]
    answers = await asyncio.gather(*(api.post("/db/jobs/upsert", body) for body in bodies_))
    assert {answer.status for answer in answers} == {200}
    same = await asyncio.gather(*(api.post("/db/jobs/upsert-batch", {"jobs": bodies_}) for _ in range(4)))
    assert [(answer.status, answer.body["succeeded"]) for answer in same] == [(200, 60)] * 4


async def test_the_reference_works_without_script(api: Api) -> None:
    reference = await api.get("/docs")
    assert all(path in reference.text for path in ("/db/jobs/upsert-batch", "/db/sync-state/{key}", "/admin/arm"))
    text = reference.text
    assert "<script" not in text and "style=" not in text and "//cdn" not in text and "http://" not in text


async def test_the_description_is_complete(api: Api) -> None:
    document = (await api.get("/openapi.json")).body
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids)) > 25
    text = json.dumps(document)
    assert "HTTPValidationError" not in text and '"422"' not in text
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            codes = set(operation["responses"])
            assert operation.get("description"), (method, path)
            if path != "/health/live":
                assert {"401", "403", "503"} <= codes, (method, path)
                assert operation["x-scope"]
            if "requestBody" in operation:
                assert {"400", "408", "413", "415"} <= codes
    assert (await api.get("/openapi.json")).body == document


async def test_an_unusable_database_is_503(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("PostgreSQL cannot be reached.")

    api = await start_api()
    monkeypatch.setattr("jobsync.db.pool.Session.rows", refuse)
    answer = await api.get("/db/sync-state")
    assert (answer.status, answer.body["code"]) == (503, "database_unavailable")
    assert answer.body["request_id"]


async def test_the_secret_key_file_is_made_in_the_data_folder_only(start_api: StartApi, tmp_path: Path) -> None:
    await start_api()
    assert (tmp_path / "secret.key").stat().st_mode & 0o077 == 0
