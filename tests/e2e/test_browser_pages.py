"""Every page in a real browser: at three widths, in both themes, by keyboard, without JavaScript, with hostile data.

One page is loaded once and looked at in three widths and both themes. axe asks it, and a picture of it is left in
build/screenshots, at the widest in light and at the narrowest in dark; with JOBSYNC_SCREENSHOTS=FOLDER in all six.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from jobsync.config import read_settings
from jobsync.web.app import create_app
from tests.e2e.browser import (
    HEIGHT,
    Chromium,
    Theme,
    Watched,
    find_layout_faults,
    find_violations,
    measure_height,
    picture_folder,
)
from tests.e2e.conftest import Demo
from tests.web.payloads import PAYLOADS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
WIDTHS = (320, 768, 1280)
# Where axe is asked, and where a picture is kept; all six of them with JOBSYNC_SCREENSHOTS.
CHOSEN: dict[Theme, int] = {"light": 1280, "dark": 320}
EVERYTHING = bool(os.environ.get("JOBSYNC_SCREENSHOTS"))
HEAVIEST = 150_000
# Of a reference that is metres long, a picture of its beginning says enough.
TALLEST = 4000
HOSTILE = 880_000_000
# Pages that a link leads to, beside those of the navigation, and those that need no session.
MORE = (
    "/ui/keys",
    "/ui/routing/units/{unit}",
    "/ui/routing/rules/edit",
    "/ui/settings/users",
    "/ui/settings/tokens",
    "/ui/settings/audit",
    "/ui/jobs/{job}",
    "/ui/runs/{run}",
    "/ui/needs-you",
    "/ui/arm",
)
VIEWS = ("/ui/contacts?view=shared_phone", "/ui/health?checks=all")


def _list_pages() -> list[str]:
    app = create_app(read_settings(environ={}, directory=Path("nowhere")), None)
    served = {getattr(route, "path", "") for route in app.routes}
    from jobsync.web.dashboard.navigation import ENTRIES

    shapes = {re.sub(r"\{[^}]*\}", "{}", path) for path in served}
    named = [entry.path for entry in ENTRIES] + list(MORE)
    found = [path for path in dict.fromkeys(named) if re.sub(r"\{[^}]*\}", "{}", path) in shapes]
    return [*found, *(view for view in VIEWS if view.split("?")[0] in served)]


@pytest.fixture(scope="session")
def signed_in(chromium: Chromium, demo: Demo) -> Any:
    """Cookies of whoever followed the link that the demo printed."""

    def enter(watched: Watched) -> Any:
        watched.page.goto(demo.link)
        watched.page.wait_for_url(f"{demo.url}/ui/")
        return watched.page.context.storage_state()

    return chromium.look_at(enter)


@pytest.fixture(scope="session")
def sample_job(demo: Demo) -> int:
    """A job whose delivery failed on purpose."""
    found = re.search(r"jobsync why (\d+)", demo.said)
    assert found is not None
    return int(found[1])


def find_run(demo: Demo) -> str:
    """A pull of the demo."""
    return demo.call("GET", "/db/sync-logs?syncType=job_pull&limit=1")["logs"][0]["id"]


def name_picture(path: str, width: int, theme: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", path.removeprefix("/ui").lower()).strip("-") or "overview"
    return f"{words}-{width}-{theme}.png"


@pytest.mark.parametrize("path", [*_list_pages(), "/ui/login"])
def test_a_page_is_accessible_fits_and_runs_clean(
    chromium: Chromium, demo: Demo, signed_in: Any, sample_job: int, path: str
) -> None:
    address = demo.url + path.format(unit=1308, job=sample_job, run=find_run(demo) if "{run}" in path else "")

    def look(watched: Watched) -> list[str]:
        page = watched.page
        weight = 0

        def weigh(response: Any) -> None:
            nonlocal weight
            if not response.url.endswith("/ui/events"):
                weight += int(response.headers.get("content-length") or 0)

        page.on("response", weigh)
        answer = page.goto(address)
        assert answer is not None and answer.status == 200
        wrong = []
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            wrong += [f"{width} px: {fault}" for fault in find_layout_faults(page)]
            for theme, chosen in CHOSEN.items():
                if EVERYTHING or width == chosen:
                    page.emulate_media(color_scheme=theme)
                    page.screenshot(
                        path=picture_folder()
                        / name_picture(path.format(unit=1308, job="one", run="one"), width, theme),
                        full_page=True,
                        clip={"x": 0, "y": 0, "width": width, "height": min(measure_height(page), TALLEST)},
                    )
                    wrong += [f"{width} px, {theme}: {violation}" for violation in find_violations(page)]
        if not 0 < weight <= HEAVIEST:
            wrong.append(f"{weight} bytes with all that belongs to it")
        return wrong

    state = None if path == "/ui/login" else signed_in
    assert chromium.look_at(look, state=state) == []


def test_the_pages_are_reached_by_single_keys_and_the_focus_is_always_seen(
    chromium: Chromium, demo: Demo, signed_in: Any
) -> None:
    def walk(watched: Watched) -> None:
        page = watched.page
        # The second key counts for a second and a half; a slow machine is not a slow person.
        page.clock.set_fixed_time(1_800_000_000_000)
        page.goto(demo.url + "/ui/")
        for key, path in (("h", "/ui/health"), ("u", "/ui/routing"), ("s", "/ui/settings"), ("o", "/ui/")):
            page.keyboard.press("g")
            with page.expect_navigation():
                page.keyboard.press(key)
            assert page.url == demo.url + path
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "q"
        page.keyboard.press("Escape")
        with page.expect_navigation():
            page.keyboard.press("?")
        assert page.url == demo.url + "/ui/keys"
        # Every stop of the Tab key is ringed, and none is hidden below the header that stays.
        page.goto(demo.url + "/ui/routing")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        seen = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            found = page.evaluate(
                """() => {
                  const at = document.activeElement, box = at.getBoundingClientRect(), look = getComputedStyle(at);
                  const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
                  return {name: at === document.body ? "" : (at.textContent || at.id).trim(), ring: look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2,
                          hidden: at !== document.body && box.height > 0 && top !== null && !at.contains(top) && !top.contains(at)};
                }"""
            )
            if found["name"]:
                assert found["ring"], found
                assert not found["hidden"], found
                seen.add(found["name"])
        assert {"Pause", "Read names from GoHighLevel", "New rule"} <= seen

    chromium.look_at(walk, state=signed_in)


def test_a_question_opens_as_a_dialog_holds_the_focus_and_gives_it_back(
    chromium: Chromium, demo: Demo, signed_in: Any
) -> None:
    def ask(watched: Watched) -> None:
        page = watched.page
        page.goto(demo.url + "/ui/routing")
        link = page.locator("a[href='/ui/routing/units/1314/test']")
        link.focus()
        page.keyboard.press("Enter")
        dialog = page.locator("dialog[open]")
        dialog.wait_for()
        assert "Send 1 test job" in dialog.inner_text()
        assert "Paid workflow triggers" in dialog.inner_text()
        assert page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
        assert find_violations(page) == []
        page.keyboard.press("Escape")
        dialog.wait_for(state="detached" if page.locator("dialog").count() == 0 else "hidden")
        assert page.evaluate("document.activeElement.getAttribute('href')") == "/ui/routing/units/1314/test"

    chromium.look_at(ask, state=signed_in)


def test_the_palette_goes_to_a_page_or_finds_a_job_and_new_jobs_wait_behind_their_number(
    chromium: Chromium, demo: Demo, signed_in: Any
) -> None:
    def walk(watched: Watched) -> None:
        page = watched.page
        page.goto(demo.url + "/ui/jobs?unit=26143")
        page.locator("#f-unit").focus()
        page.keyboard.press("Control+k")
        assert page.evaluate("document.activeElement.id") == "palette-q"
        assert find_violations(page) == []
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.id") == "f-unit"
        page.keyboard.press("Control+k")
        page.keyboard.type("rout")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert page.url == demo.url + "/ui/routing"
        page.keyboard.press("Control+k")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert page.url == demo.url + "/ui/jobs"
        demo.call(
            "POST", "/db/jobs/upsert",
            {"job": {"id": HOSTILE - 1, "jobNumber": "new-one", "businessUnitId": 26143, "createdOn": "2026-01-01T00:00:00Z"},
             "customer": {"customerId": HOSTILE - 1, "firstName": "Ann"}},
        )  # fmt: skip
        # Whatever happens next makes the page look; here it is told to.
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        demo.call("POST", "/db/sync-logs", {"syncType": "a test", "status": "completed"})
        new = page.locator("#newer a", has_text="new: show")
        new.wait_for()
        with page.expect_navigation():
            new.click()
        assert "new-one" in page.inner_text("main")
        page.keyboard.press("Control+k")
        page.keyboard.type("new-one")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert page.url == f"{demo.url}/ui/jobs/{HOSTILE - 1}"

    chromium.look_at(walk, state=signed_in)


def test_a_rule_is_tried_saved_and_undone_without_javascript(chromium: Chromium, demo: Demo, signed_in: Any) -> None:
    def edit(watched: Watched) -> None:
        page = watched.page
        page.goto(demo.url + "/ui/routing")
        page.get_by_role("link", name="New rule").click()
        page.get_by_label("Name", exact=True).fill("Completed is won")
        page.get_by_label("This happened to the job").select_option("completed")
        page.get_by_label("Has the status").select_option("won")
        page.get_by_role("button", name="See what would change").click()
        assert "On your own jobs of the last 30 days" in page.inner_text("main")
        page.get_by_role("button", name="Save the rule").click()
        assert "Rule saved" in page.inner_text("#flash")
        assert "Completed is won" in page.inner_text("main")
        page.get_by_role("link", name="Undo").first.click()
        page.get_by_role("button", name="Undo it").click()
        assert "Undone" in page.inner_text("#flash")
        assert page.get_by_text("There are no rules").is_visible()

    chromium.look_at(edit, state=signed_in, scripts=False)


def test_no_script_runs_from_what_strangers_wrote(chromium: Chromium, demo: Demo, signed_in: Any) -> None:
    warehouse = next(unit for unit in demo.call("GET", "/db/business-units") if unit["name"] == "Old Warehouse")
    items = [
        {
            "job": {
                "id": HOSTILE + number,
                "jobNumber": f"X{number}",
                "customerId": HOSTILE + number,
                "businessUnitId": warehouse["st_business_unit_id"],
                "jobStatus": "Scheduled",
                "jobTypeName": payload,
                "summary": " ".join(PAYLOADS) if number == 0 else payload,
                "createdOn": "2026-01-30T15:04:05Z",
            },
            "customer": {"customerId": HOSTILE + number, "firstName": payload, "lastName": f"Zz{payload}"},
        }
        for number, payload in enumerate(PAYLOADS)
    ]
    assert len(PAYLOADS) == 40
    assert demo.call("POST", "/db/jobs/upsert-batch", {"jobs": items})["succeeded"] == 40

    def look(watched: Watched) -> None:
        page = watched.page
        for path in (
            "/ui/jobs",
            "/ui/jobs?q=Zz",
            "/ui/jobs?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
            f"/ui/jobs/{HOSTILE}",
            f"/ui/jobs/{HOSTILE + 7}",
            "/ui/contacts?view=unreachable",
            "/ui/",
            "/ui/needs-you",
        ):
            answer = page.goto(demo.url + path)
            assert answer is not None and answer.status in (200, 404), path
            if answer.status == 404:
                watched.wrong.clear()
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            # Whatever waited for a pointer, a focus or an error of loading has had its turn.
            page.mouse.move(300, 300)
            page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))")
            assert page.evaluate("typeof window.stolen") == "undefined", path
            assert page.locator("main img, main iframe, main object, main embed, main math, main script").count() == 0
            watched.check()

    chromium.look_at(look, state=signed_in)
