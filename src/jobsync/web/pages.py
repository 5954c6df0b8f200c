"""The plain page: the reference of the API under /docs. Server-rendered, no script; for whoever may read the API."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from jobsync.web.answers import JsonAnswer
from jobsync.web.calls import GuardedRoute, needs
from jobsync.web.openapi import describe

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)

_LOADER = PackageLoader("jobsync.web", "templates")
_METHODS = ("get", "post", "put", "patch", "delete")


@router.get("/ui/plain.css")
@needs("read")
async def show_style() -> Response:
    """The style sheet of the plain page."""
    source, _, _ = _LOADER.get_source(_environment(), "plain.css")
    return Response(source, media_type="text/css")


@router.get("/openapi.json")
@needs("read")
async def show_description(request: Request) -> JsonAnswer:
    """The API's description."""
    return JsonAnswer(describe(request.app))


@router.get("/docs")
@needs("read")
async def show_reference(request: Request) -> Response:
    """The reference, made of the description."""
    document = describe(request.app)
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                shown = _show_operation(document, path, method, operations[method])
                groups.setdefault((operations[method].get("tags") or ["other"])[0], []).append(shown)
    return _render("reference.html", info=document["info"], groups=groups)


def _show_operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return {
        "method": method.upper(),
        "path": path,
        "id": operation.get("operationId", ""),
        "text": operation.get("description") or operation.get("summary", ""),
        "scope": operation.get("x-scope"),
        "parameters": [
            {
                "name": one["name"],
                "in": one["in"],
                "required": one.get("required", False),
                "text": _kind(one.get("schema", {})),
            }
            for one in operation.get("parameters", ())
        ],
        "fields": _fields(document, body.get("schema", {})),
        "example": _example(document, body),
        "answers": [(code, answer.get("description", "")) for code, answer in sorted(operation["responses"].items())],
    }


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for choice in schema.get("anyOf", ()):
        if "$ref" in choice:
            schema = choice
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    return document["components"]["schemas"][name] if name else schema


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    found = _resolve(document, schema)
    required = found.get("required", ())
    return [
        {"name": name, "required": name in required, "text": one.get("description") or _kind(one)}
        for name, one in found.get("properties", {}).items()
    ]


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(choice) for choice in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    return str(schema.get("format") or schema.get("type") or ("object" if "$ref" in schema else "any"))


def _example(document: dict[str, Any], body: dict[str, Any]) -> str | None:
    examples = _resolve(document, body.get("schema", {})).get("examples") or [body.get("example")]
    return json.dumps(examples[0], indent=2) if examples[0] is not None else None


def _environment() -> Environment:
    return Environment(loader=_LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _render(name: str, **values: Any) -> HTMLResponse:
    return HTMLResponse(_environment().get_template(name).render(**values))
