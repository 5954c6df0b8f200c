"""Changes of routes and rules: tried before they are made, kept, undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobsync.engine.pipelines import list_card_names, refresh_pipelines
from jobsync.engine.route import list_units, route_unit
from jobsync.engine.rule_changes import change_route, change_rules, drop_rule, list_versions, undo_change
from jobsync.engine.rules import list_rules
from jobsync.errors import RecordMissing
from tests.upstreams import TENANT, open_stage

pytestmark = pytest.mark.anyio
SOLD = {"name": "Sold", "event": "estimate_sold", "then": {"status": "won"}}


async def test_what_was_changed_is_undone_and_done_again(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=12, connected=True, more={"JOBSYNC_MODE": "observe"}) as stage:
        engine = stage.engine
        assert engine is not None
        await stage.sync(deliver=False)
        await refresh_pipelines(engine, TENANT, actor="a test")
        assert (await list_card_names(engine, TENANT))["pipelines"]

        tried = await route_unit(
            engine, TENANT, 1314, actor="a test", pipeline="Service Pipeline", stage="New Job", dry_run=True
        )
        assert (tried["deliverer"], tried["stage_name"]) == ("jobsync", "New Job")
        units = {unit["st_business_unit_id"]: unit for unit in await list_units(engine, TENANT)}
        assert units[1314]["deliverer"] == "none"
        assert (
            stage.value("select count(*) from jobsync.audit where action = 'route_set' and subject = 'unit:1314'") == 0
        )

        made = await change_route(engine, TENANT, 1314, actor="a test", pipeline="Service Pipeline", stage="New Job")
        assert made["planned"] == tried["planned"] > 0
        saved = await change_rules(engine, TENANT, [SOLD], actor="user:ann")
        again = await change_rules(engine, TENANT, [SOLD], actor="user:ann")
        assert "version" not in again
        await drop_rule(engine, TENANT, "Sold", actor="user:ann")
        assert await list_rules(engine, TENANT) == []
        versions = await list_versions(engine, TENANT)
        assert [row["what"] for row in versions] == ['rule "Sold" removed', "rules saved", "route of unit 1314 set"]

        await undo_change(engine, TENANT, versions[0]["id"], actor="user:ann")
        assert [rule["name"] for rule in await list_rules(engine, TENANT)] == ["Sold"]
        undone = await undo_change(engine, TENANT, saved["version"], actor="user:ann")
        assert undone["removed"] == ["Sold"]
        assert (await list_versions(engine, TENANT))[0]["what"] == f"change {saved['version']} undone"
        with pytest.raises(RecordMissing):
            await undo_change(engine, TENANT, 999_999, actor="user:ann")


async def test_a_route_to_a_hook_does_not_stand_in_the_way_of_undoing(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=3, more={"JOBSYNC_MODE": "observe"}) as stage:
        engine = stage.engine
        assert engine is not None
        await stage.sync(deliver=False)
        await change_rules(engine, TENANT, [SOLD], actor="a test")
        await stage.route(1314)
        await change_route(engine, TENANT, 1314, actor="a test", webhook_url=stage.add_hook())
        first = (await list_versions(engine, TENANT))[-1]
        await undo_change(engine, TENANT, first["id"], actor="a test")
        assert await list_rules(engine, TENANT) == []
        kept = stage.rows("select text from jobsync.rule_versions")
        assert kept and not any(stage.level_url in row["text"] for row in kept)
        # Fifty are kept.
        stage.run("select jobsync.keep_rule_version('default', 'a test', 'x', '') from generate_series(1, 60)")
        assert stage.value("select count(*) from jobsync.rule_versions") == 50
        assert len(await list_versions(engine, TENANT)) == 20
