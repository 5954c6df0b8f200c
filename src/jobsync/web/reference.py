"""The reference of the API as a page of the documentation: docs/api.md, made of the same description as /openapi.json.

`python -m jobsync.web.reference` writes it; a test holds it equal.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobsync.config import read_settings
from jobsync.web.app import describe_api

PATH = Path(__file__).resolve().parents[3] / "docs" / "api.md"
_METHODS = ("get", "post", "put", "patch", "delete")
_HEAD = """# The API

Made from the API's own description (`jobsync openapi`, or `/openapi.json` of a running service); do not edit this page.

{introduction}

- Send `API_KEY` or a token as `X-API-Key`, or as `Authorization: Bearer`. A token is made with `jobsync tokens create`.
- A token has scopes: `read`, `sync:write`, `state:write`, `replay`, `admin` (which includes all). Without `API_KEY`, callers on this
  machine need none for `/db` and the ServiceTitan paths; `/admin` always needs a token.
- A token made with `--all-tenants` acts for the tenant that `X-JobSync-Tenant` names.
- Errors: {errors}.
"""


def render() -> str:
    """The text of the page."""
    document = describe_api(read_settings(environ={}, directory=Path("nowhere")))
    groups: dict[str, list[str]] = {}
    errors: dict[str, str] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                operation = operations[method]
                groups.setdefault((operation.get("tags") or ["other"])[0], []).append(
                    _show(document, method, path, operation)
                )
                errors |= {
                    code: answer["description"].rstrip(".")
                    for code, answer in operation["responses"].items()
                    if code >= "400" and "Problem" in json.dumps(answer)
                }
    told = "; ".join(f"{code} {text[:1].lower()}{text[1:]}" for code, text in sorted(errors.items()))
    head = _HEAD.format(introduction=document["info"]["description"], errors=told)
    return head + "".join(f"\n## {name}\n{''.join(found)}" for name, found in groups.items())


def _show(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [
        f"\n### {method.upper()} {path}\n",
        f"`{operation['operationId']}`, scope `{operation.get('x-scope', 'none')}`. ",
    ]
    lines[-1] += operation.get("description", "").replace("\n", " ")
    parameters = [one for one in operation.get("parameters", ()) if one["in"] != "path"]
    if parameters:
        lines.append("\n| parameter | takes |\n|---|---|")
        lines += [f"| `{one['name']}` | {_tell(document, one)} |" for one in parameters]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = _resolve(document, body.get("schema", {}))
    example = body.get("example", (schema.get("examples") or [None])[0])
    if example is not None:
        lines.append(f"\n```json\n{json.dumps(example, indent=2)}\n```")
    good = [code for code in operation["responses"] if code < "400"]
    bad = [code for code in sorted(operation["responses"]) if code >= "400"]
    answered = _resolve(
        document, operation["responses"][good[0]].get("content", {}).get("application/json", {}).get("schema", {})
    )
    told = (answered.get("description") or answered.get("title") or "").split("\n")[0]
    lines.append(f"\nAnswers {', '.join(good)}{': ' + told if told else ''}. Errors: {', '.join(bad) or 'none'}.\n")
    return "\n".join(lines)


def _tell(document: dict[str, Any], parameter: dict[str, Any]) -> str:
    schema = _resolve(document, parameter.get("schema", {}))
    kind = (
        ", ".join(map(str, schema["enum"]))
        if "enum" in schema
        else str(schema.get("format") or schema.get("type") or "text")
    )
    text = parameter.get("description") or schema.get("description") or ""
    default = f" (default {schema['default']})" if schema.get("default") is not None else ""
    return f"{kind}{default}{'. ' + text if text else ''}".replace("|", "or")


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for choice in schema.get("anyOf", ()):
        if "$ref" in choice:
            schema = choice
    if schema.get("type") == "array" and "$ref" in schema.get("items", {}):
        schema = schema["items"]
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    return document["components"]["schemas"][name] if name else schema


if __name__ == "__main__":
    PATH.write_text(render(), "utf-8")
