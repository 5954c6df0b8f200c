"""The API's description: complete enough to make clients from, and equal to the code and to the page of the docs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobsync.config import read_settings
from jobsync.web.app import describe_api
from jobsync.web.calls import needs_of
from jobsync.web.reference import PATH, render
from tests.upstreams import call_jobsync
from tests.web.conftest import list_routes

pytestmark = pytest.mark.anyio

DOCUMENT = describe_api(read_settings(environ={}, directory=Path("nowhere")))
METHODS = ("get", "post", "put", "patch", "delete")


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, found[method])
        for path, found in DOCUMENT["paths"].items()
        for method in METHODS
        if method in found
    ]


def test_the_page_of_the_docs_is_what_the_code_says() -> None:
    assert PATH.read_text("utf-8") == render(), "run: python -m jobsync.web.reference"


def test_every_route_of_the_router_is_described_and_nothing_else() -> None:
    served = {
        (method.lower(), route.path_format)
        for route in list_routes()
        if route.include_in_schema
        for method in route.methods or ()
    }
    assert served == {(method, path) for method, path, _ in operations()}


def test_every_operation_has_a_name_of_its_own_a_text_and_its_errors() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names)) > 60
    scopes = {
        (method.lower(), route.path_format): needs_of(route)
        for route in list_routes()
        for method in route.methods or ()
    }
    for method, path, operation in operations():
        assert operation.get("description"), (method, path)
        answers = operation["responses"]
        wanted = scopes[method, path]
        if wanted.scope != "open":
            assert {"400", "401", "403", "429", "503"} <= answers.keys(), (method, path)
            assert operation["x-scope"] == wanted.scope
        if "{" in path:
            assert "404" in answers, (method, path)
        if wanted.body != "none":
            assert {"408", "413", "415"} <= answers.keys(), (method, path)
        for code, answer in answers.items():
            content = answer["content"]
            assert all("schema" in kind for kind in content.values()), (method, path, code)
            if code >= "400" and path != "/health/ready":
                assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_every_body_has_an_example() -> None:
    for method, path, operation in operations():
        body = operation.get("requestBody")
        if body is None:
            continue
        content = body["content"]["application/json"]
        schema = content["schema"]
        reference = schema.get("$ref") or next((one["$ref"] for one in schema.get("anyOf", ()) if "$ref" in one), "")
        named = DOCUMENT["components"]["schemas"].get(reference.rsplit("/", 1)[-1], {})
        assert "example" in content or named.get("examples"), (method, path)


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    wanted = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert wanted <= DOCUMENT["components"]["schemas"].keys()
    assert DOCUMENT["openapi"] == "3.1.0"


async def test_the_command_prints_the_same_document(tmp_path: Path) -> None:
    printed = await call_jobsync(tmp_path, {}, "openapi")
    assert (printed.code, printed.json) == (0, DOCUMENT)
