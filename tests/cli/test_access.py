"""tokens and tenants on the command line: the same verbs as the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from anyio import CapacityLimiter

from jobsync.db.pool import Database
from jobsync.engine.sign_in import find_session, set_password_by_link, sign_in
from jobsync.errors import CallRefused
from tests.upstreams import Ran, call_jobsync

pytestmark = pytest.mark.anyio


async def test_a_token_is_made_listed_rotated_and_revoked(dsn: str, tmp_path: Path) -> None:
    async def jobsync(*words: str) -> Ran:
        return await call_jobsync(tmp_path, {"DATABASE_URL": dsn, "LOG_LEVEL": "ERROR"}, *words)

    made = await jobsync("tokens", "create", "n8n", "--scope", "read", "--scope", "sync:write", "--json")
    token: dict[str, Any] = made.json
    assert (made.code, token["scopes"]) == (0, ["read", "sync:write"])
    shown = await jobsync("tokens", "list")
    assert token["id"] in shown.out and token["token"].split("_", 2)[2] not in shown.out
    rotated = await jobsync("tokens", "rotate", token["id"])
    assert rotated.out.startswith("js_") and token["id"] in rotated.out
    assert (await jobsync("tokens", "revoke", token["id"])).code == 0
    assert (await jobsync("tokens", "rotate", token["id"])).code == 4
    assert (await jobsync("tokens", "create", "x", "--scope", "everything")).code == 2
    assert (await jobsync("tokens", "create", "x", "--expires", "soon")).code == 2
    assert (await jobsync("tokens", "create", "x", "--scope", "read", "--all-tenants")).code == 2


async def test_a_forgotten_password_is_replaced_behind_a_link_that_works_once(dsn: str, tmp_path: Path) -> None:
    async def jobsync(*words: str) -> Ran:
        return await call_jobsync(tmp_path, {"DATABASE_URL": dsn, "LOG_LEVEL": "ERROR", "PORT": "3005"}, *words)

    async def enter(link: str, password: str) -> None:
        assert link.startswith("http://127.0.0.1:3005/ui/first?key=")
        key = link.partition("key=")[2]
        await set_password_by_link(database, key, "", password, limiter=CapacityLimiter(1))

    assert "waits for a password" not in (await jobsync("users", "list")).out
    made = await jobsync("users", "create", "Ann", "--role", "admin", "--json")
    assert (made.code, made.json["name"]) == (0, "ann")
    assert "waits for a password" in (await jobsync("users", "list")).out
    async with Database(dsn) as database:
        await enter(made.json["link"], "rain on the pool 81")
        session = await sign_in(database, "ann", "rain on the pool 81", "127.0.0.1", limiter=CapacityLimiter(1))
        reset = await jobsync("users", "reset", "ANN")
        assert reset.code == 0
        assert await find_session(database, session) is None, "whoever held a session is signed out"
        with pytest.raises(CallRefused, match="Name or password is wrong"):
            await sign_in(database, "ann", "rain on the pool 81", "127.0.0.1", limiter=CapacityLimiter(1))
        link = reset.out.splitlines()[0]
        await enter(link, "frost on the pump 27")
        with pytest.raises(CallRefused, match="used already"):
            await enter(link, "another one of mine 5")
        await sign_in(database, "ann", "frost on the pump 27", "127.0.0.1", limiter=CapacityLimiter(1))
    (user,) = (await jobsync("users", "list", "--json")).json["users"]
    assert (user["name"], user["role"], user["has_password"]) == ("ann", "admin", True)
    with psycopg.connect(dsn) as owner:
        told = owner.execute(
            "select action, actor from jobsync.audit where subject = 'user:ann' order by id"
        ).fetchall()
    assert [action for action, _ in told if action != "signed_in"] == [
        "user_created",
        "password_chosen",
        "password_reset",
        "password_chosen",
    ]
    assert {actor for action, actor in told if action in ("user_created", "password_reset")} == {"cli"}
    missing = await jobsync("users", "reset", "nobody")
    assert missing.code == 4 and "jobsync users list" in missing.err
    assert (await jobsync("users", "create", "bob", "--role", "king")).code == 2
    assert (await jobsync("users", "create", "ann")).code == 2


async def test_a_tenant_is_added_listed_and_paused(dsn: str, tmp_path: Path) -> None:
    async def jobsync(*words: str) -> Ran:
        return await call_jobsync(tmp_path, {"DATABASE_URL": dsn, "LOG_LEVEL": "ERROR"}, *words)

    assert (await jobsync("tenants", "add", "other", "--name", "Other Pools")).code == 0
    again = await jobsync("tenants", "add", "other", "--json")
    assert (again.code, again.json["name"]) == (0, "Other Pools")
    assert (await jobsync("tenants", "pause", "other", "--reason", "moving")).code == 0
    found = (await jobsync("tenants", "list", "--json")).json["tenants"]
    assert [(one["id"], one["pause_reason"]) for one in found] == [("default", None), ("other", "moving")]
    assert "paused: moving" in (await jobsync("tenants", "list")).out
    assert (await jobsync("tenants", "resume", "other")).code == 0
    assert (await jobsync("tenants", "pause", "nobody")).code == 4
    assert (await jobsync("tenants", "pause")).code == 2
    assert (await jobsync("tenants", "pause", "other", "--all")).code == 2
    assert (await jobsync("tenants", "pause", "--all", "--json")).json == {"paused": 2}
    surveyed = await jobsync("tenants", "survey")
    assert surveyed.out.splitlines()[1].startswith("default  paused") and "Paused: nothing is sent." in surveyed.out
    found = (await jobsync("tenants", "survey", "--search", "pools", "--json")).json
    assert [(one["tenant_id"], one["trouble"]) for one in found["tenants"]] == [("other", "paused")]
    assert (await jobsync("tenants", "resume", "--all", "--json")).json == {"resumed": 2}
    assert (await jobsync("tenants", "add", "Not An Id")).code == 2
