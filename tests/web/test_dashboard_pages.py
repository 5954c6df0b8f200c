"""The pages of the dashboard: each shows what is there, works without a script, stays light, and lets no stranger's text act."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest
from psycopg.types.json import Jsonb

from jobsync.db import pool, queries
from jobsync.web.dashboard.assets import read_asset
from jobsync.web.dashboard.visits import rule_of
from tests.sql.story import POOL, SALES, Story, committed, customer, job
from tests.web.conftest import Api, list_pages
from tests.web.visitor import let_in, words

pytestmark = pytest.mark.anyio

RUN = "11111111-1111-1111-1111-111111111111"
HEAVIEST = 150_000
# 40 ways to be a script, as names, texts and attributes.
PAYLOADS = (
    "<script>alert(1)</script>", "<ScRiPt>alert(1)</sCrIpT>", "<script src=//x.test></script>", "<script\n>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "<img/src=x/onerror=alert(1)>", "<svg onload=alert(1)>", "<svg><script>alert(1)</script></svg>",
    "<body onload=alert(1)>", "<iframe src=javascript:alert(1)>", "<iframe srcdoc='<script>alert(1)</script>'>", "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>", "<a href=javascript:alert(1)>x</a>", "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<form action=javascript:alert(1)><input type=submit>", "<button formaction=javascript:alert(1)>x</button>", "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>", "<audio src=x onerror=alert(1)>", "<input autofocus onfocus=alert(1)>", "<select autofocus onfocus=alert(1)>",
    "<textarea autofocus onfocus=alert(1)>", "<marquee onstart=alert(1)>", "<math><mi xlink:href=javascript:alert(1)>x</mi></math>",
    "<base href=//x.test/>", "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>", "<link rel=stylesheet href=//x.test/x.css>",
    "<style>*{background:url(//x.test)}</style>", "\"><script>alert(1)</script>", "'><script>alert(1)</script>", "\" onmouseover=\"alert(1)",
    "' onmouseover='alert(1)", "</td></tr><script>alert(1)</script>", "</title><script>alert(1)</script>", "</textarea><script>alert(1)</script>",
    "{{7*7}}<script>alert(1)</script>", "{% raw %}<b hx-get=/ui/pause hx-trigger=load>x</b>", "<div hx-on::load=alert(1)>x</div>", "<!--><script>alert(1)</script>-->",
)  # fmt: skip


@pytest.fixture
def story(dsn: str) -> Iterator[Story]:
    """Sales delivered by a hook: jobs accepted, verified, refused, waiting; Pool without a route; runs of each kind."""
    with committed(dsn) as told:
        told.page(
            {"id": SALES, "name": "Sales & Service", "active": True},
            {"id": POOL, "name": "Pool", "active": True},
            stream="business_units",
        )
        told.parents(*range(1, 9))
        later = "2026-03-02T10:00:00Z"
        told.page(
            *(customer(600 + n, name=f"Ana Example{n}", modifiedOn=later) for n in range(1, 9)), stream="customers"
        )
        told.hook(SALES)
        told.live()
        told.page(
            *(
                job(n, customerId=600 + n, locationId=700 + n, jobNumber=f"40{n}", summary="<p>Pump is loud</p>")
                for n in range(1, 8)
            )
        )
        told.page(job(8, businessUnitId=POOL, customerId=608, locationId=708, jobNumber="408"))
        told.claim()
        told.finish("accepted", only=[1, 2])
        told.finish("rejected", only=[3, 4], error="phone is not valid")
        told.owner(
            "update jobs set ghl_verified_at = ghl_accepted_at, ghl_opportunity_id = 'opp-1' where st_job_id = 1"
        )
        told.value("select jobsync.open_pass('default', '{jobs}', 'schedule')")
        told.owner(
            "insert into sync_logs (id, sync_type, status, error_message, metadata) values (%s, 'job_pull', 'failed', 'ServiceTitan did not answer', %s)",
            RUN, Jsonb({"streams": {"jobs": {"status": "failed", "pulled": 3, "error": "ServiceTitan did not answer"}}}),
        )  # fmt: skip
        yield told


def paths() -> list[str]:
    """Every page that can be asked for, with its places filled."""
    found = []
    for route in list_pages():
        rule = rule_of(route)
        if (
            "GET" in (route.methods or ())
            and rule.role != "anybody"
            and route.path not in ("/ui/events", "/ui/{rest:path}")
        ):
            path = route.path_format.replace("{job}", "3").replace("{run}", RUN)
            if "{" not in path:
                found.append(path)
    return sorted(found)


class Tags(HTMLParser):
    """The tags of a page and their attributes, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def check_page(page: str, path: str) -> None:
    """What holds for each page: no inline script, no style attribute, nothing from elsewhere, every id once."""
    found = Tags()
    found.feed(page)
    for tag, attributes in found.seen:
        assert tag not in ("style", "iframe", "object", "embed", "base", "img", "b", "marquee", "video"), (path, tag)
        assert tag != "script" or (attributes.get("src") or "").startswith("/ui/assets/"), path
        for name, value in attributes.items():
            assert name != "style" and not name.startswith(("on", "hx-on")), (path, tag, name)
            if name in ("href", "src", "action", "formaction"):
                ours = re.match(r"(/|#|\?|https://(go\.servicetitan|app\.gohighlevel)\.com/)(?!/)", value or "")
                assert ours, (path, tag, value)
    ids = [attributes["id"] for _, attributes in found.seen if "id" in attributes]
    assert len(ids) == len(set(ids)), (path, [one for one in ids if ids.count(one) > 1])
    assert [tag for tag, _ in found.seen].count("h1") == 1, path
    assert '<html lang="en"' in page and "<title>" in page, path


