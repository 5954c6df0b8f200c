"""Who is let into the dashboard: links, passwords, roles, sessions and forms. Every page is taken from the router."""

from __future__ import annotations

import re
from functools import partial

import anyio
import psycopg
import pytest
from anyio import CapacityLimiter
from argon2 import PasswordHasher

from jobsync.db.pool import Database
from jobsync.engine import passwords, sign_in, users
from jobsync.errors import CallRefused, InvalidInput
from jobsync.web.dashboard import live
from jobsync.web.dashboard.form_tokens import make_token
from jobsync.web.dashboard.visits import rule_of
from jobsync.web.shell import SECURITY_HEADERS
from tests.clock import move_clock
from tests.web.conftest import Api, StartApi, list_pages
from tests.web.visitor import TOKEN, Visitor, let_in, read_token, words

pytestmark = pytest.mark.anyio

PASSWORD = "a long invented sentence"
ROLES = ("viewer", "operator", "admin")
# For anybody: what leads to signing in, and the files of the pages. Nothing else.
OPEN = {"/", "/ui", "/ui/login", "/ui/first", "/ui/assets/{digest}/{name}"}
PLACES = {
    "digest": "x", "name": "app.css", "run": "00000000-0000-0000-0000-000000000000", "user": "00000000-0000-0000-0000-000000000000",
    "id": "00000000-0000-0000-0000-000000000000", "rest": "nothing",
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick_hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """New passwords are hashed at a small cost; what the program uses is asked in a test of its own."""
    if "true_cost" not in request.node.name:
        monkeypatch.setattr(
            passwords, "PasswordHasher", partial(PasswordHasher, time_cost=1, memory_cost=64, parallelism=1)
        )
        monkeypatch.setattr(
            passwords, "NOBODY", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("x" * 40)
        )
        monkeypatch.setattr(live, "ASK_AGAIN_EVERY", 1)


async def test_an_unknown_user_costs_the_true_cost_of_a_password() -> None:
    made = await passwords.hash_password(PASSWORD, CapacityLimiter(1))
    assert made.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert made.rsplit("$", 2)[0] == passwords.NOBODY.rsplit("$", 2)[0]


def every_page() -> list[tuple[str, str, str, str]]:
    """(method, path with its places filled, lowest role, kind of form) of every page."""
    found = []
    for route in list_pages():
        path = route.path_format
        for name in route.param_convertors:
            path = path.replace("{" + name + "}", PLACES.get(name, "1"))
        rule = rule_of(route)
        found.extend((method, path, rule.role, rule.form) for method in sorted(route.methods or ()))
    return found


def post_forms() -> list[tuple[str, str, str]]:
    """(path, role, kind) of what takes a form from whoever is signed in."""
    return [(path, role, form) for method, path, role, form in every_page() if method == "POST" and role != "anybody"]


async def test_only_signing_in_is_open_to_everybody() -> None:
    assert {route.path for route in list_pages() if rule_of(route).role == "anybody"} == OPEN
    assert all(method in ("GET", "POST") for method, *_ in every_page())


async def test_each_page_is_refused_to_strangers_and_lower_roles(start_api: StartApi, dsn: str) -> None:
    api = await start_api({"API_KEY": "invented-key"})
    stranger = Visitor(api)
    visitors = {role: let_in(api, dsn, role) for role in ROLES}
    for method, path, needed, _ in every_page():
        if needed == "anybody":
            continue
        answer = await stranger.call(method, path)
        assert (answer.status, answer.headers["Location"].split("?")[0]) == (303, "/ui/login"), (method, path)
        keyed = await stranger.call(method, path, headers={"X-API-Key": "invented-key"})
        assert keyed.status == 303, "a key of the API opens no page"
        for role, visitor in visitors.items():
            if path == "/ui/logout" or ROLES.index(role) >= ROLES.index(needed):
                continue
            refused = await visitor.call(method, path)
            assert refused.status == 403, (method, path, role)
            assert f"needs the role {needed}" in refused.text
            for header, value in SECURITY_HEADERS:
                assert refused.headers.getall(header.decode()) == [value.decode()]


async def test_each_form_is_refused_without_its_own_token(api: Api, dsn: str) -> None:
    visitor, other = let_in(api, dsn, "admin"), let_in(api, dsn, "admin", name="the.other")
    good = make_token(visitor.secret, "/ui/pause")
    assert len(post_forms()) >= 6
    for path, _, form in post_forms():
        # In the query for an upload, in the form otherwise.
        async def send(
            token: str | None, headers: dict[str, str] | None = None, path: str = path, form: str = form
        ) -> int:
            if form == "upload":
                query = "" if token is None else f"?{TOKEN}={token}"
                return (await visitor.call("POST", path + query, data=b"", headers=headers or {})).status
            return (await visitor.post(path, [] if token is None else [(TOKEN, token)], headers=headers or {})).status

        own = make_token(visitor.secret, path)
        assert await send(None) == 403, path
        assert await send("") == 403, path
        assert await send("é" * 40) == 403, path
        assert await send(own[:-8] + "AAAAAAA=") == 403, path
        assert await send(make_token(other.secret, path)) == 403, "of another session"
        if path != "/ui/pause":
            assert await send(good) == 403, "of another form"
        assert await send(own, {"Origin": "https://attacker.example.net"}) == 403, "from another site"
        assert await send(own, {"Origin": "null"}) == 403
        assert await send(own, {"Sec-Fetch-Site": "cross-site"}) == 403
        assert await send(own, {"Sec-Fetch-Site": "same-site"}) == 403
    plain = await visitor.call("POST", "/ui/pause", json={TOKEN: good})
    assert plain.status == 415, "JSON is no form"
    with psycopg.connect(dsn) as owner:
        assert owner.execute("select count(*) from jobsync.audit").fetchone() == (0,)
    fine = {"Origin": f"http://127.0.0.1:{api.port}", "Sec-Fetch-Site": "same-origin"}
    assert (await visitor.post("/ui/pause", [(TOKEN, good)], headers=fine)).status == 303


async def test_every_token_looks_different_and_all_of_them_work(api: Api, dsn: str) -> None:
    visitor = let_in(api, dsn)
    tokens = {read_token((await visitor.get("/ui/keys")).text, "/ui/pause") for _ in range(5)}
    assert len(tokens) == 5
    for token in tokens:
        assert (await visitor.post("/ui/pause", [(TOKEN, token)])).status == 303


async def test_the_first_account_is_made_by_a_link_that_works_once(api: Api, database: Database, dsn: str) -> None:
    older = await sign_in.make_first_link(database)
    key = await sign_in.make_first_link(database)
    visitor = Visitor(api)
    assert (await visitor.get(f"/ui/first?key={older}")).status == 403, "only the last link that was printed works"
    assert (await visitor.get("/ui/first?key=invented")).status == 403
    page = await visitor.get(f"/ui/first?key={key}")
    assert page.status == 200
    for fields, said in (
        ({"name": "ann", "password": "short", "again": "short"}, "at least 12"),
        ({"name": "ann", "password": PASSWORD, "again": PASSWORD + "x"}, "differ"),
        ({"name": "ann@example.com", "password": PASSWORD, "again": PASSWORD}, "no e-mail"),
    ):
        token = read_token(page.text, "/ui/first")
        answer = await visitor.post("/ui/first", [*fields.items(), ("key", key), (TOKEN, token)])
        assert (answer.status, said in answer.text) == (400, True)
    done = await visitor.post(
        "/ui/first",
        [
            ("name", "Ann"),
            ("password", PASSWORD),
            ("again", PASSWORD),
            ("key", key),
            (TOKEN, read_token(page.text, "/ui/first")),
        ],
    )
    assert (done.status, done.headers["Location"]) == (303, "/ui/")
    overview = await visitor.follow(done)
    assert (overview.status, "ann" in words(overview.text)) == (200, True)
    assert (await Visitor(api).get(f"/ui/first?key={key}")).status == 403
    assert await sign_in.make_first_link(database) is None, "somebody administers"
    with psycopg.connect(dsn) as owner:
        actions = [row[0] for row in owner.execute("select action from jobsync.audit order by id").fetchall()]
        assert actions == ["user_created", "signed_in"]
        stored = str(owner.execute("select * from jobsync.users, jobsync.sessions, jobsync.sign_in_links").fetchall())
    assert PASSWORD not in stored and str(key) not in stored and visitor.secret not in stored and "$argon2id$" in stored


async def test_the_link_of_the_demo_enters_again_and_again(api: Api, database: Database) -> None:
    key = await sign_in.make_demo_link(database)
    for _ in range(2):
        visitor = Visitor(api)
        answer = await visitor.get(f"/ui/first?key={key}")
        assert (answer.status, "url=/ui/" in answer.text) == (200, True)
        assert (await visitor.get("/ui/")).status == 200


async def make_ann(database: Database, role: str = "operator") -> None:
    made = await users.create_user(database, "default", "ann", role, actor="tests")
    await sign_in.set_password_by_link(database, made["key"], "", PASSWORD, limiter=CapacityLimiter(1))


async def login(visitor: Visitor, name: str, password: str, next: str = "/ui/") -> int:
    page = await visitor.get("/ui/login")
    fields = [("name", name), ("password", password), ("next", next), (TOKEN, read_token(page.text, "/ui/login"))]
    return (await visitor.post("/ui/login", fields)).status


async def test_a_session_set_from_outside_is_not_taken_over_at_sign_in(api: Api, database: Database) -> None:
    await make_ann(database)
    fixed = "attackers-choice-of-a-session-secret-000000"
    visitor = Visitor(api, {f"jobsync_{api.port}": fixed})
    assert await login(visitor, "ann", PASSWORD) == 303
    first = visitor.secret
    assert first != fixed
    assert (await Visitor(api, {f"jobsync_{api.port}": fixed}).get("/ui/")).status == 303
    # Signing in anew ends the session before.
    visitor.cookies["kept"] = "x"
    page = await visitor.get("/ui/login")
    assert page.status == 303, "who is signed in goes on"
    again = Visitor(api, {f"jobsync_{api.port}": first})
    token = make_token(first, "/ui/login")
    answer = await again.post("/ui/login", [("name", "ann"), ("password", PASSWORD), (TOKEN, token)])
    assert answer.status == 303 and again.secret != first
    assert (await Visitor(api, {f"jobsync_{api.port}": first}).get("/ui/")).status == 303


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(api: Api, database: Database) -> None:
    await make_ann(database)
    for headers, name, secure in (
        ({}, f"jobsync_{api.port}", False),
        ({"X-Forwarded-Proto": "https", "Host": "jobs.example.com"}, "__Host-jobsync", True),
    ):
        visitor = Visitor(api, headers=headers)
        page = await visitor.get("/ui/login")
        fields = [("name", "ann"), ("password", PASSWORD), (TOKEN, read_token(page.text, "/ui/login"))]
        answer = await visitor.post("/ui/login", fields)
        line = next(line for line in answer.headers.getall("Set-Cookie") if line.startswith(name + "="))
        parts = {part.strip().lower() for part in line.split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/"} <= parts and ("secure" in parts) is secure
        assert not any(part.startswith("domain") for part in parts)


async def test_no_password_is_asked_for_over_an_open_line(api: Api, database: Database) -> None:
    key = await sign_in.make_first_link(database)
    visitor = Visitor(api, headers={"Host": f"192.0.2.7:{api.port}"})
    page = await visitor.get("/ui/login")
    assert (page.status, 'type="password"' in page.text, "ssh -L" in page.text) == (200, False, True)
    assert (await visitor.get(f"/ui/first?key={key}")).status == 403
    token = make_token(visitor.cookies[f"jobsync_visit_{api.port}"], "/ui/login")
    refused = await visitor.post("/ui/login", [("name", "ann"), ("password", PASSWORD), (TOKEN, token)])
    assert (refused.status, "not encrypted" in refused.text) == (403, True)


async def test_ten_failures_lock_a_name_for_an_address_and_nobody_else(database: Database, dsn: str) -> None:
    await make_ann(database)
    limiter = CapacityLimiter(2)

    async def attempt(name: str, password: str, address: str = "192.0.2.1") -> tuple[int, str]:
        try:
            await sign_in.sign_in(database, name, password, address, limiter=limiter)
        except CallRefused as error:
            return error.http_status, error.message
        return 200, ""

    known = [await attempt("ann", "wrong") for _ in range(10)]
    unknown = [await attempt("nobody", "wrong") for _ in range(10)]
    assert known == unknown == [(401, "Name or password is wrong.")] * 10
    assert (
        await attempt("ann", PASSWORD)
        == await attempt("nobody", PASSWORD)
        == (429, "There were too many tries to sign in.")
    )
    assert (await attempt("ann", PASSWORD, "192.0.2.2"))[0] == 200, "from elsewhere the user comes in"
    move_clock(dsn, "14 minutes")
    assert (await attempt("ann", PASSWORD))[0] == 429
    move_clock(dsn, "2 minutes")
    assert (await attempt("ann", PASSWORD))[0] == 200
    assert (await attempt("ann", "wrong"))[0] == 401, "counted from the beginning"
    with psycopg.connect(dsn) as owner:
        locked = owner.execute("select subject from jobsync.audit where action = 'sign_in_locked'").fetchall()
        assert locked == [("user:ann",)]
        assert "192.0.2" not in str(owner.execute("select * from jobsync.sign_in_failures").fetchall())


async def test_a_spray_over_many_names_ends_at_a_hundred_whatever_comes_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0

    async def never(*_: object) -> bool:
        nonlocal looked
        looked += 1
        return False

    monkeypatch.setattr(sign_in, "is_password", never)
    answers: list[int] = []

    async def attempt(number: int) -> None:
        try:
            await sign_in.sign_in(database, f"user{number}", "Spring2026!", "192.0.2.1", limiter=CapacityLimiter(1))
        except CallRefused as error:
            answers.append(error.http_status)

    for start in range(0, 300, 50):
        async with anyio.create_task_group() as group:
            for number in range(start, start + 50):
                group.start_soon(attempt, number)
    assert (looked, answers.count(401), answers.count(429)) == (100, 100, 200)


async def test_signing_out_ends_the_session_on_the_server(api: Api, dsn: str) -> None:
    visitor = let_in(api, dsn, "viewer")
    kept = dict(visitor.cookies)
    assert (await visitor.get("/ui/")).status == 200
    answer = await visitor.send("/ui/logout")
    assert (answer.status, visitor.secret) == (303, "")
    assert (await Visitor(api, kept).get("/ui/")).status == 303
    with psycopg.connect(dsn) as owner:
        assert owner.execute("select count(*) from jobsync.sessions").fetchone() == (0,)
        assert owner.execute("select actor, action from jobsync.audit").fetchall() == [
            ("user:the.viewer", "signed_out")
        ]


async def test_a_session_ends_after_twelve_hours_without_a_page(api: Api, dsn: str) -> None:
    visitor = let_in(api, dsn, "viewer")
    for _ in range(2):
        move_clock(dsn, "11 hours 50 minutes")
        assert (await visitor.get("/ui/")).status == 200
    move_clock(dsn, "12 hours 5 minutes")
    assert (await visitor.get("/ui/")).status == 303


async def test_whoever_uses_it_all_the_time_signs_in_anew_after_a_week(api: Api, dsn: str) -> None:
    visitor = let_in(api, dsn, "viewer")
    for _ in range(15):
        assert (await visitor.get("/ui/")).status == 200
        move_clock(dsn, "11 hours 30 minutes")
    assert (await visitor.get("/ui/")).status == 303


async def test_a_user_who_is_switched_off_is_out_at_once_and_the_last_administrator_stays(
    api: Api, database: Database, dsn: str
) -> None:
    visitor, boss = let_in(api, dsn, "operator"), let_in(api, dsn, "admin")
    listed = {row["name"]: row for row in await users.list_users(database, "default")}
    await users.set_role(database, "default", listed["the.operator"]["id"], "viewer", actor="tests")
    assert (await visitor.send("/ui/pause")).status == 403
    await users.disable_user(database, "default", listed["the.operator"]["id"], actor="tests")
    assert (await visitor.get("/ui/")).status == 303
    for act in (users.disable_user(database, "default", listed["the.admin"]["id"], actor="tests"),
                users.set_role(database, "default", listed["the.admin"]["id"], "viewer", actor="tests")):  # fmt: skip
        with pytest.raises(InvalidInput, match="last administrator"):
            await act
    assert (await boss.get("/ui/")).status == 200
    with pytest.raises(InvalidInput, match="taken"):
        await users.create_user(database, "default", "The.Admin", "viewer", actor="tests")


async def test_a_reset_password_ends_sessions_and_the_link_makes_a_new_one(api: Api, database: Database) -> None:
    await make_ann(database)
    visitor = Visitor(api)
    assert await login(visitor, "ANN ", PASSWORD) == 303
    (ann,) = await users.list_users(database, "default")
    key = (await users.reset_password(database, "default", ann["id"], actor="tests"))["key"]
    assert (await visitor.get("/ui/")).status == 303
    assert await login(Visitor(api), "ann", PASSWORD) == 401
    fresh = Visitor(api)
    page = await fresh.get(f"/ui/first?key={key}")
    fields = [("key", key), ("password", "another long sentence"), ("again", "another long sentence")]
    answer = await fresh.post("/ui/first", [*fields, (TOKEN, read_token(page.text, "/ui/first"))])
    assert answer.status == 303
    assert (await fresh.get("/ui/")).status == 200


async def test_after_signing_in_nobody_is_sent_to_another_site(api: Api, database: Database) -> None:
    await make_ann(database)
    for wish, place in (
        ("/ui/jobs?q=x", "/ui/jobs?q=x"), ("//attacker.example.net", "/ui/"), ("https://attacker.example.net/ui/", "/ui/"),
        ("/ui/\\attacker.example.net", "/ui/"), ("/\\attacker.example.net", "/ui/"), ("/admin/status", "/ui/"), ("/ui/\r\nSet-Cookie: x=1", "/ui/"),
    ):  # fmt: skip
        visitor = Visitor(api)
        page = await visitor.get("/ui/login")
        fields = [("name", "ann"), ("password", PASSWORD), ("next", wish), (TOKEN, read_token(page.text, "/ui/login"))]
        answer = await visitor.post("/ui/login", fields)
        assert (answer.status, answer.headers["Location"]) == (303, place), wish


async def test_a_link_from_elsewhere_is_asked_for_once_more_from_here(api: Api, dsn: str) -> None:
    """A Strict cookie stays away when a link on another site is followed: without this, one would seem signed out."""
    visitor = let_in(api, dsn, "viewer")
    stranger = Visitor(api, headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})
    page = await stranger.get("/ui/jobs?q=%22%3E%3Cscript%3E")
    assert page.status == 200
    target = re.search(r'content="0;url=([^"]+)"', page.text)
    assert target is not None and "<script" not in page.text
    assert (await visitor.get("/ui/")).status == 200


async def test_styles_and_scripts_are_kept_by_the_browser_and_their_addresses_change_with_them(api: Api) -> None:
    page = await Visitor(api).get("/ui/login")
    sheet = re.search(r'href="(/ui/assets/[0-9a-f]+/app\.css)"', page.text)
    assert sheet is not None
    answer = await Visitor(api).get(sheet[1])
    assert answer.status == 200
    assert answer.headers.getall("Cache-Control") == ["public, max-age=31536000, immutable"]
    assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]
    assert (await Visitor(api).get(sheet[1].replace("app.css", "nothing.css"))).headers["Cache-Control"] == "no-store"


async def test_the_events_of_the_tenant_come_to_a_session_and_stop_with_it(api: Api, dsn: str) -> None:
    visitor = let_in(api, dsn, "viewer")
    boss = let_in(api, dsn, "admin")
    headers = {"Cookie": f"jobsync_{api.port}={visitor.secret}"}
    with anyio.fail_after(60):
        async with api.http.get(api.url + "/ui/events", headers=headers) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            await answer.content.readuntil(b"\n\n")
            await boss.send("/ui/pause")
            text = b""
            while b"event: audit" not in text:
                text += await answer.content.readline()
            await visitor.send("/ui/logout")
            while await answer.content.readline():
                pass
