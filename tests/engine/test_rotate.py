"""The key that seals is changed while a worker sends: no error, nothing sent twice, and the old key opens nothing any more."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import pytest

from jobsync.alerts.channels import read_urls, write_urls
from jobsync.db.sealing import Keyring, load_keyring
from jobsync.engine.connections import ServiceTitanCredentials, store_servicetitan_credentials
from jobsync.engine.ghl_connection import GoHighLevelCredentials, store_gohighlevel_credentials
from jobsync.engine.opening import open_engine
from jobsync.engine.rotate import rotate_key
from jobsync.errors import ConfigError
from tests.upstreams import TENANT, open_stage

pytestmark = pytest.mark.anyio
FROM_DATABASE: dict[str, Any] = dict.fromkeys(
    f"SERVICE_TITAN_{name}" for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "APP_KEY")
)
PLACES = ("connections", "access_tokens", "destinations", "alert_settings")


async def test_a_worker_sends_on_while_the_key_is_changed_three_times(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=10, more=FROM_DATABASE) as stage:
        assert stage.engine is not None
        account = stage.titan.account()
        credentials = ServiceTitanCredentials(
            str(account.tenant), account.client_id, account.client_secret, account.app_key, "production",
            stage.titan_url, stage.titan_url,
        )  # fmt: skip
        await store_servicetitan_credentials(stage.engine, TENANT, credentials)
        await store_gohighlevel_credentials(stage.engine, "default", GoHighLevelCredentials("loc1", "pit-made-up"))
        await write_urls(stage.engine, TENANT, ["json://127.0.0.1:9/hook"])
        hook = await stage.route_all()
        key = tmp_path / "secret.key"
        first = Keyring([base64.b64decode(key.read_bytes())])
        turning = asyncio.Event()

        async def send() -> None:
            for _ in range(4):
                stage.act.book_jobs(count=2)
                report = await stage.sync()
                assert report["failed"] == 0
                turning.set()

        async def turn() -> None:
            await turning.wait()
            for _ in range(3):
                async with open_engine(stage.settings(), initialise=False) as other:
                    await rotate_key(other, actor="test", settle=0.1)

        await asyncio.gather(send(), turn())
        await stage.sync()
        assert stage.posts() == dict.fromkeys(stage.job_ids(), 1)
        assert stage.value("select count(*) from jobsync.attempts where outcome not like 'accepted%%'") == 0

        now = load_keyring(None, tmp_path)
        assert len(key.read_bytes().split()) == 1 and now.key_id != first.key_id
        assert key.stat().st_mode & 0o077 == 0
        for place in PLACES:
            for row in stage.rows(f"select sealed, key_id from jobsync.{place} where sealed is not null"):
                assert row["key_id"] == now.key_id and now.open(row["sealed"], row["key_id"])
                with pytest.raises(ConfigError):
                    first.open(row["sealed"], row["key_id"])
        assert await read_urls(stage.engine, TENANT) == ["json://127.0.0.1:9/hook"]
        # The same hook is still the same destination.
        await stage.route(1314, hook)
        assert stage.value("select count(*) from jobsync.destinations") == 1
        assert stage.value("select count(*) from jobsync.audit where action = 'key_rotated'") == 3


async def test_keys_of_the_environment_are_put_in_front_by_people_and_the_command_seals_anew(
    dsn: str, tmp_path: Path
) -> None:
    old, new = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    async with open_stage(dsn, tmp_path, jobs=2, more={"JOBSYNC_SECRET_KEY": old}) as stage:
        hook = await stage.route_all()
        refused = await stage.jobsync("db", "rotate-key")
        assert refused.code == 9 and "Backups" in refused.err
        ran = await stage.jobsync("db", "rotate-key", "--yes", JOBSYNC_SECRET_KEY=f"{new},{old}")
        assert ran.code == 0 and "take the old key out" in ran.out, ran.err
        for part in (old, new, hook.rsplit("/", 1)[1]):
            assert part not in ran.out + ran.err
        row = stage.rows("select sealed, key_id from jobsync.destinations")[0]
        assert Keyring([base64.b64decode(new)]).open(row["sealed"], row["key_id"]) == hook
        with pytest.raises(ConfigError):
            Keyring([base64.b64decode(old)]).open(row["sealed"], row["key_id"])


async def test_a_key_that_is_missing_leaves_everything_as_it_was(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=2) as stage:
        await stage.route_all()
        stage.run("update jobsync.destinations set key_id = 'gone'")
        ran = await stage.jobsync("db", "rotate-key", "--yes")
        assert ran.code == 6 and "another key" in ran.err
        assert len((tmp_path / "secret.key").read_bytes().split()) == 2, "the old key stays beside the new one"