async def test_every_page_shows_itself_without_a_script_and_leads_nowhere_that_is_not_there(
    api: Api, dsn: str, story: Story
) -> None:
    boss = let_in(api, dsn, "admin", all_tenants=True)
    reader = let_in(api, dsn, "viewer")
    seen: set[str] = set()
    todo = [*paths(), "/ui/jobs?status=failed&reason=rejected", "/ui/jobs/1", "/ui/jobs/replay?status=failed"]
    assert len(todo) >= 9
    while todo:
        path = todo.pop()
        if path.split("#")[0] in seen or len(seen) > 150:
            continue
        seen.add(path.split("#")[0])
        page = await boss.get(path)
        known_refusal = path.startswith("/ui/jobs/replay") and "?" not in path
        assert page.status in ((400,) if known_refusal else (200, 303)), (path, page.status, words(page.text)[:300])
        if page.status == 200 and page.headers["Content-Type"].startswith("text/html"):
            check_page(page.text, path)
            for link in re.findall(r'<a\b[^>]*\shref="([^"]+)"', page.text):
                target = urljoin(path, unescape(link)).split("#")[0]
                if target.startswith("/ui/") and target.count("?") <= 1:
                    todo.append(target)
    for path in paths():
        page = await reader.get(path)
        assert page.status in (200, 303, 400, 403), path
        if page.status == 200 and page.headers["Content-Type"].startswith("text/html"):
            check_page(page.text, path)
            acts = re.findall(r'method="post" action="([^"]+)"', page.text)
            assert set(acts) <= {"/ui/look", "/ui/logout"}, "a viewer is offered no act"


async def test_the_overview_says_where_everything_stands_in_under_twelve_questions(
    api: Api, dsn: str, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = let_in(api, dsn, "operator")
    await visitor.get("/ui/keys")
    asked: list[str] = []

    def count(name: str) -> str:
        asked.append(name)
        return queries.get_query(name)

    monkeypatch.setattr(pool, "get_query", count)
    page = await visitor.get("/ui/")
    asked = [name for name in asked if not name.startswith(("begin", "limit_statements"))]
    assert page.status == 200 and 5 < len(asked) < 12, asked
    text = words(page.text)
    assert "Live; 3 jobs need you" in text
    assert "GoHighLevel refused jobs 2" in text and "Business units without a route 1" in text
    assert "verified 1" in text and "accepted 1" in text and "failed 2" in text
    assert "Sales & Service 1 1 3 ▲ 2 JobSync" in text


async def test_what_needs_a_person_is_grouped_with_its_fix(api: Api, dsn: str, story: Story) -> None:
    visitor = let_in(api, dsn, "operator")
    page = await visitor.get("/ui/needs-you")
    text = words(page.text)
    assert "■ Business units without a route 1" in text and "▲ GoHighLevel refused jobs 2" in text
    assert "/ui/jobs/replay?status=failed&amp;reason=rejected" in page.text
    sheet = await visitor.get("/ui/needs-you?format=csv")
    assert sheet.headers["Content-Type"].startswith("text/csv")
    assert sheet.text.splitlines()[0] == "cause,title,count,first,last,sample,units,why,fix"
    assert "rejected,GoHighLevel refused jobs,2," in sheet.text


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [8, 7, 6, 5, 4, 3, 2, 1]), ("?status=failed", [3, 4]), ("?status=failed&reason=rejected&unit=1314", [3, 4]), ("?status=synced", [2, 1]),
        ("?status=skipped", [8]), ("?status=pending", [5, 6, 7]), (f"?unit={POOL}", [8]), ("?status=unverified", []), ("?q=ana example5", [5]), ("?q=no such one", []),
    ],
)  # fmt: skip
async def test_jobs_are_found_by_state_cause_unit_and_words(
    api: Api, dsn: str, story: Story, query: str, numbers: list[int]
) -> None:
    page = await let_in(api, dsn, "viewer").get("/ui/jobs" + query)
    found = [int(one) for one in re.findall(r'<th scope="row"[^>]*><a href="/ui/jobs/(\d+)">', page.text)]
    assert page.status == 200 and sorted(found) == sorted(numbers)


