"""The API's operations as people read them: made of the same description as /openapi.json, grouped by area.

Used by /docs and by the dashboard's page API & SQL, so that both say the same.
"""

from __future__ import annotations

import json
from shlex import quote
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")


def group_operations(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Area -> operations, each {method, path, id, text, scope, parameters, fields, example, answers}."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                shown = show_operation(document, path, method, operations[method])
                groups.setdefault((operations[method].get("tags") or ["other"])[0], []).append(shown)
    return groups


def show_operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    """One operation."""
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


def write_curl(operation: dict[str, Any], base: str) -> str:
    """A command line that calls the operation at `base`; the token comes from a variable, ids in braces are to be filled in."""
    words = ["curl", "-sS"]
    if operation["method"] != "GET":
        words += ["-X", operation["method"]]
    if operation["scope"] not in (None, "open"):
        words += ["-H", '"X-API-Key: $JOBSYNC_TOKEN"']
    if operation["example"] is not None:
        body = json.dumps(json.loads(operation["example"]), ensure_ascii=False)
        words += ["-H", "'Content-Type: application/json'", "-d", quote(body)]
    return " ".join([*words, quote(base + operation["path"])])


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
