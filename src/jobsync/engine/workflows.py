"""n8n workflows, filled with what this installation knows: where JobSync answers, the business units, their hooks.

The texts stand beside this file (`n8n/*.json`, their code in `n8n/*.js`); what comes out can be imported into n8n as it is.
A hook's URL is a secret: it is only put in when asked for. A token never is: with `credential` the nodes that call JobSync
name a credential of n8n (header X-API-Key), which its owner makes there. Reads only; the same again gives the same texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from jobsync.config import Settings
from jobsync.engine.context import DEFAULT_TENANT, Engine
from jobsync.engine.names import refuse_unknown
from jobsync.engine.route import list_units
from jobsync.errors import InvalidInput
from jobsync.gohighlevel.destination_guard import Guard

NAMES = ("get-jobs-modernized-v2", "drain-pending", "failed-sync-alert", "health-digest")
CREDENTIAL = {"id": "jobsyncApiKey001", "name": "JobSync API key"}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EVERYWHERE = ("0.0.0.0", "::")
_FILE = "@"


@dataclass(frozen=True)
class Workflow:
    """A workflow ready for n8n: its name (the file's, without .json), its text, and the units whose hook it holds."""

    name: str
    text: str
    hooks: tuple[str, ...]

    @property
    def is_secret(self) -> bool:
        """True when it holds the URL of a hook."""
        return bool(self.hooks)


async def fill_workflows(
    engine: Engine,
    tenant: str,
    names: Sequence[str] = NAMES,
    *,
    url: str | None = None,
    hooks: Mapping[int, str] | None = None,
    with_webhooks: bool = False,
    credential: bool | None = None,
) -> list[Workflow]:
    """The workflows of these names.

    `url`: where n8n reaches JobSync (default: this machine and the port of the settings). `hooks`: unit -> URL, given by
    hand; `with_webhooks`: also those that JobSync holds. `credential` None: as the settings need it (an API key, another
    tenant, a service that is not on this machine). Raises InvalidInput for an unknown name or unit, and DestinationRefused.
    """
    refuse_unknown(names, NAMES, "Workflow")
    given = dict(hooks or {})
    units = {unit["st_business_unit_id"]: unit for unit in await list_units(engine, tenant)}
    guard = Guard(engine.settings.allow_hosts)
    for unit, hook in given.items():
        if unit not in units:
            raise InvalidInput(f"Business unit {unit} is not known.", hint="See: jobsync units list")
        guard.check_url(hook)
    if with_webhooks:
        given = await _stored_hooks(engine, tenant) | given
    address = (url or _own_address(engine.settings)).rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise InvalidInput(f"{address} is no address.", hint="Write it as http://127.0.0.1:3001.")
    if credential is None:
        credential = _needs_key(engine.settings, tenant, address)
    known = {
        str(key): {"unit": unit["name"], "url": given.get(key, "")}
        for key, unit in sorted(units.items())
        if key in given or (unit["sync_enabled"] and unit["sync_to_ghl"])
    }
    return [_fill(name, address, known, credential=credential) for name in names]


def _fill(name: str, address: str, hooks: dict[str, dict[str, str]], *, credential: bool) -> Workflow:
    document = read_template(name)
    filled: tuple[str, ...] = ()
    for node in document["nodes"]:
        if node["name"] == "Settings":
            values = json.loads(node["parameters"]["jsonOutput"]) | {"jobsyncUrl": address}
            if "hooks" in values:
                values["hooks"] = hooks
                filled = tuple(entry["unit"] for entry in hooks.values() if entry["url"])
            node["parameters"]["jsonOutput"] = json.dumps(values, indent=2, ensure_ascii=False)
        elif credential and ".jobsyncUrl }}/" in node["parameters"].get("url", ""):
            node["parameters"] |= {"authentication": "genericCredentialType", "genericAuthType": "httpHeaderAuth"}
            node["credentials"] = {"httpHeaderAuth": dict(CREDENTIAL)}
    return Workflow(name, json.dumps(document, indent=2, ensure_ascii=False) + "\n", filled)


def read_template(name: str) -> dict[str, Any]:
    """A workflow as it stands beside this file, with the code of its nodes put in."""
    folder = files("jobsync.engine").joinpath("n8n")
    document = json.loads(folder.joinpath(f"{name}.json").read_text("utf-8"))
    for node in document["nodes"]:
        code = node["parameters"].get("jsCode", "")
        if code.startswith(_FILE):
            node["parameters"]["jsCode"] = folder.joinpath(code.removeprefix(_FILE)).read_text("utf-8").rstrip()
    return document


async def _stored_hooks(engine: Engine, tenant: str) -> dict[int, str]:
    async with engine.database.transaction(tenant) as session:
        rows = await session.rows("list_hooks", {"tenant": tenant})
    return {row["st_business_unit_id"]: engine.keyring.open(row["sealed"], row["key_id"]) for row in rows}


def _own_address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in _EVERYWHERE else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _needs_key(settings: Settings, tenant: str, address: str) -> bool:
    return settings.api_key is not None or tenant != DEFAULT_TENANT or urlsplit(address).hostname not in _LOOPBACK
