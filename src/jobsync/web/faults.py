"""Faults: what the framework raises, answered in our one shape and with the field named."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from jobsync.errors import CallRefused, InvalidInput, JobSyncError
from jobsync.web.answers import JsonAnswer, answer_error

_HINT = "See /docs for what this takes."


def add_fault_handlers(app: FastAPI) -> None:
    """Registers the handlers."""
    app.add_exception_handler(JobSyncError, _answer_ours)
    app.add_exception_handler(RequestValidationError, _answer_misfit)
    app.add_exception_handler(HTTPException, _answer_http)


async def _answer_ours(request: Request, error: Exception) -> JsonAnswer:
    assert isinstance(error, JobSyncError)
    return answer_error(error, request.scope.get("state", {}).get("request_id"))


async def _answer_misfit(_: Request, error: Exception) -> JsonAnswer:
    assert isinstance(error, RequestValidationError)
    found = [_describe(problem) for problem in error.errors()]
    field, sentence = found[0]
    return answer_error(
        InvalidInput(
            sentence, hint=_HINT, field=field, fields=[{"field": name, "error": text} for name, text in found[:20]]
        )
    )


async def _answer_http(request: Request, error: Exception) -> JsonAnswer:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        answer = answer_error(
            CallRefused(405, f"{request.method[:10]} is not possible here.", code="method_not_allowed", hint=_HINT)
        )
    elif error.status_code == 404:
        answer = answer_error(CallRefused(404, "There is nothing at this address.", code="not_found", hint=_HINT))
    else:
        answer = answer_error(
            CallRefused(error.status_code, "The request cannot be served.", code="bad_request", hint=_HINT)
        )
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def _describe(problem: dict[str, Any]) -> tuple[str, str]:
    """(field, sentence): the message says what is expected, never what was sent."""
    place = [str(part) for part in problem["loc"]]
    if place and place[0] in ("body", "query", "path", "header"):
        place = place[1:] or ["body"]
    field = ".".join(place)[:200].encode("utf-8", "replace").decode()
    if problem["type"] == "missing":
        return field, f"{field} is missing."
    if problem["type"] == "extra_forbidden":
        return field, f"{field} is not known here."
    if problem["type"] in ("value_error", "assertion_error"):
        return field, f"{field} {str(problem['msg']).removeprefix('Value error, ').removeprefix('Assertion failed, ')}."
    text = str(problem["msg"])
    return field, f"{field}: {text[:1].lower()}{text[1:]}."
