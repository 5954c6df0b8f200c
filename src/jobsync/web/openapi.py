"""The API's description: OpenAPI 3.1 as generated, made true: our errors for the framework's, scopes, examples."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from jobsync import __version__
from jobsync.web.api.fields import Problem
from jobsync.web.auth import OPEN
from jobsync.web.calls import GuardedRoute, Needs, needs_of

_INTRODUCTION = (
    "JobSync keeps GoHighLevel equal to what ServiceTitan says about a contractor's jobs. Request bodies are camelCase, "
    "rows snake_case as stored; ids are 64-bit numbers and may be sent as strings; times are ISO 8601 in UTC. Every error "
    "is `{error, code, hint}`, with the field or id it is about."
)
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_ERRORS = {
    400: "Something in the request cannot be used; `field` names it.",
    401: "No key or token, or not a good one.",
    403: "The scope is missing, or the caller is not what it seems.",
    404: "There is no such record; the id asked for stands beside.",
    408: "The body came too slowly.",
    409: "Not in this state, or it wants to be confirmed.",
    413: "The body is too large.",
    429: "This token asks too often; Retry-After says how long to wait.",
    415: "The body is not JSON by its content type.",
    502: "ServiceTitan refused or did not answer properly.",
    503: "The database or a worker cannot be reached; try again.",
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the app, made once."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = get_openapi(
        title="JobSync",
        version=__version__,
        openapi_version="3.1.0",
        description=_INTRODUCTION,
        routes=app.routes,
        separate_input_output_schemas=False,
    )
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    document["components"]["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "API_KEY or a token."},
        "bearer": {"type": "http", "scheme": "bearer", "description": "API_KEY or a token js_<id>_<secret>."},
    }
    for route in app.routes:
        if isinstance(route, GuardedRoute) and route.include_in_schema:
            for method in route.methods or ():
                _complete(document["paths"][route.path_format][method.lower()], route, needs_of(route))
    app.openapi_schema = document
    return document


def _complete(operation: dict[str, Any], route: APIRoute, wanted: Needs) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    for parameter in operation.get("parameters", ()):
        # A parameter is absent or has a value: there is no null in an address.
        choices = [choice for choice in parameter["schema"].get("anyOf", ()) if choice.get("type") != "null"]
        if len(choices) == 1:
            parameter["schema"] = {**parameter["schema"], **choices[0]}
            del parameter["schema"]["anyOf"]
    for status in _possible_errors(operation, route, wanted):
        if str(status) not in responses:
            responses[str(status)] = {
                "description": _ERRORS[status],
                "content": {"application/json": {"schema": _PROBLEM}},
            }
    if wanted.scope == OPEN:
        operation["security"] = []
        return
    operation["x-scope"] = wanted.scope
    # The empty one: this machine and trusted networks need none, but /admin always does.
    operation["security"] = [{"key": []}, {"bearer": []}] + ([] if route.path.startswith("/admin") else [{}])


def _possible_errors(operation: dict[str, Any], route: APIRoute, wanted: Needs) -> list[int]:
    if wanted.scope == OPEN:
        return []
    found = {401, 403, 429, 503, 400}
    if "{" in route.path or any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
        found.add(404)
    if wanted.body != "none":
        found |= {408, 413, 415}
    if route.path.startswith("/admin"):
        found.add(409)
    if "ServiceTitan" in operation.get("tags", ()):
        found |= {404, 409, 502}
    return sorted(found)
