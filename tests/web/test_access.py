"""Who is let in: tokens, the key, this machine, trusted networks. Every route is taken from the router."""

from __future__ import annotations

import socket
from pathlib import Path

import psycopg
import pytest

from jobsync.db.pool import Database
from jobsync.engine.tokens import SCOPES, create_token, revoke_token
from jobsync.errors import ConfigError
from jobsync.web.binding import check_binding
from jobsync.web.calls import GuardedRoute, needs_of
from jobsync.web.shell import SECURITY_HEADERS
from tests.clock import move_clock
from tests.web.conftest import StartApi, list_routes, make_settings

pytestmark = pytest.mark.anyio

OPEN_ROUTES = {"/health/live"}
PLACES = {"key": "lastJobPull", "run": "00000000-0000-0000-0000-000000000000", "id": "abcdefghij"}


def every_route() -> list[tuple[str, str, str]]:
    """(method, path with its places filled, scope) of every route of the app."""
    found = []
    for route in list_routes():
        path = route.path_format
        for name in route.param_convertors:
            path = path.replace("{" + name + "}", PLACES.get(name, "1"))
        found.extend((method, path, needs_of(route).scope) for method in sorted(route.methods or ()))
    return found


async def test_only_the_liveness_route_is_open() -> None:
    assert {path for _, path, scope in every_route() if scope == "open"} == OPEN_ROUTES
    assert len(every_route()) > 30


async def test_every_route_denies_every_bad_credential(start_api: StartApi, database: Database, dsn: str) -> None:
    api = await start_api({"API_KEY": "invented-key"})
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("insert into jobsync.tenants (tenant_id, name) values ('other', 'other')")
    revoked = await create_token(database, "default", "revoked", SCOPES, actor="tests")
    await revoke_token(database, "default", revoked["id"], actor="tests")
    expired = await create_token(database, "default", "expired", SCOPES, actor="tests")
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("update jobsync.tokens set expires_at = jobsync.now() where id = %s", (expired["id"],))
    live = await create_token(database, "default", "live", SCOPES, actor="tests")
    other = await create_token(database, "other", "other", SCOPES, actor="tests")
    bad = {
        "none": ({}, 401),
        "wrong key": ({"X-API-Key": "invented-kez"}, 401),
        "unknown token": ({"X-API-Key": "js_abcdefghij_" + "x" * 43}, 401),
        "right id, wrong secret": ({"Authorization": f"Bearer js_{live['id']}_{'x' * 43}"}, 401),
        "revoked": ({"X-API-Key": revoked["token"]}, 401),
        "expired": ({"X-API-Key": expired["token"]}, 401),
        "malformed": ({"X-API-Key": "js__"}, 401),
        "other tenant": ({"X-API-Key": other["token"], "X-JobSync-Tenant": "default"}, 403),
    }
    for method, path, scope in every_route():
        for name, (headers, status) in bad.items():
            answer = await api.call(method, path, headers=headers)
            wanted = 200 if scope == "open" else status
            assert answer.status == wanted, (method, path, name, answer.text)
            if wanted != 200 and method != "HEAD":
                assert {"error", "code", "hint"} <= answer.body.keys()
            for header, value in SECURITY_HEADERS:
                assert answer.headers[header.decode()] == value.decode()


async def test_each_scope_opens_its_own_routes_and_no_others(start_api: StartApi, database: Database) -> None:
    api = await start_api({"API_KEY": "invented-key"})
    for granted in SCOPES:
        made = await create_token(database, "default", granted, [granted], actor="tests")
        for method, path, scope in every_route():
            answer = await api.call(method, path, headers={"X-API-Key": made["token"]})
            allowed = scope in ("open", granted) or granted == "admin"
            refused = answer.status == 403 and (method == "HEAD" or answer.body["code"] == "missing_scope")
            assert refused is not allowed, (granted, method, path, answer.status)


