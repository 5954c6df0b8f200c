"""Inbound webhook triggers: `/hooks/{locationId}/webhook-trigger/{uuid}` (GoHighLevel contract, section 9).

Two kinds of 200: a saved trigger answers "request sent to trigger execution server" and an id; an unknown, unsaved or
deleted one "test request received" without id. Neither says that anything came of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from .answers import Answer, error
from .ledger import JOB_KEYS, Post
from .location import Hook

if TYPE_CHECKING:
    from .world import World

METHODS = ("POST", "GET", "PUT")
QUEUED = "Success: request sent to trigger execution server"
TEST = "Success: test request received"
_DECODER = msgspec.json.Decoder()
_TEST_BODY = msgspec.json.encode({"status": TEST})
_QUEUED_BODY = msgspec.json.encode({"status": QUEUED, "id": ""})[:-2]


def receive_post(
    world: World, method: str, segments: list[str], query: bytes, raw: bytes, *, works: bool, fault: str | None
) -> Answer:
    """Takes one post: ledger, queue, workflow. works: false when a fault keeps the request from having any effect (it
    is in the ledger all the same, as `refused`). A GET carries its fields in the query."""
    if len(segments) != 4 or segments[2] != "webhook-trigger" or method not in METHODS:
        return error(404, f"Cannot {method} /{'/'.join(segments[:1])}")
    location_id, hook_id = segments[1], segments[3]
    if method == "GET":
        raw = msgspec.json.encode(dict(parse_qsl(query.decode("ascii", "replace"))))
    body = _read(raw)
    post = Post(
        number=world.ledger.post_count + 1,
        at=world.clock.now(),
        location_id=location_id,
        hook_id=hook_id,
        method=method,
        body=raw,
        job=_job_of(body),
        answered="refused",
        fault=fault,
    )
    answer = _take(world, post, body) if works else error(500, "Internal server error")
    world.ledger.note_post(post)
    return answer


def _take(world: World, post: Post, body: Any) -> Answer:
    switches = world.switches
    if switches.hook_body_limit and len(post.body) > switches.hook_body_limit:
        return error(413, "request entity too large")
    if not isinstance(body, dict) and switches.hook_bad_body == "refuse":
        return error(400, "Request body must be a JSON object")
    refused = world.limiter.admit_post(post.hook_id)
    if refused is not None:
        return refused
    location = world.locations.get(post.location_id)
    if location is None and switches.hook_unknown_location == "404":
        return error(404, "Location not found")
    hook = location.hooks.get(post.hook_id) if location is not None else None
    if location is None or hook is None or hook.mode in ("test", "deleted"):
        post.answered = "test"
        return Answer(200, _TEST_BODY)
    post.answered, post.execution_id = "queued", world.ids.record()
    if hook.mode == "draft":
        post.outcome = "not_published"
    else:
        world.queue_execution(location, hook, post)
    return Answer(200, _QUEUED_BODY + post.execution_id.encode() + b'"}')


def _read(raw: bytes) -> Any:
    try:
        return _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _job_of(body: Any) -> str | None:
    if isinstance(body, dict):
        for key in JOB_KEYS:
            value = body.get(key)
            if value is not None and value != "":
                return str(value)
    return None


def make_hook(location_id: str, hook_id: str, mode: str, **options: Any) -> Hook:
    """A hook of a location; options as `Hook` names them. Raises ValueError for an unknown mode or repeat."""
    if mode not in ("live", "draft", "failing", "test", "deleted"):
        raise ValueError("mode takes one of live, draft, failing, test, deleted")
    hook = Hook(hook_id, location_id, mode, **options)
    if hook.repeat not in ("create", "update_card", "same_job"):
        raise ValueError("repeat takes one of create, update_card, same_job")
    return hook
