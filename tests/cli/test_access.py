"""tokens and tenants on the command line: the same verbs as the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
