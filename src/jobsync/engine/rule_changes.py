"""Changes of routes and rules that can be undone: before each one, how everything stood is kept as the text of `export`.

The same verbs for the command line, the API and the dashboard. Undoing is reading the text in again, and can be undone
itself. A hook's URL is a secret and not in the text: a route to a hook is set again by hand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import yaml

from jobsync.engine.context import Engine
from jobsync.engine.route import route_unit
from jobsync.engine.rule_files import export_rules, import_rules, read_text
from jobsync.engine.rules import remove_rule, save_rules
from jobsync.errors import RecordMissing

KEPT_SHOWN = 20


async def change_rules(
    engine: Engine, tenant: str, documents: Sequence[object], *, actor: str, replace: bool = False
) -> dict[str, Any]:
    """As `rules.save_rules`."""
    change = save_rules(engine, tenant, documents, actor=actor, replace=replace)
    return await _keeping(engine, tenant, actor, "rules saved", change)


async def drop_rule(engine: Engine, tenant: str, name: str, *, actor: str) -> dict[str, Any]:
    """As `rules.remove_rule`."""
    return await _keeping(
        engine, tenant, actor, f'rule "{name}" removed', remove_rule(engine, tenant, name, actor=actor)
    )


async def change_route(engine: Engine, tenant: str, unit: int, *, actor: str, **values: Any) -> dict[str, Any]:
    """As `route.route_unit`."""
    change = route_unit(engine, tenant, unit, actor=actor, **values)
    return await _keeping(engine, tenant, actor, f"route of unit {unit} set", change)


async def read_in(
    engine: Engine, tenant: str, text: str, *, actor: str, replace: bool = False, what: str = "a file read in"
) -> dict[str, Any]:
    """As `rule_files.import_rules`."""
    change = import_rules(engine, tenant, text, actor=actor, replace=replace)
    return await _keeping(engine, tenant, actor, what, change)


async def list_versions(engine: Engine, tenant: str) -> list[dict[str, Any]]:
    """The newest changes, each {id, replaced_at (UTC), actor, what}: what `undo_change` takes."""
    async with engine.database.transaction(tenant) as session:
        return await session.rows("list_rule_versions", {"tenant": tenant, "limit": KEPT_SHOWN})


async def read_version(engine: Engine, tenant: str, version: int) -> str:
    """The text as it stood before that change. Raises RecordMissing."""
    async with engine.database.transaction(tenant) as session:
        text = await session.value("read_rule_version", {"tenant": tenant, "id": version})
    if text is None:
        raise RecordMissing(f"No change has the number {version}.", hint="The last fifty are kept.")
    return text


async def undo_change(engine: Engine, tenant: str, version: int, *, actor: str) -> dict[str, Any]:
    """Makes rules, and routes that go to no hook, as they stood before that change; sends nothing. Twice changes nothing."""
    parts = read_text(await read_version(engine, tenant, version))
    routes = [route for route in parts["routes"] if route.get("webhook") is None]
    text = yaml.safe_dump({"routes": routes, "rules": parts["rules"]}, sort_keys=False, allow_unicode=True)
    return await read_in(engine, tenant, text, actor=actor, replace=True, what=f"change {version} undone")


async def _keeping(
    engine: Engine, tenant: str, actor: str, what: str, change: Awaitable[dict[str, Any]]
) -> dict[str, Any]:
    before = await export_rules(engine, tenant)
    answer = await change
    if await export_rules(engine, tenant) != before:
        async with engine.database.transaction(tenant) as session:
            parameters = {"tenant": tenant, "actor": actor, "what": what, "text": before}
            answer = {**answer, "version": await session.value("keep_rule_version", parameters)}
    return answer