async def test_what_is_surely_one_job_is_opened_at_once(api: Api, dsn: str, story: Story) -> None:
    visitor = let_in(api, dsn, "viewer")
    for text in ("403", "3"):
        answer = await visitor.get(f"/ui/jobs?q={text}")
        assert (answer.status, answer.headers.get("Location")) == (303, "/ui/jobs/3")


@pytest.mark.parametrize("query", ["", "?status=pending", f"?unit={SALES}", "?status=synced"])
async def test_a_long_list_is_read_page_by_page_with_nothing_twice_and_nothing_left_out(
    api: Api, dsn: str, story: Story, query: str
) -> None:
    synced = "'synced'" if "synced" in query else "'pending'"
    story.owner(
        f"insert into jobs (st_job_id, business_unit_id, ghl_sync_status, created_on, st_raw_data) "
        f"select 1000 + n, {SALES}, {synced}, now() - (n / 7) * interval '1 hour', '{{}}' from generate_series(1, 130) n"
    )
    visitor, path, found = let_in(api, dsn, "viewer"), "/ui/jobs" + query, []
    for _ in range(6):
        page = await visitor.get(path)
        found += [int(one) for one in re.findall(r'<th scope="row"[^>]*><a href="/ui/jobs/(\d+)">', page.text)]
        following = re.search(r'href="([^"]+)" rel="next"', page.text)
        if following is None:
            break
        path = unescape(following[1])
    assert len(found) == len(set(found)) and set(range(1001, 1131)) <= set(found)


async def test_one_job_tells_both_sides_what_happened_why_and_what_to_press(api: Api, dsn: str, story: Story) -> None:
    visitor = let_in(api, dsn, "operator")
    text = words((await visitor.get("/ui/jobs/3")).text)
    assert "▲ failed" in text and "The hook refused it." in text and "phone is not valid" in text
    assert "Booked in ServiceTitan" in text and "Sent, version 1 (created)" in text and "Pump is loud" in text
    story.page(
        job(
            1,
            customerId=601,
            locationId=701,
            jobNumber="401",
            jobStatus="Completed",
            modifiedOn="2026-03-05T10:00:00Z",
            summary="<p>Pump is loud</p>",
        )
    )
    page = await visitor.get("/ui/jobs/1")
    assert re.search(r'class="differs"><th scope="row" data-th="Field">Status', page.text)
    assert (await visitor.get("/ui/jobs/999")).status == 404
    assert (await visitor.get("/ui/jobs/abc")).status == 400


async def test_a_run_tells_its_streams_and_its_error(api: Api, dsn: str, story: Story) -> None:
    visitor = let_in(api, dsn, "viewer")
    text = words((await visitor.get("/ui/runs")).text)
    assert "Pull" in text and "◐ running" in text and "ServiceTitan did not answer" in text
    assert "1" in words((await visitor.get("/ui/runs?status=failed")).text)
    one = words((await visitor.get(f"/ui/runs/{RUN}")).text)
    assert "jobs ▲ failed 3" in one
    assert (await visitor.get("/ui/runs/22222222-2222-2222-2222-222222222222")).status == 404


