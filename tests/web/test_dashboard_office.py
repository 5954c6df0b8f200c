"""Routing, contacts, health, settings, import, API & SQL: what they show, change, and never give away. Without JavaScript."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import psycopg
import pytest

from jobsync.intake.asked import do_asked_import
from jobsync.web.dashboard.form_tokens import make_token
from tests.sql.story import SALES, committed, job
from tests.web.conftest import Answer, Api, StartApi
from tests.web.visitor import TOKEN, Visitor, let_in, read_token, words

pytestmark = pytest.mark.anyio
HOOK = "https://127.0.0.1:9/hooks/made-up-secret-hook-77aa"


def fields_of(page: str, action: str) -> dict[str, str]:
    """The hidden fields of the form that is sent to `action`, as a browser would send them."""
    form = re.search(rf'(?s)<form method="post" action="{re.escape(action)}".*?</form>', page)
    assert form is not None
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form[0])
    return {name: value for name, value in found if name != TOKEN}


async def done(visitor: Visitor, answer: Answer) -> str:
    """The words of the page that an act leads to."""
    return words((await visitor.follow(answer)).text)


async def test_a_unit_is_routed_after_its_effect_was_shown_and_the_hook_is_not_shown_again(
    start_api: StartApi, dsn: str
) -> None:
    api = await start_api({"JOBSYNC_ALLOW_HOSTS": "127.0.0.1"})
    ann = let_in(api, dsn)
    place = "/ui/routing/units/1314"
    assert "needs a route" in words((await ann.get("/ui/routing")).text)
    form = {"route": "webhook", "webhook": HOOK, "events": "created"}
    preview = await ann.send(f"{place}/preview", form)
    told = words(preview.text)
    assert preview.status == 200
    for fact in ("Jobs that will wait to be sent 0", "Paid workflow triggers, up to 0", "Cost of the triggers 0.00"):
        assert fact in told
    assert "needs a route" in words((await ann.get("/ui/routing")).text)
    assert "...77aa" in await done(ann, await ann.send(place, fields_of(preview.text, place)))
    for path in ("/ui/routing", place, "/ui/settings/audit", "/ui/routing/routes.yaml"):
        assert "made-up-secret-hook" not in (await ann.get(path)).text
    # An empty field keeps the hook; a route without one is refused in words.
    assert "each change" in await done(ann, await ann.send(place, {**form, "webhook": "", "events": "all"}))
    refused = await ann.send("/ui/routing/units/4622/preview", {**form, "webhook": ""})
    assert (refused.status, "The hook's URL is missing" in refused.text.replace("&#39;", "'")) == (400, True)
    viewer = let_in(api, dsn, "viewer")
    shown = await viewer.get("/ui/routing")
    assert shown.status == 200 and "Change" not in words(shown.text)


async def test_a_rule_is_tried_saved_written_out_read_in_and_undone(api: Api, dsn: str) -> None:
    ann = let_in(api, dsn)
    form = {"name": "Done is won", "event": "completed", "status": "won", "days": "30", "units": "Install", "was": ""}
    tried = await ann.send("/ui/routing/rules/try", form)
    assert tried.status == 200 and "On your own jobs of the last 30 days" in words(tried.text)
    wrong = await ann.send("/ui/routing/rules/try", {**form, "units": "Instal"})
    assert wrong.status == 400 and "Nearest: Install" in words(wrong.text)
    assert 'value="Done is won"' in wrong.text
    kept = fields_of(tried.text, "/ui/routing/rules/save")
    saved = await ann.send(
        "/ui/routing/rules/save", {name: value.replace("&#34;", '"') for name, value in kept.items()}
    )
    assert "Rule saved" in await done(ann, saved)
    text = (await ann.get("/ui/routing/routes.yaml")).text
    assert "Done is won" in text
    assert "Done is won removed" in await done(ann, await ann.send("/ui/routing/rules/remove", {"name": "Done is won"}))
    shown = await ann.send("/ui/routing/import/preview", {"text": text})
    assert "Rules that are set 1: Done is won" in words(shown.text)
    assert "1 rules set" in await done(ann, await ann.send("/ui/routing/import", {"text": text}))
    page = (await ann.get("/ui/routing")).text
    undo = re.findall(r'href="(/ui/routing/undo/\d+)"', page)
    assert len(undo) == 3
    read_token((await ann.get(undo[0])).text, undo[0])
    assert "There are no rules" in await done(ann, await ann.send(undo[0]))


async def test_a_token_and_a_link_are_shown_once(api: Api, dsn: str) -> None:
    ann = let_in(api, dsn)
    made = await ann.send(
        "/ui/settings/tokens/add", [("name", "n8n"), ("scopes", "read"), ("scopes", "replay"), ("days", "90")]
    )
    token = re.search(r"js_[a-z0-9]+_[A-Za-z0-9_-]+", made.text)
    assert token is not None
    assert (await api.get("/db/sync-state", headers={"X-API-Key": token[0]})).status == 200
    page = (await ann.get("/ui/settings/tokens")).text
    assert token[0] not in page and "read, replay" in words(page)
    name = token[0].split("_")[1]
    assert "cannot be undone" in words((await ann.get(f"/ui/settings/tokens/{name}/revoke")).text)
    assert "is revoked" in await done(ann, await ann.send(f"/ui/settings/tokens/{name}/revoke"))

    added = await ann.send("/ui/settings/users/add", {"name": "bob", "role": "viewer"})
    link = re.search(r"/ui/first\?key=[A-Za-z0-9_-]+", added.text)
    assert link is not None and link[0] not in (await ann.get("/ui/settings/users")).text
    opened = await Visitor(api).get(link[0])
    assert opened.status == 200 and "You are bob" in words(opened.text)
    with psycopg.connect(dsn) as owner:
        bob = owner.execute("select id from jobsync.users where name = 'bob'").fetchone()
    assert bob is not None
    assert "bob is operator now" in await done(
        ann, await ann.send(f"/ui/settings/users/{bob[0]}/role", {"role": "operator"})
    )
    assert "bob is switched off" in await done(ann, await ann.send(f"/ui/settings/users/{bob[0]}/disable"))
    assert (await Visitor(api).get(link[0])).status >= 400


async def test_caps_are_set_and_the_audit_is_read_by_key(api: Api, dsn: str) -> None:
    ann = let_in(api, dsn)
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(
            "select jobsync.write_audit('default', 'a test', 'looked', 'job:' || n, '{\"n\": 1}') from generate_series(1, 70) n"
        )
    assert "Saved" in await done(ann, await ann.send("/ui/settings/limits", {"cap_hour": "7", "price": "0.02"}))
    page = (await ann.get("/ui/settings")).text
    assert 'value="7"' in page and 'value="0.02"' in page and "not connected" in words(page)
    assert (await ann.send("/ui/settings/limits", {"price": "dear"})).status == 400
    first = (await ann.get("/ui/settings/audit")).text
    assert "limits set" in words(first) and "job:70" in first and "job:1<" not in first
    older = re.search(r'href="(/ui/settings/audit\?before=\d+)"', first)
    assert older is not None
    assert "job:1<" in (await ann.get(older[1])).text


async def test_health_shows_what_is_wrong_and_what_the_digest_would_say(api: Api, dsn: str) -> None:
    ann = let_in(api, dsn)
    told = words((await ann.get("/ui/health")).text)
    for part in ("no worker is running", "PostgreSQL", "Largest tables", "In 24 hours: 0 pulls", "Nobody yet"):
        assert part in told
    url = "json://127.0.0.1:9/made-up-channel"
    added = await done(ann, await ann.send("/ui/health/channels/add", {"url": url}))
    assert "Added json:" in added and "made-up-channel" not in added
    assert "Refused by json:" in await done(ann, await ann.send("/ui/health/channels/test"))
    form = {"time_zone": "America/Phoenix", "quiet": "22:00-07:00", "digest": "06:30"}
    assert "Saved" in await done(ann, await ann.send("/ui/health/alerts/settings", form))
    assert 'value="22:00-07:00"' in (await ann.get("/ui/health")).text
    assert (await ann.send("/ui/health/alerts/settings", {**form, "time_zone": "Mars/Olympus"})).status == 400


async def test_who_cannot_be_reached_is_listed_and_written_as_a_sheet(api: Api, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(
            "insert into customers (st_customer_id, first_name, last_name, contacts_read_at) "
            "select n, '=Ada', 'No ' || n, jobsync.now() from generate_series(1, 60) n"
        )
    ann = let_in(api, dsn, "viewer")
    first = (await ann.get("/ui/contacts?view=unreachable")).text
    assert "No 50" in first and "No 51" not in first
    after = re.search(r'href="(/ui/contacts\?view=unreachable&amp;after=50)"', first)
    assert after is not None
    assert "No 60" in (await ann.get(after[1].replace("&amp;", "&"))).text
    sheet = await ann.get("/ui/contacts/office.csv")
    assert sheet.headers["Content-Type"].startswith("text/csv")
    assert len(sheet.text.splitlines()) == 61 and "'=Ada No 1" in sheet.text
    assert "Nothing waits" in words((await ann.get("/ui/contacts")).text)


async def test_a_shared_contact_is_decided_by_an_operator_who_is_told_what_goes_out(api: Api, dsn: str) -> None:
    with committed(dsn) as told:
        told.page({"id": SALES, "name": "Sales & Service", "active": True}, stream="business_units")
        told.parents(7, 8, 9)
        told.hook(SALES, kind="api")
        told.live()
        told.page(*(job(n, customerId=600 + min(n, 8), locationId=700 + n) for n in (7, 8, 9)))
        told.owner("delete from jobsync.outbox")
        told.owner("update jobs set ghl_sync_status = 'skipped', ghl_sync_reason = 'shared_contact'")
        for number, reason, other in ((607, "shared", 600), (608, "shared", 600), (609, "split", None)):
            told.owner(
                "select jobsync.review_contact('default', (select id from jobsync.destinations), %s, 'con-1', %s, %s, null, 7)",
                number, reason, other,
            )  # fmt: skip
        told.connection.commit()

        def statuses() -> list[tuple[int, str]]:
            rows = told.owner("select st_job_id, ghl_sync_status from jobs order by 1")
            return [(row["st_job_id"], row["ghl_sync_status"]) for row in rows]

        viewer = let_in(api, dsn, "viewer")
        seen = words((await viewer.get("/ui/contacts")).text)
        assert seen.count("waits for an operator") == 2 and "merge them in GoHighLevel" in seen
        assert (await viewer.send("/ui/contacts/608/decide", {"decision": "share"})).status == 403

        ann = let_in(api, dsn, "operator")
        assert "/ui/contacts/608/decide?decision=share" in (await ann.get("/ui/contacts")).text
        asked = words((await ann.get("/ui/contacts/608/decide?decision=share")).text)
        assert "Use it and send 2 jobs" in asked and "GoHighLevel requests, at most 8" in asked
        left = words((await ann.get("/ui/contacts/607/decide?decision=skip")).text)
        assert "Nothing of this customer is sent until you decide otherwise." in left and "at most 0" in left
        assert statuses() == [(7, "skipped"), (8, "skipped"), (9, "skipped")], "asking decides nothing"

        assert (await ann.send("/ui/contacts/608/decide", {"decision": "merge"})).status == 400
        assert (await ann.send("/ui/contacts/609/decide", {"decision": "share"})).status == 404
        shared = await done(ann, await ann.send("/ui/contacts/608/decide", {"decision": "share"}))
        assert "Both use the contact; 2 jobs are planned." in shared
        assert "Left out" in await done(ann, await ann.send("/ui/contacts/607/decide", {"decision": "skip"}))
        assert statuses() == [(7, "skipped"), (8, "pending"), (9, "pending")]
        assert "Both use it" not in words((await ann.get("/ui/contacts")).text)
        assert "both use it user:the.operator" in words((await ann.get("/ui/contacts?decided=true")).text)


async def test_the_reference_calls_this_service_and_the_workflows_are_filled_with_its_address(
    api: Api, dsn: str
) -> None:
    ann = let_in(api, dsn, "viewer")
    page = await ann.get("/ui/api")
    told = words(page.text)
    assert f'curl -sS -H "X-API-Key: $JOBSYNC_TOKEN" {api.url}/db/sync-state' in told
    assert "jobsync.v_job_status" in told and "select * from public.jobs limit 20;" in told
    workflow = await ann.get("/ui/api/n8n/drain-pending.json")
    assert workflow.status == 200 and json.loads(workflow.text)["nodes"]
    assert (await ann.get("/ui/api/n8n/none.json")).status == 400


async def test_files_of_airtable_are_counted_written_compared_and_taken_back(api: Api, dsn: str, tmp_path: Any) -> None:
    ann = let_in(api, dsn)
    customers = "ST ID,First Name,Last Name,Phone\n9001,Ada,One,602-555-0101\n9002,Bob,Two,602-555-0102\nx,Bad,Id,\n"

    async def upload(**files: str) -> Answer:
        form = aiohttp.FormData()
        for name, text in files.items():
            form.add_field(name, text.encode(), filename=f"../{name}.csv", content_type="text/csv")
        token = make_token(ann.secret, "/ui/import/upload")
        return await ann.call("POST", f"/ui/import/upload?{TOKEN}={token}", data=form)

    async def by_worker(answer: Answer) -> str:
        """What the page says after a worker has done what was asked for."""
        waiting = words((await ann.follow(answer)).text)
        assert "You may leave this page" in waiting and "Write it" not in waiting
        await do_asked_import(api.app.state.web.engine, "default", answer.headers["Location"].rsplit("/", 1)[1])
        return words((await ann.get(answer.headers["Location"])).text)

    found = await upload(customers=customers)
    place = found.headers["Location"]
    assert "A worker counts what each row would do 0 of 3 rows" in words((await ann.get(place)).text)
    assert (await ann.send(f"{place}/apply")).status == 409, "while a worker is at it"
    told = await by_worker(found)
    assert "Counted; nothing was written yet." in told and "customers.csv" in told
    with psycopg.connect(dsn) as owner:
        assert owner.execute("select count(*) from customers").fetchone() == (0,)
    assert not list(tmp_path.rglob("uploads/*/*"))
    sheet = await ann.get(f"{place}/files/errors-customers.csv")
    assert sheet.status == 200 and "bad_id" in sheet.text
    asked = words((await ann.get(f"{place}/apply")).text)
    assert "Import 2 records" in asked and "Paid workflow triggers 0" in asked
    assert (await ann.send(f"{place}/undo")).status == 400, "nothing was written"
    written = await by_worker(await ann.send(f"{place}/apply"))
    assert "Safe to retire Airtable:" in written
    assert (await ann.get(f"{place}/files/reconciliation.html")).headers["Content-Disposition"].startswith("attachment")
    with psycopg.connect(dsn) as owner:
        assert owner.execute("select count(*) from customers").fetchone() == (2,)
        run = owner.execute("select status, records_processed from sync_logs where sync_type = 'import'").fetchone()
    assert run == ("completed", 3)
    await by_worker(await ann.send(f"{place}/reconcile"))
    assert "Taken back" in await by_worker(await ann.send(f"{place}/undo"))
    with psycopg.connect(dsn) as owner:
        assert owner.execute("select count(*) from customers").fetchone() == (0,)
    assert (await upload()).status == 400
    assert (await let_in(api, dsn, "operator").get("/ui/import")).status == 200
