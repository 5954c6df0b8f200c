"""Faults on demand: which request meets which misfortune. What it does on the wire stands in wire.py."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Any

from .answers import Answer, error

# kind -> whether the request's work is done although the caller hears something else
KINDS: dict[str, bool] = {
    "status": False,  # status (500), message, body: answers it, does nothing
    "unauthorized": False,  # 401
    "forbidden": False,  # 403
    "not_found": False,  # 404
    "gone": False,  # 410
    "too_many": False,  # 429; retry_after: the header's raw text
    "redirect": False,  # status (302), to
    "html": False,  # status (200): a page instead of JSON
    "close": False,  # the socket is reset without an answer
    "hang": False,  # seconds (30): silence, then the socket is reset
    "endless": False,  # megabytes (64): a body that goes on
    "huge": False,  # megabytes (50): a whole JSON body of that size
    "gzip_bomb": False,  # megabytes (64), packed
    "did_then_status": True,  # status (500), message, body; with 4xx: "4xx that wrote"
    "did_then_html": True,
    "did_then_redirect": True,
    "did_then_close": True,
    "did_then_hang": True,
    "did_then_garbage": True,  # 200 with a body that is not JSON
    "truncated": True,  # the right head, half the body, then the socket is closed
    "drip": True,  # seconds (1): the right answer, one byte in each period
    "slow": True,  # seconds (1): the right answer, late
    "act": True,  # act, args: something happens in GoHighLevel just before the request is handled
}
_TEXTS = {
    "unauthorized": (401, "Invalid token: access token is invalid"),
    "forbidden": (403, "The token does not have access to this location."),
    "not_found": (404, "Not Found"),
    "gone": (410, "Gone"),
    "too_many": (429, "Too many requests"),
}
PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(slots=True)
class Fault:
    """A rule. path: regular expression searched in the request path; method: None = any; times: how often it strikes
    (None = for good); after: requests let through first; probability: per matching request, from the seed; options: as
    its kind takes them. seen, hits: matching requests so far, strikes so far."""

    number: int
    kind: str
    path: str = ""
    method: str | None = None
    times: int | None = 1
    after: int = 0
    probability: float = 1.0
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    hits: int = 0
    pattern: re.Pattern[str] = field(default=None, repr=False)  # type: ignore[assignment]
    dice: random.Random = field(default=None, repr=False)  # type: ignore[assignment]

    @property
    def works(self) -> bool:
        """Whether the request's work is done all the same."""
        return KINDS[self.kind]

    def as_dict(self) -> dict[str, Any]:
        """The rule and its counts, for the control API."""
        names = ("number", "kind", "path", "method", "times", "after", "probability", "seed", "options", "seen", "hits")
        return {name: getattr(self, name) for name in names}


class FaultBox:
    """The rules in force, tried in the order they were added; the first that strikes wins."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self._count = 0

    def add(
        self,
        kind: str,
        path: str = "",
        *,
        method: str | None = None,
        times: int | None = 1,
        after: int = 0,
        probability: float = 1.0,
        seed: int = 0,
        **options: Any,
    ) -> Fault:
        """Puts a rule in force; see `Fault`. times=None: for good. Raises ValueError for what makes no sense."""
        if kind not in KINDS:
            raise ValueError(f"no fault is called {kind}; there are {', '.join(sorted(KINDS))}")
        if not 0 < probability <= 1:
            raise ValueError("probability takes a number above 0 and up to 1")
        try:
            pattern = re.compile(path)
        except re.error as broken:
            raise ValueError(f"path is no regular expression: {broken}") from broken
        self._count += 1
        rule = Fault(self._count, kind, path, method and method.upper(), times, after, probability, seed, options)
        rule.pattern = pattern
        rule.dice = random.Random(f"{seed}:{self._count}")
        self.rules.append(rule)
        return rule

    def remove(self, number: int) -> bool:
        """Takes a rule out of force; false when there is none of that number."""
        before = len(self.rules)
        self.rules = [each for each in self.rules if each.number != number]
        return len(self.rules) < before

    def clear(self) -> None:
        """Takes all rules out of force."""
        self.rules = []

    def pick(self, method: str, path: str) -> Fault | None:
        """The rule that strikes this request, counted."""
        for rule in self.rules:
            if rule.times is not None and rule.hits >= rule.times:
                continue
            if rule.method not in (None, method) or not rule.pattern.search(path):
                continue
            rule.seen += 1
            if rule.seen > rule.after and (rule.probability >= 1 or rule.dice.random() < rule.probability):
                rule.hits += 1
                return rule
        return None


def stand_in(fault: Fault, answer: Answer | None) -> Answer:
    """The answer the caller hears instead of the right one (answer: the right one, None when nothing was done)."""
    kind, options = fault.kind.removeprefix("did_then_"), fault.options
    if kind in _TEXTS:
        status, message = _TEXTS[kind]
        stand = error(status, options.get("message", message))
        if "retry_after" in options:
            stand.headers.append(("retry-after", str(options["retry_after"])))
        return stand
    if kind == "status":
        status = int(options.get("status", 500))
        if "body" in options:
            return Answer(status, options["body"])
        message = options.get("message", "Internal server error" if status >= 500 else "Bad Request")
        return error(status, [message] if status == 422 and isinstance(message, str) else message)
    if kind == "redirect":
        target = options.get("to", "/elsewhere")
        return Answer(int(options.get("status", 302)), b"", [("location", target)], "text/plain")
    if kind == "html":
        return Answer(int(options.get("status", 200)), PAGE, [], "text/html; charset=utf-8")
    if kind == "garbage":
        return Answer(200, b'{"status": "Succ', [], "application/json; charset=utf-8")
    return answer if answer is not None else Answer(200, {})
