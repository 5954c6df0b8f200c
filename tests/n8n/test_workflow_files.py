"""The files in n8n/: n8n can import them, each failure leads somewhere, and they call what JobSync has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobsync.engine.workflows import NAMES
from jobsync.web.app import describe_api
from jobsync.web.calls import GuardedRoute
from tests.house.leaks import check_no_secret
from tests.house.tree import CHECKOUT, SourceFile
from tests.upstreams import call_jobsync
from tests.web.conftest import list_routes, make_settings

FOLDER = CHECKOUT / "n8n"
FILES = sorted(FOLDER.glob("*.json"))
# Types and versions that both n8n 1.123.81 and 2.40.4 know.
KNOWN_TYPES = {
    "scheduleTrigger": 1.2, "set": 3.4, "httpRequest": 4.2, "code": 2, "if": 2.2, "splitOut": 1, "noOp": 1, "emailSend": 2.1,
    "stopAndError": 1, "stickyNote": 1,
}  # fmt: skip
CANNOT_FAIL = {"scheduleTrigger", "set", "noOp", "stopAndError", "stickyNote"}
OURS = "={{ $('Settings').first(0).json.jobsyncUrl }}"
EXPRESSION = re.compile(r"\{\{.*?\}\}")


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text("utf-8"))


def kind(node: dict[str, Any]) -> str:
    return node["type"].removeprefix("n8n-nodes-base.")


def links(document: dict[str, Any]) -> Iterator[tuple[str, int, str]]:
    """(from, output, to) of every connection."""
    for source, outputs in document["connections"].items():
        for output, targets in enumerate(outputs["main"]):
            for target in targets:
                yield source, output, target["node"]


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


def test_the_files_are_those_that_the_command_writes() -> None:
    assert {file.stem for file in FILES} == set(NAMES)
    assert len({read(file)["id"] for file in FILES}) == len(FILES)


@pytest.mark.anyio
async def test_a_fresh_database_exports_them_as_they_stand(dsn: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": str(tmp_path)}
    ran = await call_jobsync(tmp_path, environment, "export", "n8n", "--out", "fresh")
    assert ran.code == 0, ran.err
    for file in FILES:
        assert (tmp_path / "fresh" / file.name).read_text() == file.read_text(), (
            "run: jobsync export n8n, on a fresh database"
        )


def test_n8n_can_import_it(document: dict[str, Any]) -> None:
    assert document["id"] and document["name"] and document["tags"] == [] and document["active"] is False
    nodes = document["nodes"]
    assert len({node["name"] for node in nodes}) == len({node["id"] for node in nodes}) == len(nodes)
    for node in nodes:
        assert node["typeVersion"] == KNOWN_TYPES[kind(node)], node["name"]
    assert [kind(node) for node in nodes].count("scheduleTrigger") == 1


def test_every_node_is_reached_and_every_failure_leads_somewhere(document: dict[str, Any]) -> None:
    nodes = {node["name"]: node for node in document["nodes"]}
    connections = list(links(document))
    for source, _, target in connections:
        assert source in nodes and target in nodes
    (trigger,) = [name for name, node in nodes.items() if kind(node) == "scheduleTrigger"]
    reached, ahead = {trigger}, [trigger]
    while ahead:
        here = ahead.pop()
        new = {target for source, _, target in connections if source == here} - reached
        reached |= new
        ahead += new
    assert reached == {name for name, node in nodes.items() if kind(node) != "stickyNote"}
    for name, node in nodes.items():
        if kind(node) in CANNOT_FAIL:
            continue
        if node["onError"] == "continueRegularOutput":
            # Its failures come out among its answers, in their order: what follows reads them.
            (after,) = [nodes[target] for source, _, target in connections if source == name]
            assert "error !== undefined" in after["parameters"]["jsCode"]
            continue
        assert node["onError"] == "continueErrorOutput", name
        failures = 2 if kind(node) == "if" else 1
        assert [target for source, output, target in connections if (source, output) == (name, failures)], name


def test_calls_of_jobsync_are_tried_again_and_posts_to_a_hook_are_not(document: dict[str, Any]) -> None:
    for node in document["nodes"]:
        if kind(node) == "httpRequest":
            assert node["parameters"]["options"]["timeout"] > 0, node["name"]
            is_ours = node["parameters"]["url"].startswith(OURS)
            assert node.get("retryOnFail", False) is (is_ours or node["name"] in ("Post to Slack", "Ping")), node[
                "name"
            ]


@pytest.fixture(scope="module")
def routes() -> list[GuardedRoute]:
    """What the service answers to."""
    return list_routes()


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The paths of the API's description."""
    return describe_api(make_settings(tmp_path_factory.mktemp("api")))["paths"]


def test_every_url_names_an_endpoint_with_its_parameters(
    document: dict[str, Any], routes: list[GuardedRoute], described: dict[str, Any]
) -> None:
    for node in document["nodes"]:
        url = node["parameters"].get("url", "")
        if not url.startswith(OURS):
            assert re.fullmatch(r"(={{ (\$json\.hook|\$\('Settings'\)\.first\(0\)\.json\.\w+Url) }})?", url), node[
                "name"
            ]
            continue
        path, method = url.removeprefix(OURS), node["parameters"].get("method", "GET")
        answering = [route for route in routes if method in route.methods and route.path_regex.match(path)]
        assert answering, f"{node['name']}: {method} {path}"
        given = {one["name"] for one in node["parameters"].get("queryParameters", {}).get("parameters", [])}
        if path.startswith("/db/"):
            known = {one["name"] for one in described[answering[0].path][method.lower()].get("parameters", [])}
            assert given <= known, node["name"]


def test_expressions_and_code_refer_to_nodes_that_exist(document: dict[str, Any]) -> None:
    names = {node["name"] for node in document["nodes"]}
    text = json.dumps(document["nodes"], ensure_ascii=False)
    assert set(re.findall(r"\$\('([^']+)'\)", text)) <= names
    # n8n 1 gives expressions nothing of what a Code node made but its own input ($json); code may read it.
    made_by_code = {node["name"] for node in document["nodes"] if kind(node) in ("code", "noOp")}
    for node in document["nodes"]:
        if kind(node) != "code":
            assert not set(re.findall(r"\$\('([^']+)'\)", json.dumps(node))) & made_by_code, node["name"]
    settings = next(node for node in document["nodes"] if node["name"] == "Settings")
    asked = set(re.findall(r"\$\('Settings'\)\.first\(0\)\.json\.([A-Za-z]+)", text)) | set(
        re.findall(r"\bsettings\.([A-Za-z]+)", text)
    )
    assert asked <= set(json.loads(settings["parameters"]["jsonOutput"]))


def test_it_holds_no_secret_and_no_address_but_this_machines(document: dict[str, Any]) -> None:
    text = json.dumps(document, ensure_ascii=False)
    assert list(check_no_secret(SourceFile("n8n/x.json", text))) == []
    assert set(re.findall(r"https?://[^\s\"'\\)]+", EXPRESSION.sub("", text))) <= {"http://127.0.0.1:3001"} | {
        "https?:\\/\\/\\S+/g"
    }
    for node in document["nodes"]:
        for credential in node.get("credentials", {}).values():
            assert set(credential) == {"id", "name"}