async def test_forty_payloads_in_every_field_stay_text(api: Api, dsn: str, story: Story) -> None:
    assert len(set(PAYLOADS)) == 40
    for number, payload in enumerate(PAYLOADS):
        story.owner(
            "insert into customers (st_customer_id, first_name, last_name, company_name, email, phone, street, city, st_raw_data) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s, '{}')", 5000 + number, *([payload] * 7),
        )  # fmt: skip
        story.owner(
            "insert into jobs (st_job_id, st_job_number, st_customer_id, business_unit_id, job_status, job_type_name, priority, summary, ghl_sync_status, "
            "ghl_sync_reason, ghl_sync_error, ghl_opportunity_id, created_on, st_raw_data) values (%s, %s, %s, 1314, %s, %s, %s, %s, 'failed', %s, %s, %s, now(), '{}')",
            5000 + number, payload, 5000 + number, payload, payload, payload, payload, payload[:50], payload, payload,
        )  # fmt: skip
        story.owner("insert into jobsync.audit (tenant_id, actor, action, subject, details) values ('default', %s, %s, %s, %s)", payload, payload, f"job:{5000 + number}", Jsonb({"reason": payload}))  # fmt: skip
        story.owner(
            "insert into sync_logs (sync_type, status, error_message, workflow_execution_id) values (%s, 'failed', %s, %s)",
            payload,
            payload,
            payload,
        )
    story.owner("update business_units set name = %s where st_business_unit_id = 1314", PAYLOADS[0])
    story.owner("update jobsync.tenants set name = %s, pause_reason = %s", PAYLOADS[29], PAYLOADS[4])
    visitor = let_in(api, dsn, "admin", all_tenants=True)
    stories = [f"/ui/jobs/{5000 + number}" for number in range(40)]
    for path in [
        *paths(),
        "/ui/jobs?status=failed",
        "/ui/jobs?q=%3Cscript%3Ealert(1)",
        "/ui/runs?type=%3Cscript%3E",
        *stories,
    ]:
        page = await visitor.get(path)
        if not page.headers["Content-Type"].startswith("text/html"):
            continue
        for payload in PAYLOADS:
            assert payload not in page.text, (path, payload)
        check_page(page.text, path)
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in page.headers["Content-Security-Policy"]


async def test_no_page_is_heavier_than_it_may_be(api: Api, dsn: str, story: Story) -> None:
    story.owner(
        f"insert into jobs (st_job_id, st_job_number, st_customer_id, business_unit_id, ghl_sync_status, ghl_sync_reason, created_on, st_raw_data) "
        f"select 1000 + n, md5(n::text), 601, {SALES}, 'failed', 'rejected', now(), '{{}}' from generate_series(1, 300) n"
    )
    story.owner(
        "insert into sync_logs (sync_type, status, error_message) select 'job_pull', 'failed', md5(n::text) from generate_series(1, 100) n"
    )
    visitor = let_in(api, dsn, "admin", all_tenants=True)
    assets = sum(len(read_asset(name).packed) for name in ("app.css", "app.js", "htmx.min.js", "icon.svg"))
    for path in [*paths(), "/ui/jobs?status=failed"]:
        page = await visitor.get(path)
        assert assets + len(gzip.compress(page.text.encode(), 6)) < HEAVIEST, path
    packed = await visitor.get("/ui/jobs", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"


async def test_the_demo_says_that_its_data_is_invented_and_others_do_not(api: Api, dsn: str) -> None:
    page = await let_in(api, dsn, "viewer").get("/ui/")
    assert "simulated data" not in page.text


async def test_a_theme_and_single_keys_are_chosen_in_this_browser(api: Api, dsn: str) -> None:
    visitor = let_in(api, dsn, "viewer")
    assert 'data-keys="on"' in (await visitor.get("/ui/keys")).text
    await visitor.send("/ui/look", {"look": "dark", "back": "/ui/keys"})
    await visitor.send("/ui/look", {"keys": "off", "back": "/ui/keys"})
    page = await visitor.get("/ui/keys")
    assert 'data-theme="dark"' in page.text and 'data-keys="off"' in page.text


def test_every_colour_of_text_stands_out_from_its_ground() -> None:
    sheet = read_asset("app.css").content.decode()
    blocks = re.findall(r"\{([^{}]*--bg:[^{}]*)\}", sheet)
    assert len(blocks) == 3 and blocks[1].split() == blocks[2].split(), (
        "the system's dark and the chosen one are the same"
    )
    for block in blocks[:2]:
        tokens = dict(re.findall(r"--([a-z-]+): (#[0-9A-F]{6})", block))
        for ground in ("bg", "surface", "row"):
            for text in ("text", "muted", "accent", "ok", "warn", "fail", "info"):
                assert contrast(tokens[text], tokens[ground]) >= 4.5, (text, ground)
            assert contrast(tokens["control"], tokens[ground]) >= 2.7, ground
        for state in ("ok", "warn", "fail", "info"):
            assert contrast(tokens[state], tokens[f"{state}-tint"]) >= 4.5, state
        assert contrast(tokens["on-accent"], tokens["accent"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as WCAG computes it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
