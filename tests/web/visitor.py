"""Somebody at a browser without JavaScript: cookies, links and forms, over real HTTP."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import urlencode

import psycopg

from jobsync.engine.users import hash_secret
from jobsync.web.dashboard.form_tokens import make_token
from tests.web.conftest import Answer, Api

TOKEN = "form_token"


@dataclass
class Visitor:
    """A browser: its cookies by name."""

    api: Api
    cookies: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def secret(self) -> str:
        """The secret of the session; empty when signed out."""
        return self.cookies.get(f"jobsync_{self.api.port}", "") or self.cookies.get("__Host-jobsync", "")

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        """One request; cookies that come back are kept."""
        headers = {**self.headers, **options.pop("headers", {})}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = await self.api.call(method, path, headers=headers, **options)
        for line in answer.headers.getall("Set-Cookie", []):
            name, _, rest = line.partition("=")
            value = rest.split(";", 1)[0].strip('"')
            if "max-age=0" in line.lower():
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def send(
        self, path: str, fields: dict[str, Any] | list[tuple[str, Any]] | None = None, **options: Any
    ) -> Answer:
        """Sends the form of a page of ours, with its token."""
        pairs = list(fields.items() if isinstance(fields, dict) else fields or [])
        pairs.append((TOKEN, make_token(self.secret, path)))
        return await self.post(path, pairs, **options)

    async def post(self, path: str, pairs: list[tuple[str, Any]], **options: Any) -> Answer:
        """Sends a form as it is given."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", **options.pop("headers", {})}
        return await self.call("POST", path, data=urlencode(pairs).encode(), headers=headers, **options)

    async def follow(self, answer: Answer) -> Answer:
        """The page that an answer leads to."""
        assert answer.status == 303, (answer.status, words(answer.text)[:300])
        return await self.get(answer.headers["Location"])


def let_in(
    api: Api,
    dsn: str,
    role: str = "admin",
    *,
    name: str | None = None,
    tenant: str = "default",
    all_tenants: bool = False,
) -> Visitor:
    """A visitor who is signed in, without the cost of a password."""
    secret = secrets.token_urlsafe(32)
    with psycopg.connect(dsn, autocommit=True) as owner:
        user = owner.execute(
            "insert into jobsync.users (tenant_id, name, role, all_tenants) values (%s, %s, %s, %s) on conflict (name) do update set role = excluded.role returning id",
            (tenant, name or f"the.{role}", role, all_tenants),
        ).fetchone()
        assert user is not None
        owner.execute(
            "insert into jobsync.sessions (tenant_id, secret_hash, user_id) values (%s, %s, %s)",
            (tenant, hash_secret(secret), user[0]),
        )
    return Visitor(api, {f"jobsync_{api.port}": secret})


def words(page: str) -> str:
    """The text of a page, as it is read."""
    text = re.sub(r"(?s)<(script|style|svg|head)\b.*?</\1>", " ", page)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def read_token(page: str, action: str) -> str:
    """The token of the form that is sent to `action`."""
    found = re.search(
        rf'<form method="post" action="{re.escape(action)}"[^>]*>\s*<input type="hidden" name="{TOKEN}" value="([^"]+)"',
        page,
    )
    assert found is not None, f"no form for {action}"
    return found[1]