async def test_the_key_reads_and_writes_but_is_no_administrator(start_api: StartApi) -> None:
    api = await start_api({"API_KEY": "invented-key"}, headers={"X-API-Key": "invented-key"})
    assert (await api.get("/db/sync-state")).status == 200
    assert (await api.put("/db/sync-state/x", {"value": "1"})).status == 200
    assert (await api.post("/db/sync-logs", {"syncType": "x", "status": "completed"})).status == 201
    for method, path, scope in every_route():
        if scope in ("admin", "replay"):
            assert (await api.call(method, path)).status == 403, path


async def test_this_machine_needs_no_key_but_never_administers(start_api: StartApi) -> None:
    api = await start_api()
    assert (await api.get("/db/sync-state")).status == 200
    for method, path, scope in every_route():
        if path.startswith("/admin"):
            assert (await api.call(method, path)).status == 403, (path, scope)


DISGUISES = [
    ({"Host": "localhost:{port}"}, 200),
    ({"Host": "LOCALHOST"}, 200),
    ({"Host": "[::1]:{port}"}, 200),
    ({"Host": "jobs.example.com:{port}"}, 200),
    ({"Host": "attacker.example.net"}, 403),
    ({"Host": "attacker.example.net:{port}"}, 403),
    ({"Host": "127.0.0.1.example.net:{port}"}, 403),
    ({"Host": "localhost.example.net"}, 403),
    ({"Host": ""}, 403),
    ({"Origin": "http://127.0.0.1:{port}"}, 200),
    ({"Origin": "http://attacker.example.net"}, 403),
    ({"Origin": "http://127.0.0.1:9"}, 403),
    ({"Origin": "null"}, 403),
    ({"X-Forwarded-For": "203.0.113.9"}, 403),
    ({"X-Forwarded-For": "127.0.0.1"}, 403),
    ({"Forwarded": "for=127.0.0.1"}, 403),
    ({"X-Forwarded-Host": "localhost"}, 403),
    ({"X-Real-IP": "127.0.0.1"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
    ({"Sec-Fetch-Site": "same-origin"}, 200),
]


async def test_a_page_or_proxy_in_between_is_not_this_machine(start_api: StartApi) -> None:
    api = await start_api({"JOBSYNC_ALLOWED_HOSTS": "jobs.example.com"})
    for given, status in DISGUISES:
        headers = {name: value.format(port=api.port) for name, value in given.items()}
        answer = await api.get("/db/sync-state", headers=headers)
        assert answer.status == status, (given, answer.text)
        live = await api.get("/health/live", headers=headers)
        assert (live.status, live.body) == (200, {"status": "ok"})


async def test_a_trusted_network_needs_no_key_where_one_is_set(start_api: StartApi) -> None:
    trusted = await start_api({"API_KEY": "invented-key", "JOBSYNC_TRUSTED_NETWORKS": "10.0.0.0/8,127.0.0.0/8"})
    assert (await trusted.get("/db/sync-state")).status == 200
    assert (await trusted.get("/db/sync-state", headers={"Host": "attacker.example.net"})).status == 403
    assert (await trusted.get("/db/sync-state", headers={"X-Forwarded-For": "10.1.1.1"})).status == 403
    assert (await trusted.get("/db/sync-state", headers={"X-API-Key": "wrong"})).status == 401
    assert (await trusted.get("/admin/status")).status == 403
    elsewhere = await start_api({"API_KEY": "invented-key", "JOBSYNC_TRUSTED_NETWORKS": "10.0.0.0/8"})
    assert (await elsewhere.get("/db/sync-state")).status == 401


async def test_a_revoked_token_ends_within_five_seconds(start_api: StartApi, database: Database) -> None:
    api = await start_api({"API_KEY": "invented-key"})
    made = await create_token(database, "default", "n8n", ["read"], actor="tests")
    headers = {"X-API-Key": made["token"]}
    assert (await api.get("/db/sync-state", headers=headers)).status == 200
    await revoke_token(database, "default", made["id"], actor="tests")
    gate = api.app.state.web.gate
    later = gate.clock() + 5
    gate.clock = lambda: later
    assert (await api.get("/db/sync-state", headers=headers)).status == 401


async def test_nothing_in_the_database_verifies_as_a_token(start_api: StartApi, database: Database, dsn: str) -> None:
    api = await start_api({"API_KEY": "invented-key"})
    made = await create_token(database, "default", "n8n", ["read"], actor="tests")
    with psycopg.connect(dsn) as owner:
        row = owner.execute("select * from jobsync.tokens").fetchone()
        assert row is not None
        audit = str(owner.execute("select * from jobsync.audit").fetchall())
    secret = made["token"].split("_", 2)[2]
    assert secret not in str(row) and secret not in audit
    for value in row:
        text = value.hex() if isinstance(value, bytes) else str(value)
        for attempt in (text, f"js_{made['id']}_{text}"):
            status = (await api.get("/db/sync-state", headers={"X-API-Key": attempt.replace("\n", "")})).status
            assert status == 401


async def test_a_token_notes_its_use_and_expires_by_the_databases_clock(
    start_api: StartApi, database: Database, dsn: str
) -> None:
    with psycopg.connect(dsn) as owner:
        (soon,) = owner.execute("select jobsync.now() + interval '1 hour'").fetchone()  # type: ignore[misc]
    made = await create_token(database, "default", "n8n", ["read"], actor="tests", expires_at=soon)
    headers = {"X-API-Key": made["token"]}
    assert (await (await start_api()).get("/db/sync-state", headers=headers)).status == 200
    with psycopg.connect(dsn) as owner:
        assert owner.execute("select last_used_at is not null from jobsync.tokens").fetchone() == (True,)
    move_clock(dsn, "2 hours")
    assert (await (await start_api()).get("/db/sync-state", headers=headers)).status == 401


@pytest.mark.parametrize(
    ("environ", "starts"),
    [
        ({}, True),
        ({"HOST": "localhost"}, True),
        ({"HOST": "::1"}, True),
        ({"HOST": "127.0.0.2"}, True),
        ({"HOST": "0.0.0.0"}, False),
        ({"HOST": "::"}, False),
        ({"HOST": "192.0.2.10"}, False),
        ({"HOST": "jobs.example.com"}, False),
        ({"HOST": "0.0.0.0", "API_KEY": "invented-key"}, True),
        ({"HOST": "0.0.0.0", "API_KEY": ""}, False),
        ({"HOST": "0.0.0.0", "JOBSYNC_TRUSTED_NETWORKS": "172.16.0.0/12"}, True),
        ({"HOST": "0.0.0.0", "JOBSYNC_TRUSTED_NETWORKS": "0.0.0.0/0"}, False),
        ({"HOST": "0.0.0.0", "JOBSYNC_TRUSTED_NETWORKS": "::/0"}, False),
        ({"HOST": "0.0.0.0", "JOBSYNC_TRUSTED_NETWORKS": "0.0.0.0/0", "API_KEY": "invented-key"}, True),
    ],
)
async def test_jobsync_refuses_to_be_open_to_other_machines(
    tmp_path: Path, environ: dict[str, str], starts: bool
) -> None:
    settings = make_settings(tmp_path, **environ)
    if starts:
        check_binding(settings)
        return
    with pytest.raises(ConfigError) as refused:
        check_binding(settings)
    assert refused.value.exit_code == 6
    assert "API_KEY" in (refused.value.hint or "")


async def test_a_route_that_does_not_say_what_it_needs_does_not_start() -> None:
    from fastapi import APIRouter

    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(TypeError, match="does not say what it needs"):

        @router.get("/forgotten")
        async def forgotten() -> None: ...


async def test_the_socket_is_on_loopback_by_default(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    assert socket.getaddrinfo(settings.host, None)[0][4][0] == "127.0.0.1"
